"""Arrays that TensorFlow can hold without a copy of its own."""

import numpy as np

ALIGNMENT = 64  # bytes: a tensor of another beginning is copied. NumPy's large arrays begin 16 bytes into a page


def aligned_empty(shape, dtype):
    """An array as of `numpy.empty`, whose memory begins at a multiple of 64 bytes."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


def aligned_rows(array, indices):
    """`array[indices]` for indices along the first axis, in memory that begins at a multiple of 64 bytes."""
    rows = aligned_empty((len(indices), *array.shape[1:]), array.dtype)
    rows[:] = array[indices]
    return rows
