"""The folder can be lifted into any Keras project."""

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import davidnet_callbacks

FOLDER = Path(davidnet_callbacks.__file__).parent
ALLOWED = {"keras", "numpy", "matplotlib", "tqdm"} | sys.stdlib_module_names


def imports(tree, depth):
    """The top-level packages that a module imports absolutely, each with whether it does so inside a function.

    Args:
        depth: folders from the package's own down to the module's, 1 for one at its top: dots that a relative import
            may have without leaving the package.
    """
    inside = {
        node for function in ast.walk(tree) if isinstance(function, ast.FunctionDef) for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], node in inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0], node in inside
        elif isinstance(node, ast.ImportFrom):
            assert node.level <= depth, "a relative import that leaves the folder"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("**/*.py")), ids=lambda path: path.name)
def test_only_keras_numpy_matplotlib_and_tqdm_are_imported(path):
    found = set(imports(ast.parse(path.read_text()), len(path.relative_to(FOLDER).parts)))
    assert {name for name, _ in found} <= ALLOWED | ({"IPython"} if path.name == "plot_curves.py" else set())
    assert ("IPython", False) not in found  # only where a notebook runs already
    assert "pyplot" not in path.read_text().replace("no pyplot", "")


def python(program, folder):
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(folder)}
    return subprocess.run([sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True)


def test_importing_the_package_and_its_schedules_waits_for_nothing(tmp_path):
    done = python(
        "import sys, davidnet_callbacks; davidnet_callbacks.one_cycle_triangle(1, 2)\n"
        "loaded = {'keras', 'tensorflow', 'matplotlib', 'tqdm'} & set(sys.modules)\n"
        "assert not loaded, loaded",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr


def test_every_public_name_exists():
    assert set(davidnet_callbacks.__all__) <= set(dir(davidnet_callbacks))
    for name in davidnet_callbacks.__all__:
        assert getattr(davidnet_callbacks, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        davidnet_callbacks.nothing  # noqa: B018


TRAINING = """
import os
import sys
for name in ("davidnet_callbacks", "davidnet_keras", *os.environ["HIDDEN"].split()):
    sys.modules[name] = None  # importing it is an ImportError from here on
import keras
import numpy as np
from my_project.training import callbacks as own

model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, activation="softmax")])
model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
x, y = np.random.default_rng(0).normal(size=(8, 4)), np.arange(8) % 2
model.fit(
    x, y, batch_size=4, epochs=2, verbose=0, validation_data=(x, y),
    callbacks=[
        own.OneCycleTriangle(0.1), own.Throughput(0.0), own.EpochTable(), own.HistoryCSV("h.csv"),
        own.PlotCurves("c.png"), own.DawnbenchLog("log.tsv"),
    ],
)
columns = own.read_history("h.csv")
assert columns["learning_rate"] == [0.1, 0.0]
assert columns["seconds_to_target"] == [columns["train_seconds"][0]] * 2
own.plot_runs(["h.csv"]).savefig("runs.png")
"""


@pytest.mark.parametrize("hidden", ["", "tensorflow"])
def test_a_copy_of_the_folder_trains_in_another_project(tmp_path, monkeypatch, hidden):
    if hidden:
        if importlib.util.find_spec("jax") is None:
            pytest.skip("without TensorFlow, Keras needs another backend, and jax is not installed")
        monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setenv("HIDDEN", hidden)
    (tmp_path / "my_project").mkdir()
    shutil.copytree(FOLDER, tmp_path / "my_project/training/callbacks", ignore=shutil.ignore_patterns("__pycache__"))
    done = python(TRAINING, tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3
    assert {"h.csv", "c.png", "log.tsv", "runs.png"} <= set(os.listdir(tmp_path))
