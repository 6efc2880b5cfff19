"""`python -m davidnet_keras lr-find`: which learning rate to train with."""

import csv
import os
import sys
from pathlib import Path

from davidnet_keras.cli.options import Parser, add_data, add_recipe, check_picture, default_recipe, with_given
from davidnet_keras.data import datasets
from davidnet_keras.errors import UserError
from davidnet_keras.kernels.environment import import_tensorflow

DESCRIPTION = """Find the learning rate: train for some steps at growing rates and watch the loss.
Prints the rates that this suggests, as --learning-rate takes them, and writes a picture and a CSV file."""
# Settings that a sweep has no use for.
WITHOUT = ("epochs", "learning_rate", "warmup_epochs", "start_rate", "end_rate", "test_views")


def main(argv):
    """Run the command; UserError for bad input."""
    recipe = default_recipe(argv)
    parser = Parser("lr-find", argv, "[flags]", DESCRIPTION)
    parser.add_argument("--help-all", action="help", help="show every flag")
    add_data(parser)
    picture = "picture to write, .png, .svg or .pdf; the numbers go beside it, as .csv"
    parser.flag("output", "lr_find.png", picture, str, "sweep", metavar="FILE")
    parser.flag("lowest", 1e-4, "first rate, in the unit of --learning-rate", float, "sweep")
    parser.flag("highest", 10.0, "last rate; the sweep ends before it once the loss diverges", float, "sweep")
    parser.flag("steps", 100, "number of rates; each is one train step", int, "sweep")
    add_recipe(parser, recipe, WITHOUT)
    options = parser.parse()
    options.dataset = datasets.with_labels(options.dataset, options.labels)
    recipe = with_given(recipe, options)
    _check(options)
    import_tensorflow()
    from davidnet_keras.runs.lr_find import find_learning_rate

    rates = (options.lowest, options.highest, options.steps)
    sweep = find_learning_rate(recipe, options.dataset, options.data_dir, *rates, progress=sys.stdout.isatty())
    _write(sweep, options, recipe)


def _check(options):
    """UserError for rates or a picture that will not do, before anything slow is begun."""
    from davidnet_callbacks.learning_rate_sweep import check_sweep

    check_picture(options.output)
    try:
        check_sweep(options.lowest, options.highest, options.steps, "exponential", smoothing=0.8, divergence=4.0)
    except ValueError as error:
        raise UserError(str(error)) from None


def _write(sweep, options, recipe):
    """Write the picture and the numbers, and print what to do with them."""
    from davidnet_callbacks import atomic_write

    picture = Path(os.path.expanduser(options.output))
    numbers = picture.with_suffix(".csv")
    title = f"{recipe.name} on {options.dataset}, batches of {recipe.batch_size}"
    try:
        picture.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(picture) as temporary:
            sweep.plot(title).savefig(temporary)
        with atomic_write(numbers) as temporary:
            rows = zip(sweep.rates, sweep.losses, sweep.smoothed_losses, strict=True)
            with open(temporary, "w", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows([("learning_rate", "loss", "smoothed_loss"), *rows])
    except OSError as error:
        raise UserError(f"The result cannot be written ({error}); name another --output.") from error
    for name, rate in sweep.suggestions.items():
        print(f"{name:<12}{'none: the loss never fell' if rate is None else _as_flags(rate, recipe)}")
    print(f"Picture {picture}, numbers {numbers}; train with --learning-rate and one of these as the peak.")


def _as_flags(rate, recipe):
    """A rate as --learning-rate takes it, with the other rates in the proportion that the sweep kept."""
    others = {"--bias-rate": recipe.bias_rate, "--head-rate": recipe.head_rate, "--whiten-rate": recipe.whiten_rate}
    scaled = [
        f"{flag} {value * rate / recipe.learning_rate:.3g}" for flag, value in others.items() if value is not None
    ]
    return " ".join([format(rate, ".3g"), *(["with", *scaled] if scaled else [])])
