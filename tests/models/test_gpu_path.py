"""The GPU's path, emulated: XLA compiles the whole step, and no kernel made for CPUs is taken."""

import keras
import numpy as np
import pytest

from davidnet_keras import DavidNet, FastNet, MomentumSGD
from davidnet_keras.kernels import convolution, devices

X = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
Y = np.arange(8)
NETWORKS = {
    "davidnet": lambda dtype: DavidNet(width=4, dropout=0.0, l2=0.1, dtype=dtype),
    "fastnet": lambda dtype: FastNet(widths=(4, 8, 8), activation="hard_gelu", dtype=dtype),
}


def stepped(make, dtype, initial_scale=None, **kwargs):
    """The model, its loss and how far a step moved each weight."""
    keras.utils.set_random_seed(0)
    model = make(dtype)
    model.adapt(X)
    optimizer = MomentumSGD(1e-3)
    if initial_scale:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=initial_scale)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True), **kwargs)
    before = [np.asarray(weight) for weight in model.trainable_variables]
    loss = model.train_on_batch(X, Y)
    return model, loss, [np.asarray(new) - old for new, old in zip(model.trainable_variables, before, strict=True)]


@pytest.fixture
def gpu(monkeypatch):
    """As if there were a GPU."""
    monkeypatch.setattr(devices, "visible_gpus", lambda: ["GPU"])
    monkeypatch.setattr(convolution, "small_map_conv2d", None)
    monkeypatch.setattr(convolution, "winograd_conv2d", None)


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_a_step_in_float32_is_the_cpus(make, request):
    _, cpu_loss, cpu_changes = stepped(make, "float32")
    request.getfixturevalue("gpu")
    _, loss, changes = stepped(make, "float32", jit_compile=True)
    np.testing.assert_allclose(loss, cpu_loss, rtol=1e-5)
    for change, expected in zip(changes, cpu_changes, strict=True):
        np.testing.assert_allclose(change, expected, rtol=0, atol=1e-2 * np.abs(expected).max() + 1e-9)


@pytest.mark.slow
@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_a_step_in_half_precision_moves_every_weight(make, dtype):
    _, loss, changes = stepped(make, dtype, jit_compile=True)
    assert np.isfinite(loss)
    assert all(np.isfinite(change).all() and change.any() for change in changes)


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_an_overflow_in_float16_is_skipped_and_halves_the_loss_scale(make):
    model, _, changes = stepped(make, "mixed_float16", initial_scale=2.0**40, jit_compile=True)
    assert float(np.asarray(model.optimizer.dynamic_scale)) == 2.0**39
    assert not any(change.any() for change in changes)
    assert all(np.isfinite(np.asarray(weight)).all() for weight in model.weights)
