"""Muon for the kernels of convolutions, Nesterov momentum for the rest, each group of weights at a rate of its own."""

import keras
from keras import ops

from davidnet_keras.errors import whole_number
from davidnet_keras.training.momentum_sgd import MomentumSGD

# A quintic that is steep at 0: each step multiplies small singular values by 3.4, and those near 1 stay between 0.7 and
# 1.2.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
PRODUCTS = (None, "bfloat16", "float16", "float32", "float64")


@keras.saving.register_keras_serializable(package="davidnet_keras")
class Muon(MomentumSGD):
    """Orthogonal updates for the kernels of convolutions, Nesterov momentum for everything else.

    For a kernel `w` of shape (rows, columns, in, out) with gradient `g`, as matrices (rows x columns x in, out):

        velocity <- momentum * velocity + g
        w        <- w * sqrt(out) / ||w||
        w        <- w - learning_rate * orthogonal(g + momentum * velocity)

    where `orthogonal` takes the larger singular values to about 1, and multiplies the smallest by 3.4 at each of its
    `newton_schulz_steps`. So the size of the gradient does not matter, and neither does a scale of the loss. The kernel
    is brought to a fixed norm at every step, which changes nothing only where a normalisation follows the convolution.
    Everything else moves as by `MomentumSGD`, with a momentum, rate and decay of its group; so does a kernel that a
    group names. A weight of four axes is taken for a kernel: name depthwise and transposed ones, whose last axis is not
    that of the outputs. There is one `learning_rate` for all, of which the
    groups take multiples, so that schedules, finders and logs work as with any optimizer:
    `keras.optimizers.MultiOptimizer`, which could join two optimizers, has none that a callback could set.
    `keras.optimizers.Muon` leaves kernels of convolutions to AdamW.

    Args:
        learning_rate: float, of the kernels. Default 0.24.
        momentum: float in [0, 1), of the kernels. Default 0.6.
        sgd_momentum: float in [0, 1), of the other weights. Default 0.85.
        newton_schulz_steps: int. Default 3.
        newton_schulz_dtype: type of those steps' products: "bfloat16", where the processor has instructions for it,
            "float16", "float32" or "float64". Default: that of the weights.
        **kwargs: as `MomentumSGD`'s; its groups are those of the other weights.

    Raises:
        ValueError: a momentum outside [0, 1), fewer than one step, another type.

    Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024), and their
    cifar10-airbench, `airbench94_muon.py`, for the normalised kernels and the constants.
    """

    def __init__(
        self,
        learning_rate=0.24,
        momentum=0.6,
        sgd_momentum=0.85,
        newton_schulz_steps=3,
        newton_schulz_dtype=None,
        **kwargs,
    ):
        super().__init__(learning_rate, momentum, **kwargs)
        if not 0 <= sgd_momentum < 1:
            raise ValueError(f"Momentum must be at least 0 and below 1. Received: sgd_momentum={sgd_momentum}")
        newton_schulz_steps = whole_number("newton_schulz_steps", newton_schulz_steps, 1)
        if newton_schulz_dtype not in PRODUCTS:
            raise ValueError(
                f"Muon's products are of one of the types {', '.join(PRODUCTS[1:])}, or None for that of the weights. "
                f"Received: newton_schulz_dtype={newton_schulz_dtype!r}"
            )
        self.sgd_momentum = float(sgd_momentum)
        self.newton_schulz_steps = newton_schulz_steps
        self.newton_schulz_dtype = PRODUCTS[PRODUCTS.index(newton_schulz_dtype)]  # a name, given a type too

    def update_step(self, gradient, variable, learning_rate):
        """Move one variable by one step."""
        if len(variable.shape) != 4 or self.group(variable) is not None:
            self.momentum_step(gradient, variable, learning_rate, self.sgd_momentum)
            return
        direction = self.direction(ops.cast(gradient, variable.dtype), variable, self._momentum)
        matrix = ops.reshape(direction, (-1, variable.shape[-1]))
        update = orthogonal(matrix, self.newton_schulz_steps, self.newton_schulz_dtype)
        update = ops.reshape(ops.cast(update, variable.dtype), variable.shape)
        norm = ops.sqrt(ops.sum(ops.square(variable)))
        kept = variable * (variable.shape[-1] ** 0.5 / ops.maximum(norm, 1e-7))
        self.assign(variable, kept - ops.cast(learning_rate, variable.dtype) * update)

    def get_config(self):
        return super().get_config() | {
            "sgd_momentum": self.sgd_momentum,
            "newton_schulz_steps": self.newton_schulz_steps,
            "newton_schulz_dtype": self.newton_schulz_dtype,
        }


def orthogonal(matrix, steps, dtype=None):
    """About the nearest matrix with orthonormal rows or columns: U V^T of the singular value decomposition U S V^T.

    Three steps take singular values from 0.03 of the norm upwards to 0.7 to 1.21; smaller ones stay smaller.

    In bfloat16 in place of float32 FastNet's step of 1,000 pictures takes 3 % less (8 rounds of 5 steps by turns, 1,555
    and 1,502 pictures a second, 2 cores with AMX bfloat16, TensorFlow 2.21), one of 2,000 likely half of that.

    Shapes: (rows, columns) -> the same, in `dtype`, by default the matrix's own.
    """
    a, b, c = NEWTON_SCHULZ
    matrix = matrix / (ops.sqrt(ops.sum(ops.square(matrix))) + 1e-7)  # no singular value above 1
    matrix = ops.cast(matrix, dtype or matrix.dtype)
    wide = matrix.shape[0] < matrix.shape[1]
    for _ in range(steps):  # on the smaller side's products
        products = ops.matmul(matrix, ops.transpose(matrix)) if wide else ops.matmul(ops.transpose(matrix), matrix)
        polynomial = b * products + c * ops.matmul(products, products)
        matrix = a * matrix + (ops.matmul(polynomial, matrix) if wide else ops.matmul(matrix, polynomial))
    return matrix
