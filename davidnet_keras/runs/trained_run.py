"""A run folder taken up for use: its newest model, and what the model's outputs mean."""

import sys
from typing import NamedTuple

import numpy as np

from davidnet_keras.data import datasets
from davidnet_keras.errors import UserError
from davidnet_keras.models.recipe_views import with_views
from davidnet_keras.recipe import Recipe
from davidnet_keras.runs.checkpoint import DamagedCheckpoint, Progress, read_checkpoint
from davidnet_keras.runs.model_file import load_model
from davidnet_keras.runs.run_folder import RunFolder

BATCH_SIZE = 500


class TrainedRun(NamedTuple):
    """A run's model and its circumstances."""

    folder: RunFolder
    recipe: Recipe
    conditions: dict  # data set, precision, versions: what stands in recipe.json beside the recipe
    model: object  # keras.Model
    source: str  # which of the run's files the model is, in words

    @property
    def class_names(self):
        return datasets.class_names(self.conditions["dataset"])

    def probabilities(self, pictures):
        """Class probabilities, float64 (n, classes), of uint8 pictures (n, 32, 32, 3), by the recipe's test views."""
        looking, _ = with_views(self.model, self.recipe.test_views)
        logits = np.asarray(looking.predict(pictures, batch_size=BATCH_SIZE, verbose=0), np.float64)
        if logits.shape[1:] != (len(self.class_names),):
            raise UserError(
                f"The model does not have the {len(self.class_names)} classes of the run; restore its file."
            )
        if not np.isfinite(logits).all():
            raise UserError("The model's outputs are not finite; its weights are damaged: restore its file.")
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)


def open_run(run_dir):
    """Load the model of a run: the finished one, else the newest checkpoint that can be read.

    Nothing is written, and a run that is still training may be looked at.

    Args:
        run_dir: the run folder.

    Returns:
        `TrainedRun`.

    Raises:
        UserError: there is no run, no epoch of it is finished, or its files are damaged.
    """
    folder = RunFolder(run_dir)
    recipe, conditions = folder.read_recipe()
    if folder.model.exists():
        return TrainedRun(folder, recipe, conditions, load_model(folder.model, compile=False), "the finished model")
    model, progress = newest_checkpoint(folder)
    source = f"the checkpoint after {progress} of {recipe.epochs}, for the run is not finished"
    return TrainedRun(folder, recipe, conditions, model, source)


def newest_checkpoint(folder):
    """(model, progress) of the newest checkpoint that can be used; files are left as they are."""
    saved = folder.saved()
    if not saved:
        raise UserError(f"The run in {folder.path} has no model: its first epoch is not finished, or the file is gone.")
    for progress in reversed(saved):
        path = folder.checkpoint(*progress)
        try:
            read_checkpoint(path, folder.run_id())
            return load_model(path, compile=False), Progress(*progress)
        except (DamagedCheckpoint, UserError) as error:
            print(f"{path} cannot be used: {error}.", file=sys.stderr)  # what is asked for goes to standard output
    raise UserError(f"No checkpoint in {folder.checkpoints} can be used; start a new run.")
