"""Find the learning rate: some steps of a recipe at growing rates."""

import dataclasses

from davidnet_callbacks import LearningRateFinder
from davidnet_callbacks.learning_rate_sweep import LearningRateSweep
from davidnet_keras.data import datasets
from davidnet_keras.errors import UserError
from davidnet_keras.kernels.devices import deterministic_ops
from davidnet_keras.models.build import new_model
from davidnet_keras.precision import choose_precision
from davidnet_keras.recipe import Recipe
from davidnet_keras.runs.train import training_data


def find_learning_rate(
    recipe: Recipe, dataset: str, data_dir: str | None, lowest: float, highest: float, steps: int, progress: bool
) -> LearningRateSweep:
    """Train a new model for some steps at rates growing from lowest to highest.

    Rates, those of the returned sweep too, are in the unit of `recipe.learning_rate`. Other arguments: as `train`.
    UserError: the data cannot be used, or the loss is NaN from the start.
    """
    data = datasets.held_out(datasets.load(dataset, data_dir), recipe.hold_out)
    datasets.check_batch_size(recipe.batch_size, data)
    precision, _ = choose_precision(recipe.precision)
    with deterministic_ops(recipe.deterministic):
        model = new_model(recipe, datasets.num_classes(dataset), data, precision)
        # The optimizer sees a summed loss: its rates are those of the mean divided by the batch size.
        finder = LearningRateFinder(lowest / recipe.rate_divisor, highest / recipe.rate_divisor, steps)
        try:
            batches = training_data(model, recipe, data)  # shuffled already
            model.fit(batches, steps_per_epoch=steps, shuffle=False, verbose=int(progress), callbacks=[finder])
        except ValueError as error:
            raise UserError(f"The sweep stopped: {error}") from error
    return dataclasses.replace(finder.result, rates=tuple(rate * recipe.rate_divisor for rate in finder.result.rates))
