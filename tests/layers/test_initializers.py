"""Weights start as torch's do."""

import keras
import numpy as np
import pytest

from davidnet_keras.layers.initializers import torch_init


@pytest.mark.parametrize("layer", [keras.layers.Conv2D(32, 3, use_bias=False), keras.layers.Dense(64, use_bias=False)])
def test_weights_start_as_torchs_do(layer):
    layer.kernel_initializer = torch_init()
    layer.build((None, 8, 8, 24) if isinstance(layer, keras.layers.Conv2D) else (None, 128))
    kernel = layer.kernel.numpy()
    bound = 1 / np.sqrt(np.prod(kernel.shape[:-1]))
    assert np.abs(kernel).max() <= bound
    assert np.abs(kernel).max() > 0.99 * bound
    np.testing.assert_allclose(kernel.var(), bound**2 / 3, rtol=0.05)
