"""The train step against the same update worked out in NumPy."""

import copy
import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy_network import NumpyTrainer

from davidnet_keras import DavidNet, FastNet, FusedBatchNormalization, MomentumSGD, SumLossModel

CLASSES, L2, RATES = 3, 0.7, (0.01, 0.02, 0.005)


def smooth_model(l2=L2, **compile_arguments):
    """The network of `numpy_network`, as a SumLossModel."""
    images = keras.Input((4, 4, 2))
    x = keras.layers.Conv2D(5, 3, padding="same", use_bias=False)(images)
    x = keras.layers.Activation("tanh")(FusedBatchNormalization()(x))
    x = keras.layers.Flatten()(keras.layers.AveragePooling2D(2)(x))
    model = SumLossModel(images, keras.layers.Dense(CLASSES, use_bias=False, dtype="float32")(x), l2=l2)
    arguments = {
        "optimizer": MomentumSGD(RATES[0]),
        "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum"),
        "metrics": ["accuracy"],
    }
    model.compile(**(arguments | compile_arguments))
    return model


def pictures(count, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, 4, 4, 2)).astype("float32"), rng.integers(0, CLASSES, count)


def numpy_twin(model, l2=L2):
    return NumpyTrainer([weight.numpy() for weight in model.trainable_variables], l2)


def assert_same(model, twin, tolerance=1e-5):
    for variable, weight in zip(model.trainable_variables, twin.weights, strict=True):
        np.testing.assert_allclose(variable.numpy(), weight, rtol=tolerance, atol=tolerance, err_msg=variable.path)
    moving_mean, moving_variance = (variable.numpy() for variable in model.non_trainable_variables)
    np.testing.assert_allclose(moving_mean, twin.moving_mean, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(moving_variance, twin.moving_variance, rtol=tolerance, atol=tolerance)


def batches(x, *rest, size=8):
    return [tuple(array[start : start + size] for array in (x, *rest)) for start in range(0, len(x), size)]


class Rates(keras.callbacks.Callback):
    """A rate for each step: the twins must agree while it changes."""

    def on_train_batch_begin(self, batch, logs=None):
        self.model.optimizer.learning_rate = RATES[batch % len(RATES)]


def run_twin(twin, x, y, weights=None):
    """All batches once; the loss per example that fit shows."""
    shown = 0.0
    for step, batch in enumerate(batches(x, y) if weights is None else batches(x, y, weights)):
        losses = twin.step(*batch[:2], RATES[step % len(RATES)], *batch[2:])
        shown += (losses * (batch[2] if weights is not None else 1)).sum()
    return shown / len(x)


@pytest.mark.parametrize("reduction", ["sum", "mean", "sum_over_batch_size"])
def test_an_epoch_with_a_smaller_last_batch_is_numpys(reduction):
    x, y = pictures(21)  # 8 + 8 + 5
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=reduction)
    model = smooth_model(loss=loss)
    twin = numpy_twin(model)
    history = model.fit(x, y, batch_size=8, shuffle=False, verbose=0, callbacks=[Rates()])
    shown = run_twin(twin, x, y)
    assert_same(model, twin)
    np.testing.assert_allclose(history.history["loss"][0], shown, rtol=1e-5)
    assert loss.reduction == reduction, "the caller's own loss object was changed"


def test_decay_moves_every_trainable_variable():
    x, y = pictures(8)
    models = [smooth_model(l2=l2) for l2 in (0.0, L2)]
    models[1].set_weights(models[0].get_weights())
    for model in models:
        for variable in model.trainable_variables:
            variable.assign(variable + 0.1)  # beta starts at 0, where decay does nothing
        model.fit(x, y, batch_size=8, verbose=0)
    for plain, decayed in zip(*(model.trainable_variables for model in models), strict=True):
        assert not np.allclose(plain.numpy(), decayed.numpy(), atol=1e-5), plain.path


def test_sample_weights_weigh_the_sum():
    x, y = pictures(21)
    weights = np.random.default_rng(1).uniform(0, 2, 21).astype("float32")
    model = smooth_model()
    twin = numpy_twin(model)
    history = model.fit(x, y, sample_weight=weights, batch_size=8, shuffle=False, verbose=0, callbacks=[Rates()])
    shown = run_twin(twin, x, y, weights)
    assert_same(model, twin)
    np.testing.assert_allclose(history.history["loss"][0], shown, rtol=1e-5)


def test_class_weights_weigh_the_sum():
    x, y = pictures(21)
    model = smooth_model()
    twin = numpy_twin(model)
    class_weight = {0: 0.5, 1: 1.0, 2: 3.0}
    model.fit(x, y, class_weight=class_weight, batch_size=8, shuffle=False, verbose=0, callbacks=[Rates()])
    run_twin(twin, x, y, np.array([class_weight[label] for label in y]))
    assert_same(model, twin)


def test_steps_per_execution_takes_the_same_steps():
    x, y = pictures(21)
    model = smooth_model(steps_per_execution=3)
    twin = numpy_twin(model)
    model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    for batch in batches(x, y):
        twin.step(*batch, RATES[0])
    assert_same(model, twin)


def test_gradient_accumulation_averages_the_micro_batches():
    x, y = pictures(32)
    model = smooth_model(optimizer=MomentumSGD(RATES[0], gradient_accumulation_steps=2))
    twin = numpy_twin(model)
    model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    for start in (0, 16):
        halves = [
            twin.gradients(x[part], y[part])[1] for part in (slice(start, start + 8), slice(start + 8, start + 16))
        ]
        twin.apply([(first + second) / 2 for first, second in zip(*halves, strict=True)], RATES[0])
    assert_same(model, twin)


@pytest.mark.parametrize("wrap", [keras.optimizers.LossScaleOptimizer, None])
def test_loss_scaling_leaves_the_step_and_the_shown_loss_alone(wrap):
    x, y = pictures(21)
    inner = MomentumSGD(RATES[0], loss_scale_factor=None if wrap else 1024.0)
    model = smooth_model(optimizer=wrap(inner) if wrap else inner)
    twin = numpy_twin(model)
    history = model.fit(x, y, batch_size=8, shuffle=False, verbose=0, callbacks=[Rates()])
    shown = run_twin(twin, x, y)
    assert_same(model, twin)
    np.testing.assert_allclose(history.history["loss"][0], shown, rtol=1e-5)


def test_mixed_float16_scales_the_loss_and_follows_numpy_within_its_rounding():
    keras.config.set_dtype_policy("mixed_float16")
    x, y = pictures(24)
    model = smooth_model()
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    twin = numpy_twin(model)
    model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    for batch in batches(x, y):
        twin.step(*batch, RATES[0])
    assert_same(model, twin, tolerance=5e-3)
    assert float(model.optimizer.dynamic_scale) == 2.0**15, "no step overflowed"


def test_float16_survives_a_batch_whose_summed_loss_would_overflow():
    # 512 examples at the initial scale of 2^15: the sum's gradient at a shared weight is beyond float16's 65504.
    keras.config.set_dtype_policy("mixed_float16")
    x, y = pictures(512)
    model = smooth_model()
    model.fit(x, y, batch_size=512, shuffle=False, verbose=0)
    assert int(model.optimizer.inner_optimizer.iterations) == 1, "the step was skipped"


def mirrored(two_cpus):
    return tf.distribute.MirroredStrategy(two_cpus, cross_device_ops=tf.distribute.ReductionToOneDevice())


@pytest.mark.parametrize("count", [16, 13])  # 8 + 8: even shares; 8 + 5: shares of 3 and 2
def test_two_replicas_descend_the_global_sum_and_decay_once(two_cpus, count):
    x, y = pictures(count)
    with mirrored(two_cpus).scope():
        model = smooth_model()
    twin = numpy_twin(model)
    shown = 0.0
    history = model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    for batch_x, batch_y in batches(x, y):
        half = -(-len(batch_x) // 2)
        parts = [slice(0, half), slice(half, None)]  # each replica normalises with its own statistics
        twins = [NumpyTrainer(twin.weights) for _ in parts]
        results = [one.gradients(batch_x[part], batch_y[part]) for one, part in zip(twins, parts, strict=True)]
        shown += sum(losses.sum() for losses, _ in results)
        summed = [sum(grads) for grads in zip(*(grads for _, grads in results), strict=True)]
        twin.apply([grad + L2 * weight for grad, weight in zip(summed, twin.weights, strict=True)], RATES[0])
    for variable, weight in zip(model.trainable_variables, twin.weights, strict=True):
        np.testing.assert_allclose(variable.numpy(), weight, rtol=1e-5, atol=1e-5, err_msg=variable.path)
    np.testing.assert_allclose(history.history["loss"][0], shown / count, rtol=1e-5)
    evaluated = model.evaluate(x, y, batch_size=8, verbose=0, return_dict=True)
    alone = smooth_model()
    alone.set_weights(model.get_weights())
    np.testing.assert_allclose(
        evaluated["loss"], alone.evaluate(x, y, batch_size=8, verbose=0, return_dict=True)["loss"], rtol=1e-5
    )


def test_an_empty_replica_batch_leaves_everything_finite(two_cpus):
    # Without a convolution: TensorFlow's oneDNN one gives an empty batch the wrong number of channels.
    with mirrored(two_cpus).scope():
        images = keras.Input((4, 4, 2))
        x = keras.layers.Flatten()(FusedBatchNormalization()(images))
        model = SumLossModel(images, keras.layers.Dense(CLASSES)(x), l2=L2)
        model.compile(MomentumSGD(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x, y = pictures(9)  # 8 + 1: the second replica gets nothing of the last batch
    history = model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    assert np.isfinite(history.history["loss"][0])
    for weight in model.get_weights():
        assert np.isfinite(weight).all()


def test_saving_in_the_middle_of_training_changes_nothing(tmp_path):
    x, y = pictures(24)
    straight, stopped = smooth_model(), smooth_model(optimizer=MomentumSGD(RATES[0], momentum=0.8))
    straight.compile(MomentumSGD(RATES[0], momentum=0.8), straight.loss, metrics=["accuracy"])
    straight.set_weights(stopped.get_weights())
    straight.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    stopped.fit(x, y, batch_size=8, epochs=1, shuffle=False, verbose=0)
    stopped.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded, SumLossModel)
    assert loaded.l2 == L2
    assert float(loaded.optimizer.momentum) == pytest.approx(0.8)
    loaded.fit(x, y, batch_size=8, initial_epoch=1, epochs=2, shuffle=False, verbose=0)
    for one, other in zip(straight.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(straight.optimizer.variables, loaded.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy(), err_msg=one.path)


def test_a_float16_model_reloads_with_its_loss_scale_whatever_the_global_policy_then_is(tmp_path):
    keras.config.set_dtype_policy("mixed_float16")
    x, y = pictures(16)
    model = smooth_model()
    model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    model.save(tmp_path / "model.keras")
    keras.config.set_dtype_policy("float32")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.optimizer, keras.optimizers.LossScaleOptimizer)
    assert loaded.dtype_policy.name == "mixed_float16"
    for one, other in zip(model.optimizer.variables, loaded.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy(), err_msg=one.path)


def test_evaluate_and_predict_agree_with_the_model(tmp_path):
    x, y = pictures(21)
    model = smooth_model()
    logits = model.predict(x, batch_size=8, verbose=0)
    assert logits.shape == (21, CLASSES)
    result = model.evaluate(x, y, batch_size=8, verbose=0, return_dict=True)
    losses = keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)
    np.testing.assert_allclose(result["loss"], np.mean(losses), rtol=1e-5)
    np.testing.assert_allclose(result["accuracy"], np.mean(logits.argmax(1) == y), rtol=1e-6)


def test_a_regulariser_is_added_to_the_sum_once(two_cpus):
    def model():
        inputs = keras.Input((2,))
        outputs = keras.layers.Dense(1, use_bias=False, kernel_regularizer=keras.regularizers.L2(0.5))(inputs)
        model = SumLossModel(inputs, outputs)
        model.compile(MomentumSGD(0.01, momentum=0.0), "mse")
        model.set_weights([np.array([[1.0], [2.0]], "float32")])
        return model

    x, y = np.array([[1.0, 0.0], [0.0, 1.0]] * 2, "float32"), np.zeros((4, 1), "float32")
    with mirrored(two_cpus).scope():
        replicated = model()
    for one in (model(), replicated):
        one.fit(x, y, batch_size=4, verbose=0)
        gradient = 2 * 2 * np.array([[1.0], [2.0]]) + 2 * 0.5 * np.array([[1.0], [2.0]])
        np.testing.assert_allclose(one.get_weights()[0], np.array([[1.0], [2.0]]) - 0.01 * gradient, rtol=1e-5)


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (None, "takes one keras.losses.Loss"),
        (lambda y, p: y - p, "takes one keras.losses.Loss"),
        ("no_such_loss", "Could not interpret loss identifier: no_such_loss"),
        (keras.losses.MeanSquaredError(reduction=None), "reduction must be one of"),
        (keras.losses.MeanSquaredError(reduction="mean_with_sample_weight"), "reduction must be one of"),
    ],
)
def test_a_loss_without_a_defined_sum_is_refused(loss, words):
    with pytest.raises(ValueError, match=words):
        smooth_model(loss=loss)


@pytest.mark.parametrize("name", ["mse", "MeanSquaredError", "mean_squared_error"])
def test_a_loss_may_be_given_by_name_and_is_saved(name, tmp_path):
    inputs = keras.Input((2,))
    model = SumLossModel(inputs, keras.layers.Dense(1)(inputs))
    model.compile(MomentumSGD(0.01), name)
    x, y = np.ones((4, 2), "float32"), np.ones((4, 1), "float32")
    before = model.evaluate(x, y, verbose=0)
    model.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").evaluate(x, y, verbose=0) == before
    np.testing.assert_allclose(before, np.mean((model.predict(x, verbose=0) - y) ** 2), rtol=1e-6)


def test_an_impossible_decay_and_two_outputs_are_refused():
    inputs = keras.Input((2,))
    for l2 in (-1, float("inf"), float("nan"), "1"):
        with pytest.raises(ValueError, match=f"Received: l2={l2!r}"):
            SumLossModel(inputs, keras.layers.Dense(1)(inputs), l2=l2)
    with pytest.raises(ValueError, match="single output"):
        SumLossModel(inputs, [keras.layers.Dense(1)(inputs), keras.layers.Dense(1)(inputs)])


COPIES = {
    "copy.deepcopy": copy.deepcopy,
    "copy.copy": copy.copy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "from_config": lambda model: type(model).from_config(model.get_config()),
    "to_json": lambda model: keras.models.model_from_json(model.to_json()),
    "clone_model of a Sequential": lambda model: keras.models.clone_model(keras.Sequential([model])).layers[-1],
    "clone_model of a functional model": lambda model: keras.models.clone_model(
        keras.Model(inputs := keras.Input(model.input_shape[1:]), model(inputs))
    ).layers[-1],
}
MODELS = {
    "SumLossModel": lambda: smooth_model(run_eagerly=True),
    "DavidNet": lambda: DavidNet(num_classes=CLASSES, width=2, dropout=0.0, l2=L2),
    "FastNet": lambda: FastNet(num_classes=CLASSES, widths=(2, 3, 2), l2=L2),
}


# The networks override `get_config`, so those two ways are tried with them too.
WAYS = [("SumLossModel", way) for way in COPIES] + [
    (kind, way) for kind in ("DavidNet", "FastNet") for way in ("copy.deepcopy", "from_config")
]


@pytest.mark.parametrize(("kind", "way"), WAYS)
def test_a_copy_takes_the_same_step(kind, way):
    model = MODELS[kind]()
    twin = COPIES[way](model)
    assert type(twin) is type(model) and twin.l2 == L2
    assert not {id(weight) for weight in twin.weights} & {id(weight) for weight in model.weights}
    twin.set_weights(model.get_weights())
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 255, (4, *model.input_shape[1:])).astype("float32"), rng.integers(0, CLASSES, 4)
    for each in (model, twin):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        each.compile(MomentumSGD(RATES[0]), loss, run_eagerly=True)
        each.train_on_batch(x, y)
    for one, other in zip(model.weights, twin.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy(), err_msg=one.path)


@pytest.mark.parametrize("kind", MODELS)
def test_clone_model_which_would_lose_the_step_is_refused(kind):
    model = MODELS[kind]()
    words = rf"lose {kind}'s train step; use copy.deepcopy\(model\), or type\(model\).from_config\(model.get_config\("
    for arguments in ({}, {"clone_function": lambda layer: layer}, {"recursive": True}):
        with pytest.raises(ValueError, match=words):
            keras.models.clone_model(model, **arguments)
    with pytest.raises(ValueError, match="would lose"):
        keras.models.clone_model(keras.Sequential([model]), recursive=True)
