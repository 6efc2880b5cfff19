"""A series is its single runs, and goes on where it was interrupted."""

import json
import os
import shutil
import signal
import statistics
import weakref
from dataclasses import replace

import keras
import numpy as np
import pytest

from davidnet_keras import Interrupted, Recipe, UserError, load_shapes, resume_runs, train, train_runs
from davidnet_keras.cli.main import BAD_INPUT, DONE, main
from davidnet_keras.data import shapes
from davidnet_keras.runs.mean_interval import mean_interval
from davidnet_keras.runs.run_folder import RunFolder
from davidnet_keras.runs.series import Series, run_in_words
from davidnet_keras.runs.series_folder import SeriesFolder

RECIPE = Recipe(epochs=2, batch_size=24, width=2, learning_rate=0.1, seed=5, precision="float32", deterministic=True)
SEEDS = (5, 6, 7)
pytestmark = pytest.mark.usefixtures("few_pictures", "small_davidnet")


def start(path, n=3, recipe=RECIPE, **arguments):
    return train_runs(recipe, n, "shapes", run_dir=path, **{"progress": False, **arguments})


class Models:
    """Callbacks that remember which models were alive when each run began, and which batches it saw."""

    def __init__(self, at=None, action=None):
        self.known, self.alive, self.batches, self.at, self.action = [], {}, {}, at, action

    def __call__(self, seed):
        return [Watch(self, seed)]


class Watch(keras.callbacks.Callback):
    def __init__(self, models, seed):
        super().__init__()
        self.models, self.seed = models, seed

    def on_train_begin(self, logs=None):
        self.models.known.append(weakref.ref(self.model))
        self.models.alive[self.seed] = sum(known() is not None for known in self.models.known)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        self.models.batches.setdefault(self.seed, []).append((self.epoch, batch))
        self._act("batch", batch)

    def on_epoch_end(self, epoch, logs=None):
        self._act("epoch", 0)

    def _act(self, hook, batch):
        if (self.seed, hook, self.epoch, batch) == self.models.at:
            self.models.action()


def die():
    raise KeyboardInterrupt  # as a kill would, without a chance to save


@pytest.fixture(scope="module")
def models():
    return Models()


@pytest.fixture(scope="module")
def straight(tmp_path_factory, models):
    """The series that was never stopped; tests look at it and leave it alone."""
    return start(tmp_path_factory.mktemp("straight") / "series", callbacks=models)


def weights(run_dir, seed=None):
    folder = run_dir if seed is None else run_dir / f"seed-{seed}"
    return keras.saving.load_model(folder / "model.keras").get_weights()


def assert_same_weights(ones, others):
    for one, other in zip(ones, others, strict=True):
        np.testing.assert_array_equal(one, other)


def without_times(results):
    return [{name: value for name, value in result.items() if not name.endswith("seconds")} for result in results]


def test_each_run_has_the_bits_of_the_single_run_with_its_seed(straight, tmp_path):
    for seed in SEEDS:
        single = train(replace(RECIPE, seed=seed), "shapes", run_dir=tmp_path / str(seed), progress=False)
        assert_same_weights(single.model.get_weights(), weights(straight.run_dir, seed))
        recipe, conditions = RunFolder(straight.run_dir / f"seed-{seed}").read_recipe()
        assert recipe == replace(RECIPE, seed=seed) and conditions["dataset"] == "shapes"
    kernels = [weights(straight.run_dir, seed)[2] for seed in SEEDS]
    assert not np.array_equal(kernels[0], kernels[1])


def test_the_folder_holds_the_runs_their_results_and_a_picture(straight):
    names = {entry.name for entry in straight.run_dir.iterdir()} - {".lock"}
    assert names == {"seed-5", "seed-6", "seed-7", "runs.json", "runs.png"}
    assert (straight.run_dir / "runs.png").read_bytes().startswith(b"\x89PNG")
    content = json.loads((straight.run_dir / "runs.json").read_text())
    assert (content["runs"], content["dataset"], content["recipe"]["seed"]) == (3, "shapes", 5)
    for result, seed in zip(content["results"], SEEDS, strict=True):
        assert result == {"seed": seed} | RunFolder(straight.run_dir / f"seed-{seed}").read_result()
    values = [result["accuracy"] for result in content["results"]]
    assert len(set(values)) > 1
    assert content["accuracy"]["mean"] == pytest.approx(statistics.mean(values))
    assert content["accuracy"]["standard_deviation"] == pytest.approx(statistics.stdev(values))
    assert content["accuracy"]["interval"] == list(straight.accuracy.interval)
    assert straight.results == content["results"]


def test_no_model_of_an_earlier_run_is_kept(straight, models):
    assert models.alive == {5: 1, 6: 1, 7: 1}


def test_an_interrupted_series_keeps_resumes_and_begins(straight, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path / "series", callbacks=Models((6, "batch", 1, 1), die), checkpoint_every=1)
    content = json.loads((tmp_path / "series" / "runs.json").read_text())
    assert [result["seed"] for result in content["results"]] == [5]
    first = tmp_path / "series" / "seed-5" / "model.keras"
    before, mine = first.stat().st_mtime_ns, Models()
    keras.utils.set_random_seed(99)  # another process has another random state
    series = resume_runs(tmp_path / "series", callbacks=mine, progress=False)
    assert first.stat().st_mtime_ns == before
    assert mine.batches == {6: [(1, 1), (1, 2)], 7: [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]}
    assert without_times(series.results) == without_times(straight.results)
    for seed in SEEDS:
        assert_same_weights(weights(series.run_dir, seed), weights(straight.run_dir, seed))
    again = resume_runs(tmp_path / "series", progress=False)  # nothing is left to do
    assert (again.results, again.accuracy) == (series.results, series.accuracy)


def test_a_run_of_other_settings_is_not_averaged_with_the_others(tmp_path):
    """As one that diverged, and was continued by itself at a lower rate."""
    short = replace(RECIPE, epochs=1)
    start(tmp_path / "series", 1, short)
    folder = RunFolder(tmp_path / "series" / "seed-5")
    recipe, conditions = folder.read_recipe()
    folder.write_recipe(replace(recipe, learning_rate=0.01), **conditions)
    with pytest.raises(UserError, match="seed-5 was trained with another learning_rate than its series"):
        resume_runs(tmp_path / "series", n=2, progress=False)
    folder.write_recipe(recipe, **conditions | {"dataset": "cifar10"})
    with pytest.raises(UserError, match="seed-5 was trained with another dataset than its series"):
        resume_runs(tmp_path / "series", n=2, progress=False)  # and no other data set is loaded, or even downloaded
    folder.write_recipe(recipe, **conditions | {"precision": "mixed_bfloat16"})
    with pytest.raises(UserError, match="seed-5 was trained with another precision than its series"):
        resume_runs(tmp_path / "series", progress=False)
    folder.write_recipe(recipe, **conditions)
    shutil.copytree(folder.path, tmp_path / "series" / "seed-6")
    other = conditions | {"data": conditions["data"] | {"crc32": "00000000"}}
    RunFolder(tmp_path / "series" / "seed-6").write_recipe(replace(recipe, seed=6), **other)
    with pytest.raises(UserError, match=r"seed-5 and .*seed-6 differ in the pictures' checksum, so"):
        resume_runs(tmp_path / "series", n=2, progress=False)
    shutil.rmtree(tmp_path / "series" / "seed-6")
    assert not (tmp_path / "series" / "seed-6").exists()


def test_a_run_is_named_with_all_of_its_time():
    result = {"seed": 3, "accuracy": 0.5, "epochs": 2, "seconds": 100.0, "views": 6, "accuracy_views": 0.6}
    assert run_in_words(result | {"seconds_views": 30.0}).endswith(
        "50.00 % (60.00 % with 6 views), 2 epochs, 2 min 10 s"
    )


def test_an_edited_history_of_a_finished_run_costs_the_picture_only(tmp_path):
    short = replace(RECIPE, epochs=1)
    start(tmp_path / "series", 1, short)
    history = tmp_path / "series" / "seed-5" / "history.csv"
    history.write_text(history.read_text().replace("\n1,", "\n1.0,"))
    with pytest.warns(UserWarning, match=r"runs\.png is not drawn"):
        assert len(resume_runs(tmp_path / "series", n=2, progress=False).results) == 2


def test_a_signal_in_the_last_moments_of_a_run_ends_the_series_after_it(straight, tmp_path):
    mine = Models((5, "epoch", 1, 0), lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted, match=r"after 1 of 3 runs; davidnet_keras\.resume_runs\(") as stopped:
        start(tmp_path / "series", callbacks=mine)
    assert stopped.value.signal_number == signal.SIGTERM
    assert set(mine.batches) == {5}
    assert RunFolder(tmp_path / "series" / "seed-5").model.exists()


def test_a_series_may_get_more_runs_but_not_fewer(straight, tmp_path):
    short = replace(RECIPE, epochs=1)
    start(tmp_path / "series", 1, short)
    series = resume_runs(tmp_path / "series", n=2, progress=False)
    assert [result["seed"] for result in series.results] == [5, 6]
    assert json.loads((tmp_path / "series" / "runs.json").read_text())["runs"] == 2
    with pytest.raises(UserError, match=r"started for 2 runs.*Received: runs=1"):
        resume_runs(tmp_path / "series", n=1)
    other = load_shapes(train=64, test=16, seed=1)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(UserError, match="not the pictures"):
        patch.setattr(shapes, "load_shapes", lambda: other)
        resume_runs(tmp_path / "series", n=3, progress=False)
    (tmp_path / "series" / "seed-5" / "result.json").unlink()
    with pytest.raises(UserError, match=r"result\.json is not a result"):
        resume_runs(tmp_path / "series", progress=False)


def test_a_series_of_auto_precision_stays_one_however_often_it_goes_on(tmp_path):
    recipe = replace(RECIPE, epochs=1, precision="auto")
    start(tmp_path / "series", 1, recipe)
    for n in (2, 2):
        resume_runs(tmp_path / "series", n=n, progress=False)
        assert SeriesFolder(tmp_path / "series").read_recipe()[0] == recipe
    asked = [RunFolder(tmp_path / "series" / f"seed-{seed}").read_recipe()[0].precision for seed in (5, 6)]
    assert asked[0] == "auto" and asked[1] in ("float32", "mixed_bfloat16", "mixed_float16")


def test_finished_runs_stand_in_the_results_while_another_is_trained(straight, tmp_path):
    shutil.copytree(straight.run_dir, tmp_path / "series")
    shutil.rmtree(tmp_path / "series" / "seed-6")
    with pytest.raises(KeyboardInterrupt):
        resume_runs(tmp_path / "series", callbacks=Models((6, "batch", 0, 1), die), progress=False)
    content = json.loads((tmp_path / "series" / "runs.json").read_text())
    assert [result["seed"] for result in content["results"]] == [5, 7]
    assert content["accuracy"]["n"] == 2


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"recipe": {"epochs": 0}}', '{"recipe": {}, "runs": 0}'])
def test_a_folder_without_a_series_is_refused(tmp_path, text):
    with pytest.raises(UserError, match=r"no runs in .*no runs\.json"):
        resume_runs(tmp_path)
    (tmp_path / "runs.json").write_text(text)
    with pytest.raises(UserError, match="not a series that this version wrote"):
        resume_runs(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "runs=0"),
        ({"n": 2.0}, "runs=2.0"),
        ({"n": True}, "runs=True"),
        ({"recipe": replace(RECIPE, seed=2**31 - 2)}, f"seed={2**31}"),
        ({"checkpoint_every": 0}, "checkpoint_every=0"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(tmp_path, arguments, message):
    with pytest.raises(UserError, match=message):
        start(tmp_path / "series", **arguments)
    assert not (tmp_path / "series").exists()


def test_a_used_folder_is_refused(straight):
    with pytest.raises(UserError, match="in use already"):
        start(straight.run_dir)


# --- on the command line ---

TINY = ["--dataset", "shapes", "--epochs", "1", "--batch-size", "32", "--width", "2", "--precision", "float32"]


def test_runs_are_told_in_a_line_each_and_together(tmp_path, capsys):
    path = str(tmp_path / "series")
    assert main([*TINY, "--runs", "2", "--seed", "3", "--run-dir", path]) == DONE
    lines = capsys.readouterr().out.strip().splitlines()
    assert [line.split(":")[0] for line in lines if line.startswith("seed ")] == ["seed 3", "seed 4"]
    assert all("test accuracy" in line and "FLOP" in line for line in lines if line.startswith("seed "))
    for words in ("2 runs: mean test accuracy", "standard deviation", "95 % interval of the mean", "runs.png"):
        assert words in lines[-1]
    assert main(["--resume", path]) == DONE
    assert capsys.readouterr().out.strip().splitlines()[-1] == lines[-1]


def test_the_words_name_the_pictures_that_were_tested(tmp_path):
    result = {"seed": 3, "accuracy": 0.5, "epochs": 2, "seconds": 100.0}
    assert "seed 3: held-out accuracy 50.00 %" in run_in_words(result, "held-out")
    series = Series([result], mean_interval([0.5]), None, tmp_path, "held-out")
    assert str(series) == f"1 run: mean held-out accuracy 50.00 %; {tmp_path}/runs.png"


@pytest.mark.slow
def test_a_series_says_that_it_was_tested_on_pictures_held_out(tmp_path, capsys):
    assert main([*TINY, "--runs", "2", "--hold-out", "8", "--run-dir", str(tmp_path / "series")]) == DONE
    out = capsys.readouterr().out
    assert "held-out accuracy" in out and "mean held-out accuracy" in out and "test accuracy" not in out


def refused(capsys, *argv):
    """The one sentence with which the command line refuses these arguments."""
    assert main(argv) == BAD_INPUT
    printed = capsys.readouterr().err.strip()
    assert "\n" not in printed and "Traceback" not in printed
    return printed


def test_ctrl_c_says_the_command_that_continues_and_it_does(tmp_path, capsys, monkeypatch):
    from davidnet_keras.runs import run_callbacks

    path = tmp_path / "my series"
    with monkeypatch.context() as patch:
        patch.setattr(run_callbacks.StopWhenDiverged, "on_epoch_begin", lambda *_: signal.raise_signal(signal.SIGINT))
        assert main([*TINY, "--runs", "2", "--run-dir", str(path), "--checkpoint-every", "1"]) == 130
    printed = capsys.readouterr().err
    assert f"Saved after 0 epochs and 1 batch of seed 0. Continue with: python -m davidnet_keras --resume '{path}'" in (
        printed
    )
    assert "leave out --epochs" in refused(capsys, "--resume", str(path), "--epochs", "7")
    assert "leave out --change-recipe" in refused(capsys, "--resume", str(path), "--change-recipe")
    assert "runs=1" in refused(capsys, "--resume", str(path), "--runs", "1")
    assert "resumed run keeps its pictures" in refused(capsys, "--resume", str(path), "--dataset", "cifar10")
    assert main(["--resume", str(path)]) == DONE
    assert len(json.loads((path / "runs.json").read_text())["results"]) == 2


def test_runs_that_make_no_sense_get_one_sentence_and_code_2(straight, tmp_path, capsys):
    for n in ("0", "-3"):
        assert f"runs={n}" in refused(capsys, *TINY, "--runs", n, "--run-dir", str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()
    single = str(straight.run_dir / "seed-5")
    for n in ("1", "3"):
        assert "leave out --runs" in refused(capsys, "--resume", single, "--runs", n)
    assert "no runs in" in refused(capsys, "--resume", str(tmp_path), "--runs", "2")
    assert "leave out --run-dir" in refused(capsys, "--resume", str(straight.run_dir), "--run-dir", "x")
