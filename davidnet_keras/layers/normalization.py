"""Normalisation of pictures by the mean and standard deviation of each channel."""

import keras
import numpy as np
from keras import ops

_CHUNK = 128  # pictures that `adapt` holds in float64 at a time


@keras.saving.register_keras_serializable(package="davidnet_keras")
class Normalization(keras.layers.Layer):
    """Subtracts the mean of each channel and divides by its standard deviation.

    Before `adapt`, and without `mean` and `std`, it changes nothing but the dtype. Unlike `keras.layers.Normalization`,
    it computes in float32 (float64 under a float64 policy) and casts last, so that a 16-bit policy costs one rounding,
    and it adapts exactly, without a float copy of the set. Mean and standard deviation are float32 weights that
    training leaves alone and `.keras` files carry: as a model's first layer it takes raw uint8 pictures.

    Shapes: (..., C) -> (..., C), in the layer's compute dtype.

    Args:
        mean: one number for all channels or one for each, in the pictures' own units. Default 0.
        std: standard deviation, likewise, above 0. Default 1.

    Raises:
        ValueError: `mean` or `std` is no finite number or list of them, or `std` not above 0.

    Example:
        normalization = Normalization()
        normalization.adapt(x_train)  # uint8 (50000, 32, 32, 3)

    Source: the reference notebook, which normalises by the training set's own mean and standard deviation.
    """

    built: bool

    def __init__(self, mean=None, std=None, **kwargs):
        # Without autocast, float32 pictures are not rounded to a 16-bit policy's dtype before the subtraction.
        super().__init__(autocast=False, **kwargs)
        self.supports_masking = True
        initial = {"mean": mean, "std": std}
        # Arrays, as Keras would wrap lists, which a config must not hold.
        self._initial = {
            name: None if value is None else np.array(channel_values(name, value)) for name, value in initial.items()
        }
        if std is not None and self._initial["std"].min() <= 0:
            raise ValueError(f"A standard deviation must be above 0. Received: std={std!r}")
        self.mean = self.std = None

    def build(self, input_shape):
        if input_shape[-1] is None:
            raise ValueError(f"The number of channels must be known. Received: input_shape={input_shape}")
        self.mean = self._add_statistic("mean", 0.0, input_shape[-1])
        self.std = self._add_statistic("std", 1.0, input_shape[-1])

    def _add_statistic(self, name, default, channels):
        given = self._initial[name]
        value = np.asarray(default if given is None else given, np.float32)
        if value.ndim and len(value) != channels:
            raise ValueError(
                f"Give one value for each of the {channels} channels, or one for all. Received: {name}={value.tolist()}"
            )

        def initial(shape, dtype=None):
            return ops.convert_to_tensor(np.broadcast_to(value, shape), dtype=dtype)

        options = {"dtype": "float32", "trainable": False, "autocast": False}
        return self.add_weight(name=name, shape=(channels,), initializer=initial, **options)

    def adapt(self, images) -> None:
        """Set the mean and standard deviation to those of `images`, exactly (to float32).

        A channel that never varies is only centred: its standard deviation is set to 1.

        Args:
            images: the training set, an array (N, H, W, C).

        Raises:
            ValueError: another shape, no pictures, or values that are not finite.
        """
        images = np.asarray(images)
        if images.ndim != 4 or images.size == 0 or images.dtype.kind not in "uif":
            raise ValueError(
                "`adapt` needs an array of pictures (number, height, width, channels), one at least. "
                f"Received: shape={images.shape}, dtype={images.dtype}"
            )
        if not self.built:
            self.build(images.shape)
            self.built = True
        if images.shape[-1] != self.mean.shape[0]:
            raise ValueError(
                f"The layer was built for {self.mean.shape[0]} channels: give pictures with as many. "
                f"Received: shape={images.shape}"
            )
        mean = _channel_means(images)
        # Squares of differences, not a difference of squares: that would lose the digits of a large mean.
        std = np.sqrt(_channel_means(images, lambda pictures: np.square(pictures - mean)))
        if not (np.isfinite(mean).all() and np.isfinite(std).all()):
            raise ValueError(f"The pictures hold values that are not finite. Received: mean={mean.tolist()}")
        self.mean.assign(mean.astype("float32"))
        self.std.assign(np.where(std > 0, std, 1.0).astype("float32"))

    def call(self, images):
        wide = "float64" if self.compute_dtype == "float64" else "float32"
        images, mean, std = (ops.cast(value, wide) for value in (images, self.mean, self.std))
        return ops.cast((images - mean) / std, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        statistics = dict(self._initial)
        if self.built:
            # What `adapt` or loaded weights have set since, so that a clone normalises alike.
            statistics = {name: ops.convert_to_numpy(getattr(self, name)) for name in statistics}
        plain = {name: None if value is None else value.tolist() for name, value in statistics.items()}
        return super().get_config() | plain


def channel_values(name, value):
    """Return a float, or a list of one for each channel, from a number, list, array or weight."""
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
