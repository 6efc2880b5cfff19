"""Which devices TensorFlow computes on, and the switches that hold for all of them."""

import contextlib
from collections.abc import Iterator
from typing import Any

from davidnet_keras.kernels.backend import tf


def visible_gpus() -> list[Any]:
    """The GPUs that TensorFlow sees and may use; empty on a CPU."""
    return tf.config.get_visible_devices("GPU")


def gpu_details() -> list[dict[str, Any]]:
    """For each visible GPU what TensorFlow knows of it: "device_name", "compute_capability" (major, minor)."""
    return [tf.config.experimental.get_device_details(gpu) for gpu in visible_gpus()]


def tensor_float_32_enabled() -> bool:
    """Whether TensorFlow may round float32 to TF32 in products: on GPUs, and in Winograd's coarse tiles."""
    return tf.config.experimental.tensor_float_32_execution_enabled()


@contextlib.contextmanager
def deterministic_ops(enabled: bool = True) -> Iterator[None]:
    """Context in which every operation gives the same bits each time, if `enabled`; afterwards it is as before."""
    from tensorflow.python.framework import config  # the public API can only switch it on

    switch_off = enabled and not config.is_op_determinism_enabled()
    if enabled:
        config.enable_op_determinism()
    try:
        yield
    finally:
        if switch_off:
            config.disable_op_determinism()


def after(tensor: Any) -> contextlib.AbstractContextManager:
    """Context whose operations begin when `tensor` is computed, so that memory is that of one branch; None: at once."""
    return tf.control_dependencies([] if tensor is None else [tensor])


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this exception means that a device's memory did not suffice."""
    return isinstance(error, tf.errors.ResourceExhaustedError | MemoryError)
