"""The optimizers against the same updates worked out in NumPy."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from davidnet_keras import MomentumSGD, Muon, ParameterGroup
from davidnet_keras.training.optimizers import orthogonal

RATES = (0.1, 0.4, 0.05, 0.0, 0.2)
MUON_RATES = (0.2, 0.1, 0.05)


def walk(optimizer, rates=RATES):
    """The weights after each step on the gradient 2 w."""
    weight = keras.Variable(np.array([1.0, -2.0, 3.0], "float32"))
    path = []
    for rate in rates:
        optimizer.learning_rate = rate
        optimizer.apply([2 * weight.value], [weight])
        path.append(weight.numpy())
    return np.array(path)


@pytest.mark.parametrize("nesterov", [True, False])
def test_the_rate_stays_outside_the_velocity(nesterov):
    weight, velocity, expected = np.array([1.0, -2.0, 3.0]), 0.0, []
    for rate in RATES:
        gradient = 2 * weight
        velocity = 0.8 * velocity + gradient
        weight = weight - rate * (gradient + 0.8 * velocity if nesterov else velocity)
        expected.append(weight)
    np.testing.assert_allclose(walk(MomentumSGD(0.1, 0.8, nesterov)), expected, rtol=1e-6)


@pytest.mark.parametrize("nesterov", [True, False])
def test_it_is_keras_sgd_at_a_constant_rate_and_no_other(nesterov):
    ours, keras_own = (cls(0.1, momentum=0.8, nesterov=nesterov) for cls in (MomentumSGD, keras.optimizers.SGD))
    constant = (0.1,) * 5
    np.testing.assert_allclose(walk(ours, constant), walk(keras_own, constant), rtol=1e-5)
    ours, keras_own = (cls(0.1, momentum=0.8, nesterov=nesterov) for cls in (MomentumSGD, keras.optimizers.SGD))
    assert not np.allclose(walk(ours), walk(keras_own), rtol=1e-2)


def test_momentum_can_be_changed_between_steps_and_is_in_the_config():
    changed, constant = MomentumSGD(0.1, 0.5), MomentumSGD(0.1, 0.9)
    changed.momentum = 0.9
    np.testing.assert_array_equal(walk(changed), walk(constant))
    config = changed.get_config()
    assert config["momentum"] == pytest.approx(0.9)
    assert float(MomentumSGD.from_config(config).momentum) == pytest.approx(0.9)


def test_non_default_arguments_survive_the_config():
    optimizer = MomentumSGD(0.25, momentum=0.7, nesterov=False, clipnorm=1.0, name="mine")
    copied = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(copied, MomentumSGD)
    assert (copied.nesterov, copied.clipnorm, copied.name) == (False, 1.0, "mine")
    assert float(copied.learning_rate) == 0.25


@pytest.mark.parametrize("momentum", [-0.1, 1.0, float("nan"), "0.9", None])
def test_a_momentum_that_cannot_be_is_refused(momentum):
    with pytest.raises(ValueError, match="Received: momentum="):
        MomentumSGD(0.1, momentum)


def test_a_plain_tensorflow_variable_is_trained_too():
    """As in a training loop without Keras's layers."""
    weight = tf.Variable([1.0, -2.0, 3.0])
    MomentumSGD(0.1).apply_gradients([(2 * weight, weight)])
    np.testing.assert_allclose(weight.numpy(), np.array([1.0, -2.0, 3.0]) * (1 - 0.1 * 2 * 1.9), rtol=1e-6)


def variable(values, path):
    made = keras.Variable(np.asarray(values, "float32"), name="weight")
    made._path = path  # Keras makes it from the scopes of a model's layers
    return made


def newton_schulz(matrix, steps):
    """The published iteration, on the transposed matrix."""
    x = matrix.T / np.linalg.norm(matrix)
    for _ in range(steps):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.T


@pytest.mark.parametrize("shape", [(30, 7), (7, 30), (5, 5)])
def test_five_steps_take_all_singular_values_near_one_and_keep_the_directions(shape):
    matrix = np.random.default_rng(0).normal(size=shape).astype("float32")
    u, _, v = np.linalg.svd(matrix, full_matrices=False)
    values = np.diag(u.T @ orthogonal(matrix, 5) @ v.T)
    assert (values > 0.6).all() and (values < 1.3).all()
    np.testing.assert_allclose(u @ np.diag(values) @ v, orthogonal(matrix, 5), atol=1e-4)


def test_in_bfloat16_the_direction_is_the_same_to_its_rounding():
    matrix = np.random.default_rng(0).normal(size=(90, 20)).astype("float32")
    found, true = orthogonal(matrix, 3, "bfloat16"), np.asarray(orthogonal(matrix, 3))
    assert keras.backend.standardize_dtype(found.dtype) == "bfloat16"
    found = np.asarray(found, "float32")
    growth = 3.4445**3  # of a small singular value, and of an error in it, over the three steps
    assert np.linalg.norm(found - true) < growth * 2**-9 * np.linalg.norm(true)
    kernel = variable(np.zeros((3, 3, 10, 20)), "kernel")
    Muon(1.0, 0.0, newton_schulz_dtype="bfloat16").apply([matrix.reshape(3, 3, 10, 20)], [kernel])
    np.testing.assert_array_equal(kernel.numpy().reshape(90, 20), -found)


def test_a_kernel_is_normalised_and_moved_by_the_orthogonal_velocity():
    rng = np.random.default_rng(0)
    w, path = rng.normal(size=(3, 3, 4, 6)), []
    gradients = rng.normal(size=(len(MUON_RATES), 3, 3, 4, 6))
    kernel = variable(w, "conv/kernel")
    optimizer, velocity = Muon(momentum=0.6), 0.0
    for rate, gradient in zip(MUON_RATES, gradients, strict=True):
        optimizer.learning_rate = rate
        optimizer.apply([gradient.astype("float32")], [kernel])
        velocity = 0.6 * velocity + gradient
        update = newton_schulz((gradient + 0.6 * velocity).reshape(36, 6), 3).reshape(w.shape)
        w = w * np.sqrt(6) / np.linalg.norm(w) - rate * update
        path.append((kernel.numpy(), w))
    for found, expected in path:
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_size_of_the_gradient_does_not_matter_to_a_kernel():
    gradient = np.random.default_rng(0).normal(size=(3, 3, 2, 5)).astype("float32")
    kernels = [variable(np.ones((3, 3, 2, 5)), "kernel") for _ in range(2)]
    for kernel, scale in zip(kernels, (1, 1000), strict=True):
        Muon(0.1).apply([scale * gradient], [kernel])
    np.testing.assert_allclose(kernels[0].numpy(), kernels[1].numpy(), rtol=1e-4)


def test_other_weights_move_as_by_momentum_sgd_with_their_own_momentum():
    gradients = np.random.default_rng(1).normal(size=(len(MUON_RATES), 5)).astype("float32")
    ours, sgds = (variable(np.arange(5), "head/kernel") for _ in range(2))
    muon, sgd = Muon(momentum=0.6, sgd_momentum=0.85), MomentumSGD(0.1, 0.85)
    for rate, gradient in zip(MUON_RATES, gradients, strict=True):
        for optimizer, weight in ((muon, ours), (sgd, sgds)):
            optimizer.learning_rate = rate
            optimizer.apply([gradient], [weight])
    np.testing.assert_array_equal(ours.numpy(), sgds.numpy())


def test_a_kernel_that_a_group_names_moves_as_the_group_says():
    gradient = np.random.default_rng(0).normal(size=(3, 3, 4, 1)).astype("float32")
    ours, sgds = (variable(np.ones((3, 3, 4, 1)), "depthwise/kernel") for _ in range(2))
    Muon(0.1, groups=[ParameterGroup("depthwise", 2.0)]).apply([gradient], [ours])
    MomentumSGD(0.2, 0.85).apply([gradient], [sgds])
    np.testing.assert_allclose(ours.numpy(), sgds.numpy(), rtol=1e-6)


def test_three_steps_bring_all_but_the_smallest_singular_values_near_one():
    u, v = (np.linalg.qr(np.random.default_rng(seed).normal(size=(5, 5)))[0] for seed in (0, 1))
    values = np.array([1.0, 0.5, 0.2, 0.05, 0.001])
    found = np.diag(u.T @ np.asarray(orthogonal((u * values @ v.T).astype("float32"), 3)) @ v)
    assert (found[:4] > 0.7).all() and (found[:4] < 1.21).all() and 0 < found[4] < 0.1


def test_a_kernel_of_zeros_stays_finite():
    kernel = variable(np.zeros((3, 3, 2, 2)), "kernel")
    Muon().apply([np.ones((3, 3, 2, 2), "float32")], [kernel])
    assert np.isfinite(kernel.numpy()).all()


@pytest.mark.parametrize("make", [MomentumSGD, Muon])
def test_a_group_has_its_own_rate_and_decay_and_may_fade(make):
    group = ParameterGroup("bias$", rate=3.0, decay=0.5, fade_steps=2)
    weights = [variable(np.ones(2), path) for path in ("layer/bias", "layer/beta")]
    optimizer = make(0.1, groups=[group])
    w, velocity, steps = np.ones(2), 0.0, []
    momentum = 0.85 if make is Muon else 0.9
    for step in range(4):
        optimizer.apply([np.full(2, 0.2, "float32")] * 2, weights)
        gradient = 0.2 + 0.5 * w
        velocity = momentum * velocity + gradient
        w = w - 0.1 * 3.0 * max(1 - step / 2, 0) * (gradient + momentum * velocity)
        steps.append(weights[0].numpy())
        np.testing.assert_allclose(weights[0].numpy(), w, rtol=1e-5)
    np.testing.assert_array_equal(steps[2], steps[3])  # faded
    alone = variable(np.ones(2), "layer/beta")
    plain = make(0.1)
    for _ in range(4):
        plain.apply([np.full(2, 0.2, "float32")], [alone])
    np.testing.assert_array_equal(weights[1].numpy(), alone.numpy())


def test_the_first_group_that_fits_counts():
    groups = [ParameterGroup("first", 2.0), ParameterGroup("kernel", 5.0)]
    weight = variable([1.0], "first/kernel")
    MomentumSGD(0.1, 0.0, groups=groups).apply([np.ones(1, "float32")], [weight])
    np.testing.assert_allclose(weight.numpy(), [0.8], rtol=1e-6)


def test_muon_comes_back_from_its_config():
    groups = [ParameterGroup("bias", 2.0, 0.1, 7), ParameterGroup("head")]
    optimizer = Muon(0.3, 0.5, 0.7, 4, "bfloat16", groups=groups, name="mine")
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(again, Muon) and again.groups == groups and again.name == "mine"
    assert again.get_config() == optimizer.get_config()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sgd_momentum", 1.0),
        ("momentum", -0.1),
        ("newton_schulz_steps", 0),
        ("newton_schulz_steps", 2.5),
        ("newton_schulz_dtype", "int32"),
        ("newton_schulz_dtype", "float8_e4m3fn"),
    ],
)
def test_impossible_arguments_of_muon_are_refused(name, value):
    with pytest.raises(ValueError, match=f"Received: {name}="):
        Muon(**{name: value})


WRONG = [
    {"pattern": "("},
    {"pattern": re.compile("bias")},
    {"pattern": b"bias"},
    {"rate": -1.0},
    {"rate": "1"},
    {"rate": float("inf")},
    {"decay": None},
    {"fade_steps": 0},
]


@pytest.mark.parametrize("wrong", [*WRONG, {"fade_steps": 2.5}, {"fade_steps": True}])
def test_impossible_groups_are_refused(wrong):
    with pytest.raises(ValueError, match=r"Received: (ParameterGroup|(rate|decay|fade_steps)=)"):
        ParameterGroup(**{"pattern": "bias"} | wrong)
