import json
import os

import keras
import pytest

from davidnet_keras import RECIPES, UserError
from davidnet_keras.run_folder import RunFolder

CONDITIONS = {"dataset": "shapes", "data": {"train": 1}, "precision": "float32", "precision_reason": "as asked"}


def begun(path):
    with RunFolder.create(path) as folder:
        folder.write_recipe(RECIPES["davidnet"], **CONDITIONS)
    return folder


def test_the_recipe_is_read_back(tmp_path):
    folder = begun(tmp_path / "deep" / "run")
    assert folder.read_recipe() == (RECIPES["davidnet"], CONDITIONS)


def test_an_empty_folder_may_be_used_and_a_used_one_not(tmp_path):
    (tmp_path / "run").mkdir()
    folder = begun(tmp_path / "run")
    before = folder.recipe.read_bytes()
    with pytest.raises(UserError, match=r"in use already.*--resume"):
        RunFolder.create(tmp_path / "run")
    assert folder.recipe.read_bytes() == before


def test_a_parent_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("precious")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UserError, match="cannot be made"):
            RunFolder.create(path)
    assert (tmp_path / "file").read_text() == "precious"


def test_two_processes_cannot_have_one_folder(tmp_path):
    with RunFolder.create(tmp_path / "run") as folder:
        folder.write_recipe(RECIPES["davidnet"])
        with pytest.raises(UserError, match="Another process"):
            RunFolder.open(tmp_path / "run")
        with pytest.raises(UserError, match="Another process"):
            RunFolder.create(tmp_path / "run")
    RunFolder.open(tmp_path / "run").close()


def test_no_run_to_open(tmp_path):
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(UserError, match="no run in"):
            RunFolder.open(path)
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"recipe": 3}',
        '{"recipe": {"epochs": 0}}',
        '{"recipe": {"colour": 1}}',
        '{"recipe": {}}',
        "[" * 9999,
    ],
)
def test_a_recipe_file_that_is_none_is_refused(tmp_path, text):
    folder = begun(tmp_path / "run")
    folder.recipe.write_text(text)
    with pytest.raises(UserError, match="not a recipe"):
        folder.read_recipe()


def tiny_model():
    inputs = keras.Input((2,))
    return keras.Model(inputs, keras.layers.Dense(1)(inputs))


def test_the_newest_two_checkpoints_are_kept_and_the_last_becomes_the_model(tmp_path):
    folder = begun(tmp_path / "run")
    for epochs in (1, 2, 10):
        folder.save_checkpoint(tiny_model(), epochs)
    (folder.checkpoints / "epoch-0011.keras.part").write_text("foreign")
    assert folder.saved_epochs() == [2, 10]
    last = folder.checkpoint(10).read_bytes()
    folder.finish(10)
    assert folder.model.read_bytes() == last
    assert not folder.checkpoints.exists()
    keras.saving.load_model(folder.model)


def test_a_checkpoint_that_fails_leaves_the_one_before(tmp_path):
    folder = begun(tmp_path / "run")
    folder.save_checkpoint(tiny_model(), 1)

    class Unsavable:
        def save(self, path):
            path.write_bytes(b"half")
            raise OSError(28, os.strerror(28))

    with pytest.raises(OSError, match="No space"):
        folder.save_checkpoint(Unsavable(), 2)
    assert [entry.name for entry in folder.checkpoints.iterdir()] == ["epoch-0001.keras"]


def test_recipe_json_is_plain_json(tmp_path):
    assert json.loads(begun(tmp_path / "run").recipe.read_text())["recipe"]["epochs"] == 24
