"""The device in words, and the precision that suits it."""

from pathlib import Path

from davidnet_keras.kernels.devices import gpu_details

BFLOAT16_FLAGS = {"amx_bf16", "avx512_bf16"}  # as Linux names them


def choose_precision(requested: str = "auto") -> tuple[str, str]:
    """The Keras dtype policy to train with, and the reason.

    "auto" gives mixed_bfloat16 on a GPU of compute capability 8 or more (Ampere) and on a CPU with AMX or AVX-512
    bfloat16 instructions, mixed_float16 (with Keras's loss scaling) on a GPU of capability 7, float32 elsewhere. Any
    other request is taken as it is.
    """
    if requested != "auto":
        return requested, "as asked"
    gpus = gpu_details()
    return for_gpu(gpus) if gpus else for_cpu(cpu_flags())


def device() -> str:
    """What TensorFlow trains on, in words, with a hint if it does not see an NVIDIA GPU."""
    gpus = gpu_details()
    if gpus:
        return f"{len(gpus)} x {', '.join(sorted({gpu.get('device_name', 'GPU') for gpu in gpus}))}"
    unseen = Path("/proc/driver/nvidia/version").exists()
    return "CPU (TensorFlow does not see the NVIDIA GPU: pip install '.[gpu]')" if unseen else "CPU"


def for_gpu(details):
    """The policy and the reason for these GPUs, by the oldest of them."""
    major, minor = min(detail.get("compute_capability") or (0, 0) for detail in details)
    policy = "mixed_bfloat16" if major >= 8 else "mixed_float16" if major >= 7 else "float32"
    cores = f"{policy.removeprefix('mixed_')} tensor cores" if major >= 7 else "no tensor cores"
    return policy, f"GPU of compute capability {major}.{minor} has {cores}"


def for_cpu(flags):
    """The policy and the reason for a CPU with these instruction sets."""
    found = " and ".join(sorted(BFLOAT16_FLAGS & flags))
    return ("mixed_bfloat16" if found else "float32"), f"CPU has {found or 'no bfloat16 instructions'}"


def cpu_flags():
    """The CPU's instruction sets as Linux lists them; none known elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return set(next((line for line in lines if line.startswith("flags")), "").split())
