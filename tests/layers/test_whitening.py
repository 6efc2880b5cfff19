import keras
import numpy as np
import pytest

from davidnet_keras import PatchWhitening


def pictures(count=40, side=9, channels=3, seed=0):
    """Pictures whose neighbouring pixels and channels go together, as real ones' do."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(count, side + 1, side, channels)) @ rng.normal(size=(channels, channels))
    return (noise[:, 1:] + noise[:, :-1]).astype("float32")


@pytest.mark.parametrize("size", [1, 2, 3])
def test_after_adapt_the_outputs_are_uncorrelated_and_of_variance_one(size):
    x = pictures()
    layer = PatchWhitening(size, epsilon=1e-9)
    layer.adapt(x)
    y = layer(x).numpy()
    directions = 3 * size**2
    assert y.shape == (40, 10 - size, 10 - size, 2 * directions)
    rows = y[..., :directions].reshape(-1, directions).astype("float64")
    np.testing.assert_allclose(rows.T @ rows / len(rows), np.eye(directions), atol=1e-4)


def test_every_direction_comes_with_its_negative():
    layer = PatchWhitening()
    layer.adapt(pictures())
    kernel = layer.kernel.numpy()
    np.testing.assert_array_equal(kernel[..., 12:], -kernel[..., :12])


def test_epsilon_keeps_directions_of_little_variance_small():
    x = pictures()
    x[..., 2] = x[..., 1]  # nothing is left in one direction of every pixel
    layer = PatchWhitening(epsilon=0.01)
    layer.adapt(x)
    assert np.abs(layer.kernel.numpy()).max() <= 1 / np.sqrt(0.01)
    variance = (layer(x).numpy()[..., :12] ** 2).mean((0, 1, 2))
    assert (variance < 1).all() and variance.max() > 0.9 and variance.min() < 1e-6


def test_the_kernel_is_not_trained_and_the_bias_is():
    layer = PatchWhitening()
    layer.adapt(pictures())
    assert [weight.name for weight in layer.trainable_weights] == ["bias"]
    layer.bias.assign(np.arange(24.0))
    np.testing.assert_allclose(layer(np.zeros((1, 4, 4, 3), "float32"))[0, 0, 0], np.arange(24.0))


def test_many_pictures_are_taken_in_pieces_with_the_same_sums():
    x = pictures(count=1101, side=4)
    layer, patches = PatchWhitening(), []
    layer.adapt(x)
    for row in range(3):
        for column in range(3):
            patches.append(x[:, row : row + 2, column : column + 2].reshape(len(x), 12).astype("float64"))
    rows = np.concatenate(patches)
    variances, _ = np.linalg.eigh(rows.T @ rows / len(rows))
    lengths = np.square(layer.kernel.numpy()[..., :12]).sum((0, 1, 2))
    np.testing.assert_allclose(lengths, 1 / (variances + 5e-4), rtol=1e-4)


def test_a_saved_layer_comes_back_whole(tmp_path):
    x = pictures(side=8)
    layer = PatchWhitening(3, 0.1, name="mine")
    layer.adapt(x)
    model = keras.Sequential([keras.Input((8, 8, 3)), layer])
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
    assert again.layers[0].get_config() == layer.get_config()


@pytest.mark.parametrize("images", [np.zeros((0, 4, 4, 3)), np.zeros((4, 4, 3)), np.zeros((2, 1, 4, 3))])
def test_pictures_that_have_no_patches_are_refused(images):
    with pytest.raises(ValueError, match="Received: shape="):
        PatchWhitening().adapt(images)


def test_pictures_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="not finite"):
        PatchWhitening().adapt(np.full((2, 4, 4, 3), np.nan))


@pytest.mark.parametrize(("name", "value"), [("size", 0), ("size", 2.0), ("epsilon", 0.0), ("epsilon", float("nan"))])
def test_impossible_arguments_are_refused(name, value):
    with pytest.raises(ValueError, match="Received: "):
        PatchWhitening(**{name: value})
