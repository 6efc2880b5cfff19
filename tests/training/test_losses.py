"""Label smoothing for class numbers, against Keras's for one-hot targets."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from davidnet_keras import MomentumSGD, SmoothedCrossentropy, SumLossModel

CLASSES = 7
RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(scale=4, size=(9, CLASSES)).astype("float32")
PROBABILITIES = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
LABELS = RANDOM.integers(0, CLASSES, 9)


def value_and_gradient(loss, y_true, y_pred):
    y_pred = tf.convert_to_tensor(y_pred)
    with tf.GradientTape() as tape:
        tape.watch(y_pred)
        value = loss(y_true, y_pred)
    return value.numpy(), tf.cast(tape.gradient(value, y_pred), "float32").numpy()


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum"])
@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize("smoothing", [0.0, 0.2, 0.9])
def test_values_and_gradients_are_those_of_the_one_hot_loss(smoothing, from_logits, reduction):
    y_pred = LOGITS if from_logits else PROBABILITIES
    options = {"from_logits": from_logits, "label_smoothing": smoothing, "reduction": reduction}
    expected = value_and_gradient(keras.losses.CategoricalCrossentropy(**options), np.eye(CLASSES)[LABELS], y_pred)
    found = value_and_gradient(SmoothedCrossentropy(**options), LABELS, y_pred)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-4, atol=1e-6 * np.abs(expected[1]).max())


@pytest.mark.parametrize("from_logits", [True, False])
def test_without_smoothing_it_is_keras_own_sparse_loss(from_logits):
    y_pred = LOGITS if from_logits else PROBABILITIES
    expected = value_and_gradient(keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits), LABELS, y_pred)
    found = value_and_gradient(SmoothedCrossentropy(0, from_logits=from_logits), LABELS, y_pred)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5, atol=1e-9)


def test_huge_logits_give_no_nan():
    value, gradient = value_and_gradient(
        SmoothedCrossentropy(0.2), np.array([0]), np.array([[-1e4, 1e4, 0.0]], "float32")
    )
    assert value == pytest.approx(0.8 * 2e4 + 0.2 * 1e4)
    np.testing.assert_allclose(gradient, [[-0.8 - 0.2 / 3, 1 - 0.2 / 3, -0.2 / 3]], rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_predictions_are_computed_in_float32(dtype):
    half = tf.cast(LOGITS, dtype)
    found, gradient = value_and_gradient(SmoothedCrossentropy(0.2, reduction="sum"), LABELS, half)
    expected, _ = value_and_gradient(SmoothedCrossentropy(0.2, reduction="sum"), LABELS, tf.cast(half, "float32"))
    assert found.dtype == np.float32
    assert found == expected
    assert np.isfinite(gradient).all()


def test_labels_may_be_a_column_and_weights_count():
    weights = np.arange(9, dtype="float32")
    each = SmoothedCrossentropy(0.2, reduction=None)(LABELS, LOGITS)
    assert each.shape == (9,)
    found = SmoothedCrossentropy(0.2, reduction="sum")(LABELS[:, None], LOGITS, sample_weight=weights)
    np.testing.assert_allclose(found, np.sum(each * weights), rtol=1e-5)


def small_model(loss):
    inputs = keras.Input((5,))
    model = SumLossModel(inputs, keras.layers.Dense(CLASSES)(inputs), l2=0.1)
    model.compile(MomentumSGD(0.05), loss, metrics=["accuracy"])
    return model


def test_sum_loss_model_trains_with_it_as_with_the_one_hot_loss_and_is_saved(tmp_path):
    x = RANDOM.normal(size=(21, 5)).astype("float32")
    y = RANDOM.integers(0, CLASSES, 21)
    model = small_model(SmoothedCrossentropy(0.3))
    twin = small_model(keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.3))
    twin.set_weights(model.get_weights())
    fit = {"batch_size": 8, "epochs": 2, "shuffle": False, "verbose": 0}
    shown = [
        one.fit(x, labels, **fit).history["loss"] for one, labels in ((model, y), (twin, np.eye(CLASSES, dtype="f")[y]))
    ]
    np.testing.assert_allclose(shown[0], shown[1], rtol=1e-5)
    for one, other in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.loss.label_smoothing == 0.3
    assert loaded.evaluate(x, y, verbose=0) == model.evaluate(x, y, verbose=0)


def test_the_config_brings_every_argument_back():
    loss = SmoothedCrossentropy(0.05, from_logits=False, reduction="sum", name="mine")
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert isinstance(again, SmoothedCrossentropy)
    assert again.get_config() == loss.get_config()
    assert again.get_config() == {"name": "mine", "reduction": "sum", "label_smoothing": 0.05, "from_logits": False}


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, float("nan"), "0.2", True, None])
def test_an_impossible_smoothing_is_refused(smoothing):
    with pytest.raises(ValueError, match="Received: label_smoothing="):
        SmoothedCrossentropy(smoothing)


def test_one_hot_targets_are_refused():
    with pytest.raises(ValueError, match=r"takes class numbers.*y_true.shape=\(9, 7\)"):
        SmoothedCrossentropy()(np.eye(CLASSES)[LABELS], LOGITS)
