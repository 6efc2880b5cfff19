"""One checkpoint: a .keras file that also holds the state of the run, and proves that it is whole.

`keras.callbacks.BackupAndRestore` cannot continue a run to the same bits: it restores neither the batch, nor the
epoch's running means, nor the state of other callbacks, and a kill can tear its only copy. Here they are two more
members of the zip archive that `model.save` writes.
"""

import hashlib
import io
import json
import warnings
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from davidnet_keras.errors import UserError

STATE, ARRAYS = "davidnet_keras/state.json", "davidnet_keras/arrays.npz"
# The archive's comment, which ends the file: the hash of everything before it. A zip's own checksums do not cover its
# directory.
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
    """Save a compiled model with the state of its run to `path`, a .keras file; the write is not atomic.

    Args:
        run: str, the run's unique name, so that no other run takes the file for its own.
        progress: `Progress`.
        state: nested dicts and lists of numbers, strings, None and NumPy arrays; ValueError for anything else.
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
    comment = _comment_for(Path(path).read_bytes())
    with open(path, "rb+") as file:
        file.seek(-COMMENT_LENGTH, io.SEEK_END)
        file.write(comment)


def _comment_for(content):
    """Return the comment that belongs at the end of a file's content."""
    return COMMENT.format(hashlib.sha256(memoryview(content)[:-COMMENT_LENGTH]).hexdigest()).encode()


def _mend_cache_of_saving():
    """Let Keras find what it caches from one save to the next; otherwise each save leaks 71 KiB.

    `get_attr_skipset` of Keras 3.15 looks for `saving_attr_skiplist_*` but stores `saving_attr_skipset_*`: every save
    makes another optimizer, and TensorFlow keeps a kernel for every variable name (tensorflow/tensorflow#42377).
    """
    try:  # no public function reaches that cache
        from keras.src.backend.common.global_state import get_global_attribute, set_global_attribute
    except ImportError:  # a later Keras
        return
    for kind in ("Optimizer", "Functional", "Layer", "Metric", "Loss"):
        set_global_attribute(f"saving_attr_skiplist_{kind}", get_global_attribute(f"saving_attr_skipset_{kind}"))


def read_checkpoint(path, run):
    """Return `(progress, state)`. DamagedCheckpoint: the file is torn, changed, another program's or another run's."""
    try:
        content = Path(path).read_bytes()
        if not content[-COMMENT_LENGTH:].startswith(COMMENT.format("").encode()):
            raise DamagedCheckpoint("it is cut short, or another program wrote it")
        if not content.endswith(_comment_for(content)):
            raise DamagedCheckpoint("its content does not match its checksum")
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(member.file_size for member in archive.infolist()) > len(content):  # nothing is compressed
                raise DamagedCheckpoint("it would unpack to more than it is")
            saved = json.loads(archive.read(STATE))
            if saved["run"] != run:
                raise DamagedCheckpoint("it belongs to another run")
            with archive.open(ARRAYS) as file, np.load(file, allow_pickle=False) as arrays:
                return Progress(*saved["progress"]), _unpack(saved["state"], arrays)
    except DamagedCheckpoint:
        raise
    except OSError as error:
        raise DamagedCheckpoint(f"it cannot be read: {error.strerror or error}") from error
    except Exception as error:  # zipfile, json and NumPy raise almost anything for a foreign file
        raise DamagedCheckpoint(f"it was not written by this program ({type(error).__name__})") from error


def load_weights(path, model):
    """Load a checkpoint's weights and optimizer state into a model compiled the same way. UserError: no fit."""
    if not model.optimizer.built:  # without variables there would be nothing to load its state into
        model.optimizer.build(model.trainable_variables)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # Keras only warns when it skips an optimizer
        try:
            model.load_weights(path)
        except (UserWarning, ValueError, KeyError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"The run cannot continue: {path} does not fit this model: {reason}") from error


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
