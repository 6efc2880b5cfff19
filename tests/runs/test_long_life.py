"""What a run of very many epochs must not do: leave something behind after each."""

import ctypes
import gc
from collections import Counter
from functools import partial

import keras
import pytest

from davidnet_callbacks.batch_schedule import set_variable
from davidnet_keras.data import shapes
from davidnet_keras.layers.normalization import Normalization
from davidnet_keras.models import build
from davidnet_keras.recipe import Recipe
from davidnet_keras.runs import train as training
from davidnet_keras.runs.checkpoint import Progress, write_checkpoint

if keras.backend.backend() != "tensorflow":
    pytest.skip("davidnet_keras trains on TensorFlow", allow_module_level=True)

PICTURES = shapes.load_shapes(train=8, test=8)


@pytest.fixture
def variables_made(monkeypatch):
    """Names of the variables made from now on; TensorFlow keeps something of each, although Python frees it."""
    names = []
    make = keras.Variable.__init__

    def noted(variable, *args, **kwargs):
        make(variable, *args, **kwargs)
        names.append(variable.path)

    monkeypatch.setattr(keras.Variable, "__init__", noted)
    return names


class Watch(keras.callbacks.Callback):
    """What there is after some of the epochs: live objects by type, variables made, traces."""

    def __init__(self, variables_made, epochs):
        super().__init__()
        self.variables_made, self.epochs, self.seen = variables_made, epochs, []

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 in self.epochs:
            gc.collect()
            objects = Counter(type(each).__name__ for each in gc.get_objects())
            self.seen.append((objects, len(self.variables_made), self.model.traces))


class TracedModel(keras.Model):
    """Counts how often its train step is traced."""

    traces = 0

    def train_step(self, data):
        self.traces += 1
        return super().train_step(data)

    def training_callbacks(self):
        return []


def small_model(recipe=None, pictures=None, num_classes=10, precision=None):
    inputs = keras.Input((32, 32, 3))
    normalize = Normalization(name="normalize")
    normalize.adapt(PICTURES[0][0])
    x = keras.layers.Flatten()(keras.layers.AveragePooling2D(16)(normalize(inputs)))
    model = TracedModel(inputs, keras.layers.Dense(num_classes)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss, metrics=["accuracy"])
    return model


class Mallinfo2(ctypes.Structure):
    """What glibc tells of its heap; `uordblks` are the bytes in use."""

    _fields_ = [
        *((f"other{number}", ctypes.c_size_t) for number in range(7)),
        ("uordblks", ctypes.c_size_t),
        ("fordblks", ctypes.c_size_t),
        ("keepcost", ctypes.c_size_t),
    ]


def allocated():
    """Bytes that the C library has handed out and not got back; skips the test where it does not say."""
    mallinfo2 = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo2 is None:
        pytest.skip("only glibc 2.33 and later counts them")
    mallinfo2.restype = Mallinfo2
    return mallinfo2().uordblks


def test_saving_again_makes_no_variables(tmp_path, variables_made):
    model = small_model()
    model.fit(*PICTURES[0], verbose=0)
    for number in range(3):
        write_checkpoint(tmp_path / "a.keras", model, "me", Progress(number), {})
        if not number:
            variables_made.clear()
    assert variables_made == []


def test_an_epoch_more_leaves_no_objects_variables_or_traces_behind(tmp_path, monkeypatch, variables_made):
    monkeypatch.setattr(shapes, "load_shapes", lambda: PICTURES)
    monkeypatch.setattr(build, "build_model", small_model)
    # Drawing, now and then, fills caches of matplotlib's; when, depends on the time that the epochs take.
    monkeypatch.setattr(training, "PlotCurves", partial(training.PlotCurves, budget=0))
    watch = Watch(variables_made, (2, 4, 9))  # the first look, and what it sees, fill caches of Python's own
    recipe = Recipe(epochs=10, batch_size=4, precision="float32")
    training.train(recipe, "shapes", run_dir=tmp_path / "run", callbacks=[watch], progress=False)
    _, (early, variables, traces), (late, variables_later, traces_later) = watch.seen
    assert (variables_later, traces_later) == (variables, traces)
    # Five epochs lie between the last two looks; each sees what the one before keeps.
    assert [kind for kind, more in (late - early).items() if more >= 5] == []


def test_another_rate_leaves_nothing_allocated():
    variable = keras.Variable(0.0)
    for number in range(4000):
        if number == 2000:
            before = allocated()
        set_variable(variable, number / 7919)
    assert allocated() - before < 200_000  # 1.3 million where TensorFlow keeps each of the numbers
