"""Normalisation of pictures by the mean and standard deviation of each channel."""

import keras
import numpy as np

# Pictures read at a time by `adapt`, so that no float copy of a whole set comes into being.
_CHUNK = 1024


@keras.saving.register_keras_serializable(package="davidnet_keras")
class Normalization(keras.layers.Layer):
    """Subtracts the mean of each channel and divides by its standard deviation.

    Before `adapt`, and without `mean` and `std`, it changes nothing but the dtype. It computes in float32 (float64
    under a float64 policy) and casts last, so that a 16-bit policy costs one rounding. Mean and standard deviation are
    float32 weights that training leaves alone and `.keras` files carry: as a model's first layer it lets the model take
    raw uint8 pictures.

    Shapes:
        (..., C) -> (..., C), in the layer's compute dtype.

    Args:
        mean: Mean, one number for all channels or one for each, in the pictures' own units. Default 0.
        std: Standard deviation, likewise, above 0. Default 1.

    Raises:
        ValueError: If `mean` or `std` is no finite number or list of them, or `std` not above 0.

    Example:

    ```python
    normalization = Normalization()
    normalization.adapt(x_train)  # uint8 (50000, 32, 32, 3)
    ```

    Source: the reference notebook, which normalises by the training set's own mean and standard deviation.
    """

    def __init__(self, mean=None, std=None, **kwargs):
        # Without autocast, float32 pictures are not rounded to a 16-bit policy's dtype before the subtraction.
        super().__init__(autocast=False, **kwargs)
        self.initial_mean = None if mean is None else channel_values("mean", mean)
        self.initial_std = None if std is None else channel_values("std", std)
        if std is not None and np.min(self.initial_std) <= 0:
            raise ValueError(f"A standard deviation must be above 0. Received: std={std!r}")
        self.mean = self.std = None

    def build(self, input_shape):
        channels = input_shape[-1]
        if channels is None:
            raise ValueError(f"The number of channels must be known. Received: input_shape={input_shape}")
        self.mean = self._add_statistic("mean", self.initial_mean, 0.0, channels)
        self.std = self._add_statistic("std", self.initial_std, 1.0, channels)

    def _add_statistic(self, name, value, default, channels):
        value = np.asarray(default if value is None else value, np.float32)
        if value.ndim and len(value) != channels:
            raise ValueError(
                f"Give one value for each of the {channels} channels, or one for all. Received: {name}={value.tolist()}"
            )

        def initial(shape, dtype=None):
            return keras.ops.convert_to_tensor(np.broadcast_to(value, shape), dtype=dtype)

        return self.add_weight(
            name=name, shape=(channels,), initializer=initial, dtype="float32", trainable=False, autocast=False
        )

    def adapt(self, images):
        """Sets the mean and standard deviation to those of `images`, exactly (to float32).

        They come from a count of the 256 values for uint8 pictures, and from sums in float64 for others, a thousand
        pictures at a time. A channel that never varies is only centred: its standard deviation is set to 1.

        Args:
            images: The training set, an array of shape (N, H, W, C).

        Raises:
            ValueError: If `images` has another shape, is empty, or holds values that are not finite.
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
        mean, std = _statistics_of_bytes(images) if images.dtype == np.uint8 else _statistics(images)
        if not (np.isfinite(mean).all() and np.isfinite(std).all()):
            raise ValueError(f"The pictures hold values that are not finite. Received: mean={mean.tolist()}")
        self.mean.assign(mean.astype("float32"))
        self.std.assign(np.where(std > 0, std, 1.0).astype("float32"))

    def call(self, images):
        wide = "float64" if self.compute_dtype == "float64" else "float32"
        images, mean, std = (keras.ops.cast(value, wide) for value in (images, self.mean, self.std))
        return keras.ops.cast((images - mean) / std, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        mean, std = self.initial_mean, self.initial_std
        if self.built:
            # What `adapt` or loaded weights have set since, so that a clone normalises alike.
            mean, std = (keras.ops.convert_to_numpy(value).tolist() for value in (self.mean, self.std))
        return {**super().get_config(), "mean": mean, "std": std}


def channel_values(name, value):
    """Returns a float, or a list of one for each channel, from a number, list, array or weight."""
    try:
        numbers = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        numbers = np.array(np.nan)
    if numbers.ndim > 1 or numbers.size == 0 or not np.isfinite(numbers).all():
        raise ValueError(f"`{name}` must be a finite number or a list of them. Received: {name}={value!r}")
    return numbers.tolist()


def _statistics_of_bytes(images):
    channels = images.shape[-1]
    counts = np.zeros((channels, 256), np.int64)
    for start in range(0, len(images), _CHUNK):
        for channel in range(channels):
            counts[channel] += np.bincount(images[start : start + _CHUNK, ..., channel].ravel(), minlength=256)
    values = np.arange(256.0)
    mean = counts @ values / counts.sum(axis=1)
    squares = (values - mean[:, None]) ** 2  # (C, 256)
    return mean, np.sqrt((counts * squares).sum(axis=1) / counts.sum(axis=1))


def _statistics(images):
    axes, size = (0, 1, 2), images[..., 0].size
    chunks = [slice(start, start + _CHUNK) for start in range(0, len(images), _CHUNK)]
    mean = sum(images[chunk].sum(axis=axes, dtype=np.float64) for chunk in chunks) / size
    # Squares of differences, not a difference of squares: that would lose the digits of a large mean.
    squares = sum(((images[chunk].astype(np.float64) - mean) ** 2).sum(axis=axes) for chunk in chunks)
    return mean, np.sqrt(squares / size)
