"""A DavidNet of one convolution, quick to trace, for the tests of what happens around a network."""

import keras
import pytest

from davidnet_keras import ConvBN
from davidnet_keras.models import davidnet


def small_body(x, num_classes, width, dropout, dtype):
    x = keras.layers.AveragePooling2D(8, dtype=dtype)(x)  # (batch, 4, 4, 3)
    x = ConvBN(width, dropout, pool=False, dtype=dtype, name="prep")(x)
    x = keras.layers.GlobalMaxPooling2D(dtype=dtype)(x)
    return keras.layers.Dense(num_classes, use_bias=False, dtype=dtype, name="dense")(x)


@pytest.fixture(scope="module")
def small_davidnet():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(davidnet, "_davidnet", small_body)
        yield


@pytest.fixture(scope="module", params=["small", pytest.param("davidnet", marks=pytest.mark.slow)])
def network(request):
    """DavidNet with one convolution, or, among the slow tests, as it is."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "small":
            patch.setattr(davidnet, "_davidnet", small_body)
        yield request.param
