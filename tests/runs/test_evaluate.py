import csv
import functools
import json
from pathlib import Path

import keras
import numpy as np
import pytest
from cifar_fakes import write_folder
from run_folders import finished_run, tiny_model

from davidnet_keras import CIFAR100_COARSE_CLASSES, SHAPES_CLASSES, Recipe, UserError, evaluate_run, load_shapes, train
from davidnet_keras.cli.main import BAD_INPUT, main
from davidnet_keras.data import cifar, datasets, shapes
from davidnet_keras.runs import evaluate
from davidnet_keras.runs.evaluate import score

FILES = ["classes.csv", "confusion.png", "evaluation.json", "mistakes.png"]


@pytest.fixture(scope="module", autouse=True)
def few_pictures():
    pictures = load_shapes(train=16, test=48)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes, "load_shapes", lambda: pictures)
        patch.setattr(evaluate, "open_run", functools.cache(evaluate.open_run))  # each model is loaded once
        yield pictures


@pytest.fixture(scope="module")
def run(tmp_path_factory, few_pictures):
    """A finished run's path, its model, and its evaluation in the run's folder."""
    model, path = tiny_model(), tmp_path_factory.mktemp("evaluate") / "run"
    finished_run(path, model, data=datasets.fingerprint(few_pictures))
    return str(path), model, evaluate_run(str(path))


def test_accuracy_and_loss_are_what_keras_finds(run, few_pictures):
    path, model, result = run
    loss, accuracy = model.evaluate(*few_pictures[1], verbose=0)
    assert result.accuracy == pytest.approx(accuracy)
    assert result.loss == pytest.approx(loss, rel=1e-4)
    assert result.output == Path(path) / "evaluation"


def test_the_score_of_four_pictures_by_hand():
    shares = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.6, 0.4, 0.0], [0.3, 0.7, 0.0]])
    result = score(shares, np.array([0, 1, 1, 0]), ("a", "b", "c"), None)
    assert result.accuracy == 0.5
    assert result.confusion.tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert result.per_class == [("a", 0.5, 0.5, 2), ("b", 0.5, 0.5, 2), ("c", None, None, 0)]
    assert result.mistakes == [(3, "a", "b", 0.7), (2, "b", "a", 0.6)]
    lopsided = score(np.eye(3)[[0, 0, 0, 1]], np.array([0, 0, 1, 1]), ("a", "b", "c"), None)
    assert [each[1:] for each in lopsided.per_class] == [(2 / 3, 1, 2), (1, 0.5, 2), (None, None, 0)]


def test_the_files_hold_the_result(run):
    _, _, result = run
    assert sorted(path.name for path in result.output.iterdir()) == FILES
    found = json.loads((result.output / "evaluation.json").read_text())
    assert found["accuracy"] == result.accuracy and found["n"] == 48 and found["dataset"] == "shapes"
    assert found["confusion"] == result.confusion.tolist() and np.sum(found["confusion"]) == 48
    assert len(found["mistakes"]) == 48 - np.trace(result.confusion) > 0
    sure = [mistake["probability"] for mistake in found["mistakes"]]
    assert sure == sorted(sure, reverse=True)
    with open(result.output / "classes.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == list(SHAPES_CLASSES) and sum(int(row["n"]) for row in rows) == 48


def test_other_pictures_than_the_runs_are_told(run, capsys, monkeypatch, tmp_path):
    pictures = load_shapes(train=16, test=48, seed=1)
    monkeypatch.setattr(shapes, "load_shapes", lambda: pictures)
    monkeypatch.setenv("HOME", str(tmp_path))
    evaluate_run(run[0], output="~/other")
    assert sorted(path.name for path in (tmp_path / "other").iterdir()) == FILES
    assert "These are not the pictures of shapes" in capsys.readouterr().err


def test_a_failed_write_leaves_the_earlier_files_whole(run, capsys, monkeypatch):
    path, _, (*_, output) = run
    before = {path.name: path.read_bytes() for path in output.iterdir()}

    def full(self, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    assert main(["evaluate", path]) == BAD_INPUT
    assert "No space left on device" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before


def test_python_refuses_with_the_same_error():
    with pytest.raises(UserError, match="no run in"):
        evaluate.evaluate_run("/none")


class StopAtOnce(keras.callbacks.Callback):
    """Ctrl-C before the first batch, so that nothing is compiled."""

    def on_train_begin(self, logs=None):
        raise KeyboardInterrupt


@pytest.mark.usefixtures("small_cifar")
def test_a_run_on_coarse_labels_is_recorded_and_evaluated_as_such(tmp_path):
    write_folder(cifar.CIFAR100, tmp_path)
    recipe, run = Recipe(epochs=1, batch_size=4, width=2, precision="float32"), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(recipe, "cifar100-coarse", tmp_path, run, callbacks=[StopAtOnce()], progress=False)
    assert json.loads((run / "recipe.json").read_text())["dataset"] == "cifar100-coarse"
    tiny_model(len(CIFAR100_COARSE_CLASSES)).save(run / "model.keras")
    found = evaluate_run(run, tmp_path)
    assert tuple(scored.name for scored in found.per_class) == CIFAR100_COARSE_CLASSES
