"""What a run's model sees in pictures."""

import os
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from davidnet_keras.data.pictures import read_picture
from davidnet_keras.runs.trained_run import open_run

TOP = 3


class Prediction(NamedTuple):
    """The likeliest classes of one picture."""

    picture: str
    top: list[tuple[str, float]]  # (class name, probability), the likeliest first


def predict_pictures(
    run_dir: str | os.PathLike,
    pictures: Sequence[str | os.PathLike],
    fit: Literal["crop", "squash"] = "crop",
    top: int = TOP,
) -> list[Prediction]:
    """Name what the model of a run sees in picture files.

    Args:
        run_dir: run folder; of an unfinished run, the newest checkpoint is used.
        pictures: sequence of paths, of pictures of any size and mode.
        fit: "crop" (default) takes the square in the middle, "squash" changes the proportions; see `read_picture`.
        top: how many classes to name. Default 3.

    Returns:
        List of `Prediction(picture, top)`, `top` a list of (class name, probability), the likeliest first.

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
