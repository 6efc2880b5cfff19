"""Recipe -> compiled model."""

from typing import Any

import keras

from davidnet_keras.data.pipeline import steps_per_epoch
from davidnet_keras.models.davidnet import DavidNet
from davidnet_keras.models.fastnet import FIRST_BIAS, FastNet
from davidnet_keras.models.network import Network
from davidnet_keras.precision import choose_precision
from davidnet_keras.recipe import Recipe
from davidnet_keras.training.losses import SmoothedCrossentropy
from davidnet_keras.training.optimizers import MomentumSGD, Muon, ParameterGroup

BIASES, SCALES, HEAD, ANY = "(beta|bias)$", "gamma$", "(dense|head)/kernel$", ""


def new_model(recipe: Recipe, num_classes: int, data: Any, precision: str) -> Network:
    """`build_model` by the recipe's seed."""
    keras.utils.set_random_seed(recipe.seed)
    return build_model(recipe, data[0][0], num_classes, precision)


def build_model(recipe: Recipe, pictures: Any, num_classes: int = 10, precision: str | None = None) -> Network:
    """The recipe's network, adapted to the training pictures and compiled with the recipe's optimizer and loss.

    The rates are their peaks: `OneCycleTriangle` makes the schedule.

    Args:
        recipe: `Recipe`, `RECIPES["fast"]` for example.
        pictures: uint8 (n, 32, 32, 3), the whole training set.
        precision: name of a Keras dtype policy. Default: what the recipe's `precision` means on this machine.
    """
    precision = precision or choose_precision(recipe.precision)[0]
    groups = parameter_groups(recipe, steps_per_epoch(len(pictures), recipe.batch_size))
    options: dict[str, Any] = {"l2": 0.0 if groups else recipe.l2, "dtype": precision}
    model: Network
    if recipe.network == "davidnet":
        model = DavidNet(num_classes, recipe.width, recipe.logit_scale or 0.125, recipe.dropout, **options)
    else:
        options |= {"whitening": recipe.whitening, "identity_start": recipe.identity_start}
        widths = (recipe.width, 4 * recipe.width, 4 * recipe.width)
        model = FastNet(num_classes, widths, recipe.activation, recipe.logit_scale or 1 / widths[-1], **options)
    model.adapt(pictures)
    if recipe.optimizer == "sgd":
        optimizer = MomentumSGD(recipe.peak_rate, recipe.momentum, groups=groups)
    else:
        products = "bfloat16" if model.compute_dtype == "bfloat16" else None  # as the layers compute
        optimizer = Muon(recipe.peak_rate, recipe.momentum, newton_schulz_dtype=products, groups=groups)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")
    if recipe.label_smoothing:
        loss = SmoothedCrossentropy(recipe.label_smoothing, reduction="sum")
    model.compile(optimizer, loss, metrics=["accuracy"])
    return model


def parameter_groups(recipe: Recipe, steps: int) -> list[ParameterGroup]:
    """The groups of weights with rates of their own; none if all are trained alike: then the train step adds the decay.

    Every group's weights lose the same share at a step, so the decay in the gradient is larger where the rate is lower.
    `steps` are those of an epoch.
    """
    muon = recipe.optimizer == "muon"
    if recipe.network == "davidnet" and not muon and recipe.bias_rate is None and recipe.head_rate is None:
        return []
    share = recipe.l2 if muon else recipe.peak_rate * recipe.l2

    def group(pattern, rate, fade_steps=None):
        rate = (rate or recipe.learning_rate) / recipe.batch_size
        return ParameterGroup(pattern, rate / recipe.peak_rate, share / rate, fade_steps)

    groups = [group(BIASES, recipe.bias_rate), group(HEAD, recipe.head_rate)]
    if recipe.network == "fastnet":
        rate = recipe.whiten_rate or recipe.bias_rate
        groups.insert(0, group(f"{FIRST_BIAS}$", rate, recipe.whiten_epochs * steps))
    return [*groups, group(SCALES, recipe.bias_rate) if muon else group(ANY, None)]
