"""Images per second and the time to a target count training, and nothing else."""

import math

import keras
import numpy as np
import pytest

from davidnet_callbacks import HistoryCSV, Throughput, read_history, throughput
from davidnet_callbacks.model_state import wait_for_steps

X, Y = np.ones((10, 1), "float32"), np.zeros((10,), "int32")


@pytest.fixture
def clock(monkeypatch):
    """A clock that the tests set forward by hand."""

    class Clock:
        now = 100.0

    monkeypatch.setattr(throughput, "perf_counter", lambda: Clock.now)
    return Clock


def compiled(model=None, **options):
    model = model or keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", **({"metrics": ["accuracy"]} | options))
    return model


class Passing(keras.callbacks.Callback):
    """Sets the clock forward: 2 s of training a batch, 100 s of validation, 1000 s between epochs."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def on_train_batch_end(self, batch, logs=None):
        self.clock.now += 2

    def on_test_end(self, logs=None):
        self.clock.now += 100

    def on_epoch_begin(self, epoch, logs=None):
        self.clock.now += 1000


def fitted_logs(clock, callback, model=None, **options):
    """Train; returns what fit recorded."""
    # `Passing` comes first, so that its 1000 s are over when the epoch's clock starts.
    options = {"x": X, "y": Y, "batch_size": 4, "validation_data": (X, Y), "epochs": 2, "verbose": 0} | options
    return (model or compiled()).fit(callbacks=[Passing(clock), callback], **options).history


def test_the_examples_of_a_smaller_last_batch_and_seconds_without_validation_are_counted(clock):
    logs = fitted_logs(clock, Throughput())
    assert logs["images_per_second"] == [10 / 6, 10 / 6]  # batches of 4, 4 and 2
    assert logs["train_seconds"] == [6, 12]
    assert "seconds_to_target" not in logs


def test_without_validation_it_is_the_same(clock):
    logs = fitted_logs(clock, Throughput(), validation_data=None)
    assert logs["images_per_second"] == [10 / 6, 10 / 6]


class Batches(keras.utils.PyDataset):
    """Batches of 1, 2 and 3 examples."""

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return X[: index + 1], Y[: index + 1]


def generator():
    while True:
        yield X[:3], Y[:3]


@pytest.mark.parametrize(
    ("options", "images", "steps"),
    [
        ({"x": Batches()}, 6, 3),
        ({"x": generator(), "steps_per_epoch": 5, "shuffle": False}, 15, 5),
        ({"x": X, "y": Y, "batch_size": 4, "sample_weight": np.full(10, 7.0)}, 10, 3),
    ],
    ids=["PyDataset", "generator", "sample weights"],
)
def test_any_data_is_counted(clock, options, images, steps):
    logs = fitted_logs(clock, Throughput(), **({"y": None, "batch_size": None} | options))
    assert logs["images_per_second"] == [images / (2 * steps)] * 2


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="torch has no steps_per_execution")
def test_several_steps_per_execution_are_counted(clock):
    logs = fitted_logs(clock, Throughput(), compiled(steps_per_execution=2), x=X[:8], y=Y[:8], batch_size=2)
    assert logs["images_per_second"] == [8 / 4, 8 / 4]  # `Passing` sees two batches of two steps


def own_step():
    """A model with a train_step that leaves Keras's loss metric alone."""

    class OwnStep(keras.Model):
        def train_step(self, *state_and_data):
            return {"loss": 0.0} if len(state_and_data) == 1 else ({"loss": 0.0}, state_and_data[0])

    inputs = keras.Input((1,))
    return OwnStep(inputs, keras.layers.Dense(2, activation="softmax")(inputs))


def test_a_train_step_that_counts_nothing_needs_the_number(clock):
    options = {"validation_data": None, "batch_size": 10}
    with pytest.raises(ValueError, match=r"give their number to Throughput\. Received: images_per_epoch=None"):
        fitted_logs(clock, Throughput(), compiled(own_step(), metrics=None), **options)
    logs = fitted_logs(clock, Throughput(images_per_epoch=10), compiled(own_step(), metrics=None), **options)
    assert logs["images_per_second"] == [5, 5]


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX's train_step gets its metrics' state handed in")
def test_a_train_step_that_counts_batches_needs_the_number(clock):
    """As the guides of Keras have it: the metric named loss is updated without the batch's size."""

    class OwnStep(keras.Model):
        def train_step(self, data):
            for metric in self.metrics:
                if metric.name == "loss":
                    metric.update_state(1.0)
            return {"loss": 0.0}

    inputs = keras.Input((1,))
    model = OwnStep(inputs, keras.layers.Dense(2, activation="softmax")(inputs))
    with pytest.raises(ValueError, match=r"Received: images_per_epoch=None"):
        fitted_logs(clock, Throughput(), compiled(model, metrics=None), validation_data=None)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX's trainer looks the metrics up by itself")
def test_a_model_that_never_resets_its_metrics_is_counted_epoch_by_epoch(clock):
    class Own(keras.Model):
        def reset_metrics(self):
            pass

    inputs = keras.Input((1,))
    model = Own(inputs, keras.layers.Dense(2, activation="softmax")(inputs))
    logs = fitted_logs(clock, Throughput(), compiled(model), epochs=3)
    assert logs["images_per_second"] == [10 / 6, 10 / 6, 10 / 6]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.distribute is TensorFlow's")
def test_the_examples_of_two_replicas_are_counted_once(clock, two_cpus):
    import tensorflow as tf

    with tf.distribute.MirroredStrategy(two_cpus, tf.distribute.ReductionToOneDevice()).scope():
        model = compiled()
    logs = fitted_logs(clock, Throughput(), model)
    assert logs["images_per_second"] == [10 / 6, 10 / 6]


def test_an_epoch_of_no_time_is_nan():
    callback = Throughput(images_per_epoch=10)
    callback.on_train_begin()
    callback.on_epoch_begin(0)
    callback._clock.stop = lambda model: True
    logs = {}
    callback.on_epoch_end(0, logs)
    assert math.isnan(logs["images_per_second"])


def run(callback, clock, accuracies, initial_epoch=0, others=()):
    """What fit calls: an hour of training, then validation where there is an accuracy."""
    for one in (callback, *others):
        one.set_model(compiled())
        one.on_train_begin()
    logs = []
    for epoch, accuracy in enumerate(accuracies, initial_epoch):
        logs.append({"loss": 1.0} | ({} if accuracy is None else {"val_loss": 1 - accuracy, "val_accuracy": accuracy}))
        for one in (callback, *others):
            one.on_epoch_begin(epoch)
        clock.now += 3600
        for one in (callback, *others):
            one.on_epoch_end(epoch, logs[-1])
    return logs


def test_the_time_to_the_target_is_that_of_the_first_epoch_which_reached_it(clock):
    callback = Throughput(target=0.94, images_per_epoch=1)
    logs = run(callback, clock, [0.9, None, 0.94, 0.95, 0.5])
    times = [epoch["seconds_to_target"] for epoch in logs]
    assert math.isnan(times[0]) and math.isnan(times[1])  # logged from the start: CSV files keep their columns
    assert times[2:] == [3 * 3600] * 3
    assert callback.seconds_to_target == 3 * 3600 and callback.train_seconds == 5 * 3600


def test_a_loss_is_reached_from_above(clock):
    callback = Throughput(0.5, "val_loss", "min", images_per_epoch=1)
    run(callback, clock, [0.2, 0.6])
    assert callback.seconds_to_target == 2 * 3600


def test_a_metric_that_is_not_there_is_refused(clock):
    with pytest.raises(ValueError, match=r"no such metric among the logs \(loss, .* Received: metric='val_f1'"):
        run(Throughput(0.5, "val_f1", images_per_epoch=1), clock, [0.2])


@pytest.mark.parametrize("kind", ["file", "dict", "same object"])
def test_a_resumed_run_has_the_times_of_the_whole_run(tmp_path, clock, kind):
    accuracies = [0.1, 0.5, 0.2, 0.6]
    whole = run(Throughput(0.5, images_per_epoch=1), clock, accuracies)
    first = Throughput(0.5, images_per_epoch=1)
    begun = run(first, clock, [*accuracies[:2], 0.9], others=[HistoryCSV(tmp_path / "h.csv")])
    columns = {name: [epoch[name] for epoch in begun] for name in ("train_seconds", "seconds_to_target")}
    history = {"file": tmp_path / "h.csv", "dict": columns}.get(kind)
    second = first if history is None else Throughput(0.5, images_per_epoch=1, history=history)
    rest = run(second, clock, accuracies[2:], initial_epoch=2, others=[HistoryCSV(tmp_path / "h.csv")])
    assert rest == whole[2:]
    assert read_history(tmp_path / "h.csv")["seconds_to_target"][1:] == [7200] * 3


def test_a_run_that_goes_on_inside_an_epoch_counts_all_of_it(clock):
    stopped, resumed = Throughput(images_per_epoch=60), Throughput(images_per_epoch=60)
    for callback in (stopped, resumed):
        callback.set_model(compiled())
        callback.on_train_begin()
    stopped.on_epoch_begin(0)
    clock.now += 5
    state = stopped.get_state()
    clock.now += 1000
    resumed.set_state(state)  # too early to tell
    resumed.on_epoch_begin(0)
    resumed.set_state(state)
    clock.now += 1
    resumed.on_epoch_end(0)
    assert (resumed.images_per_second, resumed.train_seconds) == (10, 6)


def test_a_second_fit_starts_anew(clock):
    callback = Throughput(0.5, images_per_epoch=1)
    run(callback, clock, [0.6])
    assert math.isnan(run(callback, clock, [0.1])[0]["seconds_to_target"])
    assert callback.train_seconds == 3600


@pytest.mark.parametrize("history", [None, {"train_seconds": [1.0]}, {"loss": [1.0, 1.0]}])
def test_a_resume_needs_the_seconds_before(clock, history):
    with pytest.raises(ValueError, match="Received: history"):
        run(Throughput(history=history, images_per_epoch=1), clock, [0.5], initial_epoch=2)


@pytest.mark.parametrize("options", [{"mode": "auto"}, {"images_per_epoch": 0}])
def test_bad_arguments_are_refused_at_once(options):
    with pytest.raises(ValueError, match="Received: "):
        Throughput(**options)


def test_an_evaluation_outside_of_fit_measures_nothing(clock):
    callback = Throughput()
    compiled().evaluate(X, Y, verbose=0, callbacks=[callback])
    assert callback.train_seconds == 0 and math.isnan(callback.images_per_second)


def test_the_clock_stops_after_a_weight_of_the_last_step_was_read(monkeypatch):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    read = []
    monkeypatch.setattr(keras.ops, "convert_to_numpy", lambda weight: read.append(weight.path))
    wait_for_steps(model)
    assert read == [model.trainable_variables[1].path]  # the smallest, the bias
    monkeypatch.setattr(throughput, "wait_for_steps", lambda model: read.append("waited"))
    monkeypatch.setattr(throughput, "perf_counter", lambda: read.append("clock") or 0.0)
    timer = throughput.TrainingClock()
    timer.start()
    assert timer.stop(model)
    assert read[1:] == ["clock", "waited", "clock"]
    assert not timer.stop(model)
