"""Load a model that a run saved, whatever the file really holds."""

import io
import json
import warnings
import zipfile
from pathlib import Path

import h5py

from davidnet_keras.errors import UserError
from davidnet_keras.runs.checkpoint import ARRAYS, STATE

WEIGHTS, CONFIG = "model.weights.h5", "config.json"
MEMBERS = {"metadata.json", CONFIG, WEIGHTS}
MAX_CONFIG = 1 << 20  # bytes; a run's has about 1,300
MAX_OBJECTS, MAX_DEPTH = 10_000, 20  # groups and arrays in the weights, and how deep; a run's has 170, 6 deep
MODELS = {"davidnet_keras>DavidNet", "davidnet_keras>FastNet"}
# What else stands in the configuration of a run's model, by the name that Keras knows it by. Keras would build any
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


def load_model(path, compile=True):
    """Load a `.keras` file that a run wrote.

    Everything in it is checked before Keras sees it: names and sizes of the archive's members and their checksums, the
    classes that the configuration names, the layout of the arrays. Then `keras.saving.load_model` reads it with
    `safe_mode=True`.

    Args:
        path: the file: `model.keras` or a checkpoint.
        compile: bool, whether to restore the optimizer too, for more training. Default True.

    Returns:
        `keras.Model`.

    Raises:
        UserError: the file is missing, damaged, or not one that a run writes.
    """
    check_model_file(path)
    import keras  # here: a refusal need not wait for TensorFlow

    try:
        with warnings.catch_warnings():
            # Keras only warns when it leaves the optimizer, or a layer, as it was before.
            warnings.filterwarnings("error", message="(Skipping|A total of)")
            return keras.saving.load_model(path, compile=compile, safe_mode=True)
    except Exception as error:  # wrong weights show themselves as almost anything
        raise refused(path, f"Keras cannot load it: {type(error).__name__}: {error}") from error


def check_model_file(path):
    """UserError unless a file has the form of a model that a run wrote. Nothing is unpacked to disk."""
    path = Path(path)
    try:
        if not path.is_file():
            raise Unfit("there is no such file")
        with zipfile.ZipFile(path) as archive:
            check_members(archive, path.stat().st_size)
            # Reading compares the checksums; keras.saving goes on without the comparison when it fails.
            archive.read("metadata.json")
            config, weights = archive.read(CONFIG), archive.read(WEIGHTS)
        check_config(config, len(weights))
        check_weights(weights)
    except Exception as error:  # zipfile, json and HDF5 meet damage with almost anything
        raise refused(path, error) from error


def check_members(archive, size):
    """The three members that Keras writes, or a checkpoint's five, which declare no more than the archive's size."""
    members = archive.infolist()
    names = {member.filename for member in members}
    if len(members) != len(names) or names not in (MEMBERS, MEMBERS | {STATE, ARRAYS}):
        raise Unfit(f"it holds {', '.join(sorted(member.filename for member in members)[:5]) or 'nothing'}")
    declared = sum(member.file_size for member in members)
    if declared > size:  # Keras stores, it does not compress
        raise Unfit(f"it would unpack to {declared:,} bytes from {size:,}")
    if archive.getinfo(CONFIG).file_size > MAX_CONFIG:
        raise Unfit(f"its {CONFIG} is larger than {MAX_CONFIG:,} bytes")


def check_config(text, weights_size):
    """One of our networks, no larger than the weights beside it, of parts that a run writes."""
    config = json.loads(text)
    if not isinstance(config, dict) or config.get("registered_name") not in MODELS:
        raise Unfit("its configuration is not that of a DavidNet or FastNet")
    settings = config.get("config")
    if not isinstance(settings, dict):
        raise Unfit("its network has no settings")
    # The largest kernel and the dense layer alone, at two bytes a number.
    *_, inputs, width = widths = network_widths(settings)
    classes = settings.get("num_classes")
    if not all(type(number) is int for number in (*widths, classes)):
        raise Unfit("its widths and classes are not whole numbers")
    if 2 * (9 * inputs * width + width * classes) > weights_size:
        raise Unfit(f"a network of widths {widths} and {classes} classes has more weights than it holds")
    for value in (value for key, value in config.items() if key != "build_config"):
        check_parts(value)


def network_widths(settings):
    """The channels of a network's layers, the last two those of its largest kernel."""
    if "widths" not in settings:
        width = settings.get("width")
        return (4 * width, 8 * width) if type(width) is int else (None, None)
    widths = settings["widths"]
    return tuple(widths) if isinstance(widths, list) and len(widths) == 3 else (None, None)


def check_parts(value):
    """No class but `PARTS` anywhere below a value of the configuration."""
    if isinstance(value, dict):
        if "class_name" in value and part_name(value) not in PARTS:
            raise Unfit(f"its configuration names {str(value['class_name'])[:60]!r}, which no run writes")
        if "build_config" in value:
            raise Unfit("its configuration builds a part")
        for inner in value.values():
            check_parts(inner)
    elif isinstance(value, list):
        for inner in value:
            check_parts(inner)


def part_name(value):
    """The name by which Keras would look a class up: its registered one, else module and name."""
    if value.get("registered_name") is not None:
        return str(value["registered_name"])
    return f"{value.get('module')}>{value['class_name']}"


def check_weights(content):
    """Plain arrays of numbers, stored whole within the file: no links, no compression, no other file."""
    with h5py.File(io.BytesIO(content), "r") as file:
        count = 0
        groups = [(file, 0)]
        while groups:
            group, depth = groups.pop()
            for name in group:
                count += 1
                if count > MAX_OBJECTS or depth > MAX_DEPTH:
                    raise Unfit("its weights have more parts than any network here")
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise Unfit("its weights hold a link")
                if isinstance(group[name], h5py.Group):
                    groups.append((group[name], depth + 1))
                else:
                    check_array(group[name])


def check_array(array):
    """Numbers, contiguous in this file, as many bytes as declared."""
    if not isinstance(array, h5py.Dataset) or array.dtype.kind not in "fiu":
        raise Unfit("its weights hold something else than numbers")
    if array.external or array.is_virtual or array.chunks is not None:
        raise Unfit("its weights are not stored whole")
    if array.nbytes != array.id.get_storage_size():
        raise Unfit(f"its weights declare {array.nbytes:,} bytes where {array.id.get_storage_size():,} are stored")


class Unfit(Exception):
    """Why a file cannot be used, as a clause."""


def refused(path, reason):
    """The UserError for a file that is no model of a run's."""
    words = " ".join(str(reason).split())[:200] or type(reason).__name__
    return UserError(f"{path} is not a model that a run wrote, or is damaged ({words}); restore it, or train again.")
