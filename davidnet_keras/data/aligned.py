"""Arrays that TensorFlow holds without a copy of its own: of CIFAR-10, 184 MB."""

from typing import TypeAlias

import numpy as np

Arrays: TypeAlias = tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]  # training x, y and test x, y
ALIGNMENT = 64  # bytes: TensorFlow copies what begins elsewhere, and NumPy's large arrays begin 16 bytes into a page


def aligned_empty(shape, dtype):
    """An array as of `numpy.empty`, whose memory begins at a multiple of 64 bytes."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)
