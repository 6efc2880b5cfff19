"""`python -m davidnet_keras lr-find`: which learning rate to train with."""

import csv
import sys

from davidnet_keras.cli.options import Parser, parse_recipe, picture_path, write_picture
from davidnet_keras.errors import UserError
from davidnet_keras.kernels.environment import import_tensorflow

DESCRIPTION = """Find the learning rate: train for some steps at growing rates and watch the loss.
Prints the rates that this suggests, as --learning-rate takes them, and writes a picture and a CSV file."""
# Settings that a sweep has no use for.
WITHOUT = ("epochs", "learning_rate", "warmup_epochs", "start_rate", "end_rate", "test_views")


def main(argv):
    """Run the command; UserError for bad input."""
    options, recipe = parse(argv)
    from davidnet_callbacks import atomic_write
    from davidnet_callbacks.learning_rate_sweep import check_sweep

    picture, rates = picture_path(options.output), (options.lowest, options.highest, options.steps)
    try:
        check_sweep(*rates, "exponential", smoothing=0.8, divergence=4.0)
    except ValueError as error:
        raise UserError(str(error)) from None
    import_tensorflow()
    from davidnet_keras.runs.lr_find import find_learning_rate

    sweep = find_learning_rate(recipe, options.dataset, options.data_dir, *rates, progress=sys.stdout.isatty())
    write_picture(sweep.plot(f"{recipe.name} on {options.dataset}, batches of {recipe.batch_size}"), picture)
    numbers, rows = picture.with_suffix(".csv"), zip(sweep.rates, sweep.losses, sweep.smoothed_losses, strict=True)
    with atomic_write(numbers) as temporary, open(temporary, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("learning_rate", "loss", "smoothed_loss"), *rows])
    for name, rate in sweep.suggestions.items():
        print(f"{name:<12}{'none: the loss never fell' if rate is None else _as_flags(rate, recipe)}")
    print(f"Picture {picture}, numbers {numbers}; train with --learning-rate and one of these as the peak.")


def parse(argv):
    """(options, Recipe) that the arguments ask for; help or a refusal is printed, and SystemExit raised."""
    parser = Parser("lr-find", argv, "[flags]", DESCRIPTION)
    picture = "picture to write, .png, .svg or .pdf; the numbers go beside it, as .csv"
    parser.flag("output", "lr_find.png", picture, str, "sweep", metavar="FILE")
    parser.flag("lowest", 1e-4, "first rate, in the unit of --learning-rate", float, "sweep")
    parser.flag("highest", 10.0, "last rate; the sweep ends before it once the loss diverges", float, "sweep")
    parser.flag("steps", 100, "number of rates; each is one train step", int, "sweep")
    return parse_recipe(parser, WITHOUT)


def _as_flags(rate, recipe):
    """A rate as --learning-rate takes it, with the other rates in the proportion that the sweep kept."""
    others = {"--bias-rate": recipe.bias_rate, "--head-rate": recipe.head_rate, "--whiten-rate": recipe.whiten_rate}
    scaled = [
        f"{flag} {value * rate / recipe.learning_rate:.3g}" for flag, value in others.items() if value is not None
    ]
    return " ".join([format(rate, ".3g"), *(["with", *scaled] if scaled else [])])
