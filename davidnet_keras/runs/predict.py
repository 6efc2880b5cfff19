"""The newest model of a run, and what it sees in pictures."""

import os
from collections.abc import Sequence
from typing import Literal, NamedTuple

import keras
import numpy as np

from davidnet_keras.data import datasets
from davidnet_keras.data.pictures import read_picture
from davidnet_keras.errors import UserError
from davidnet_keras.models.averaged_views import with_views
from davidnet_keras.recipe import Recipe
from davidnet_keras.runs.model_file import load_model
from davidnet_keras.runs.run_folder import RunFolder

BATCH_SIZE = 500
TOP = 3
Fit = Literal["crop", "squash"]


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
        classes = len(self.class_names)
        if logits.shape[1:] != (classes,):
            raise UserError(f"The model does not have the {classes} classes of the run; restore its file.")
        if not np.isfinite(logits).all():
            raise UserError("The model's outputs are not finite; its weights are damaged: restore its file.")
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)


def open_run(run_dir):
    """The `TrainedRun` of the finished model, else of the newest checkpoint that can be read; UserError without either.

    Nothing is written, so the run may still be training.
    """
    folder = RunFolder(run_dir)
    recipe, conditions = folder.read_recipe()
    if folder.model.exists():
        return TrainedRun(folder, recipe, conditions, load_model(folder.model, compile=False), "the finished model")
    found = folder.newest_checkpoint(load=lambda path: load_model(path, compile=False))
    if found is None:
        raise UserError(f"The run in {folder.path} has no model: its first epoch is not finished, or the file is gone.")
    _, progress, model = found
    source = f"the checkpoint after {progress} of {recipe.epochs}; the run is not finished"
    return TrainedRun(folder, recipe, conditions, model, source)


class Prediction(NamedTuple):
    """The likeliest classes of one picture."""

    picture: str
    top: list[tuple[str, float]]  # (class name, probability), the likeliest first


def predict_pictures(
    run_dir: str | os.PathLike, pictures: Sequence[str | os.PathLike], fit: Fit = "crop", top: int = TOP
) -> list[Prediction]:
    """Name what the model of a run sees in picture files.

    Args:
        run_dir: run folder; of an unfinished run, the newest checkpoint is used.
        pictures: paths of pictures of any size and mode.
        fit: "crop" (default) takes the square in the middle, "squash" changes the proportions; see `read_picture`.
        top: how many classes to name. Default 3.

    Raises:
        UserError (a ValueError): a picture or the run cannot be read.

    Example:
        for picture, top in predict_pictures("runs/mine", ["cat.jpg"]):
            print(picture, *top)
    """
    arrays = [(str(path), read_picture(path, fit)) for path in pictures]
    return predictions(open_run(run_dir), arrays, top) if arrays else []


def predictions(run, pictures, top=TOP):
    """A `Prediction` for each (path, array)."""
    probabilities = run.probabilities(np.stack([array for _, array in pictures]))
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
    return [
        Prediction(path, [(run.class_names[i], float(row[i])) for i in order])
        for (path, _), row, order in zip(pictures, probabilities, best, strict=True)
    ]
