"""Load a model that a run saved, whatever the file really holds."""

import io
import json
import os
import warnings
import zipfile
from typing import TYPE_CHECKING

import h5py

from davidnet_keras.errors import UserError
from davidnet_keras.runs.checkpoint import ARRAYS, STATE

if TYPE_CHECKING:
    import keras

WEIGHTS, CONFIG = "model.weights.h5", "config.json"
MEMBERS = {"metadata.json", CONFIG, WEIGHTS}
MAX_CONFIG = 1 << 20  # bytes; a run's has about 1,300
_MAX_OBJECTS, _MAX_DEPTH = 10_000, 20  # groups and arrays in the weights, and nested groups; a run's has 170, 6 deep
MODELS = {"davidnet_keras>DavidNet", "davidnet_keras>FastNet"}
# The other classes in the configuration of a run's model, by the names that Keras knows them by. Keras would build any
# layer, loss or metric that a file names, of any size; a few of its classes read other files or run code.
PARTS = {
    "davidnet_keras>MomentumSGD",
    "davidnet_keras>Muon",
    "davidnet_keras>NamedLoss",
    "davidnet_keras>SmoothedCrossentropy",
    "keras>DTypePolicy",
    "keras.losses>CategoricalCrossentropy",
    "keras.losses>SparseCategoricalCrossentropy",
    "keras.optimizers>LossScaleOptimizer",
}


def load_model(path: str | os.PathLike, compile: bool = True) -> "keras.Model":
    """Load a `.keras` file that a run wrote.

    Everything in it is checked before Keras sees it: the archive's members, their sizes and checksums, the classes that
    the configuration names, the layout of the arrays. Then `keras.saving.load_model` reads it in safe mode.

    Args:
        path: the file: `model.keras` or a checkpoint.
        compile: whether to restore the optimizer too, for more training. Default True.

    Raises:
        UserError: the file is missing, damaged, or not one that a run writes.
    """
    path = os.path.expanduser(path)
    check_model_file(path)
    import keras  # here: a refusal need not wait for it

    from davidnet_keras.models import davidnet, fastnet  # noqa: F401  registered for Keras by this

    try:
        with warnings.catch_warnings():
            # Keras only warns when it leaves the optimizer, or a layer, as it was.
            warnings.filterwarnings("error", message="(Skipping|A total of)")
            return keras.saving.load_model(path, compile=compile, safe_mode=True)
    except Exception as error:  # wrong weights raise almost anything
        raise _refusal(path, f"Keras cannot load it: {type(error).__name__}: {error}") from error


def check_model_file(path: str | os.PathLike) -> None:
    """Raise UserError unless a file has the form of a model that a run wrote. Nothing is unpacked to disk."""
    try:
        if not os.path.isfile(path):
            raise ValueError("there is no such file")
        with zipfile.ZipFile(path) as archive:
            _check_members(archive, os.path.getsize(path))
            # Reading compares the checksums; Keras goes on without a member that fails this.
            archive.read("metadata.json")
            config, weights = archive.read(CONFIG), archive.read(WEIGHTS)
        _check_config(json.loads(config), len(weights))
        check_weights(weights)
    except Exception as error:  # zipfile, json and HDF5 raise almost anything for a damaged file
        raise _refusal(path, error) from error


def _check_members(archive, size):
    """Expect the three members that Keras writes, or a checkpoint's five, no larger than the archive."""
    names = sorted(archive.namelist())
    if names not in (sorted(MEMBERS), sorted(MEMBERS | {STATE, ARRAYS})):
        raise ValueError(f"it holds {', '.join(names[:5]) or 'nothing'}")
    declared = sum(member.file_size for member in archive.infolist())
    if declared > size:  # Keras stores, it does not compress
        raise ValueError(f"it would unpack to {declared:,} bytes from {size:,}")
    if archive.getinfo(CONFIG).file_size > MAX_CONFIG:
        raise ValueError(f"its {CONFIG} is larger than {MAX_CONFIG:,} bytes")


def _check_config(config, weights_size):
    """Expect one of our networks, no larger than the weights beside it, of parts that a run writes."""
    if not isinstance(config, dict) or config.get("registered_name") not in MODELS:
        raise ValueError("its configuration is not that of a DavidNet or FastNet")
    settings = config.get("config")
    if not isinstance(settings, dict):
        raise ValueError("its network has no settings")
    width, classes = settings.get("widths", settings.get("width")), settings.get("num_classes")
    channels = [4 * width, 8 * width] if type(width) is int else width  # at the end, those of the largest kernel
    if not isinstance(channels, list) or not all(type(number) is int for number in (*channels, classes)):
        raise ValueError("its widths and classes are not whole numbers")
    # That kernel and the dense layer alone, at two bytes a number.
    if 2 * channels[-1] * (9 * channels[-2] + classes) > weights_size:
        raise ValueError(f"a network of widths {channels} and {classes} classes has more weights than it holds")
    for value in (value for key, value in config.items() if key != "build_config"):
        _check_parts(value)


def _check_parts(value):
    """Expect no class but `PARTS` anywhere below a value of the configuration."""
    if isinstance(value, dict):
        if "class_name" in value:
            # Keras looks a class up by its registered name, else by module and name.
            name, registered = value["class_name"], value.get("registered_name")
            if (f"{value.get('module')}>{name}" if registered is None else str(registered)) not in PARTS:
                raise ValueError(f"its configuration names {str(name)[:60]!r}, which no run writes")
        if "build_config" in value:
            raise ValueError("its configuration builds a part")
        value = list(value.values())
    for inner in value if isinstance(value, list) else ():
        _check_parts(inner)


def check_weights(content: bytes) -> None:
    """Expect plain arrays of numbers, stored whole within the file: no links, no compression, no other file."""
    with h5py.File(io.BytesIO(content), "r") as file:
        count, groups = 0, [(file, 0)]
        while groups:
            group, depth = groups.pop()
            for name in group:
                count += 1
                if count > _MAX_OBJECTS or depth > _MAX_DEPTH:
                    raise ValueError("its weights have more parts than any network here")
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise ValueError("its weights hold a link")
                if isinstance(group[name], h5py.Group):
                    groups.append((group[name], depth + 1))
                else:
                    _check_array(group[name])


def _check_array(array):
    if not isinstance(array, h5py.Dataset) or array.dtype.kind not in "fiu":
        raise ValueError("its weights hold something other than numbers")
    if array.external or array.is_virtual or array.chunks is not None:
        raise ValueError("its weights are not stored whole")
    if array.nbytes != array.id.get_storage_size():
        raise ValueError(f"its weights declare {array.nbytes:,} bytes where {array.id.get_storage_size():,} are stored")


def _refusal(path, reason):
    words = " ".join(str(reason).split())[:200] or type(reason).__name__
    return UserError(f"{path} is not a model that a run wrote, or is damaged ({words}); restore it, or train again.")
