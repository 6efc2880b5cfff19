"""The newest model of a run folder, and the meaning of its outputs."""

import sys
from typing import NamedTuple

import keras
import numpy as np

from davidnet_keras.data import datasets
from davidnet_keras.errors import UserError
from davidnet_keras.models.averaged_views import with_views
from davidnet_keras.recipe import Recipe
from davidnet_keras.runs.checkpoint import DamagedCheckpoint, Progress, read_checkpoint
from davidnet_keras.runs.model_file import load_model
from davidnet_keras.runs.run_folder import RunFolder

BATCH_SIZE = 500


class TrainedRun(NamedTuple):
    """A run's model and the conditions that it was trained under."""

    folder: RunFolder
    recipe: Recipe
    conditions: dict  # data set, precision, versions, ...: the rest of recipe.json
    model: keras.Model
    source: str  # which of the run's files holds the model, in words

    @property
    def class_names(self):
        return datasets.class_names(self.conditions["dataset"])

    def probabilities(self, pictures):
        """Class probabilities, float64 (n, classes), of uint8 pictures (n, 32, 32, 3), by the recipe's test views."""
        model, _ = with_views(self.model, self.recipe.test_views)
        logits = np.asarray(model.predict(pictures, batch_size=BATCH_SIZE, verbose=0), np.float64)
        if logits.shape[1:] != (len(self.class_names),):
            raise UserError(
                f"The model does not have the {len(self.class_names)} classes of the run; restore its file."
            )
        if not np.isfinite(logits).all():
            raise UserError("The model's outputs are not finite; its weights are damaged: restore its file.")
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)


def open_run(run_dir):
    """Load the model of a run, as a `TrainedRun`: the finished one, else the newest checkpoint that can be read.

    Nothing is written, so the run may still be training. UserError: there is no run, no epoch of it is finished, or its
    files are damaged.
    """
    folder = RunFolder(run_dir)
    recipe, conditions = folder.read_recipe()
    if folder.model.exists():
        return TrainedRun(folder, recipe, conditions, load_model(folder.model, compile=False), "the finished model")
    model, progress = _newest_checkpoint(folder)
    source = f"the checkpoint after {progress} of {recipe.epochs}; the run is not finished"
    return TrainedRun(folder, recipe, conditions, model, source)


def _newest_checkpoint(folder):
    """(model, progress) of the newest usable checkpoint; no file is changed."""
    saved = folder.saved()
    if not saved:
        raise UserError(f"The run in {folder.path} has no model: its first epoch is not finished, or the file is gone.")
    for progress in reversed(saved):
        path = folder.checkpoint(*progress)
        try:
            read_checkpoint(path, folder.run_id())
            return load_model(path, compile=False), Progress(*progress)
        except (DamagedCheckpoint, UserError) as error:
            print(f"{path} cannot be used: {error}.", file=sys.stderr)  # standard output is for the result
    raise UserError(f"No checkpoint in {folder.checkpoints} can be used; start a new run.")
