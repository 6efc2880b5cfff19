"""How TensorFlow is imported: with settings that it reads once, and without what it prints."""

import contextlib
import os
import sys
import tempfile
import warnings

DEFAULTS = {
    # TensorFlow turns oneDNN on by itself only on CPUs with AVX512-VNNI or later. It doubles DavidNet's speed on an
    # older AVX-512 CPU: TF_ENABLE_ONEDNN_OPTS=0 python benchmarks/train_step.py shows the difference.
    "TF_ENABLE_ONEDNN_OPTS": "1",
    # TensorFlow keeps the memory that it frees: a step needs gigabytes, and fresh memory comes page by page.
    "TF_CPU_ALLOCATOR_USE_BFC": "true",
    # Without a GPU, TensorFlow prints a screenful about not finding one. Errors still arrive as exceptions.
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


def tune_tensorflow():
    """Set the environment that trains DavidNet fastest, where the user has not set it. Call it before importing Keras.

    The command line does; a notebook or program of yours may. Warns when TensorFlow is imported already: too late.
    """
    missing = {name: value for name, value in DEFAULTS.items() if name not in os.environ}
    if missing and "tensorflow" in sys.modules:
        warnings.warn("tune_tensorflow() has no effect once tensorflow is imported; call it before.", stacklevel=2)
    os.environ.update(missing)


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


def import_training():
    """The module that needs TensorFlow: some seconds, hence only now."""
    tune_tensorflow()
    with quiet_import():
        from davidnet_keras.runs import train as training

        # The first look at the devices prints too.
        training.choose_precision()
    return training
