"""What a run changes in the model and in the process is taken back when anything in it raises, at any hook."""

import signal
from dataclasses import replace

import keras
import numpy as np
import pytest
from tensorflow.python.framework import config  # the public API does not say whether determinism is on

from davidnet_keras import RECIPES, load_shapes, train
from davidnet_keras.data import shapes
from davidnet_keras.models.build import new_model
from davidnet_keras.runs import train as training
from davidnet_keras.runs.checkpoint import Progress
from davidnet_keras.runs.continued_fit import metric_values
from davidnet_keras.runs.run_folder import RunFolder

RECIPE = replace(
    RECIPES["fast"], epochs=2, whiten_epochs=1, batch_size=16, width=1, precision="float32", deterministic=True
)
PICTURES = load_shapes(train=64, test=16)
HOOKS = ("on_train_batch_end", "on_test_batch_end", "on_train_end")
OTHERS = (
    *("on_train_begin", "on_epoch_begin", "on_train_batch_begin", "on_test_begin"),
    *("on_test_batch_begin", "on_test_end", "on_epoch_end"),
)
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class RaiseAt(keras.callbacks.Callback):
    """Raises when fit calls a hook."""

    def __init__(self, hook):
        super().__init__()
        setattr(self, hook, self.boom)

    def boom(self, *_, **__):
        raise RuntimeError("boom")


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A model whose first bias has faded, and its run: inside the second of its epochs, three of four batches left."""
    model = new_model(RECIPE, 10, PICTURES, "float32")
    config.disable_op_determinism()
    model.optimizer.iterations.assign(5)
    with RunFolder.create(tmp_path_factory.mktemp("release") / "run") as folder:
        details = {"dataset": "shapes", "data": {}, "precision": "float32", "precision_reason": "as asked"}
        folder.write_recipe(RECIPE, **details)
        folder.history.write_text("epoch,loss,accuracy,val_loss,val_accuracy,learning_rate,seconds\n1,1,0,1,0,0,1\n")
        folder.log.write_text("epoch\thours\ttop1Accuracy\n1\t0.00100000\t12.50\n")
        yield model, folder


@pytest.mark.parametrize("hook", [*HOOKS, *(pytest.param(hook, marks=pytest.mark.slow) for hook in OTHERS)])
def test_the_model_and_the_process_are_as_before(begun, hook):
    model, folder = begun
    training.make_metrics(model)
    saved = {"metrics": metric_values(model), "callbacks": [], "stopped": False}
    state = training.RunState(Progress(1, 1), saved, progress=False)
    handlers = [signal.getsignal(number) for number in SIGNALS]
    with pytest.raises(RuntimeError, match="boom"):
        training.fit(model, RECIPE, PICTURES, folder, [RaiseAt(hook)], state)
    assert model.first_bias_trained.numpy()
    assert [signal.getsignal(number) for number in SIGNALS] == handlers
    # The next fit trains on every batch, at the rate that the user sets.
    head, steps = model.get_layer("head").kernel.numpy(), int(model.optimizer.iterations)
    model.optimizer.learning_rate = 0.0
    model.fit(*PICTURES[0], batch_size=16, verbose=0)
    assert int(model.optimizer.iterations) == steps + 4
    assert float(model.optimizer.learning_rate) == 0
    np.testing.assert_array_equal(model.get_layer("head").kernel, head)


def test_determinism_ends_with_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(shapes, "load_shapes", lambda: PICTURES)
    with pytest.raises(RuntimeError, match="boom"):
        train(RECIPE, "shapes", run_dir=tmp_path / "run", progress=False, callbacks=[RaiseAt("on_epoch_begin")])
    assert not config.is_op_determinism_enabled()
