"""Normalisation of pictures by the mean and standard deviation of each channel."""

from typing import Any

import keras
import numpy as np
from keras import ops

_CHUNK = 128  # pictures that `adapt` holds in float64 at a time


@keras.saving.register_keras_serializable(package="davidnet_keras")
class Normalization(keras.layers.Layer):
    """Subtracts the mean of each channel and divides by its standard deviation; changes nothing until they are given.

    Unlike `keras.layers.Normalization`, it computes in float32 (float64 under a float64 policy) and casts last, so that
    a 16-bit policy costs one rounding, and it adapts exactly, without a float copy of the set. Its statistics are
    float32 weights, saved with the model and never trained: as a first layer it takes raw uint8 pictures.

    Args:
        mean: one number for all channels or one for each, in the pictures' own units. Default 0.
        std: standard deviation, likewise, above 0. Default 1.

    Source: the reference notebook, which normalises by the training set's own mean and standard deviation.
    """

    def __init__(self, mean: Any = None, std: Any = None, **kwargs: Any):
        # Without autocast, float32 pictures are not rounded to a 16-bit policy's dtype before the subtraction.
        super().__init__(autocast=False, **kwargs)
        self.supports_masking = True
        # Arrays, as Keras would wrap lists, which a config must not hold.
        given = {"mean": mean, "std": std}.items()
        self._initial = {name: np.array(channel_values(name, value)) for name, value in given if value is not None}
        if std is not None and self._initial["std"].min() <= 0:
            raise ValueError(f"A standard deviation must be above 0. Received: std={std!r}")

    def build(self, input_shape: tuple) -> None:
        channels = input_shape[-1]
        if channels is None:
            raise ValueError(f"The number of channels must be known. Received: input_shape={input_shape}")
        options = {"dtype": "float32", "trainable": False, "autocast": False}
        weights = []
        for name, default in (("mean", 0), ("std", 1)):
            value = np.float32(self._initial.get(name, default))
            if value.shape not in ((), (channels,)):
                received = f"Received: {name}={value.tolist()}"
                raise ValueError(f"Give one value for each of the {channels} channels, or one for all. {received}")
            weights.append(self.add_weight((channels,), keras.initializers.Constant(value), name=name, **options))
        self.mean, self.std = weights

    def adapt(self, images: Any) -> None:
        """Set the mean and standard deviation to those of an array (N, H, W, C), exactly (to float32).

        A channel that never varies is only centred: its standard deviation is set to 1.
        """
        images = np.asarray(images)
        received = f"Received: shape={images.shape}, dtype={images.dtype}"
        if images.ndim != 4 or images.size == 0 or images.dtype.kind not in "uif":
            raise ValueError(f"`adapt` needs pictures (number, height, width, channels), one at least. {received}")
        if not self.built:
            self.build(images.shape)
        channels = self.mean.shape[0]
        if images.shape[-1] != channels:
            raise ValueError(f"The layer was built for {channels} channels: give pictures of as many. {received}")
        mean = _channel_means(images)
        # Squares of differences, not a difference of squares: that would lose the digits of a large mean.
        std = np.sqrt(_channel_means(images, lambda pictures: np.square(pictures - mean)))
        if not np.isfinite([mean, std]).all():
            raise ValueError(f"The pictures hold values that are not finite. Received: mean={mean.tolist()}")
        self.mean.assign(mean)
        self.std.assign(np.where(std > 0, std, 1.0))

    def call(self, images: Any) -> Any:
        wide = "float64" if self.compute_dtype == "float64" else "float32"
        images, mean, std = (ops.cast(value, wide) for value in (images, self.mean, self.std))
        return ops.cast((images - mean) / std, self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        # What `adapt` or loaded weights have set, so that a clone normalises alike.
        values = {"mean": self.mean.numpy(), "std": self.std.numpy()} if self.built else self._initial
        plain = {name: value.tolist() for name, value in values.items()}
        return super().get_config() | {"mean": None, "std": None} | plain


def channel_values(name: str, value: Any) -> float | list[float]:
    """A float, or a list of one for each channel, from a number, list, array or weight; else ValueError."""
    try:
        numbers = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        numbers = np.array(np.nan)
    if numbers.ndim > 1 or numbers.size == 0 or not np.isfinite(numbers).all():
        raise ValueError(f"`{name}` must be a finite number or a list of them. Received: {name}={value!r}")
    return numbers.tolist()


def _channel_means(images, function=np.asarray):
    """The mean of `function` of the pictures over all axes but the last, from sums in float64."""
    chunks = (images[start : start + _CHUNK].astype(np.float64) for start in range(0, len(images), _CHUNK))
    total = sum(function(chunk).sum(axis=0) for chunk in chunks)  # (H, W, C)
    return total.sum(axis=(0, 1)) / images[..., 0].size
