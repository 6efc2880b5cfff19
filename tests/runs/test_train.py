import csv
import json
import math
import shutil
from dataclasses import replace

import keras
import numpy as np
import pytest
from interrupt import Interrupt

from davidnet_keras import Recipe, SumLossModel, UserError, load_shapes, resume, train
from davidnet_keras.data import datasets, shapes
from davidnet_keras.runs.run_folder import RunFolder

RECIPE = Recipe(epochs=3, batch_size=24, width=2, learning_rate=0.1, seed=5, cutout=4, precision="float32")
RECIPE_OF_ONE = replace(RECIPE, epochs=1)
FILES = {"recipe.json", "history.csv", "curves.png", "lr.png", "log.tsv", "result.json", "model.keras"}
PNG = b"\x89PNG\r\n\x1a\n"
pytestmark = pytest.mark.usefixtures("few_pictures", "network")


def train_shapes(path, recipe=RECIPE, **arguments):
    return train(recipe, "shapes", run_dir=path, progress=False, **arguments)


def rows_of(path):
    return list(csv.DictReader(path.read_text().splitlines()))


class Rates(keras.callbacks.Callback):
    """Collects the optimizer's rate at every step."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(float(self.model.optimizer.learning_rate))


@pytest.fixture(scope="module")
def rates(network):
    return Rates()


@pytest.fixture(scope="module")
def traced():
    """One item for every time that the train step of `run` was traced."""
    return []


@pytest.fixture(scope="module")
def run(tmp_path_factory, network, rates, traced):
    """The run that was never stopped; tests look at it and leave it alone."""
    own = SumLossModel.train_step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SumLossModel, "train_step", lambda model, data: traced.append(data) or own(model, data))
        traced.clear()
        return train_shapes(tmp_path_factory.mktemp("straight") / "run", callbacks=[rates])


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, few_pictures, network):
    """A run killed in its third epoch, with a checkpoint after each of the first two. Tests take copies."""
    path = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(KeyboardInterrupt):
        train_shapes(path, callbacks=[Interrupt(2)])
    return path


@pytest.fixture
def folder(stopped, tmp_path):
    shutil.copytree(stopped, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def test_a_run_folder_holds_what_it_should_and_nothing_else(run):
    assert {entry.name for entry in run.run_dir.iterdir()} - {".lock"} == FILES
    for picture in ("curves.png", "lr.png"):
        assert (run.run_dir / picture).read_bytes().startswith(PNG)
    rows = rows_of(run.run_dir / "history.csv")
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [float(row["val_accuracy"]) for row in rows] == run.history["val_accuracy"]
    log = (run.run_dir / "log.tsv").read_text().splitlines()
    assert log[0] == "epoch\thours\ttop1Accuracy"
    assert float(log[-1].split("\t")[2]) == pytest.approx(100 * run.history["val_accuracy"][-1], abs=0.01)
    settings = json.loads((run.run_dir / "recipe.json").read_text())
    assert (settings["dataset"], settings["data"]["train"], settings["recipe"]["width"]) == ("shapes", 64, 2)


def test_the_saved_model_is_the_trained_one_and_takes_raw_pictures(run):
    (x, _), (x_test, y_test) = shapes.load_shapes()
    loaded = keras.saving.load_model(run.run_dir / "model.keras")
    np.testing.assert_array_equal(loaded.predict(x_test, verbose=0), run.model.predict(x_test, verbose=0))
    top1 = (loaded.predict(x_test, verbose=0).argmax(1) == y_test).mean()
    assert run.history["val_accuracy"][-1] == pytest.approx(top1)
    np.testing.assert_allclose(loaded.get_layer("normalize").mean, x.mean((0, 1, 2)), rtol=1e-5)


def test_the_rates_are_the_references_triangle(run, rates):
    steps = 3  # 24 + 24 + 16 pictures
    expected = np.interp(np.arange(3 * steps) / steps, [0, 1, 3], [0, 0.1, 0]) / 24
    np.testing.assert_allclose(rates.seen, expected, rtol=1e-6)


def test_the_result_holds_what_came_of_the_run(run, network):
    result = json.loads((run.run_dir / "result.json").read_text())
    # Width 2: the kernels' weights, each at every place of its output; 3 epochs of 64 pictures, 16 tested.
    places = [32 * 32 * 27 * 2, 32 * 32 * 9 * 2 * 4, 2 * 16 * 16 * 9 * 4 * 4, 16 * 16 * 9 * 4 * 8, 8 * 8 * 9 * 8 * 16]
    one = sum([*places, 2 * 4 * 4 * 9 * 16 * 16, 16 * 10]) if network == "davidnet" else 4 * 4 * 27 * 2 + 2 * 10
    assert result == {
        "epochs": 3,
        "seconds": run.history["seconds"][-1],
        "training_seconds": pytest.approx(3600 * float((run.run_dir / "log.tsv").read_text().split()[-2])),
        "accuracy": run.history["val_accuracy"][-1],
        "petaflop": pytest.approx((6 * 3 * 64 + 2 * 16) * one / 1e15, rel=1e-12),
    }


def test_recipe_and_model_agree_about_decay_and_momentum(run):
    assert run.model.l2 == pytest.approx(5e-4 * 24)
    assert float(run.model.optimizer.momentum) == pytest.approx(0.9)


@pytest.mark.slow  # test_resume.py stops runs in more places
@pytest.mark.parametrize("at", [(1, 0), (0, 1), (2, 2)])
def test_a_resumed_run_ends_as_if_it_had_never_stopped(run, tmp_path, at):
    with pytest.raises(KeyboardInterrupt):
        train_shapes(tmp_path / "stopped", callbacks=[Interrupt(*at)])
    keras.utils.set_random_seed(99)  # another process has another random state
    resumed = resume(tmp_path / "stopped", progress=False)
    assert {entry.name for entry in resumed.run_dir.iterdir()} - {".lock"} == FILES
    for one, other in zip(run.model.weights, resumed.model.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy(), err_msg=one.path)
    for name, column in run.history.items():
        if name != "seconds":
            assert resumed.history[name] == column, name
    assert resumed.history["seconds"] == sorted(resumed.history["seconds"])


def test_resuming_a_finished_run_gives_it_back(run):
    before = (run.run_dir / "model.keras").read_bytes()
    again = resume(run.run_dir)
    assert again.history == run.history
    assert (run.run_dir / "model.keras").read_bytes() == before


def test_resuming_with_other_pictures_is_refused(folder, monkeypatch):
    other = load_shapes(train=64, test=16, seed=1)
    monkeypatch.setattr(shapes, "load_shapes", lambda: other)
    with pytest.raises(UserError, match="not the pictures"):
        resume(folder.path)


def test_a_diverging_run_says_so_and_keeps_its_last_good_checkpoint(tmp_path):
    class Poison(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                self.model.get_layer("dense").kernel.assign_add(self.model.get_layer("dense").kernel * math.inf)

    with pytest.raises(UserError, match="NaN or infinite"):
        train_shapes(tmp_path / "run", callbacks=[Poison()])
    folder = RunFolder(tmp_path / "run")
    assert folder.saved() == [(1, 0)]
    for weight in keras.saving.load_model(folder.checkpoint(1)).get_weights():
        assert np.isfinite(weight).all()
    assert len(rows_of(folder.history)) == 1


def test_a_last_step_that_diverges_is_noticed_in_the_validation(tmp_path):
    with pytest.raises(UserError, match="NaN or infinite"):
        train_shapes(tmp_path / "run", Recipe(epochs=2, batch_size=64, width=2, learning_rate=1e38, seed=1))
    assert not (tmp_path / "run" / "model.keras").exists()


def test_a_callback_may_stop_the_run_early(tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    stopped = train_shapes(tmp_path / "run", callbacks=[Stop()])
    assert RunFolder(stopped.run_dir).read_result()["epochs"] == 2
    assert stopped.history["epoch"] == [1, 2]
    assert {entry.name for entry in stopped.run_dir.iterdir()} - {".lock"} == FILES


def test_the_result_is_the_saved_models_though_a_callback_changed_the_weights_at_the_end(tmp_path):
    class Forget(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            self.model.set_weights([0 * weight for weight in self.model.get_weights()])

    run = train_shapes(tmp_path / "run", RECIPE_OF_ONE, callbacks=[Forget()])
    x, y = shapes.load_shapes()[1]
    model = keras.saving.load_model(run.run_dir / "model.keras")
    accuracy = RunFolder(run.run_dir).read_result()["accuracy"]
    assert accuracy == pytest.approx(model.evaluate(x, y, verbose=0, return_dict=True)["accuracy"])
    assert accuracy == pytest.approx((y == 0).mean())  # all logits are equal


def test_damaged_files_of_a_stopped_run(folder, run, capsys):
    for file in (folder.history, folder.log):
        whole = file.read_bytes()
        file.write_bytes(b"\x00nonsense")
        with pytest.raises(UserError, match=r"cannot (continue|be read)"):
            resume(folder.path)
        file.write_bytes(whole)
    newest = folder.checkpoint(2)
    newest.write_bytes(newest.read_bytes()[:1000])
    resumed = resume(folder.path, progress=False)  # from the checkpoint before
    assert "cannot be used" in capsys.readouterr().out
    for one, other in zip(run.model.weights, resumed.model.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy(), err_msg=one.path)


def test_a_run_without_a_readable_checkpoint_is_refused(folder):
    for epochs in (1, 2):
        folder.checkpoint(epochs).write_bytes(b"")
    with pytest.raises(UserError, match="No checkpoint in"):
        resume(folder.path)


def test_a_batch_larger_than_the_set_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(UserError, match="batch size 65 is more than the 64"):
        train_shapes(tmp_path / "run", Recipe(batch_size=65))
    assert not (tmp_path / "run").exists()


def test_pictures_held_out_are_tested_on_and_stay_so(tmp_path):
    run = train_shapes(tmp_path / "run", replace(RECIPE_OF_ONE, hold_out=20))
    _, (x, y) = datasets.held_out(shapes.load_shapes(), 20)
    accuracy = run.model.evaluate(x, y, verbose=0, return_dict=True)["accuracy"]
    assert run.history["val_accuracy"][-1] == pytest.approx(accuracy)
    with pytest.raises(UserError, match="hold-out"):
        resume(tmp_path / "run", recipe=RECIPE_OF_ONE, change_recipe=True, progress=False)


def test_an_unknown_data_set_is_refused():
    with pytest.raises(UserError, match="dataset='mnist'"):
        train(RECIPE, "mnist")


def test_a_second_run_into_the_folder_is_refused_and_nothing_is_lost(run):
    before = {entry.name: entry.read_bytes() for entry in run.run_dir.iterdir()}
    with pytest.raises(UserError, match="in use already"):
        train_shapes(run.run_dir)
    assert {entry.name: entry.read_bytes() for entry in run.run_dir.iterdir()} == before


def test_the_same_seed_gives_the_same_run_and_another_seed_another(run, tmp_path):
    same, other = (train_shapes(tmp_path / str(seed), replace(RECIPE, epochs=3, seed=seed)).model for seed in (5, 6))
    kernel = run.model.get_layer("prep").conv.kernel.numpy()
    np.testing.assert_array_equal(kernel, same.get_layer("prep").conv.kernel.numpy())
    assert not np.array_equal(kernel, other.get_layer("prep").conv.kernel.numpy())


def test_the_step_is_traced_once(run, traced):
    assert len(traced) == 1
