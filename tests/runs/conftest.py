"""A DavidNet of one convolution, quick to trace, for the tests of what happens around a network."""

import keras
import pytest

from davidnet_keras import ConvBN, Normalization
from davidnet_keras.models import davidnet
from davidnet_keras.models.network import IMAGE_SHAPE, logits_layer


def small_graph(num_classes, width, logit_scale, dropout, dtype):
    images = keras.Input(IMAGE_SHAPE, name="images")
    x = Normalization(dtype=dtype, name="normalize")(images)
    x = keras.layers.AveragePooling2D(8, dtype=dtype)(x)  # (batch, 4, 4, 3)
    x = ConvBN(width, dropout, pool=False, dtype=dtype, name="prep")(x)
    x = keras.layers.GlobalMaxPooling2D(dtype=dtype)(x)
    x = keras.layers.Dense(num_classes, use_bias=False, dtype=dtype, name="dense")(x)
    return images, logits_layer(logit_scale, dtype)(x)


@pytest.fixture(scope="module")
def small_davidnet():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(davidnet, "_davidnet_graph", small_graph)
        yield


@pytest.fixture(scope="module", params=["small", pytest.param("davidnet", marks=pytest.mark.slow)])
def network(request):
    """DavidNet with one convolution, or, among the slow tests, as it is."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "small":
            patch.setattr(davidnet, "_davidnet_graph", small_graph)
        yield request.param
