import json
import os

import keras
import numpy as np
import pytest

from davidnet_keras import RECIPES, UserError
from davidnet_keras.runs.checkpoint import Progress
from davidnet_keras.runs.run_folder import RunFolder

CONDITIONS = {"dataset": "shapes", "data": {"train": 1}, "precision": "float32", "precision_reason": "as asked"}


def begun(path, **conditions):
    with RunFolder.create(path) as folder:
        folder.write_recipe(RECIPES["davidnet"], **CONDITIONS, **conditions)
    return folder


def test_the_recipe_is_read_back(tmp_path):
    folder = begun(tmp_path / "deep" / "run")
    assert folder.read_recipe() == (RECIPES["davidnet"], CONDITIONS)


def test_a_setting_that_came_after_the_file_was_written_has_its_default(tmp_path):
    folder = begun(tmp_path / "run")
    content = json.loads(folder.recipe.read_text())
    del content["recipe"]["alternating_flip"]
    folder.recipe.write_text(json.dumps(content))
    assert folder.read_recipe() == (RECIPES["davidnet"], CONDITIONS)


def test_an_empty_folder_may_be_used_and_a_used_one_not(tmp_path):
    (tmp_path / "run").mkdir()
    folder = begun(tmp_path / "run")
    before = folder.recipe.read_bytes()
    with pytest.raises(UserError, match=r"in use already.*--resume"):
        RunFolder.create(tmp_path / "run")
    assert folder.recipe.read_bytes() == before


def test_a_folder_with_something_else_in_it_is_no_run_to_continue(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"it holds notes\.txt\); name another\.$"):
        RunFolder.create(tmp_path)


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
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", "mse")
    return model


def save(folder, *progress):
    folder.save_checkpoint(tiny_model(), Progress(*progress), {"at": list(Progress(*progress))})


def test_the_newest_two_checkpoints_are_kept(tmp_path):
    folder = begun(tmp_path / "run")
    for progress in ((1, 0), (2, 0), (2, 7), (2, 12), (10, 0)):
        save(folder, *progress)
    (folder.checkpoints / "epoch-0011.keras.part").write_text("foreign")
    assert folder.saved() == [(2, 12), (10, 0)]
    assert folder.newest_checkpoint() == (folder.checkpoint(10), Progress(10), {"at": [10, 0]})


def test_a_new_run_has_no_checkpoint(tmp_path):
    assert begun(tmp_path / "run").newest_checkpoint() is None


def test_finishing_saves_the_model_and_drops_the_checkpoints(tmp_path):
    folder = begun(tmp_path / "run")
    save(folder, 1)
    model = tiny_model()
    folder.finish(model, {"accuracy": 0.5})
    assert not folder.checkpoints.exists()
    assert folder.read_result() == {"accuracy": 0.5}
    loaded = keras.saving.load_model(folder.model)
    np.testing.assert_array_equal(loaded.get_weights()[0], model.get_weights()[0])


def test_a_model_that_cannot_be_saved_leaves_the_checkpoints(tmp_path):
    folder = begun(tmp_path / "run")
    save(folder, 1)
    with pytest.raises(OSError, match="No space"):
        folder.finish(Unsavable(), {})
    assert folder.saved() == [(1, 0)]
    assert not folder.model.exists()


@pytest.mark.parametrize("text", [None, "", "[]", "{", "\x00"])
def test_a_result_that_is_none_is_refused(tmp_path, text):
    folder = begun(tmp_path / "run")
    if text is not None:
        folder.result.write_text(text)
    with pytest.raises(UserError, match=r"result\.json is not a result"):
        folder.read_result()


class Unsavable:
    """A model for which the disk is too small."""

    def save(self, path):
        path.write_bytes(b"half")
        raise OSError(28, os.strerror(28))


def test_a_checkpoint_that_fails_leaves_the_one_before(tmp_path):
    folder = begun(tmp_path / "run")
    save(folder, 1)
    with pytest.raises(OSError, match="No space"):
        folder.save_checkpoint(Unsavable(), Progress(2), {})
    assert [entry.name for entry in folder.checkpoints.iterdir()] == ["epoch-0001.keras"]
    assert folder.newest_checkpoint()[1] == (1, 0)


def truncate(path, folder):
    path.write_bytes(path.read_bytes()[:-1])


def flip_a_bit(path, folder):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def fill_with_zeros(path, folder):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))


def empty(path, folder):
    path.write_bytes(b"")


def a_plain_keras_file(path, folder):
    tiny_model().save(path)


def another_runs(path, folder):
    other = begun(folder.path.parent / "other", run="other")
    save(other, 2)
    path.write_bytes(other.checkpoint(2).read_bytes())


def an_older_one_renamed(path, folder):
    path.write_bytes(folder.checkpoint(1).read_bytes())


def a_folder(path, folder):
    path.unlink()
    path.mkdir()


DAMAGES = {
    truncate: "cut short",
    flip_a_bit: "does not match its checksum",
    fill_with_zeros: "cut short",
    empty: "cut short",
    a_plain_keras_file: "another program",
    another_runs: "belongs to another run",
    an_older_one_renamed: "written after 1 epoch",
    a_folder: "cannot be read",
}


@pytest.mark.parametrize(("damage", "reason"), DAMAGES.items(), ids=[damage.__name__ for damage in DAMAGES])
def test_a_damaged_checkpoint_is_refused_and_the_one_before_used(tmp_path, capsys, damage, reason):
    folder = begun(tmp_path / "run", run="this")
    save(folder, 1)
    save(folder, 2)
    damage(folder.checkpoint(2), folder)
    path, progress, state = folder.newest_checkpoint()
    assert (path, progress, state) == (folder.checkpoint(1), Progress(1), {"at": [1, 0]})
    printed = capsys.readouterr().out
    assert reason in printed
    assert str(folder.checkpoint(2)) in printed
    # It does not count any more, or it would displace a good one.
    save(folder, 1, 5)
    assert folder.saved() == [(1, 0), (1, 5)]


def test_a_run_all_of_whose_checkpoints_are_damaged_is_refused_and_left_alone(tmp_path):
    folder = begun(tmp_path / "run")
    for progress in ((1, 0), (2, 0)):
        save(folder, *progress)
        truncate(folder.checkpoint(*progress), folder)
    with pytest.raises(UserError, match="No checkpoint in"):
        folder.newest_checkpoint()
    assert folder.saved() == [(1, 0), (2, 0)]


def test_what_a_killed_process_left_half_written_goes_when_the_run_is_opened(tmp_path):
    folder = begun(tmp_path / "run")
    save(folder, 1)
    left = (
        folder.path / ".history.0123456789ab.csv",
        folder.path / ".curves.0123456789ab.png",
        folder.checkpoints / ".epoch-0002.0123456789ab.keras",
        folder.checkpoints / "tmpa_b1c2d3",
    )
    for path in left:
        path.write_text("half")
    (folder.path / ".notes.txt").write_text("mine")
    RunFolder.open(folder.path).close()
    assert not any(path.exists() for path in left)
    assert (folder.path / ".notes.txt").exists()
    assert folder.saved() == [(1, 0)]


def test_a_process_killed_before_the_run_had_begun_does_not_bar_the_folder(tmp_path):
    (tmp_path / ".lock").touch()
    (tmp_path / ".recipe.0123456789ab.json").write_text("{")
    begun(tmp_path)
    assert {entry.name for entry in tmp_path.iterdir()} - {".lock"} == {"recipe.json"}


def test_recipe_json_is_plain_json(tmp_path):
    assert json.loads(begun(tmp_path / "run").recipe.read_text())["recipe"]["epochs"] == 24


def test_a_series_in_place_of_a_run_is_told_apart(tmp_path):
    (tmp_path / "runs.json").write_text("{}")
    with pytest.raises(UserError, match=r"holds several runs; name the folder of one, such as its seed-0"):
        RunFolder(tmp_path).read_recipe()
