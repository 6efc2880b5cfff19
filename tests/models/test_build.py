"""From a recipe to a compiled model: which network, which loss, which rates and decays."""

import dataclasses

import keras
import numpy as np
import pytest

from davidnet_keras import RECIPES, DavidNet, FastNet, MomentumSGD, Muon, Recipe, SmoothedCrossentropy
from davidnet_keras.data.datasets import held_out
from davidnet_keras.models.build import build_model, parameter_groups
from davidnet_keras.training.optimizers import group_of

FAST = RECIPES["fast"]


def pictures(count=8):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, 32, 32, 3), np.uint8), np.arange(count) % 10


def built(classes=10, **settings):
    recipe = Recipe(**{"width": 2, "batch_size": 4} | settings)
    return build_model(recipe, pictures()[0], classes, "float32")


def fast(**settings):
    return {name: getattr(FAST, name) for name in FAST.__dataclass_fields__} | {"width": 2, "batch_size": 4} | settings


def test_the_fast_recipe_is_airbench94s_with_muon():
    assert (FAST.epochs, FAST.batch_size, FAST.learning_rate, FAST.momentum) == (8, 2000, 0.24, 0.6)
    assert (FAST.crop_padding, FAST.flip, FAST.alternating_flip, FAST.cutout) == (2, True, True, 0)
    assert (FAST.label_smoothing, FAST.warmup_epochs, FAST.end_rate, FAST.whiten_epochs) == (0.2, 0.0, 0.0, 3)
    assert FAST.test_views == "mirror_and_shifts"
    groups = parameter_groups(FAST, 25)
    rates = {path: FAST.peak_rate * group_of(path, groups).rate for path in ("whiten/bias", "a/beta", "head/kernel")}
    assert rates == pytest.approx({"whiten/bias": 0.053, "a/beta": 0.053, "head/kernel": 0.67})
    decays = [group_of(path, groups).decay for path in rates]
    assert decays == pytest.approx([0.004 / 0.053, 0.004 / 0.053, 0.004 / 0.67])
    assert [group_of(path, groups).fade_steps for path in rates] == [75, None, None]


def test_the_first_bias_may_have_a_rate_of_its_own():
    groups = parameter_groups(dataclasses.replace(FAST, whiten_rate=2.0), 25)
    rates = [FAST.peak_rate * group_of(path, groups).rate for path in ("whiten/bias", "a/beta")]
    assert rates == pytest.approx([2 / 2000, 0.053])


def test_it_builds_that_network_with_that_optimizer_and_loss():
    model = built(classes=100, **fast())
    assert isinstance(model, FastNet) and model.settings["widths"] == (2, 8, 8)
    assert model.settings["activation"] == FAST.activation and model.output_shape == (None, 100)
    assert isinstance(model.optimizer, Muon) and isinstance(model.loss, SmoothedCrossentropy)
    assert model.l2 == 0.0 and model.loss.label_smoothing == 0.2
    assert np.abs(model.get_layer("whiten").kernel.numpy()).max() > 0  # adapted
    assert model.settings["logit_scale"] == 1 / 256
    assert model.settings["batch_norm_momentum"] == 0.6
    assert (model.optimizer.sgd_momentum, model.optimizer.newton_schulz_steps) == (0.85, 3)
    assert model.get_layer("block1").first_norm.epsilon == 1e-12
    x, y = pictures()
    log = model.fit(x, y + 90, batch_size=4, epochs=1, verbose=0)  # labels that ten classes do not have
    assert np.isfinite(log.history["loss"]).all()


def test_davidnet_stays_as_it_was_and_takes_label_smoothing():
    plain, smoothed = built(), built(label_smoothing=0.1)
    for model in (plain, smoothed):
        assert isinstance(model, DavidNet) and type(model.optimizer) is MomentumSGD
        assert model.l2 == pytest.approx(5e-4 * 4) and model.optimizer.groups == []
        assert model.settings["logit_scale"] == 0.125
    assert isinstance(plain.loss, keras.losses.SparseCategoricalCrossentropy)
    assert smoothed.loss.label_smoothing == 0.1


def test_a_group_of_davidnets_loses_the_same_share_a_step_whatever_its_rate():
    recipe = Recipe(bias_rate=4.0, head_rate=0.1, batch_size=4)
    groups = parameter_groups(recipe, 2)
    for path in ("prep/norm/beta", "dense/kernel", "prep/conv/kernel", "prep/norm/gamma"):
        group = group_of(path, groups)
        assert recipe.peak_rate * group.rate * group.decay == pytest.approx(0.4 * 5e-4)
    assert group_of("prep/norm/beta", groups).rate == pytest.approx(10.0)
    assert group_of("dense/kernel", groups).rate == pytest.approx(0.25)
    assert group_of("prep/conv/kernel", groups).rate == pytest.approx(1.0)


def test_with_groups_of_equal_rates_davidnet_takes_the_same_step():
    results = []
    for settings in ({}, {"bias_rate": 0.4, "head_rate": 0.4}):
        keras.utils.set_random_seed(0)
        model = built(dropout=0.0, **settings)
        model.fit(*pictures(), batch_size=4, epochs=2, verbose=0, shuffle=False)
        results.append([weight.numpy() for weight in model.trainable_weights])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("precision", "products"), [("float32", None), ("mixed_float16", None), ("mixed_bfloat16", "bfloat16")]
)
def test_muon_multiplies_in_bfloat16_where_the_layers_do(precision, products):
    model = build_model(Recipe(**fast()), pictures()[0], 10, precision)
    assert getattr(model.optimizer, "inner_optimizer", model.optimizer).newton_schulz_dtype == products


def test_muon_and_sgd_scale_their_rates_as_they_must():
    assert FAST.peak_rate == 0.24 and FAST.rate_divisor == 1
    assert RECIPES["davidnet"].peak_rate == 0.4 / 512 and RECIPES["davidnet"].rate_divisor == 512


@pytest.mark.parametrize(
    ("settings", "received"),
    [
        ({"activation": "gelu"}, "activation="),
        ({"network": "fastnet"}, "dropout="),
        ({"whitening": False}, "whitening="),
        ({"identity_start": False}, "identity_start="),
        ({"start_rate": 0.2, "warmup_epochs": 0.0}, "start_rate=0.2"),
        ({"end_rate": 0.1, "warmup_epochs": 24.0}, "end_rate=0.1"),
        ({"whiten_epochs": 5}, "whiten_epochs=5"),
        ({"whiten_rate": 1.5}, "whiten_rate=1.5"),
        ({"optimizer": "muon"}, "bias_rate="),
        ({"optimizer": "muon", "bias_rate": 27.0, "head_rate": 343.0}, "weight_decay=0.0005, batch_size=512"),
        ({"network": "resnet"}, "network="),
        ({"test_views": "two"}, "test_views="),
        ({"label_smoothing": 1.0}, "label_smoothing="),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, received):
    with pytest.raises(ValueError, match=f"Received: {received}"):
        Recipe(**settings)


def test_held_out_pictures_are_training_pictures_and_no_longer_trained_on():
    x, y = np.arange(40).reshape(10, 1, 2, 2), np.arange(10)
    (x_train, y_train), (x_out, y_out) = held_out(((x, y), (x[:0], y[:0])), 3)
    assert sorted([*y_train, *y_out]) == list(range(10)) and len(y_out) == 3
    assert not np.array_equal(y_out, [7, 8, 9])  # shuffled: the files may be in order of the classes
    np.testing.assert_array_equal(x_train, x[y_train])
    np.testing.assert_array_equal(x_out, x[y_out])
    assert all(array.ctypes.data % 64 == 0 for array in (x_train, y_train, x_out))  # TensorFlow holds it without a copy
    data = ((x, y), (x[:0], y[:0]))
    assert held_out(data, 0) is data
    with pytest.raises(ValueError, match="Received: hold_out=10"):
        held_out(data, 10)


@pytest.mark.parametrize("network", ["davidnet", "fastnet"])
def test_with_muon_every_weight_but_the_convolutions_kernels_is_in_a_group(network):
    settings = {"network": network, "activation": "relu", "dropout": 0.0}
    model = built(**fast(**settings))
    for weight in model.trainable_weights:
        assert (group_of(weight.path, model.optimizer.groups) is None) == (len(weight.shape) == 4), weight.path


def test_the_first_bias_fades_with_momentum_sgd_too():
    model = built(network="fastnet", dropout=0.0)
    assert group_of("whiten/bias", model.optimizer.groups).fade_steps == 3 * 2
    assert model.l2 == 0.0  # the groups decay
    assert model.settings["logit_scale"] == 1 / 8  # one by the channels of the last layer


def test_decay_and_rates_of_muons_other_weights_follow_the_batch_size():
    small, large = (parameter_groups(Recipe(**fast(batch_size=size)), 1)[1] for size in (500, 2000))
    assert small.rate == pytest.approx(4 * large.rate)  # the sum over fewer pictures is smaller
    assert small.rate * small.decay == pytest.approx(large.rate * large.decay / 4)  # four times as many steps


def test_davidnet_learns_with_muon_at_the_rates_that_the_readme_names():
    # For steps of 16 pictures; the README has them for 512.
    rates = {"learning_rate": 0.24, "bias_rate": 27 / 32, "head_rate": 0.34 / 32, "weight_decay": 2e-6}
    model = built(width=8, batch_size=16, optimizer="muon", **rates)
    x, y = pictures(16)
    losses = model.fit(x, y, batch_size=16, epochs=40, verbose=0).history["loss"]
    assert losses[-1] < 0.2 and max(losses) < 3  # a head's rate for logits / 256 makes it 50
