"""The device in words, and the precision that suits it."""

from pathlib import Path

from davidnet_keras.kernels.devices import gpu_details

BFLOAT16_FLAGS = {"amx_bf16", "avx512_bf16"}  # as Linux names them


def choose_precision(requested: str = "auto") -> tuple[str, str]:
    """The Keras dtype policy to train with, and the reason.

    Args:
        requested: "auto", "float32", "mixed_bfloat16" or "mixed_float16".

    Returns:
        (policy, reason), both strings. "auto" gives mixed_bfloat16 on a GPU of compute capability 8 or more (Ampere)
        and on a CPU with AMX or AVX-512 bfloat16 instructions, mixed_float16 (with Keras's loss scaling) on a GPU of
        capability 7, float32 elsewhere.
    """
    if requested != "auto":
        return requested, "as asked"
    gpus = gpu_details()
    if gpus:
        return for_gpu(gpus)
    return for_cpu(cpu_flags())


def device() -> str:
    """What TensorFlow trains on, in words, with a hint if it does not see an NVIDIA GPU."""
    gpus = gpu_details()
    if gpus:
        names = {gpu.get("device_name", "GPU") for gpu in gpus}
        return f"{len(gpus)} x {', '.join(sorted(names))}"
    unseen = Path("/proc/driver/nvidia/version").exists()
    return "CPU (TensorFlow does not see the NVIDIA GPU: pip install '.[gpu]')" if unseen else "CPU"


def for_gpu(details):
    """The policy and the reason for these GPUs, by the oldest of them."""
    capability = min(detail.get("compute_capability") or (0, 0) for detail in details)
    name = f"GPU of compute capability {capability[0]}.{capability[1]}"
    if capability >= (8, 0):
        return "mixed_bfloat16", f"{name} has bfloat16 tensor cores"
    if capability >= (7, 0):
        return "mixed_float16", f"{name} has float16 tensor cores"
    return "float32", f"{name} has no tensor cores"


def for_cpu(flags):
    """The policy and the reason for a CPU with these instruction sets."""
    found = sorted(BFLOAT16_FLAGS & flags)
    if found:
        return "mixed_bfloat16", f"CPU has {' and '.join(found)}"
    return "float32", "CPU has no bfloat16 instructions"


def cpu_flags():
    """The CPU's instruction sets as Linux lists them; none known elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return set(next((line for line in lines if line.startswith("flags")), "").split())
