import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import davidnet_keras
from davidnet_keras import Augmentation, DavidNet, MomentumSGD, RandomFlip, test_dataset, train_dataset

SETTINGS = {"num_classes": 7, "width": 4, "logit_scale": 0.5, "dropout": 0.1, "l2": 0.25}


def pictures(count=8, classes=10, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 32, 32, 3), np.uint8), rng.integers(0, classes, count)


def test_the_network_is_the_references():
    model = DavidNet()
    kernels = {weight.path: tuple(weight.shape) for weight in model.trainable_weights if "kernel" in weight.path}
    convolutions = [(3, 64), (64, 128), (128, 128), (128, 128), (128, 256), (256, 512), (512, 512), (512, 512)]
    assert sorted(kernels.values()) == sorted([*((3, 3, *pair) for pair in convolutions), (512, 10)])
    # Eight batch norms of scale and shift; no biases.
    channels = [64, 128, 128, 128, 256, 512, 512, 512]
    assert sum(weight.numpy().size for weight in model.trainable_weights) == (
        sum(int(np.prod(shape)) for shape in kernels.values()) + 2 * sum(channels)
    )


def test_the_forward_pass_is_the_references_layer_by_layer():
    model = DavidNet(width=4, dropout=0.0)
    x, _ = pictures()
    model.adapt(x)

    def block(name, part, h):
        layer = model.get_layer(name) if part is None else getattr(model.get_layer(name), part)
        h = tf.nn.conv2d(h, layer.conv.kernel.value, 1, "SAME")
        mean, variance = tf.nn.moments(h, [0, 1, 2])
        return tf.nn.relu((h - mean) / tf.sqrt(variance + 1e-5))

    def residual(name, h):
        return h + block(name, "second", block(name, "first", h))

    def pool(h):
        return tf.nn.max_pool2d(h, 2, 2, "VALID")

    h = (x - x.mean((0, 1, 2))) / x.std((0, 1, 2))
    h = block("prep", None, h.astype("float32"))
    h = residual("residual1", pool(block("layer1", None, h)))
    h = pool(block("layer2", None, h))
    h = residual("residual3", pool(block("layer3", None, h)))
    expected = 0.125 * tf.reduce_max(h, [1, 2]) @ model.get_layer("dense").kernel.value
    np.testing.assert_allclose(model(x, training=True), expected, rtol=1e-3, atol=1e-4)


def test_one_step_in_float64_is_the_gradient_plus_decay():
    keras.config.set_floatx("float64")
    try:
        model = DavidNet(width=2, dropout=0.0, l2=0.3, dtype="float64")
        model.compile(MomentumSGD(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        x, y = pictures()
        model.adapt(x)
        before = [weight.numpy() for weight in model.trainable_weights]
        twin = DavidNet(width=2, dropout=0.0, dtype="float64")
        twin.set_weights(model.get_weights())

        def summed_loss():
            logits = twin(x, training=True)
            return tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits))

        model.fit(x, y, batch_size=8, verbose=0)
        rng = np.random.default_rng(0)
        for variable, old, new in zip(twin.trainable_weights, before, model.trainable_weights, strict=True):
            # The first Nesterov step is 1.9 rates long. Its gradient, by central differences in a random direction.
            gradient = (old - new.numpy()) / (0.01 * 1.9) - 0.3 * old
            direction = rng.normal(size=old.shape)
            losses = []
            for sign in (1, -1):
                variable.assign(old + sign * 1e-6 * direction)
                losses.append(float(summed_loss()))
            variable.assign(old)
            slope = (losses[0] - losses[1]) / 2e-6
            np.testing.assert_allclose((gradient * direction).sum(), slope, rtol=1e-4, atol=1e-5, err_msg=variable.path)
    finally:
        keras.config.set_floatx("float32")


def fitted(dtype=None, **arguments):
    model = DavidNet(**(SETTINGS | arguments), dtype=dtype)
    x, y = pictures(classes=SETTINGS["num_classes"])
    model.adapt(x)
    model.compile(MomentumSGD(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(x, y, batch_size=8, verbose=0)
    return model, x, y


@pytest.mark.parametrize("dtype", [None, "mixed_bfloat16", "mixed_float16"])
def test_saving_in_the_middle_keeps_settings_precision_masks_and_optimizer(tmp_path, dtype):
    model, x, y = fitted(dtype)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_config() == model.get_config()
    assert loaded.l2 == SETTINGS["l2"]
    for one in (model, loaded):
        one.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    for one, other in zip(model.variables, loaded.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy(), err_msg=one.path)


def test_frozen_layers_stay_frozen_in_a_saved_model(tmp_path):
    model, x, y = fitted()
    model.get_layer("prep").trainable = False
    model.compile(MomentumSGD(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(x, y, batch_size=8, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = davidnet_keras.load_model(tmp_path / "model.keras")
    assert [layer.name for layer in loaded.layers if not layer.trainable] == ["prep"]
    before = loaded.get_layer("prep").conv.kernel.numpy()
    loaded.fit(x, y, batch_size=8, verbose=0)
    np.testing.assert_array_equal(loaded.get_layer("prep").conv.kernel.numpy(), before)


def test_a_saved_model_predicts_on_uint8_in_a_new_process(tmp_path):
    model, x, _ = fitted()
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", x)
    program = (
        "import davidnet_keras, numpy as np; "
        "np.save('out.npy', davidnet_keras.load_model('model.keras').predict(np.load('x.npy'), verbose=0))"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), model.predict(x, verbose=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_keeps_weights_statistics_and_logits_in_float32(dtype):
    model, x, _ = fitted(dtype)
    assert {weight.dtype for weight in model.weights if weight.dtype != "int64"} == {"float32"}
    assert model(x).dtype == tf.float32
    assert model.get_layer("prep")(tf.zeros((1, 32, 32, 3))).dtype == dtype.removeprefix("mixed_")


def test_no_variable_of_a_step_is_kept_on_the_host():
    """TensorFlow keeps int32 variables there; a step that is compiled for a GPU then ends with an error."""
    model, _, _ = fitted()
    assert model.settings["dropout"]
    assert "int32" not in {variable.dtype for variable in [*model.variables, *model.metrics_variables]}


def test_pictures_are_channels_last_whatever_keras_is_set_to():
    keras.config.set_image_data_format("channels_first")
    try:
        assert DavidNet(width=2)(pictures(2)[0]).shape == (2, 10)
    finally:
        keras.config.set_image_data_format("channels_last")


def test_it_learns():
    x, y = pictures(32)
    model = DavidNet(width=4)
    model.adapt(x)
    model.compile(MomentumSGD(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    losses = model.fit(x, y, batch_size=32, epochs=40, verbose=0).history["loss"]
    assert losses[-1] < losses[0] / 4


@pytest.mark.parametrize(
    "arguments", [{"width": 0}, {"num_classes": 0}, {"width": 2.5}, {"dropout": 1.0}, {"l2": -1.0}]
)
def test_settings_that_cannot_be_are_refused(arguments):
    with pytest.raises(ValueError, match="Received"):
        DavidNet(**arguments)


def test_two_replicas_train_from_the_pipeline(two_cpus):
    x, y = pictures(40)
    strategy = tf.distribute.MirroredStrategy(two_cpus, cross_device_ops=tf.distribute.ReductionToOneDevice())
    with strategy.scope():
        model = DavidNet(width=2, l2=0.1)
        model.adapt(x)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(MomentumSGD(1e-3), loss, metrics=["accuracy"])
    data = train_dataset(x, y, 16, Augmentation([RandomFlip()]))  # 16 + 16 + 8
    history = model.fit(data, steps_per_epoch=3, epochs=2, validation_data=test_dataset(x, y), shuffle=False, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert model.get_layer("prep").dropout.state.numpy()[1] == 6  # one count a step, whatever the replicas
    alone = DavidNet(width=2, l2=0.1)
    alone.set_weights(model.get_weights())
    np.testing.assert_allclose(alone.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-4, atol=1e-5)
