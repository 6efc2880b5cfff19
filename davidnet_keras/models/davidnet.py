"""DavidNet: David Page's ResNet-9."""

from typing import Any

import keras

from davidnet_keras.errors import whole_number
from davidnet_keras.layers.blocks import ConvBN, ResidualBlock
from davidnet_keras.layers.initializers import torch_init
from davidnet_keras.models.network import Network


@keras.saving.register_keras_serializable(package="davidnet_keras")
class DavidNet(Network):
    """The ResNet-9 of "How to Train Your ResNet", with `SumLossModel`'s train step. 6.6 million weights at width 64.

    It takes raw pictures, which its first layer normalises by the statistics given to `adapt`. Under `tf.distribute` on
    CPUs each batch must hold a picture for every replica: TensorFlow's convolution fails on an empty share.

    Shapes: images (batch, 32, 32, 3), 0 to 255, uint8 or float -> logits (batch, num_classes), float32.

    Args:
        num_classes: int. Default 10.
        width: int, channels of the first layer; the others have 2, 4 and 8 times as many. Default 64.
        logit_scale: float, multiplies the logits. Default 0.125.
        dropout: float in [0, 1), after every convolution. Default 0.05 (the notebook's; 0 in cifar10-fast).
        l2: float, as for `SumLossModel`: weight decay x batch size. Default 0.
        dtype, **kwargs: the layers' policy, such as "mixed_bfloat16"; `name`, `trainable`.

    Raises:
        ValueError: a size below 1, a rate outside [0, 1), negative decay. TypeError: an unknown argument.

    Example:
        model = DavidNet(l2=5e-4 * 512)
        model.adapt(x_train)
        model.compile(MomentumSGD(0.4 / 512), keras.losses.SparseCategoricalCrossentropy(from_logits=True))

    Source: the reference notebook; davidcpage/cifar10-fast, `dawn.py`.
    """

    def __init__(
        self,
        num_classes: int = 10,
        width: int = 64,
        logit_scale: float = 0.125,
        dropout: float = 0.05,
        l2: float = 0.0,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        settings = {
            "num_classes": whole_number("num_classes", num_classes, 1),
            "width": whole_number("width", width, 1),
            "logit_scale": float(logit_scale),
            "dropout": float(dropout),
        }
        super().__init__(_davidnet, settings, l2=l2, dtype=dtype, **kwargs)


def _davidnet(x, num_classes, width, dropout, dtype):
    """The network, read downward: normalised pictures (batch, 32, 32, 3) -> logits (batch, num_classes)."""

    def conv(filters, name, pool=True):
        return ConvBN(filters, dropout, pool, dtype=dtype, name=name)

    x = conv(width, "prep", pool=False)(x)  # (batch, 32, 32, width)
    x = conv(2 * width, "layer1")(x)  # (batch, 16, 16, 2 width)
    x = ResidualBlock(dropout, dtype=dtype, name="residual1")(x)
    x = conv(4 * width, "layer2")(x)  # (batch, 8, 8, 4 width)
    x = conv(8 * width, "layer3")(x)  # (batch, 4, 4, 8 width)
    x = ResidualBlock(dropout, dtype=dtype, name="residual3")(x)
    x = keras.layers.GlobalMaxPooling2D("channels_last", dtype=dtype, name="global_pool")(x)  # (batch, 8 width)
    return keras.layers.Dense(num_classes, use_bias=False, kernel_initializer=torch_init(), dtype=dtype, name="dense")(
        x
    )
