import dataclasses

import pytest

from davidnet_keras import RECIPES, Recipe


def test_the_davidnet_recipe_is_the_references():
    recipe = RECIPES["davidnet"]
    assert (recipe.epochs, recipe.batch_size, recipe.momentum, recipe.dropout) == (24, 512, 0.9, 0.05)
    assert recipe.peak_rate == pytest.approx(0.4 / 512)
    assert recipe.l2 == pytest.approx(5e-4 * 512)


def test_a_recipe_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        RECIPES["davidnet"].epochs = 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("epochs", -1),
        ("epochs", 10**9),
        ("epochs", 2.5),
        ("epochs", True),
        ("epochs", "3"),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("warmup_epochs", -1.0),
        ("warmup_epochs", 25),
        ("momentum", 1.0),
        ("weight_decay", -1e-9),
        ("width", 0),
        ("dropout", 1.0),
        ("crop_padding", 32),
        ("flip", 1),
        ("cutout", 33),
        ("precision", "bfloat16"),
        ("seed", -1),
        ("seed", 2**31),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"Received: {name}="):
        Recipe(**{name: value})


def test_every_setting_is_explained():
    assert all(item.metadata["help"] for item in dataclasses.fields(Recipe))


def test_every_setting_has_its_group_on_the_command_line_and_a_few_are_shown_at_a_glance():
    fields = dataclasses.fields(Recipe)
    assert {item.metadata["group"] for item in fields} == {"run", "network", "optimizer", "augmentation", "testing"}
    basic = [item.name for item in fields if not item.metadata["advanced"]]
    shown = "name epochs batch_size learning_rate weight_decay width precision deterministic seed"
    assert basic == shown.split()  # with `name`, the flag --recipe
