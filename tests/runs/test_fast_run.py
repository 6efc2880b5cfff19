"""The fast recipe through `train`, its files, its resumption."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from interrupt import Interrupt

from davidnet_keras import RECIPES, FastNet, load_model, load_shapes, resume, train
from davidnet_keras.data import shapes
from davidnet_keras.models.averaged_views import TestTimeAugmentation
from davidnet_keras.runs.predict import open_run
from davidnet_keras.runs.run_folder import RunFolder

RECIPE = replace(
    RECIPES["fast"], epochs=3, whiten_epochs=2, batch_size=24, width=2, seed=5, precision="float32", deterministic=True
)
PICTURES = load_shapes(train=64, test=16)


@pytest.fixture(autouse=True)
def few_pictures(monkeypatch):
    monkeypatch.setattr(shapes, "load_shapes", lambda: PICTURES)


def train_shapes(path, recipe=RECIPE, **arguments):
    return train(recipe, "shapes", run_dir=path, progress=False, **arguments)


class FirstBias(keras.callbacks.Callback):
    """Notes the first bias after each epoch, and whether its gradient is worked out."""

    def __init__(self):
        super().__init__()
        self.values, self.worked_out = [], []

    def on_epoch_end(self, epoch, logs=None):
        self.values.append(self.model.get_layer("whiten").bias.numpy())
        self.worked_out.append(bool(self.model.first_bias_trained.numpy()))


@pytest.fixture(scope="module")
def first_bias():
    return FirstBias()


@pytest.fixture(scope="module")
def run(tmp_path_factory, first_bias):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes, "load_shapes", lambda: PICTURES)
        return train_shapes(tmp_path_factory.mktemp("fast") / "run", callbacks=[first_bias])


def weights_of(model):
    return [variable.numpy() for variable in (*model.weights, *model.optimizer.variables)]


def test_the_result_has_the_accuracy_with_and_without_views_and_the_cost(run):
    result = RunFolder(run.run_dir).read_result()
    x, y = PICTURES[1]
    views = TestTimeAugmentation(run.model, mirror=True, shifts=1).evaluate(x, y, verbose=0, return_dict=True)
    assert 0 < result["training_seconds"] < result["seconds"]
    assert result["views"] == 6 and result["accuracy_views"] == pytest.approx(views["accuracy"])
    assert result["accuracy"] == pytest.approx(run.model.evaluate(x, y, verbose=0, return_dict=True)["accuracy"])
    passes = 3 * 3 * 64 + 6 * 16  # 3 epochs of training at 3 passes a picture; 6 views of the test pictures
    macs = 31**2 * 12 * 24 + 9 * (31**2 * 24 * 2 + 15**2 * (2 * 2 + 2 * 8) + 7**2 * 128 + 9 * 64) + 80
    assert result["petaflop"] == pytest.approx(2 * macs * passes / 1e15)


def test_the_rate_falls_from_its_peak_to_nothing(run):
    rates = run.history["learning_rate"]
    assert rates == pytest.approx([0.16, 0.08, 0.0])


def test_the_first_bias_is_trained_for_two_epochs_only(run, first_bias):
    first, second, third = first_bias.values
    assert np.abs(first).max() > 0 and not np.array_equal(first, second)
    np.testing.assert_array_equal(second, third)
    assert first_bias.worked_out == [True, True, False]
    assert run.model.first_bias_trained.numpy()  # for whoever goes on with the model


def test_the_saved_model_is_loaded_by_the_careful_reader(run):
    model = load_model(run.run_dir / "model.keras")
    assert isinstance(model, FastNet)
    for one, other in zip(weights_of(model), weights_of(run.model), strict=True):
        np.testing.assert_array_equal(one, other)


def test_stopped_inside_an_epoch_it_ends_with_the_same_bits(tmp_path, run):
    with pytest.raises(KeyboardInterrupt):
        train_shapes(tmp_path / "run", callbacks=[Interrupt(1, 1)], checkpoint_every=1)
    again = resume(tmp_path / "run", progress=False)
    for one, other in zip(weights_of(again.model), weights_of(run.model), strict=True):
        np.testing.assert_array_equal(one, other)


def test_evaluate_and_predict_look_as_often_as_the_recipe_says(run):
    shares = open_run(run.run_dir).probabilities(PICTURES[1][0])
    views = TestTimeAugmentation(run.model, mirror=True, shifts=1).predict(PICTURES[1][0], verbose=0)
    np.testing.assert_allclose(shares, keras.ops.softmax(views), rtol=1e-6)
    assert not np.allclose(views, run.model.predict(PICTURES[1][0], verbose=0), rtol=1e-3)
