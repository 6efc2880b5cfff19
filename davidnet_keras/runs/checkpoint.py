"""One checkpoint: a .keras file that also holds the state of the run, and proves that it is whole.

`keras.callbacks.BackupAndRestore` cannot continue a run to the same bits: it restores neither the batch, nor the
epoch's running means, nor the state of other callbacks, and it copies its files in place, so that a kill can tear the
last good copy. `model.save` and `model.load_weights` cover weights, optimizer slots and every other variable; progress,
metrics and callbacks join them as two more members of the same zip archive, which is renamed into place at once.
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
# The archive's comment, which ends the file: the hash of everything before it. A zip's own checksums do not cover its
# directory, and a power failure can fill the rest of a file with zeros.
COMMENT = "davidnet_keras sha256 {}"
COMMENT_LENGTH = len(COMMENT.format("0" * 64))


class DamagedCheckpoint(ValueError):
    """The file is no whole checkpoint of this run; the message says why, as a clause."""


class Progress(NamedTuple):
    """How far a run is: finished epochs, and batches of the next one."""

    epochs: int
    batches: int = 0

    def __str__(self):
        inside = f" and {self.batches} batch{'es' * (self.batches != 1)}" if self.batches else ""
        return f"{self.epochs} epoch{'s' * (self.epochs != 1)}{inside}"


def write_checkpoint(path, model, run, progress, state):
    """Save a model with the state of its run.

    Args:
        path: file to write, ending in .keras; the write is not atomic.
        model: `keras.Model`, compiled.
        run: str, the run's unique name, so that no other run takes the file for its own.
        progress: `Progress`.
        state: nested dicts and lists of numbers, strings, None and NumPy arrays.

    Raises:
        OSError: the file cannot be written.
        ValueError: the state holds something else.
    """
    model.save(path)
    _mend_cache_of_saving()
    arrays, packed = [], io.BytesIO()
    text = json.dumps({"run": run, "progress": progress, "state": _pack(state, arrays)})
    np.savez(packed, **{str(i): array for i, array in enumerate(arrays)})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(STATE, text)
        archive.writestr(ARRAYS, packed.getvalue())
        archive.comment = COMMENT.format("0" * 64).encode()
    with open(path, "rb+") as file:
        checksum = _hash_before_comment(file)
        file.seek(-COMMENT_LENGTH, 2)
        file.write(COMMENT.format(checksum).encode())


def _mend_cache_of_saving():
    """Let Keras find what it caches from one save to the next; otherwise each save leaks 71 KiB.

    `get_attr_skipset` of Keras 3.15 looks for `saving_attr_skiplist_*` but stores `saving_attr_skipset_*`, so every
    save makes another optimizer, and TensorFlow keeps a kernel for every variable name there ever was
    (tensorflow/tensorflow#42377). No public function reaches that cache.
    """
    try:
        from keras.src.backend.common.global_state import get_global_attribute, set_global_attribute
    except ImportError:  # a later Keras
        return
    for kind in ("Optimizer", "Functional", "Layer", "Metric", "Loss"):
        set_global_attribute(f"saving_attr_skiplist_{kind}", get_global_attribute(f"saving_attr_skipset_{kind}"))


def read_checkpoint(path, run):
    """Return `(progress, state)` as given to `write_checkpoint`, once the file is known to be whole and this run's.

    Raises:
        DamagedCheckpoint: it is torn, changed, another program's or another run's.
    """
    try:
        _check_whole(path)
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > os.path.getsize(path):  # nothing is compressed
                raise DamagedCheckpoint("it would unpack to more than it is")
            content = json.loads(archive.read(STATE))
            if content["run"] != run:
                raise DamagedCheckpoint("it belongs to another run")
            with archive.open(ARRAYS) as file, np.load(file, allow_pickle=False) as arrays:
                return Progress(*content["progress"]), _unpack(content["state"], arrays)
    except DamagedCheckpoint:
        raise
    except OSError as error:
        raise DamagedCheckpoint(f"it cannot be read: {error.strerror or error}") from error
    except Exception as error:  # zipfile, json and NumPy raise almost anything for a foreign file
        raise DamagedCheckpoint(f"it was not written by this program ({type(error).__name__})") from error


def _check_whole(path):
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - COMMENT_LENGTH))
        found = re.fullmatch(COMMENT.format("([0-9a-f]{64})").encode(), file.read())
        if found is None:
            raise DamagedCheckpoint("it is cut short, or another program wrote it")
        if _hash_before_comment(file) != found[1].decode():
            raise DamagedCheckpoint("its content does not match its checksum")


def _hash_before_comment(file):
    left = file.seek(0, 2) - COMMENT_LENGTH
    file.seek(0)
    digest = hashlib.sha256()
    while left > 0:
        chunk = file.read(min(left, 2**20))
        digest.update(chunk)
        left -= len(chunk)
    return digest.hexdigest()


def load_weights(path, model):
    """Load a checkpoint's weights and optimizer state into a model compiled the same way. ValueError: no fit."""
    if not model.optimizer.built:  # without variables there would be nothing to load its state into
        model.optimizer.build(model.trainable_variables)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # Keras only warns when it skips an optimizer
        try:
            model.load_weights(path)
        except (UserWarning, ValueError, KeyError) as error:
            raise ValueError(f"{path} does not fit this model: {str(error).splitlines()[0]}") from error


def not_finite(model):
    """Return the path of the first variable of a model or its optimizer with a NaN or infinity; None without any."""
    for variable in (*model.variables, *model.optimizer.variables):
        value = variable.numpy()
        if not np.issubdtype(value.dtype, np.integer) and not np.isfinite(value.astype(np.float32, copy=False)).all():
            return variable.path
    return None


def _pack(value, arrays):
    """Turn nested values into what JSON takes; arrays are appended to a list and named by their index in it."""
    if isinstance(value, (np.ndarray, np.generic)) and not value.dtype.hasobject:
        arrays.append(np.asarray(value))
        return {"array": len(arrays) - 1}
    if isinstance(value, dict):
        return {"dict": {str(key): _pack(item, arrays) for key, item in value.items()}}
    if isinstance(value, (list, tuple)):
        return [_pack(item, arrays) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(
        f"The state of a run is made of numbers, strings, None, lists, dicts and NumPy arrays. Received: {value!r}"
    )


def _unpack(value, arrays):
    """Undo `_pack`."""
    if isinstance(value, list):
        return [_unpack(item, arrays) for item in value]
    if isinstance(value, dict):
        if "array" in value:
            return arrays[str(value["array"])]
        return {key: _unpack(item, arrays) for key, item in value["dict"].items()}
    return value
