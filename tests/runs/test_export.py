"""Keras's export for serving: the SavedModel answers as the model does, with the convolutions made for CPUs too."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from davidnet_keras import DavidNet, FastNet

NETWORKS = {  # wide enough for Winograd's convolutions
    "davidnet": lambda: DavidNet(width=32),
    "fastnet": lambda: FastNet(widths=(64, 64, 64), activation="hard_gelu"),
}


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_an_exported_model_answers_as_the_model(network, tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    model = NETWORKS[network]()
    model.adapt(np.concatenate([pictures] * 20))
    model.compile(loss="sparse_categorical_crossentropy")
    model.save(tmp_path / "model.keras")
    model = keras.saving.load_model(tmp_path / "model.keras")
    archive = keras.export.ExportArchive()
    archive.track(model)
    signature = [keras.InputSpec(shape=(None, 32, 32, 3), dtype="float32")]
    archive.add_endpoint("serve", lambda x: model(x, training=False), signature)
    archive.add_endpoint("train", lambda x: model(x, training=True), signature)
    archive.write_out(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(tmp_path / "served")
    pixels = tf.cast(pictures, "float32")
    np.testing.assert_allclose(served.serve(pixels), model.predict(pictures, verbose=0), atol=1e-5)
    assert np.isfinite(served.train(pixels)).all()
