"""Which backend Keras is going to use, and what is said of another than TensorFlow."""

import json
import os
import subprocess
import sys

import pytest

from davidnet_keras import UserError
from davidnet_keras.kernels.environment import check_backend


@pytest.fixture
def before_keras(monkeypatch, tmp_path):
    """As in a new process: Keras is not imported yet, and its settings are those of an empty folder."""
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    return tmp_path / "keras.json"


def test_tensorflow_is_accepted_however_it_is_asked_for(before_keras, monkeypatch):
    check_backend()
    before_keras.write_text("no JSON")  # Keras ignores it
    check_backend()
    before_keras.write_text(json.dumps({"backend": "jax"}))
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")  # goes before the file
    check_backend()
    monkeypatch.setenv("KERAS_BACKEND", "")  # as if it were not set
    before_keras.write_text(json.dumps({"backend": "tensorflow"}))
    check_backend()


@pytest.mark.parametrize("backend", ["jax", "torch", "nonsense"])
def test_another_backend_is_refused_by_the_variable_or_the_file_that_names_it(before_keras, monkeypatch, backend):
    before_keras.write_text(json.dumps({"backend": backend}))
    with pytest.raises(UserError, match=rf'keras.json says "backend": "{backend}"; .*set KERAS_BACKEND=tensorflow'):
        check_backend()
    before_keras.unlink()
    monkeypatch.setenv("KERAS_BACKEND", backend)
    with pytest.raises(UserError, match=rf"KERAS_BACKEND says {backend}; set KERAS_BACKEND=tensorflow"):
        check_backend()


def test_channels_first_is_refused(before_keras):
    before_keras.write_text(json.dumps({"image_data_format": "channels_first"}))
    with pytest.raises(UserError, match=r'keras.json says "image_data_format": "channels_first"; change that'):
        check_backend()


EVERY_MODULE = """
import importlib, pkgutil, sys
import davidnet_keras
refused = []
for found in pkgutil.walk_packages(davidnet_keras.__path__, "davidnet_keras."):
    if found.name != "davidnet_keras.__main__":
        try: importlib.import_module(found.name)
        except ValueError as error:
            assert "but the environment variable KERAS_BACKEND says jax; set KERAS_BACKEND=tensorflow" in str(error)
            refused.append(found.name)
assert "tensorflow" not in sys.modules  # what needs it has refused
print(*refused)
"""


def test_every_module_that_needs_tensorflow_says_so_itself():
    pytest.importorskip("jax")
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    done = subprocess.run([sys.executable, "-c", EVERY_MODULE], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    needing = {
        "kernels.winograd",
        "layers.dropout",
        "data.pipeline",
        "training.sum_loss",
        "models.davidnet",
        "runs.train",
    }
    assert {f"davidnet_keras.{name}" for name in needing} <= set(done.stdout.split())


@pytest.mark.parametrize("backend", ["openvino", "no_such_backend"])
def test_a_backend_that_cannot_be_imported_is_refused_before_anything_is(backend, tmp_path):
    program = (
        "import sys; from davidnet_keras.cli.main import main; code = main(['--dataset', 'shapes', '--run-dir', 'r']);"
        "assert not {'keras', 'tensorflow'} & sys.modules.keys(); sys.exit(code)"
    )
    environment = {**os.environ, "KERAS_BACKEND": backend}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and f"KERAS_BACKEND says {backend}; set KERAS_BACKEND=tensorflow" in done.stderr
    assert os.listdir(tmp_path) == []
