"""Run folders made by hand, for the tests of what reads them."""

import keras

from davidnet_keras import DavidNet, MomentumSGD, Recipe
from davidnet_keras.runs.run_folder import RunFolder

RECIPE = Recipe(width=2, epochs=3, batch_size=32)
CONDITIONS = {"dataset": "shapes", "data": {"train": 1}, "precision": "float32", "precision_reason": "as asked"}


def tiny_model(num_classes=10, precision="float32"):
    """A compiled DavidNet of width 2, its weights drawn with another seed than those it would load onto."""
    keras.utils.set_random_seed(7)
    model = DavidNet(num_classes, RECIPE.width, l2=RECIPE.l2, dtype=precision)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")
    model.compile(MomentumSGD(RECIPE.peak_rate), loss, metrics=["accuracy"])
    return model


def finished_run(path, model, **conditions):
    """The folder of a finished run that holds this model."""
    with RunFolder.create(path) as folder:
        folder.write_recipe(RECIPE, **CONDITIONS | conditions)
        model.save(folder.model)
    return folder
