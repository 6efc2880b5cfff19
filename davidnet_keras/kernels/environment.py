"""How TensorFlow is imported: as Keras's backend, tuned, and without what it prints."""

import contextlib
import json
import os
import sys
import tempfile
import warnings
from pathlib import Path

from davidnet_keras.errors import UserError

DEFAULTS = {
    # Doubles DavidNet's speed on an older AVX-512 CPU (python benchmarks/train_step.py); newer ones have it on.
    "TF_ENABLE_ONEDNN_OPTS": "1",
    "TF_CPU_ALLOCATOR_USE_BFC": "true",  # keeps freed memory, which a step would need again
    "TF_CPP_MIN_LOG_LEVEL": "3",  # without a GPU, a screenful about that; errors still arrive as exceptions
}


def tune_tensorflow() -> None:
    """Set the environment that trains DavidNet fastest, where it is not set, as the command line does.

    Call it before importing Keras; once TensorFlow is imported it has no effect, and warns.
    """
    missing = {name: value for name, value in DEFAULTS.items() if name not in os.environ}
    if missing and "tensorflow" in sys.modules:
        warnings.warn("tune_tensorflow() has no effect once tensorflow is imported; call it before.", stacklevel=2)
    os.environ.update(missing)


def check_backend() -> None:
    """Raise UserError unless Keras runs, or will run when it is imported, on TensorFlow with channels last."""
    path = Path(os.environ.get("KERAS_HOME", "~/.keras"), "keras.json").expanduser()
    try:
        configured = dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):  # Keras cannot read it either
        configured = {}
    variable, keras = os.environ.get("KERAS_BACKEND"), sys.modules.get("keras")
    backend = keras.config.backend() if keras else variable or configured.get("backend", "tensorflow")
    order = keras.config.image_data_format() if keras else configured.get("image_data_format", "channels_last")
    before = " before Keras is imported" if keras else ""
    if backend != "tensorflow":
        choice = f"Keras was imported with {backend}"
        if backend == configured.get("backend"):
            choice = f'{path} says "backend": "{backend}"'
        if backend == variable:
            choice = f"the environment variable KERAS_BACKEND says {backend}"
        fix = f"set KERAS_BACKEND=tensorflow{before}"
        raise UserError(f"Only Keras's TensorFlow backend is supported, but {choice}; {fix}.")
    if order != "channels_last":
        raise UserError(
            f'Only pictures with channels last are supported, but {path} says "image_data_format": "{order}"; '
            f'change that to "channels_last"{before}.'
        )


@contextlib.contextmanager
def quiet_import():
    """Keep what TensorFlow's libraries print while they are loaded, which no setting turns off; show it on an error."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as kept:
        terminal = os.dup(2)
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            os.write(terminal, kept.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


def import_tensorflow() -> None:
    """Import TensorFlow and Keras, tuned and quietly, which takes seconds; UserError for another backend."""
    check_backend()  # before anything is imported: that backend may not be installed
    tune_tensorflow()
    with quiet_import():
        import tensorflow as tf

        for gpu in tf.config.get_visible_devices("GPU"):  # the first look at the devices prints too
            tf.config.experimental.get_device_details(gpu)
        import keras  # noqa: F401
    check_backend()  # of Keras itself, which may have found another file
