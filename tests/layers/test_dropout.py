import keras
import numpy as np
import pytest
import tensorflow as tf

from davidnet_keras import Dropout
from davidnet_keras.kernels import dropout
from davidnet_keras.kernels.dropout import drop, masked
from davidnet_keras.kernels.random import random_bits


def mask(layer, shape=(64, 1000)):
    return layer(tf.ones(shape), training=True).numpy() == 0


@pytest.mark.parametrize("rate", [0.05, 0.5, 0.9])
def test_inputs_are_dropped_at_the_rate_and_the_rest_scaled_up(rate):
    out = Dropout(rate, seed=1)(tf.ones((64, 1000)), training=True).numpy()
    assert abs((out == 0).mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / out.size)
    np.testing.assert_allclose(out[out != 0], 1 / (1 - rate), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_rounds_each_product_and_not_the_factor(dtype):
    x = tf.cast(tf.random.stateless_uniform((64, 1000), [1, 2], 1, 2), dtype)
    out = Dropout(0.05, seed=1, dtype=dtype)(x, training=True)
    kept, out = np.asarray(tf.cast(x, "float64")), np.asarray(tf.cast(out, "float64"))
    assert out.sum() / kept[out != 0].sum() == pytest.approx(1 / 0.95, rel=3e-4)  # bfloat16's own factor: 2e-3 more


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_replicas_drop_as_the_compiled_loop_does(dtype):
    x, key = tf.cast(tf.random.stateless_normal((64, 100), [1, 2]), dtype), tf.constant([3, 4], tf.uint32)
    compiled, plain = (np.asarray(tf.cast(drop(x, key, 0.05, compiled=way), "float32")) for way in (True, False))
    assert (compiled == 0).any()
    np.testing.assert_array_equal(compiled, plain)


def test_neighbours_are_dropped_independently():
    dropped = mask(Dropout(0.3, seed=1), (2000, 64)).astype(float)
    for shift in (1, 2, 16, 32):
        both = (dropped[:, shift:] * dropped[:, :-shift]).mean()
        assert abs(both - 0.09) < 0.005
    below = (dropped[1:] * dropped[:-1]).mean()  # 64 places on
    assert abs(below - 0.09) < 0.005


def test_masks_of_following_steps_layers_and_seeds_are_independent():
    layer = Dropout(0.3, seed=1)
    masks = [mask(layer, (2000, 64)) for _ in range(3)] + [mask(Dropout(0.3, seed=2), (2000, 64))]
    for i, one in enumerate(masks):
        for other in masks[:i]:
            assert abs((one & other).mean() - 0.09) < 0.005


def test_every_bit_of_the_place_and_of_the_key_changes_half_of_the_random_bits():
    place, key = tf.range(4096, dtype=tf.int64), tf.constant([123456789, 987654321], tf.uint32)
    place = tf.cast(place, tf.uint32)
    bits = random_bits(place, key).numpy()
    assert len(set(bits)) == 4096  # a bijection
    for bit in range(32):
        flip = np.uint32(1 << bit)
        for changed in (random_bits(place ^ flip, key), random_bits(place, key ^ tf.constant([flip, 0], tf.uint32))):
            flips = np.unpackbits((changed.numpy() ^ bits).view(np.uint8)).mean()
            assert abs(flips - 0.5) < 0.01


def test_each_step_has_a_mask_of_its_own_and_a_seed_fixes_them_all():
    first, second = Dropout(0.5, seed=3), Dropout(0.5, seed=3)
    masks = [mask(first) for _ in range(3)]
    assert not np.array_equal(masks[0], masks[1])
    for one in masks:
        np.testing.assert_array_equal(one, mask(second))
    assert not np.array_equal(masks[0], mask(Dropout(0.5, seed=4)))


def test_without_a_seed_layers_differ_and_follow_keras_set_random_seed():
    keras.utils.set_random_seed(7)
    one, other = Dropout(0.5), Dropout(0.5)
    keras.utils.set_random_seed(7)
    again = Dropout(0.5)
    assert one.seed != other.seed
    assert one.seed == again.seed


def test_a_saved_model_goes_on_with_the_masks_it_would_have_drawn(tmp_path):
    inputs = keras.Input((100,))
    model = keras.Model(inputs, Dropout(0.5)(inputs))
    x = tf.ones((4, 100))
    model(x, training=True)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        keras.saving.load_model(tmp_path / "model.keras")(x, training=True), model(x, training=True)
    )


@pytest.mark.parametrize("jit_compile", [False, True])
def test_eager_and_compiled_masks_are_the_same(jit_compile):
    layer, compiled = Dropout(0.5, seed=1), Dropout(0.5, seed=1)
    for one in (layer, compiled):
        one.build((None, 33))
    function = tf.function(lambda x: compiled(x, training=True), jit_compile=jit_compile)
    x = tf.ones((3, 33))
    np.testing.assert_array_equal(function(x), layer(x, training=True))
    np.testing.assert_array_equal(function(x), layer(x, training=True))


def test_calls_outside_a_graph_compile_once(monkeypatch):
    traced = []
    monkeypatch.setattr(dropout, "masked", lambda *args, **kwargs: traced.append(1) or masked(*args, **kwargs))
    layer = Dropout(0.5, seed=1)
    for _ in range(3):
        mask(layer, (7, 31))
    assert len(traced) == 1


def test_replicas_draw_masks_of_their_own(two_cpus):
    strategy = tf.distribute.MirroredStrategy(two_cpus, cross_device_ops=tf.distribute.ReductionToOneDevice())
    with strategy.scope():
        layer = Dropout(0.5, seed=1)
        layer.build((None, 100))
    per_replica = strategy.run(tf.function(lambda: layer(tf.ones((1, 100)), training=True)))
    one, other = (value.numpy() for value in strategy.experimental_local_results(per_replica))
    assert not np.array_equal(one, other)


def test_the_gradient_passes_where_the_input_did_infinities_included():
    layer, x = Dropout(0.5, seed=1), tf.Variable(tf.ones((10, 10)))
    with tf.GradientTape() as tape:
        out = layer(x, training=True)
    np.testing.assert_allclose(tape.gradient(out, x), out)  # 0 or 2, as the output of ones is
    assert not np.isnan(layer(tf.fill((10, 10), np.inf), training=True)).any()


def test_nothing_happens_in_inference_or_at_rate_zero():
    x = tf.ones((4, 4))
    np.testing.assert_array_equal(Dropout(0.5)(x), x)
    np.testing.assert_array_equal(Dropout(0.0)(x, training=True), x)


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_a_rate_that_cannot_be_is_refused(rate):
    with pytest.raises(ValueError, match="Received: rate="):
        Dropout(rate)
