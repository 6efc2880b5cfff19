"""`python -m davidnet_keras predict RUN IMAGE...`: what a run's model sees in pictures."""

import dataclasses
import json
import sys
from typing import Annotated, Literal, NamedTuple

import tyro

from davidnet_keras.errors import UserError
from davidnet_keras.kernels.environment import quiet_import

TOP = 3
IMAGES = tyro.conf.arg(help="picture files of any size", metavar="IMAGE...", help_behavior_hint="(one or more)")


class Prediction(NamedTuple):
    """What the model sees in one picture."""

    picture: str
    top: list  # of (class name, probability), the likeliest first


@dataclasses.dataclass(frozen=True)
class Options:
    """Name what a run's model sees in pictures: the three likeliest classes and their probabilities."""

    run: tyro.conf.Positional[Annotated[str, tyro.conf.arg(help="run folder, finished or not", metavar="RUN")]]
    images: tyro.conf.Positional[Annotated[tuple[str, ...], IMAGES]]
    fit: Annotated[
        Literal["crop", "squash"],
        tyro.conf.arg(help="how a picture becomes square: the middle is cut out, or its proportions are changed"),
    ] = "crop"
    json: Annotated[bool, tyro.conf.arg(help="print one JSON object a picture, for other programs")] = False


def main(argv):
    """Print a line for every picture that can be read; UserError, after that, for one that cannot."""
    from davidnet_keras.cli.options import PROGRAM
    from davidnet_keras.kernels.environment import import_training
    from davidnet_keras.runs.run_folder import RunFolder

    options = tyro.cli(Options, prog=f"{PROGRAM} predict", args=argv, config=(tyro.conf.FlagCreatePairsOff,))
    if not options.images:
        raise UserError("Name a picture, or several: predict RUN IMAGE...")
    pictures, refusals = read_all(options.images, options.fit)
    if pictures:
        RunFolder(options.run).read_recipe()  # no run is refused before the seconds that TensorFlow takes
        import_training()
        from davidnet_keras.runs.trained_run import open_run

        run = open_run(options.run)
        print(f"{run.folder.path}: {run.source}", file=sys.stderr)
        show(predictions(run, pictures), options.json)
    for refusal in refusals[:-1]:
        print(f"davidnet_keras: {refusal}", file=sys.stderr)
    if refusals:
        raise refusals[-1]


def predict_pictures(run_dir, pictures, fit="crop", top=TOP):
    """Name what the model of a run sees in picture files.

    Args:
        run_dir: run folder; an unfinished run's newest checkpoint is taken.
        pictures: sequence of paths, of pictures of any size and mode.
        fit: "crop" (default) takes the square in the middle, "squash" changes the proportions; see `read_picture`.
        top: int, how many classes to name. Default 3.

    Returns:
        List of `Prediction(picture, top)`, `top` a list of (class name, probability), the likeliest first.

    Raises:
        UserError (a ValueError): a picture or the run cannot be read.

    Example:
        for picture, top in predict_pictures("runs/mine", ["cat.jpg"]):
            print(picture, *top)
    """
    from davidnet_keras.data.pictures import read_picture
    from davidnet_keras.runs.trained_run import open_run

    arrays = [(str(path), read_picture(path, fit)) for path in pictures]
    return predictions(open_run(run_dir), arrays, top) if arrays else []


def read_all(paths, fit):
    """([(path, array)] of those that can be read, [UserError] of the others)."""
    from davidnet_keras.data.pictures import read_picture

    pictures, refusals = [], []
    with quiet_import():  # libtiff prints what it does not like
        for path in paths:
            try:
                pictures.append((path, read_picture(path, fit)))
            except UserError as error:
                refusals.append(error)
    return pictures, refusals


def predictions(run, pictures, top=TOP):
    """A `Prediction` for each (path, array)."""
    import numpy as np

    shares = run.probabilities(np.stack([array for _, array in pictures]))
    best = np.argsort(-shares, axis=1, kind="stable")[:, :top]
    return [
        Prediction(path, [(run.class_names[i], float(row[i])) for i in order])
        for (path, _), row, order in zip(pictures, shares, best, strict=True)
    ]


def show(found, as_json):
    """Print a line a picture."""
    width = min(40, max(len(prediction.picture) for prediction in found))
    for picture, top in found:
        if as_json:
            names = [{"class": name, "probability": probability} for name, probability in top]
            print(json.dumps({"picture": picture, "top": names}))
        else:
            print(f"{picture:{width}}  " + "  ".join(f"{name} {100 * share:.1f} %" for name, share in top))
