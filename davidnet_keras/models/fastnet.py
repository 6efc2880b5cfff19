"""FastNet: a patch-whitening convolution and three blocks of two convolutions, after airbench94."""

from collections.abc import Sequence
from typing import Any

import keras

from davidnet_callbacks.model_state import at_next_fit, withdraw
from davidnet_keras.errors import whole_number
from davidnet_keras.kernels.convolution import gradient_switch
from davidnet_keras.layers.activations import activation_function
from davidnet_keras.layers.batch_normalization import FusedBatchNormalization
from davidnet_keras.layers.blocks import ConvPoolBlock
from davidnet_keras.layers.initializers import torch_init
from davidnet_keras.layers.whitening import PatchWhitening
from davidnet_keras.models.network import Network
from davidnet_keras.training.optimizers import group_of

FIRST_BIAS = "whiten/bias"  # its path ends so; a `ParameterGroup` may let its rate fade


class StopFirstBias(keras.callbacks.Callback):
    """Spares a `FastNet` the gradient of its first bias once the bias's rate has faded to 0, until training ends."""

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)  # under loss scaling
        group = group_of(FIRST_BIAS, getattr(optimizer, "groups", ()))
        faded = group is not None and group.fade_steps and int(optimizer.iterations) >= group.fade_steps
        at_next_fit(self.model, self.release)  # should an exception end this one
        self.model.train_first_bias(not faded)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.release()

    def release(self) -> None:
        """Compute the gradient again, however training ends."""
        withdraw(self.model, self.release)
        self.model.train_first_bias(True)


@keras.saving.register_keras_serializable(package="davidnet_keras")
class FastNet(Network):
    """The network of airbench94, with `SumLossModel`'s train step. 2 million weights.

    It takes raw pictures, as DavidNet does: `adapt` gives it the statistics to normalise and to whiten by.

    Shapes: images (batch, 32, 32, 3), 0 to 255, uint8 or float -> logits (batch, num_classes), float32.

    Args:
        num_classes: int. Default 10.
        widths: three ints, the channels of the blocks. Default (64, 256, 256).
        activation: name of a Keras activation, or "hard_gelu". Default "gelu".
        logit_scale: float, multiplies the logits. Default 1/256.
        batch_norm_momentum: float, the share of the old moving statistics that a step keeps. Default 0.6.
        whitening: bool, whether the first convolution whitens; else it is a trained one with a norm. Default True.
        identity_start: bool, whether the blocks' kernels start as `PartialIdentity`; else as torch's. Default True.
        l2: float, as for `SumLossModel`. Default 0: `Muon` decays by group.
        dtype, **kwargs: the layers' policy, such as "mixed_bfloat16"; `name`, `trainable`.

    Raises:
        ValueError: a size below 1, not three widths. TypeError: an unknown argument.

    Example:
        model = FastNet(activation="hard_gelu")
        model.adapt(x_train)  # `build_model(RECIPES["fast"], x_train)` compiles it too, with the rates of each group

    Source: Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU" (arXiv:2404.00498); KellerJordan/cifar10-airbench.
    """

    def __init__(
        self,
        num_classes: int = 10,
        widths: Sequence[int] = (64, 256, 256),
        activation: str = "gelu",
        logit_scale: float = 1 / 256,
        batch_norm_momentum: float = 0.6,
        whitening: bool = True,
        identity_start: bool = True,
        l2: float = 0.0,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        widths = tuple(whole_number("widths", width, 1) for width in widths)
        if len(widths) != 3:
            raise ValueError(f"FastNet has three blocks: give three widths. Received: widths={widths!r}")
        settings = {
            "num_classes": whole_number("num_classes", num_classes, 1),
            "widths": widths,
            "activation": activation,
            "logit_scale": float(logit_scale),
            "batch_norm_momentum": float(batch_norm_momentum),
            "whitening": bool(whitening),
            "identity_start": bool(identity_start),
        }
        super().__init__(_fastnet, settings, l2=l2, dtype=dtype, **kwargs)
        self.first_bias_trained = gradient_switch()
        if whitening:
            self.get_layer("block1").first.inputs_gradient_needed = self.first_bias_trained

    def train_first_bias(self, trained: bool) -> None:
        """Compute the gradient of the whitening layer's bias from now on (as at first), or take 0 for it.

        That spares the next convolution the gradient of its inputs. Momentum and decay still move a bias whose rate is
        not 0.
        """
        self.first_bias_trained.assign(trained)

    def training_callbacks(self) -> list[keras.callbacks.Callback]:
        """`StopFirstBias`."""
        return [StopFirstBias()]

    def adapt(self, images: Any) -> None:
        """Normalise by the statistics of these pictures from now on, and whiten by the patches of the first 5,000."""
        super().adapt(images)
        if self.settings["whitening"]:
            first = self.get_layer("normalize")(images[:5000])
            self.get_layer("whiten").adapt(keras.ops.convert_to_numpy(first))


def _fastnet(x, num_classes, widths, activation, batch_norm_momentum, whitening, identity_start, dtype):
    """The network, read downward: normalised pictures (batch, 32, 32, 3) -> logits (batch, num_classes)."""
    initializer = None if identity_start else torch_init()
    if whitening:
        x = PatchWhitening(dtype=dtype, name="whiten")(x)  # (batch, 31, 31, 24)
    else:
        options = {"use_bias": False, "kernel_initializer": torch_init(), "data_format": "channels_last"}
        x = keras.layers.Conv2D(24, 2, **options, dtype=dtype, name="first")(x)  # of the same shape
        x = FusedBatchNormalization(batch_norm_momentum, 1e-12, scale=False, dtype=dtype, name="first_norm")(x)
    x = keras.layers.Activation(activation_function(activation), dtype=dtype, name="activation")(x)
    for number, width in enumerate(widths, start=1):  # (batch, 15, 15, .), (batch, 7, 7, .), (batch, 3, 3, .)
        options = {"dtype": dtype, "name": f"block{number}"}
        x = ConvPoolBlock(width, activation, batch_norm_momentum, initializer, **options)(x)
    x = keras.layers.GlobalMaxPooling2D("channels_last", dtype=dtype, name="global_pool")(x)
    # Of standard deviation 1; the logits are brought back to size afterwards.
    drawn = keras.initializers.RandomUniform(-(3**0.5), 3**0.5)
    return keras.layers.Dense(num_classes, use_bias=False, kernel_initializer=drawn, dtype=dtype, name="head")(x)
