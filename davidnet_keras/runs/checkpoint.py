"""One checkpoint: a .keras file that also holds where in the run it was written, and proves that it is whole.

`keras.callbacks.BackupAndRestore` does not do for a run that has to go on to the same bits. It restores the epoch but
not the batch (it writes the batch down and never reads it), neither the epoch's running means nor what other callbacks
know, it copies its files in place, so that a kill can tear the last good copy, and it deletes them when training ends.
Keras's saving API does: `model.save` writes weights, optimizer slots and every other variable of a layer or an
optimizer, and `model.load_weights` reads them back, from one file. What Keras leaves out joins them as two more members
of that same zip archive: progress, metric variables and the state of callbacks. One file is renamed at one moment, so
no part can be newer than another.
"""

import hashlib
import io
import json
import os
import re
import warnings
import zipfile
from typing import NamedTuple

import numpy as np

STATE, ARRAYS = "davidnet_keras/state.json", "davidnet_keras/arrays.npz"
# The archive's comment, which is the end of the file: the hash of all that stands before it. The CRCs of a zip do not
# cover its directory, and a file cut short by a power failure can be filled up with zeros.
COMMENT = "davidnet_keras sha256 {}"
COMMENT_LENGTH = len(COMMENT.format("0" * 64))


class DamagedCheckpoint(ValueError):
    """A file that is no whole checkpoint of this run; the message says why, as a clause."""


class Progress(NamedTuple):
    """How far a run is: epochs that are over, and batches seen of the next one."""

    epochs: int
    batches: int = 0

    def __str__(self):
        inside = f" and {self.batches} batch{'es' * (self.batches != 1)}" if self.batches else ""
        return f"{self.epochs} epoch{'s' * (self.epochs != 1)}{inside}"


def write_checkpoint(path, model, run, progress, state):
    """Save a model with the state of its run.

    Args:
        path: file to write, ending in .keras; not atomic by itself.
        model: `keras.Model`, compiled.
        run: str that names the run, so that no other run takes the file for its own.
        progress: `Progress`.
        state: what else the run has to remember: dicts, lists, numbers, strings, None and NumPy arrays.

    Raises:
        OSError: the file cannot be written.
        ValueError: something in the state can be none of those.
    """
    model.save(path)
    mend_cache_of_saving()
    arrays = []
    text = json.dumps({"run": run, "progress": progress, "state": pack(state, arrays)})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(STATE, text)
        archive.writestr(ARRAYS, npz(arrays))
        archive.comment = COMMENT.format("0" * 64).encode()
    with open(path, "rb+") as file:
        checksum = hash_before_comment(file)
        file.seek(-COMMENT_LENGTH, 2)
        file.write(COMMENT.format(checksum).encode())


def mend_cache_of_saving():
    """Have Keras find what it keeps from one save to the next; without, a save leaves 71 KiB behind for good.

    `get_attr_skipset` of Keras 3.15 looks for `saving_attr_skiplist_*` and stores `saving_attr_skipset_*`. It never
    finds it, and so makes an optimizer for each save, only to see its attributes. Python frees that, but TensorFlow
    keeps, for the life of the process, a kernel for every name that a variable ever had ("optimizer_7/iteration";
    tensorflow/tensorflow#42377). No public name reaches either cache but `tf.random.set_seed`, which resets draws too.
    """
    try:
        from keras.src.backend.common.global_state import get_global_attribute, set_global_attribute
    except ImportError:  # a later Keras: it saves all the same
        return
    for kind in ("Optimizer", "Functional", "Layer", "Metric", "Loss"):
        set_global_attribute(f"saving_attr_skiplist_{kind}", get_global_attribute(f"saving_attr_skipset_{kind}"))


def read_checkpoint(path, run):
    """(progress, state) as `write_checkpoint` was given them, once the file is known to be whole and of this run.

    Raises:
        DamagedCheckpoint: it is torn, changed, another program's or another run's.
    """
    try:
        check_whole(path)
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > os.path.getsize(path):  # all of it is stored
                raise DamagedCheckpoint("it would unpack to more than it is")
            content = json.loads(archive.read(STATE))
            if content["run"] != run:
                raise DamagedCheckpoint("it belongs to another run")
            with archive.open(ARRAYS) as file, np.load(file, allow_pickle=False) as arrays:
                return Progress(*content["progress"]), unpack(content["state"], arrays)
    except DamagedCheckpoint:
        raise
    except OSError as error:
        raise DamagedCheckpoint(f"it cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a whole file of a stranger shows itself as almost anything: zip, JSON, missing keys
        raise DamagedCheckpoint(f"it was not written by this program ({type(error).__name__})") from error


def check_whole(path):
    """DamagedCheckpoint unless the file ends with the hash of what stands before."""
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - COMMENT_LENGTH))
        found = re.fullmatch(COMMENT.format("([0-9a-f]{64})").encode(), file.read())
        if found is None:
            raise DamagedCheckpoint("it is cut short, or another program wrote it")
        if hash_before_comment(file) != found[1].decode():
            raise DamagedCheckpoint("its content does not match its checksum")


def hash_before_comment(file):
    """SHA-256, in hexadecimal, of a file without the comment at its end."""
    left = file.seek(0, 2) - COMMENT_LENGTH
    file.seek(0)
    digest = hashlib.sha256()
    while left > 0:
        chunk = file.read(min(left, 2**20))
        digest.update(chunk)
        left -= len(chunk)
    return digest.hexdigest()


def load_weights(path, model):
    """Weights and optimizer state of a checkpoint into a model of the same shape, compiled the same way.

    Raises:
        ValueError: they do not fit it.
    """
    if not model.optimizer.built:  # else there would be no variables yet to load its state into
        model.optimizer.build(model.trainable_variables)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # Keras skips an optimizer that does not fit with a mere warning
        try:
            model.load_weights(path)
        except (UserWarning, ValueError, KeyError) as error:
            raise ValueError(f"{path} does not fit this model: {str(error).splitlines()[0]}") from error


def not_finite(model):
    """The path of the first variable of a model or its optimizer that holds a NaN or infinity; None if none does."""
    for variable in (*model.variables, *model.optimizer.variables):
        value = variable.numpy()
        if not np.issubdtype(value.dtype, np.integer) and not np.isfinite(value.astype(np.float32, copy=False)).all():
            return variable.path
    return None


def npz(arrays):
    """The bytes of an .npz file with these arrays, named 0, 1, ..."""
    file = io.BytesIO()
    np.savez(file, **{str(i): array for i, array in enumerate(arrays)})
    return file.getvalue()


def pack(value, arrays):
    """A nest of plain values as JSON takes it; arrays are appended to a list and named by their place there."""
    if isinstance(value, (np.ndarray, np.generic)) and not value.dtype.hasobject:
        arrays.append(np.asarray(value))
        return {"array": len(arrays) - 1}
    if isinstance(value, dict):
        return {"dict": {str(key): pack(item, arrays) for key, item in value.items()}}
    if isinstance(value, (list, tuple)):
        return [pack(item, arrays) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(
        f"The state of a run is made of numbers, strings, None, lists, dicts and NumPy arrays. Received: {value!r}"
    )


def unpack(value, arrays):
    """What `pack` was given."""
    if isinstance(value, list):
        return [unpack(item, arrays) for item in value]
    if isinstance(value, dict):
        if "array" in value:
            return arrays[str(value["array"])]
        return {key: unpack(item, arrays) for key, item in value["dict"].items()}
    return value
