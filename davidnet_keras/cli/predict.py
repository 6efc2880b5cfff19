"""`python -m davidnet_keras predict RUN IMAGE...`: what a run's model sees in pictures."""

import json
import sys
import warnings
from typing import Literal

from davidnet_keras.cli.options import Parser
from davidnet_keras.errors import UserError
from davidnet_keras.kernels.environment import import_tensorflow, quiet_import
from davidnet_keras.runs.run_folder import RunFolder

DESCRIPTION = "Name what a run's model sees in pictures: the three likeliest classes and their probabilities."


def main(argv):
    """Print a line for every picture that can be read; UserError, after that, for one that cannot."""
    parser = Parser("predict", argv, "RUN IMAGE... [flags]", DESCRIPTION)
    parser.add_argument("run", metavar="RUN", help="run folder, finished or not")
    parser.add_argument("images", metavar="IMAGE", nargs="*", help="picture files of any size", default=[])
    square = "how a picture becomes square: crop keeps the middle, squash changes the proportions"
    parser.flag("fit", "crop", square, Literal["crop", "squash"])
    parser.add_argument("--json", action="store_true", default=False, help="print a JSON object for each picture")
    options = parser.parse()
    if not options.images:
        raise UserError("Name a picture, or several: predict RUN IMAGE...")
    pictures, refusals = _read_all(options.images, options.fit)
    if pictures:
        RunFolder(options.run).read_recipe()  # a folder without a run is refused before TensorFlow takes its seconds
        import_tensorflow()
        from davidnet_keras.runs.predict import open_run, predictions

        run = open_run(options.run)
        print(f"{run.folder.path}: {run.source}", file=sys.stderr)
        _show(predictions(run, pictures), options.json)
    if refusals:
        raise UserError("\ndavidnet_keras: ".join(refusals))  # a line each


def _read_all(paths, fit):
    """([(path, array)] of those that can be read, [why not] of the others)."""
    from davidnet_keras.data.pictures import read_picture

    pictures, refusals = [], []
    with quiet_import(), warnings.catch_warnings(record=True) as notes:  # libtiff prints what it does not like
        warnings.simplefilter("always")
        for path in paths:
            try:
                pictures.append((path, read_picture(path, fit)))
            except UserError as error:
                refusals.append(str(error))
    for note in notes:
        print(f"davidnet_keras: {note.message}", file=sys.stderr)
    return pictures, refusals


def _show(found, as_json):
    """Print a line for each prediction."""
    width = min(40, max(len(path) for path, _ in found))
    for path, top in found:
        if as_json:
            print(json.dumps({"picture": path, "top": [{"class": name, "probability": share} for name, share in top]}))
        else:
            print(f"{path:{width}}  " + "  ".join(f"{name} {100 * share:.1f} %" for name, share in top))
