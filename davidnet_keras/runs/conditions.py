"""What fixes or explains a run's result beside its recipe: its pictures, precision, device and versions."""

import warnings
from importlib.metadata import version

from davidnet_keras.data import datasets
from davidnet_keras.errors import UserError
from davidnet_keras.kernels.devices import tensor_float_32_enabled
from davidnet_keras.precision import device


def conditions(dataset, data, data_dir, precision, reason):
    """Return the conditions of a new run for recipe.json; `data` are its pictures before any are held out."""
    return {
        "dataset": dataset,
        "data": datasets.fingerprint(data),
        "data_dir_given": data_dir is not None,  # the path itself is nobody else's business
        "precision": precision,
        "precision_reason": reason,
        **_surroundings(),
    }


def _surroundings():
    """Return what the last bits of a result depend on beside recipe, data and precision."""
    return {
        # Where TensorFlow's switch allows it, GPUs and Winograd's larger tiles round float32 more coarsely.
        "tensor_float_32": tensor_float_32_enabled(),
        "device": device(),
        "versions": {name: version(name) for name in ("davidnet_keras", "tensorflow", "keras", "numpy")},
    }


def load_data(run_dir, begun, data_dir):
    """Load the data set that a run with the conditions `begun` was trained on. UserError: it cannot be used."""
    # Nothing is downloaded in place of the user's own pictures.
    if data_dir is None and begun.get("data_dir_given") and not datasets.is_cached(begun["dataset"]):
        raise UserError(
            f"{run_dir} was trained on pictures from a folder of yours; name it with --data-dir (data_dir= in Python)."
        )
    return datasets.load(begun["dataset"], data_dir)


def same_data(run_dir, begun, data_dir):
    """Return `load_data`'s pictures. UserError: they are not those that the run was started with."""
    data = load_data(run_dir, begun, data_dir)
    if datasets.fingerprint(data) != begun["data"]:
        raise UserError(f"These are not the pictures that {run_dir} was trained on; give the same --data-dir as then.")
    return data


def warn_of_changes(begun):
    """Warn of every difference from the run's conditions that costs it the same bits."""
    now = _surroundings()
    differing = [name for name in now if name in begun and begun[name] != now[name]]
    if differing:
        pairs = "; ".join(f"{name}={now[name]}, started with {begun[name]}" for name in differing)
        warnings.warn(f"The run continues, but not to the bits of one that never stopped: {pairs}.", stacklevel=3)
