"""What a resumption refuses, and that nothing is lost by it."""

import dataclasses
import shutil

import pytest

from davidnet_keras import Recipe, UserError, resume, train
from davidnet_keras.cli.main import main
from davidnet_keras.runs.checkpoint import Progress
from davidnet_keras.runs.run_folder import RunFolder

RECIPE = Recipe(epochs=2, batch_size=24, width=2, learning_rate=0.1, seed=5, precision="float32")
pytestmark = pytest.mark.usefixtures("few_pictures", "small_davidnet")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, few_pictures, small_davidnet):
    """A run killed inside its second epoch: checkpoints after epoch 1 batch 1 and batch 2. Tests take copies."""
    path = tmp_path_factory.mktemp("stopped") / "run"
    save = RunFolder.save_checkpoint

    def save_and_die(folder, model, progress, state):
        save(folder, model, progress, state)
        if progress == Progress(1, 2):
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RunFolder, "save_checkpoint", save_and_die)
        train(RECIPE, "shapes", run_dir=path, progress=False, checkpoint_every=1)
    assert RunFolder(path).saved() == [(1, 1), (1, 2)]
    return path


@pytest.fixture
def run(stopped, tmp_path):
    shutil.copytree(stopped, tmp_path / "run")
    return tmp_path / "run"


def refused(run, match, recipe=None):
    with pytest.raises(UserError, match=match):
        resume(run, progress=False, recipe=recipe, change_recipe=recipe is not None)


def test_an_epoch_that_is_begun_cannot_be_taken_back(run):
    refused(run, "Received: epochs=1", dataclasses.replace(RECIPE, epochs=1))
    assert not (run / "model.keras").exists()


def test_checkpoints_inside_an_epoch_of_other_batches_are_not_gone_on_from(run, capsys):
    """As after a change of the batch size between two epochs, when all later checkpoints are lost."""
    folder = RunFolder(run)
    recipe, conditions = folder.read_recipe()
    folder.write_recipe(dataclasses.replace(recipe, batch_size=8), **conditions)
    refused(run, "No checkpoint")
    assert "the batches of its epoch were others" in capsys.readouterr().out
    assert folder.saved() == [(1, 1), (1, 2)]


def test_a_damaged_model_does_not_cost_the_checkpoints(run):
    (run / "model.keras").write_bytes(b"PK cut short")
    refused(run, "not a model")
    assert RunFolder(run).saved() == [(1, 1), (1, 2)]


@pytest.mark.parametrize("text", ["garbage", "epoch,loss\n1,2.0\n"])
def test_a_history_that_is_no_runs_is_refused_before_anything_is_written(run, text):
    (run / "history.csv").write_text(text)
    refused(run, "histor")
    assert (run / "history.csv").read_text() == text


def test_records_without_model_and_checkpoints_are_not_written_over(run):
    rows = (run / "history.csv").read_text().splitlines()
    text = "\n".join([*rows, rows[1].replace("1", "2", 1)]) + "\n"
    (run / "history.csv").write_text(text)
    shutil.rmtree(run / "checkpoints")
    refused(run, "neither its model nor a checkpoint")
    assert (run / "history.csv").read_text() == text


@pytest.mark.parametrize(("name", "value"), [("checkpoint_every", "x"), ("checkpoint_every", 0), ("changes", 5)])
def test_conditions_that_no_run_writes_are_refused(run, name, value):
    folder = RunFolder(run)
    recipe, conditions = folder.read_recipe()
    folder.write_recipe(recipe, **conditions | {name: value})
    refused(run, f"not a recipe.*{name}")


def test_what_costs_a_run_its_bits_is_warned_of(run):
    folder = RunFolder(run)
    recipe, conditions = folder.read_recipe()
    versions = conditions["versions"] | {"tensorflow": "2.0"}
    folder.write_recipe(recipe, **conditions | {"tensor_float_32": False, "versions": versions})
    with pytest.warns(UserWarning, match="tensor_float_32=True, started with False; versions=.*'tensorflow': '2.0'"):
        assert len(resume(run, progress=False).history["epoch"]) == RECIPE.epochs


def test_the_command_line_says_what_is_wrong_with_a_name_or_a_flag(capsys, tmp_path):
    for arguments in (["--resume", "x" * 300], ["--change-recipe"], ["predict", "x" * 300, "a.png"]):
        assert main(arguments) == 2
        assert "Traceback" not in capsys.readouterr().err
