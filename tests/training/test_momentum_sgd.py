import keras
import numpy as np
import pytest
import tensorflow as tf

from davidnet_keras import MomentumSGD

RATES = (0.1, 0.4, 0.05, 0.0, 0.2)


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


@pytest.mark.parametrize("momentum", [-0.1, 1.0, float("nan")])
def test_a_momentum_that_cannot_be_is_refused(momentum):
    with pytest.raises(ValueError, match="Received: momentum="):
        MomentumSGD(0.1, momentum)


def test_a_plain_tensorflow_variable_is_trained_too():
    """As in a training loop without Keras's layers."""
    weight = tf.Variable([1.0, -2.0, 3.0])
    MomentumSGD(0.1).apply_gradients([(2 * weight, weight)])
    np.testing.assert_allclose(weight.numpy(), np.array([1.0, -2.0, 3.0]) * (1 - 0.1 * 2 * 1.9), rtol=1e-6)
