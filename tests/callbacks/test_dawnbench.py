"""The DAWNBench log counts the hours of training and nothing else."""

import keras
import numpy as np
import pytest

from davidnet_callbacks import DawnbenchLog, throughput


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """A clock that the tests set forward by hand."""

    class Clock:
        now = 100.0

    monkeypatch.setattr(throughput, "perf_counter", lambda: Clock.now)
    return Clock


def run(callback, clock, accuracies, initial_epoch=0):
    """What fit calls: an hour of training, half an hour of validation, a quarter of an hour of other callbacks."""
    callback.set_model(keras.Sequential([keras.layers.Dense(1)]))
    callback.on_train_begin()
    for epoch, accuracy in enumerate(accuracies, initial_epoch):
        callback.on_epoch_begin(epoch)
        clock.now += 3600
        logs = {"loss": 1.0, "accuracy": 0.5}
        if accuracy is not None:
            callback.on_test_begin()
            clock.now += 1800
            callback.on_test_end()
            logs |= {"val_loss": 1.0, "val_accuracy": accuracy}
        callback.on_epoch_end(epoch, logs)
        clock.now += 900


WHOLE = "epoch\thours\ttop1Accuracy\n1\t1.00000000\t50.00\n2\t2.00000000\t94.03\n"


def test_validation_time_does_not_count(tmp_path, clock):
    run(DawnbenchLog(tmp_path / "new/log.tsv"), clock, [0.5, 0.94034])
    assert (tmp_path / "new/log.tsv").read_text() == WHOLE


def test_a_resumed_run_gives_the_log_of_the_whole_run(tmp_path, clock):
    run(DawnbenchLog(tmp_path / "log.tsv"), clock, [0.5])
    log = DawnbenchLog(tmp_path / "log.tsv")
    assert log.hours == 0
    run(log, clock, [0.94034], initial_epoch=1)
    assert (tmp_path / "log.tsv").read_text() == WHOLE
    assert log.hours == 2


def test_lines_after_the_resumed_epoch_are_dropped(tmp_path, clock):
    run(DawnbenchLog(tmp_path / "log.tsv"), clock, [0.5, 0.1])
    run(DawnbenchLog(tmp_path / "log.tsv"), clock, [0.94034], initial_epoch=1)
    assert (tmp_path / "log.tsv").read_text() == WHOLE


def test_epochs_without_validation_have_no_line_but_count(tmp_path, clock):
    run(DawnbenchLog(tmp_path / "log.tsv"), clock, [None, 0.5, None])
    assert (tmp_path / "log.tsv").read_text() == "epoch\thours\ttop1Accuracy\n2\t2.00000000\t50.00\n"


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"\xff",
        WHOLE.replace("epoch", "e").encode(),
        WHOLE[:20].encode(),
        WHOLE[:-12].encode(),
        b"a\nb",
        WHOLE[:-19].encode(),
    ],
)
def test_a_resume_needs_a_log_that_ends_with_the_epoch_before(tmp_path, clock, content):
    if content is not None:
        (tmp_path / "log.tsv").write_bytes(content)
    with pytest.raises(ValueError, match=r"must end with that epoch.* Received: path="):
        run(DawnbenchLog(tmp_path / "log.tsv"), clock, [0.5], initial_epoch=2)
    assert not (tmp_path / "log.tsv").exists() if content is None else (tmp_path / "log.tsv").read_bytes() == content


def test_logs_without_the_accuracy_are_refused(tmp_path, clock):
    with pytest.raises(ValueError, match=r"compile the model with metrics=\['accuracy'\].* Received: metric='val_f1'"):
        run(DawnbenchLog(tmp_path / "log.tsv", metric="val_f1"), clock, [0.5])


def test_the_clock_waits_for_steps_that_are_under_way(tmp_path, clock, monkeypatch):
    def wait(model):
        clock.now += 3600

    monkeypatch.setattr(throughput, "wait_for_steps", wait)
    run(DawnbenchLog(tmp_path / "log.tsv"), clock, [0.5])
    assert (tmp_path / "log.tsv").read_text().splitlines()[1] == "1\t2.00000000\t50.00"


def test_fit_and_evaluate_call_it(tmp_path):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"], run_eagerly=True)
    x, y = np.ones((4, 1), "float32"), np.zeros((4,), "int32")
    log = DawnbenchLog(tmp_path / "log.tsv")
    model.evaluate(x, y, verbose=0, callbacks=[log])
    model.fit(x, y, epochs=2, verbose=0, validation_data=(x, y), callbacks=[log])
    accuracy = 100 * model.evaluate(x, y, verbose=0)[1]
    assert (tmp_path / "log.tsv").read_text().splitlines()[-1] == f"2\t0.00000000\t{accuracy:.2f}"


@pytest.mark.parametrize("inside", [False, True])
def test_the_hours_go_on_from_their_state(tmp_path, clock, inside):
    run(DawnbenchLog(tmp_path / "log.tsv"), clock, [0.5])
    callback = DawnbenchLog(tmp_path / "log.tsv")
    callback.set_model(keras.Sequential([keras.layers.Dense(1)]))
    callback.on_train_begin()
    if not inside:
        callback.set_state({"hours": 2.0})
    callback.on_epoch_begin(1)
    if inside:
        clock.now += 1800  # what came before the state counts in the state
        callback.set_state({"hours": 2.0})
    clock.now += 3600
    assert callback.get_state() == {"hours": 3.0}
    callback.on_epoch_end(1, {"val_accuracy": 0.5})
    assert (tmp_path / "log.tsv").read_text().splitlines()[2].split("\t")[1] == "3.00000000"
