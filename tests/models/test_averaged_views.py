"""Test-time augmentation, against views made in NumPy."""

import copy
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from davidnet_keras import DavidNet, MomentumSGD, SmoothedCrossentropy, SumLossModel, TestTimeAugmentation

CLASSES = 3
RANDOM = np.random.default_rng(0)
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def pictures(count=11, size=(6, 7), channels=2):
    x = RANDOM.integers(0, 256, (count, *size, channels)).astype("uint8")
    return x, RANDOM.integers(0, CLASSES, count)


def classifier(kind=keras.Model, size=(6, 7), channels=2, **kwargs):
    """A model whose output depends on where every pixel is, and on whether it trains."""
    inputs = keras.Input((*size, channels))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    x = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization()(x))
    return kind(inputs, keras.layers.Dense(CLASSES, **kwargs)(x))


def numpy_views(x):
    """{(shift, mirrored): the pictures seen so}, the shift down and to the right."""
    seen = {}
    for shift in (-2, -1, 0, 1, 2):
        padded = np.pad(x, [(0, 0), (2, 2), (2, 2), (0, 0)], mode="reflect")
        moved = padded[:, 2 - shift : 2 - shift + x.shape[1], 2 - shift : 2 - shift + x.shape[2]]
        seen |= {(shift, False): moved, (shift, True): moved[:, :, ::-1]}
    return seen


def numpy_average(model, x, weights):
    seen = numpy_views(x)
    return sum(weight * model.predict(seen[view], verbose=0).astype("float32") for view, weight in weights.items())


AIRBENCH = {(0, False): 1 / 4, (0, True): 1 / 4} | {(s, m): 1 / 8 for s in (-1, 1) for m in (False, True)}
WEIGHTS = {
    (False, 0): {(0, False): 1},
    (True, 0): {(0, False): 1 / 2, (0, True): 1 / 2},
    (False, 1): {(0, False): 1 / 2, (-1, False): 1 / 4, (1, False): 1 / 4},
    (True, 1): AIRBENCH,
    (True, 2): AIRBENCH | {(s, m): 1 / 16 for s in (-2, -1, 1, 2) for m in (False, True)},
}


@pytest.mark.parametrize(("mirror", "shifts"), WEIGHTS)
def test_predictions_are_the_weighted_mean_over_the_views(mirror, shifts):
    x, _ = pictures()
    model = classifier()
    found = TestTimeAugmentation(model, mirror=mirror, shifts=shifts).predict(x, batch_size=4, verbose=0)
    np.testing.assert_allclose(found, numpy_average(model, x, WEIGHTS[mirror, shifts]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("size", "channels"), [((32, 32), 3), ((5, 9), 1), ((None, None), 4)])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_any_size_and_number_of_channels_will_do(size, channels, dtype):
    inputs = keras.Input((*size, channels))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    outputs = keras.layers.Dense(CLASSES, "softmax")(keras.layers.GlobalMaxPooling2D()(x))
    model = keras.Model(inputs, outputs)
    x, _ = pictures(3, [side or 8 for side in size], channels)
    x = x.astype(dtype)
    found = TestTimeAugmentation(model, shifts=1).predict(x, verbose=0)
    np.testing.assert_allclose(found, numpy_average(model, x, AIRBENCH), rtol=1e-4, atol=1e-6)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.flatten, self.dense = keras.layers.Flatten(), keras.layers.Dense(CLASSES)

    def call(self, x):
        return self.dense(self.flatten(x))


@pytest.mark.parametrize(
    "make", [Subclassed, lambda: keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(CLASSES)])]
)
def test_a_model_without_a_graph_is_wrapped_once_it_is_built(make):
    x, _ = pictures()
    model = make()
    with pytest.raises(ValueError, match="Build the model first"):
        TestTimeAugmentation(model)
    model(x.astype("float32"))
    found = TestTimeAugmentation(model).predict(x, verbose=0)
    np.testing.assert_allclose(found, numpy_average(model, x, WEIGHTS[True, 0]), rtol=1e-4, atol=1e-3)


def test_half_precision_outputs_are_averaged_in_float32_and_pictures_not_rounded():
    keras.config.set_dtype_policy("mixed_bfloat16")
    x, _ = pictures()
    model = classifier()
    assert model.compute_dtype == "bfloat16"
    found = TestTimeAugmentation(model, shifts=1)(x.astype("float32"))
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, numpy_average(model, x.astype("float32"), AIRBENCH), atol=1e-6)
    seen = []
    keeps = keras.layers.Lambda(lambda images: seen.append(images.dtype) or images[:, 0, 0], dtype="float32")
    stock = keras.Sequential(
        [keras.Input((6, 7, 2), dtype="float32"), keras.layers.Rescaling(1.0, dtype="float32"), keeps]
    )
    TestTimeAugmentation(stock)(tf.constant(x, "float32") + 0.001)
    assert set(seen) == {tf.float32}


@pytest.mark.parametrize("kind", [keras.Model, SumLossModel])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_evaluate_shows_the_models_own_loss_and_metrics_of_the_average(kind, reduction):
    x, y = pictures()
    model = classifier(kind)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=reduction)
    top2 = keras.metrics.SparseTopKCategoricalAccuracy(2, name="top2")
    model.compile(MomentumSGD(0.01), loss, metrics=["accuracy", top2])
    result = TestTimeAugmentation(model, shifts=1).evaluate(x, y, batch_size=11, verbose=0, return_dict=True)
    average = numpy_average(model, x, AIRBENCH)
    losses = keras.losses.sparse_categorical_crossentropy(y, average, from_logits=True).numpy()
    per_example = reduction == "mean" or kind is SumLossModel
    assert result["loss"] == pytest.approx(losses.mean() if per_example else losses.sum(), rel=1e-5)
    assert result["accuracy"] == pytest.approx(np.mean(average.argmax(1) == y))
    assert result["top2"] == pytest.approx(np.mean(np.argsort(average)[:, -2:] == y[:, None]) * 2)


def test_a_smaller_last_batch_and_weights_count_as_in_the_model():
    x, y = pictures()
    weights = RANDOM.uniform(0, 2, 11).astype("float32")
    model = classifier(SumLossModel)
    model.compile(MomentumSGD(0.01), SmoothedCrossentropy(0.2), weighted_metrics=["accuracy"])
    wrapped = TestTimeAugmentation(model, mirror=False)  # the picture alone: it must show what the model shows
    evaluate = {"sample_weight": weights, "batch_size": 4, "verbose": 0, "return_dict": True}
    assert wrapped.evaluate(x, y, **evaluate) == pytest.approx(model.evaluate(x, y, **evaluate), rel=1e-5)


def test_it_follows_what_the_model_is_compiled_with_unless_compiled_itself():
    x, y = pictures()
    model = classifier()
    wrapped = TestTimeAugmentation(model)
    with pytest.raises(ValueError, match="Neither the wrapped model nor"):
        wrapped.evaluate(x, y, verbose=0)
    model.compile("sgd", LOSS, metrics=["accuracy"])
    assert set(wrapped.evaluate(x, y, verbose=0, return_dict=True)) == {"loss", "accuracy"}
    assert len(wrapped.test_on_batch(x, y)) == 2
    model.compile("sgd", LOSS, metrics=["sparse_top_k_categorical_accuracy"])
    first = wrapped.evaluate(x, y, verbose=0, return_dict=True)
    assert set(first) == {"loss", "sparse_top_k_categorical_accuracy"}
    wrapped.compile(loss=SmoothedCrossentropy(0.5), metrics=["accuracy"])
    own = wrapped.evaluate(x, y, verbose=0, return_dict=True)
    assert set(own) == {"loss", "accuracy"} and own["loss"] != first["loss"]


def test_metrics_may_be_given_by_the_name_of_the_models_output():
    x, y = pictures()
    model = classifier(name="classes")
    model.compile("sgd", LOSS, metrics={"classes": ["accuracy"]})
    result = TestTimeAugmentation(model, mirror=False).evaluate(x, y, verbose=0, return_dict=True)
    assert result == pytest.approx(model.evaluate(x, y, verbose=0, return_dict=True))


def local_loss(y_true, y_pred):
    return keras.losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)


def test_a_loss_that_is_a_plain_function_is_taken_over_and_metrics_are_not_shared():
    x, y = pictures()
    model = classifier()
    model.compile("sgd", local_loss, metrics=[keras.metrics.SparseCategoricalAccuracy(name="mine")])
    before = model.evaluate(x, y, verbose=0, return_dict=True)
    wrapped = TestTimeAugmentation(model, mirror=False)
    assert wrapped.evaluate(x, y, verbose=0, return_dict=True) == pytest.approx(before)
    assert not {id(variable) for variable in wrapped.metrics_variables} & {id(v) for v in model.metrics_variables}


def test_regularisers_and_add_loss_count_once_as_in_the_model():
    class Adds(keras.layers.Layer):
        def call(self, inputs):
            self.add_loss(keras.ops.mean(inputs**2))
            return inputs

    x, y = pictures()
    inputs = keras.Input((6, 7, 2))
    adds = Adds()(keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs)))
    model = keras.Model(inputs, keras.layers.Dense(CLASSES, kernel_regularizer="l2")(adds))
    model.compile("sgd", LOSS)
    wrapped = TestTimeAugmentation(model, shifts=1)
    options = {"verbose": 0, "batch_size": 11}
    extra = model.evaluate(x, y, **options) - float(LOSS(y, model.predict(x, verbose=0)))
    assert extra > 0.1
    average = numpy_average(model, x, AIRBENCH)
    assert wrapped.evaluate(x, y, **options) == pytest.approx(float(LOSS(y, average)) + extra, rel=1e-4)


def test_weights_are_shared_and_what_the_model_learns_is_seen():
    x, y = pictures()
    model = classifier()
    model.compile("sgd", LOSS)
    wrapped = TestTimeAugmentation(model, shifts=1)
    before = wrapped.predict(x, verbose=0)
    assert [id(weight) for weight in wrapped.weights] == [id(weight) for weight in model.weights]
    model.fit(x, y, verbose=0)
    after = wrapped.predict(x, verbose=0)
    assert not np.allclose(before, after)
    np.testing.assert_allclose(after, numpy_average(model, x, AIRBENCH), rtol=1e-5, atol=1e-6)


def test_every_view_runs_in_inference_mode_whatever_is_asked():
    x, _ = pictures()
    model = classifier()
    wrapped = TestTimeAugmentation(model)
    before = [weight.numpy() for weight in model.weights]
    np.testing.assert_array_equal(wrapped(x, training=True), wrapped(x, training=False))
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)


def test_training_is_refused():
    x, y = pictures()
    model = classifier()
    model.compile("sgd", LOSS)
    wrapped = TestTimeAugmentation(model)
    for train in (wrapped.fit, wrapped.train_on_batch):
        with pytest.raises(NotImplementedError, match="does not train; fit the model in it"):
            train(x, y)


@pytest.mark.parametrize("kind", [keras.Model, SumLossModel])
@pytest.mark.parametrize("own", [False, True])
def test_saving_and_loading_bring_back_views_weights_and_compilation(tmp_path, kind, own):
    x, y = pictures()
    model = classifier(kind)
    model.compile(MomentumSGD(0.01), LOSS, metrics=["accuracy"])
    model.fit(x, y, batch_size=4, verbose=0)
    wrapped = TestTimeAugmentation(model, mirror=False, shifts=2, name="seen")
    if own:
        wrapped.compile(loss=SmoothedCrossentropy(0.4), metrics=["accuracy"])
    before = wrapped.evaluate(x, y, verbose=0, return_dict=True)
    wrapped.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded, TestTimeAugmentation)
    assert (loaded.name, loaded.mirror, loaded.shifts) == ("seen", False, 2)
    assert type(loaded.model) is type(model)
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), wrapped.predict(x, verbose=0))
    assert loaded.evaluate(x, y, verbose=0, return_dict=True) == before
    loaded.model.fit(x, y, batch_size=4, verbose=0)  # the model in it goes on training
    assert int(loaded.model.optimizer.iterations) == 2 * int(model.optimizer.iterations)


def test_davidnet_with_the_optimizer_that_it_was_compiled_with():
    x, y = pictures(5, (32, 32), 3)
    model = DavidNet(num_classes=CLASSES, width=2)
    model.adapt(x)
    model.compile(MomentumSGD(0.01), LOSS, metrics=["accuracy"])
    wrapped = TestTimeAugmentation(model, shifts=1)
    result = wrapped.evaluate(x, y, batch_size=3, verbose=0, return_dict=True)
    average = numpy_average(model, x, AIRBENCH)
    assert result["loss"] == pytest.approx(float(LOSS(y, average)), rel=1e-4)
    assert wrapped.optimizer is None


def test_it_is_traced_once_for_all_batches_of_one_size():
    traced = []

    class Counts(keras.layers.Layer):
        def call(self, inputs):
            traced.append(inputs)
            return inputs

    inputs = keras.Input((6, 7, 2))
    model = keras.Model(inputs, keras.layers.Dense(CLASSES)(keras.layers.Flatten()(Counts()(inputs))))
    traced.clear()
    wrapped = TestTimeAugmentation(model, shifts=1)
    x, _ = pictures(12)
    wrapped.predict(x, batch_size=4, verbose=0)
    wrapped.predict(x, batch_size=4, verbose=0)
    assert len(traced) == 6  # the views, in one graph
    assert all(not isinstance(tensor, tf.__internal__.EagerTensor) for tensor in traced)


def test_a_view_waits_for_the_one_before():
    """Each view's model begins after the last one's output: the graph has a path from output to next input."""
    x, _ = pictures()
    wrapped = TestTimeAugmentation(classifier(), shifts=1)
    graph = tf.function(wrapped).get_concrete_function(tf.TensorSpec(x.shape, tf.uint8)).graph
    products = [operation for operation in graph.get_operations() if operation.type == "MatMul"]
    assert len(products) == 6

    def reached(operation):
        seen, todo = set(), [operation]
        while todo:
            one = todo.pop()
            if one.name not in seen:
                seen.add(one.name)
                todo += [*(tensor.op for tensor in one.inputs), *one.control_inputs]
        return seen

    for earlier, later in itertools.pairwise(products):
        assert earlier.name in reached(later)


def test_two_replicas_show_what_one_shows(two_cpus):
    x, y = pictures(12)
    strategy = tf.distribute.MirroredStrategy(two_cpus, cross_device_ops=tf.distribute.ReductionToOneDevice())
    with strategy.scope():
        model = classifier(SumLossModel)
        model.compile(MomentumSGD(0.01), LOSS, metrics=["accuracy"])
    alone = classifier(SumLossModel)
    alone.compile(MomentumSGD(0.01), LOSS, metrics=["accuracy"])
    alone.set_weights(model.get_weights())
    results = [
        TestTimeAugmentation(one, shifts=1).evaluate(x, y, batch_size=4, verbose=0, return_dict=True)
        for one in (model, alone)
    ]
    assert results[0] == pytest.approx(results[1], rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model": 3}, "wraps a keras.Model. Received: model=3"),
        ({"mirror": 1}, "`mirror` must be True or False. Received: mirror=1"),
        ({"shifts": -1}, "whole number of 0 or more. Received: shifts=-1"),
        ({"shifts": 1.0}, "Received: shifts=1.0"),
        ({"shifts": True}, "Received: shifts=True"),
        ({"shifts": 6}, "moved by less than its size. Received: shifts=6"),
    ],
)
def test_impossible_arguments_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        TestTimeAugmentation(**({"model": classifier()} | arguments))


def test_a_clone_which_would_be_a_plain_model_is_refused_and_a_copy_is_whole():
    wrapped = TestTimeAugmentation(classifier(), mirror=False, shifts=1)
    with pytest.raises(ValueError, match="clone the model in it and wrap the clone"):
        keras.models.clone_model(wrapped)
    x, _ = pictures(2)
    np.testing.assert_array_equal(copy.deepcopy(wrapped).predict(x, verbose=0), wrapped.predict(x, verbose=0))


def test_models_that_are_no_picture_classifiers_are_refused():
    flat, image = keras.Input((4,)), keras.Input((4, 4, 1))
    with pytest.raises(ValueError, match="must take pictures"):
        TestTimeAugmentation(keras.Model(flat, keras.layers.Dense(2)(flat)))
    with pytest.raises(ValueError, match="2 inputs, 1 outputs"):
        TestTimeAugmentation(keras.Model([flat, image], keras.layers.Dense(2)(flat)))
    labels = keras.ops.argmax(keras.layers.Flatten()(image), axis=-1)
    with pytest.raises(ValueError, match="no floating-point numbers"):
        TestTimeAugmentation(keras.Model(image, labels))(np.zeros((1, 4, 4, 1), "float32"))
