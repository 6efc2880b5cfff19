"""A run that was stopped anywhere ends as if it had not been."""

import json
import math
import os
import shutil
import signal
from dataclasses import replace

import keras
import numpy as np
import pytest

from davidnet_keras import Interrupted, Recipe, UserError, resume, train
from davidnet_keras.runs import train as training
from davidnet_keras.runs.run_folder import RunFolder

RECIPE = Recipe(
    epochs=3, batch_size=24, width=2, learning_rate=0.1, seed=5, cutout=4, precision="float32", deterministic=True
)
STEPS = 3  # 24 + 24 + 16 pictures


@pytest.fixture(scope="module", autouse=True)
def two_steps_of_validation(few_pictures, network):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "EVALUATION_BATCH_SIZE", 8)
        yield


class Witness(keras.callbacks.Callback):
    """A callback with state of its own; it tells which batches it was called for."""

    def __init__(self):
        super().__init__()
        self.batches, self.sum, self.per_epoch = [], np.zeros(()), 0

    def on_train_begin(self, logs=None):
        self.sum = np.zeros(())

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch, self.per_epoch = epoch, 0

    def on_train_batch_end(self, batch, logs=None):
        self.batches.append((self.epoch, batch, float(self.model.optimizer.learning_rate)))
        self.sum, self.per_epoch = self.sum + logs["loss"], self.per_epoch + 1

    def on_epoch_end(self, epoch, logs=None):
        logs |= {"losses": float(self.sum), "batches": self.per_epoch}

    def get_state(self):
        return {"sum": self.sum, "per_epoch": self.per_epoch}

    def set_state(self, state):
        self.sum, self.per_epoch = state["sum"], state["per_epoch"]


class At(keras.callbacks.Callback):
    """Does something at a moment of the run: a hook's name, an epoch and a batch."""

    def __init__(self, hook, epoch, batch, action):
        super().__init__()
        self.moment, self.action, self.epoch = (hook, epoch, batch), action, None

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        self._act("train", batch)

    def on_test_batch_end(self, batch, logs=None):
        self._act("test", batch)

    def on_epoch_end(self, epoch, logs=None):
        self._act("epoch", 0)

    def _act(self, hook, batch):
        if (hook, self.epoch, batch) == self.moment:
            self.action()


def die():
    raise KeyboardInterrupt  # as a kill would, without a chance to save


def start(path, *callbacks, recipe=RECIPE, **arguments):
    return train(recipe, "shapes", run_dir=path, progress=False, callbacks=callbacks, **arguments)


def stop(path, *moment, every=1, callbacks=()):
    """A run that was killed at a moment."""
    with pytest.raises(KeyboardInterrupt):
        start(path, *callbacks, At(*moment, die), checkpoint_every=every)
    return RunFolder(path)


def assert_same_end(one, other):
    pairs = zip(
        (*one.model.variables, *one.model.optimizer.variables),
        (*other.model.variables, *other.model.optimizer.variables),
        strict=True,
    )
    for first, second in pairs:
        np.testing.assert_array_equal(first.numpy(), second.numpy(), err_msg=first.path)
    for name in one.history.keys() | other.history.keys():
        if name != "seconds":
            assert one.history[name] == other.history[name], name
    assert other.history["seconds"] == sorted(other.history["seconds"])
    logs = [(run.run_dir / "log.tsv").read_text().splitlines() for run in (one, other)]
    assert [line.split("\t")[::2] for line in logs[0]] == [line.split("\t")[::2] for line in logs[1]]


@pytest.fixture(scope="module")
def witness(network):
    return Witness()


@pytest.fixture(scope="module")
def straight(tmp_path_factory, network, witness):
    """The run that was never stopped."""
    return start(tmp_path_factory.mktemp("straight") / "run", witness)


KILLS = [  # a moment of the run, and the checkpoint that is then the newest
    (("train", 0, 0), None),
    (("train", 0, 2), (0, 2)),
    (("train", 1, 1), (1, 1)),
    (("test", 1, 1), (1, 2)),
    (("epoch", 2, 0), (2, 2)),
]


def test_a_run_that_was_killed_inside_its_epochs_ends_with_the_same_bits(straight, witness, tmp_path, network):
    path, epochs, batches = tmp_path / "run", 0, 0
    for moment, newest in KILLS[1::2] if network == "small" else KILLS:
        mine = Witness()
        with pytest.raises(KeyboardInterrupt):
            if path.exists():
                keras.utils.set_random_seed(99)  # another process has another random state
                resume(path, progress=False, callbacks=[mine, At(*moment, die)])
            else:
                start(path, mine, At(*moment, die), checkpoint_every=1)
        # No batch that a checkpoint holds is told again, and each comes with its own rate.
        first = epochs * STEPS + batches
        assert mine.batches == witness.batches[first : first + len(mine.batches)]
        assert (RunFolder(path).saved() or [None])[-1] == newest
        epochs, batches = newest or (0, 0)
    mine = Witness()
    resumed = resume(path, progress=False, callbacks=[mine])
    assert_same_end(straight, resumed)
    assert mine.batches == witness.batches[epochs * STEPS + batches :]
    assert (mine.sum, mine.per_epoch) == (witness.sum, witness.per_epoch)
    assert not RunFolder(path).checkpoints.exists()


SIGNALS = [  # a moment of the run, the signal that comes, and the checkpoint that is written
    (("train", 0, 0), signal.SIGTERM, (0, 1)),
    (("train", 0, 2), signal.SIGINT, (0, 3)),
    (("test", 1, 0), signal.SIGTERM, (1, 3)),
    (("test", 1, 0), signal.SIGINT, (1, 3)),  # and once more in the same validation
    (("epoch", 1, 0), signal.SIGHUP, (2, 0)),
]


def test_a_signal_ends_the_run_after_the_batch_saved(straight, tmp_path, network):
    path = tmp_path / "run"
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for moment, number, saved in SIGNALS[1::2] if network == "small" else SIGNALS:
        last = Witness()
        callbacks = [last, At(*moment, lambda number=number: os.kill(os.getpid(), number))]
        with pytest.raises(Interrupted, match=rf"{number.name}: saved after .*resume\(") as stopped:
            resume(path, progress=False, callbacks=callbacks) if path.exists() else start(path, *callbacks)
        assert stopped.value.signal_number == number
        assert RunFolder(path).saved()[-1] == saved
        if last.batches:  # not where only the validation was left
            seen = last.batches[-1][0] * STEPS + last.batches[-1][1] + 1
            assert seen == saved[0] * STEPS + saved[1]
        assert {each: signal.getsignal(each) for each in before} == before
    assert_same_end(straight, resume(path, progress=False, callbacks=[Witness()]))


def test_a_signal_in_the_last_epochs_end_lets_the_run_finish(straight, tmp_path):
    at_the_end = At("epoch", RECIPE.epochs - 1, 0, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert_same_end(straight, start(tmp_path / "run", Witness(), at_the_end))


def test_a_run_killed_before_its_last_checkpoint_became_the_model_is_finished(straight, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RunFolder, "finish", lambda *_: die())
        start(tmp_path / "run", Witness())
    assert RunFolder(tmp_path / "run").saved()[-1] == (3, 0)
    (tmp_path / "run" / "curves.png").unlink()  # as after a kill before the last drawing
    assert_same_end(straight, resume(tmp_path / "run", progress=False, callbacks=[Witness()]))
    assert (tmp_path / "run" / "curves.png").stat().st_size > 10_000


def test_a_run_that_a_callback_had_ended_does_not_go_on(tmp_path, monkeypatch):
    class End(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RunFolder, "finish", lambda *_: die())
        start(tmp_path / "run", End())
    shutil.copytree(tmp_path / "run", tmp_path / "longer")
    resumed = resume(tmp_path / "run", progress=False, callbacks=[End()])
    assert resumed.history["epoch"] == [1, 2]
    assert (tmp_path / "run" / "model.keras").exists()
    longer = resume(tmp_path / "longer", progress=False, recipe=replace(RECIPE, epochs=4), change_recipe=True)
    assert longer.history["epoch"] == [1, 2, 3, 4]


def test_checkpoints_left_by_a_kill_after_the_end_are_removed(straight, tmp_path):
    left = straight.run_dir / "checkpoints"
    left.mkdir()
    (left / "epoch-0003.keras").write_text("old")
    assert resume(straight.run_dir, progress=False).history == straight.history
    assert not left.exists()


@pytest.mark.parametrize("hook", ["epoch", pytest.param("test", marks=pytest.mark.slow)])
def test_weights_that_are_not_finite_are_never_saved(tmp_path, hook):
    class Poison(keras.callbacks.Callback):
        """Makes one weight NaN when the loss of the epoch is known, and good."""

        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

        def on_epoch_end(self, epoch, logs=None):
            if hook == "epoch" and epoch == 1:
                self._poison()

        def on_test_end(self, logs=None):
            if hook == "test" and self.epoch == 1:
                self._poison()

        def _poison(self):
            kernel = self.model.get_layer("dense").kernel
            kernel.assign(kernel * math.nan)

    with pytest.raises(UserError, match=r"weights \(.*kernel\) became NaN.*--change-recipe"):
        start(tmp_path / "run", Poison())
    folder = RunFolder(tmp_path / "run")
    assert folder.saved() == [(1, 0)]
    assert folder.newest_checkpoint()[1] == (1, 0)


@pytest.mark.slow
def test_a_changed_momentum_reaches_the_optimizer_under_loss_scaling(tmp_path):
    recipe = replace(RECIPE, epochs=2, precision="mixed_float16")
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path / "run", At("train", 1, 0, die), recipe=recipe)
    changed = replace(recipe, momentum=0.8)
    resumed = resume(tmp_path / "run", progress=False, recipe=changed, change_recipe=True)
    assert float(resumed.model.optimizer.inner_optimizer.momentum) == pytest.approx(0.8)


@pytest.mark.slow
def test_a_momentum_that_a_callback_set_is_still_set(tmp_path):
    class SetOnce(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 0:
                self.model.optimizer.momentum = 0.7

    with pytest.raises(KeyboardInterrupt):
        start(tmp_path / "run", SetOnce(), At("train", 1, 0, die))
    resumed = resume(tmp_path / "run", progress=False, callbacks=[SetOnce()], checkpoint_every=2)
    assert float(resumed.model.optimizer.momentum) == pytest.approx(0.7)
    assert RunFolder(tmp_path / "run").read_recipe()[1]["checkpoint_every"] == 2


def test_a_changed_recipe_is_refused_unless_asked_for_and_then_recorded(tmp_path):
    folder = stop(tmp_path / "run", "train", 2, 0, every=None)
    longer = replace(RECIPE, epochs=4, learning_rate=0.05, momentum=0.8, weight_decay=0.0)
    with pytest.raises(UserError, match=r"epochs=4, started with 3; learning_rate=0.05.*momentum"):
        resume(folder.path, progress=False, recipe=longer)
    with pytest.raises(UserError, match="start a new run"):
        resume(folder.path, progress=False, recipe=replace(RECIPE, width=3), change_recipe=True)
    assert "changes" not in folder.read_recipe()[1]
    resumed = resume(folder.path, progress=False, recipe=longer, change_recipe=True)
    assert resumed.history["epoch"] == [1, 2, 3, 4]
    assert float(resumed.model.optimizer.momentum) == pytest.approx(0.8)
    assert resumed.model.l2 == 0
    recipe, conditions = folder.read_recipe()
    assert recipe == longer
    changed = {
        "epochs": [3, 4],
        "learning_rate": [0.1, 0.05],
        "momentum": [0.9, 0.8],
        "weight_decay": [5e-4, 0.0],
    }
    assert conditions["changes"] == [{"after": "2 epochs", "changed": changed}]
    with pytest.raises(UserError, match="is finished"):
        resume(folder.path, progress=False, recipe=replace(longer, epochs=5), change_recipe=True)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, network):
    """A run that was killed inside its second epoch. Tests take copies."""
    return stop(tmp_path_factory.mktemp("stopped") / "run", "train", 1, 1, every=2, callbacks=[Witness()])


@pytest.fixture
def folder(stopped, tmp_path):
    shutil.copytree(stopped.path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def test_a_run_begun_before_a_setting_existed_goes_on_with_its_default(straight, folder):
    content = json.loads(folder.recipe.read_text())
    del content["recipe"]["alternating_flip"]
    folder.recipe.write_text(json.dumps(content))
    assert_same_end(straight, resume(folder.path, progress=False, callbacks=[Witness()]))


@pytest.mark.slow
def test_a_run_with_alternating_flip_goes_on_inside_an_epoch_with_the_same_bits(tmp_path):
    recipe = replace(RECIPE, alternating_flip=True, epochs=2)
    whole = start(tmp_path / "whole", recipe=recipe)
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path / "run", At("train", 1, 1, die), recipe=recipe, checkpoint_every=1)
    assert_same_end(whole, resume(tmp_path / "run", progress=False))


def test_checkpoints_every_so_many_batches_go_on_after_a_resume(folder):
    assert folder.saved() == [(0, 2), (1, 0)]
    lost = pytest.warns(UserWarning, match=r"started with a callback .*Witness")  # it is missing
    with lost, pytest.raises(KeyboardInterrupt):
        resume(folder.path, progress=False, callbacks=[At("test", 1, 0, die)])
    assert folder.saved() == [(1, 0), (1, 2)]


@pytest.mark.parametrize("every", [0, -1, 1.5, True, "2"])
def test_checkpoints_every_nonsense_are_refused(tmp_path, every):
    with pytest.raises(UserError, match="checkpoint_every"):
        start(tmp_path / "run", checkpoint_every=every)
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_of_other_metrics_is_refused(straight):
    from davidnet_keras.runs.continued_fit import metric_values, set_metrics

    with pytest.raises(ValueError, match="other metrics"):
        set_metrics(straight.model, metric_values(straight.model)[:-1])


def test_keras_own_callbacks_keep_what_they_know():
    from davidnet_keras.runs.continued_fit import callbacks_state, set_callbacks_state

    class Mine(keras.callbacks.EarlyStopping):
        """One that is derived from Keras's."""

    def some():
        return [keras.callbacks.EarlyStopping(patience=2), Mine(), keras.callbacks.ReduceLROnPlateau(), Witness()]

    before, after = some(), some()
    before[0].wait, before[0].best, before[0].best_weights = 1, 0.25, [np.ones(2)]
    before[1].wait = 3
    before[2].cooldown_counter = 4
    set_callbacks_state(after, callbacks_state(before))
    assert (after[0].wait, after[0].best, after[1].wait, after[2].cooldown_counter) == (1, 0.25, 3, 4)
    np.testing.assert_array_equal(after[0].best_weights[0], np.ones(2))
