"""Initialisers: torch's default, and one by which a convolution begins as the identity."""

from typing import Any

import keras
from keras import ops


def torch_init() -> keras.initializers.Initializer:
    """Uniform within 1/sqrt(fan_in), a variance of 1/(3 fan_in): torch's default for convolutions and dense layers."""
    return keras.initializers.VarianceScaling(scale=1 / 3, mode="fan_in", distribution="uniform")


@keras.saving.register_keras_serializable(package="davidnet_keras")
class PartialIdentity(keras.initializers.Initializer):
    """The first filters of a convolution copy its inputs, one channel each; the rest are drawn by another initialiser.

    Shapes: (rows, columns, in, out), the kernel of a convolution.

    Args:
        rest: that initialiser, as object, name or config. Default: torch's.

    Source: `torch.nn.init.dirac_` on the first filters, as in arXiv:2404.00498, section 3.2.
    """

    def __init__(self, rest: Any = None):
        self.rest = torch_init() if rest is None else keras.initializers.get(rest)

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> Any:
        if len(shape) != 4:
            raise ValueError(f"PartialIdentity makes kernels (rows, columns, in, out). Received: shape={shape}")
        rows, columns, inputs, filters = shape
        drawn = self.rest(shape, dtype=dtype)
        copied = min(inputs, filters)
        sides = [[(side - 1) // 2, side // 2] for side in (rows, columns)]  # the centre, as "same" padding has it
        centre = ops.pad(ops.eye(inputs, copied, dtype=drawn.dtype)[None, None], [*sides, [0, 0], [0, 0]])
        return ops.concatenate([centre, drawn[..., copied:]], axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {"rest": keras.initializers.serialize(self.rest)}
