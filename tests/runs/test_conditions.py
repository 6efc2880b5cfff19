"""A run that was started with a folder of pictures asks for it again; nothing is downloaded in its place."""

import numpy as np
import pytest

from davidnet_keras import UserError, evaluate_run, resume
from davidnet_keras.data import datasets
from davidnet_keras.runs.conditions import conditions, load_data
from davidnet_keras.runs.run_folder import RunFolder

PICTURES = ((np.zeros((4, 32, 32, 3), np.uint8), np.arange(4)),) * 2


@pytest.fixture
def empty_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(datasets, "load", lambda *given: given)


@pytest.fixture
def begun():
    return conditions("cifar10", PICTURES, "/somewhere/mine", "float32", "as asked")


def test_the_folders_path_is_not_recorded(begun):
    assert begun["data_dir_given"] is True
    assert "mine" not in str(begun)
    assert conditions("cifar10", PICTURES, None, "float32", "as asked")["data_dir_given"] is False


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100", "cifar100-coarse"])
def test_the_folder_must_be_named_again(empty_cache, begun, dataset):
    begun["dataset"] = dataset
    with pytest.raises(UserError, match=r"runs/a was trained on pictures from a folder of yours.*--data-dir"):
        load_data("runs/a", begun, None)
    assert load_data("runs/a", begun, "/moved") == (dataset, "/moved")


def test_other_runs_are_loaded_as_ever(empty_cache, begun, tmp_path):
    for data_dir_given in (False, None):  # None: of an earlier version
        assert load_data("runs/a", begun | {"data_dir_given": data_dir_given}, None) == ("cifar10", None)
    assert load_data("runs/a", begun | {"dataset": "shapes"}, None) == ("shapes", None)  # drawn
    (tmp_path / "keras/datasets/cifar-10-batches-py-target_archive").mkdir(parents=True)
    assert load_data("runs/a", begun, None) == ("cifar10", None)  # the cache has it


def test_resume_and_evaluate_ask_for_it(empty_cache, begun, tmp_path, monkeypatch):
    from davidnet_keras import Recipe
    from davidnet_keras.runs import evaluate
    from davidnet_keras.runs.predict import TrainedRun

    with RunFolder.create(tmp_path / "run") as folder:
        folder.write_recipe(Recipe(precision="float32"), **begun)
    with pytest.raises(UserError, match="from a folder of yours"):
        resume(folder.path)
    monkeypatch.setattr(evaluate, "open_run", lambda path: TrainedRun(folder, Recipe(), begun, None, ""))
    with pytest.raises(UserError, match="from a folder of yours"):
        evaluate_run(folder.path)
