from dataclasses import replace

import pytest

from davidnet_keras import RECIPES, Recipe, UserError
from davidnet_keras.runs.changes import check_changes, check_progress
from davidnet_keras.runs.checkpoint import Progress

BEGUN = Recipe()


def test_the_same_recipe_changes_nothing():
    assert check_changes(BEGUN, Recipe()) == {}


def test_every_setting_that_differs_is_named():
    with pytest.raises(UserError) as refused:
        check_changes(BEGUN, replace(BEGUN, epochs=7, batch_size=64))
    message = str(refused.value)
    for words in (
        "--epochs, --batch-size",
        "epochs=7, started with 24",
        "batch_size=64, started with 512",
        "--change-recipe",
    ):
        assert words in message


def test_a_change_that_was_asked_for_is_told():
    wanted = replace(BEGUN, epochs=30, learning_rate=0.2)
    assert check_changes(BEGUN, wanted, allowed=True) == {"epochs": [24, 30], "learning_rate": [0.4, 0.2]}


@pytest.mark.parametrize("change", [{"width": 32}, {"precision": "float32"}, {"name": "other"}])
def test_what_the_weights_hang_on_cannot_change(change):
    with pytest.raises(UserError, match="start a new run") as refused:
        check_changes(BEGUN, replace(BEGUN, **change), allowed=True)
    assert "--change-recipe" not in str(refused.value)


def test_batches_of_another_size_would_thaw_a_bias_that_has_faded():
    fast = RECIPES["fast"]
    with pytest.raises(UserError, match="--batch-size, or start a new run\\. Received"):
        check_changes(fast, replace(fast, batch_size=500), allowed=True)
    plain = replace(fast, whitening=False)
    assert check_changes(plain, replace(plain, batch_size=500), allowed=True) == {"batch_size": [2000, 500]}


def test_a_run_cannot_end_before_where_it_is():
    changes = check_changes(BEGUN, replace(BEGUN, epochs=3), allowed=True)
    check_progress(changes, Progress(3))
    with pytest.raises(UserError, match="stands after 4 epochs"):
        check_progress(changes, Progress(4))


@pytest.mark.parametrize("change", [{"batch_size": 64}, {"seed": 1}])
def test_the_batches_of_an_epoch_cannot_change_inside_it(change):
    changes = check_changes(BEGUN, replace(BEGUN, **change), allowed=True)
    check_progress(changes, Progress(2))
    with pytest.raises(UserError, match=f"change {next(iter(change))} when it has stopped between two"):
        check_progress(changes, Progress(2, 5))
