"""A first convolution that decorrelates the pixels of small patches."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from davidnet_keras.errors import whole_number


@keras.saving.register_keras_serializable(package="davidnet_keras")
class PatchWhitening(keras.layers.Layer):
    """Convolution of small patches with their own principal directions, each scaled to unit variance, and its negative.

        kernel = +-eigenvectors(C) / sqrt(eigenvalues(C) + epsilon),  C the mean of patch x patch^T

    The kernel is zero until `adapt` computes it, and never trained. The bias is trained. Every direction comes with its
    negative, so that nothing is lost in an activation that is zero below zero.

    Shapes: (batch, height, width, channels) -> (batch, height - size + 1, width - size + 1, 2 x channels x size^2).

    Args:
        size: side of a patch in pixels.
        epsilon: above 0, added to the eigenvalues, so that directions of less variance stay small.

    Source: Page, "How to Train Your ResNet 8"; Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU"
    (arXiv:2404.00498), section 3.1, for the negatives, the trained bias and the constants.
    """

    def __init__(self, size: int = 2, epsilon: float = 5e-4, **kwargs: Any):
        if not epsilon > 0:  # a direction without variance, as in grey pictures, would be divided by 0
            raise ValueError(f"Epsilon must be above 0. Received: epsilon={epsilon}")
        super().__init__(**kwargs)
        self.size, self.epsilon = whole_number("size", size, least=1), float(epsilon)

    def build(self, input_shape: tuple) -> None:
        filters = self.compute_output_shape(input_shape)[-1]
        kernel_shape = (self.size, self.size, input_shape[-1], filters)
        self.kernel = self.add_weight(name="kernel", shape=kernel_shape, initializer="zeros", trainable=False)
        self.bias = self.add_weight(name="bias", shape=(filters,), initializer="zeros")

    def adapt(self, images: Any) -> None:
        """Set the kernel from the patches of pictures (N, H, W, C), normalised as inputs will be; 5,000 are enough."""
        images = np.asarray(images)
        if images.ndim != 4 or images.size == 0 or min(images.shape[1:3]) < self.size:
            size = f"{self.size} x {self.size} pixels or more"
            raise ValueError(f"`adapt` needs pictures (N, H, W, channels) of {size}. Received: shape={images.shape}")
        if not np.isfinite(images).all():
            raise ValueError("The pictures hold values that are not finite; normalise them by finite statistics.")
        if not self.built:
            self.build(images.shape)
        variances, directions = np.linalg.eigh(self._covariance(images))  # directions: one a column
        scaled = directions / np.sqrt(np.maximum(variances, 0) + self.epsilon)
        kernel = np.concatenate([scaled, -scaled], axis=1)
        self.kernel.assign(kernel.reshape(self.kernel.shape).astype("float32"))

    def _covariance(self, images):
        """The mean of patch x patch^T over all patches of all pictures, in float64."""
        windows = np.lib.stride_tricks.sliding_window_view(images, (self.size, self.size), axis=(1, 2))
        patches = windows.transpose(0, 1, 2, 4, 5, 3)  # (number, rows, columns, size, size, channels)
        chunks = np.array_split(patches, -(-len(patches) // 500))  # 500 pictures in float64 at a time
        rows = (chunk.reshape(-1, np.prod(chunk.shape[3:])).astype(np.float64) for chunk in chunks)
        return sum(chunk.T @ chunk for chunk in rows) / np.prod(patches.shape[:3])

    def call(self, x: Any) -> Any:
        x = ops.cast(x, self.kernel.dtype)
        return ops.conv(x, self.kernel, padding="valid", data_format="channels_last") + self.bias

    def multiply_accumulates(self, input_shape: tuple) -> int:
        """The products that `training_flops` counts: every output sums over its patch."""
        return math.prod(self.compute_output_shape(input_shape)) * self.size**2 * input_shape[-1]

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        batch, height, width, channels = input_shape
        sides = (None if side is None else side - self.size + 1 for side in (height, width))
        return (batch, *sides, 2 * channels * self.size**2)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"size": self.size, "epsilon": self.epsilon}
