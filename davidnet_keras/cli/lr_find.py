"""`python -m davidnet_keras lr-find`: which learning rate to train with."""

import csv
import dataclasses
import io
import sys
from pathlib import Path
from typing import Annotated

import tyro

from davidnet_keras.cli.options import PROGRAM, Data, default_recipe, place_and_recipe, recipe_options
from davidnet_keras.data import datasets
from davidnet_keras.errors import UserError
from davidnet_keras.kernels.environment import import_training

DESCRIPTION = """Find the learning rate: train for some steps at growing rates and watch the loss.
Prints the rates that this suggests, as --learning-rate takes them, and writes a picture and a CSV file."""
WITHOUT = (
    "epochs",
    "learning_rate",
    "warmup_epochs",
    "start_rate",
    "end_rate",
    "test_views",
)  # what a sweep has no use for


@dataclasses.dataclass(frozen=True)
class Sweep(Data):
    """Where the pictures come from, which rates to try, and where the picture goes."""

    output: Annotated[
        str, tyro.conf.arg(help="picture to write, .png, .svg or .pdf; the numbers go beside it, as .csv")
    ] = "lr_find.png"
    lowest: Annotated[float, tyro.conf.arg(help="first rate, in the unit of --learning-rate")] = 1e-4
    highest: Annotated[float, tyro.conf.arg(help="last rate; the sweep ends before it once the loss diverges")] = 10.0
    steps: Annotated[int, tyro.conf.arg(help="how many rates; each is one train step")] = 100


def main(argv):
    """Run the command; UserError for bad input."""
    recipe = default_recipe(argv)
    options = tyro.cli(
        recipe_options(recipe, Sweep, WITHOUT),
        prog=f"{PROGRAM} lr-find",
        description=DESCRIPTION,
        args=argv,
    )
    place, recipe = place_and_recipe(options, Sweep, recipe)
    check(place)
    write(sweep(place, recipe), place, recipe)


def check(place):
    """UserError for rates or a picture that will not do, before anything slow is begun."""
    from davidnet_callbacks.learning_rate_sweep import check_sweep

    if Path(place.output).suffix.lower() not in (".png", ".svg", ".pdf"):
        raise UserError(f"The picture must end in .png, .svg or .pdf. Received: output={place.output!r}")
    try:
        check_sweep(place.lowest, place.highest, place.steps, "exponential", smoothing=0.8, divergence=4.0)
    except ValueError as error:
        raise UserError(str(error)) from None


def sweep(place, recipe):
    """The `LearningRateSweep` of the recipe's model on its augmented data, in rates of a mean loss."""
    training = import_training()
    from davidnet_callbacks import LearningRateFinder
    from davidnet_keras.models.build import new_model

    data = datasets.held_out(datasets.load(place.dataset, place.data_dir), recipe.hold_out)
    datasets.check_batch_size(recipe.batch_size, data)
    precision, _ = training.choose_precision(recipe.precision)
    model = new_model(recipe, datasets.num_classes(place.dataset), data, precision)
    # An optimizer that sees a summed loss has the rates of the mean by the batch size.
    finder = LearningRateFinder(place.lowest / recipe.rate_divisor, place.highest / recipe.rate_divisor, place.steps)
    try:
        model.fit(
            training.training_data(model, recipe, data),
            steps_per_epoch=place.steps,
            shuffle=False,  # the data set shuffles itself
            verbose=1 if sys.stdout.isatty() else 0,
            callbacks=[finder],
        )
    except ValueError as error:
        raise UserError(f"The sweep stopped: {error}") from error
    rates = tuple(rate * recipe.rate_divisor for rate in finder.result.rates)
    return dataclasses.replace(finder.result, rates=rates)


def write(found, place, recipe):
    """The picture, the numbers, and what to do with them."""
    from davidnet_callbacks import atomic_write

    picture = Path(place.output)
    numbers = picture.with_suffix(".csv")
    title = f"{recipe.name} on {place.dataset}, batches of {recipe.batch_size}"
    try:
        picture.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(picture) as temporary:
            found.plot(title).savefig(temporary)
        with atomic_write(numbers) as temporary:
            temporary.write_text(as_csv(found))
    except OSError as error:
        raise UserError(f"The result cannot be written ({error}); name another --output.") from error
    for name, rate in found.suggestions.items():
        print(f"{name:<12}{'none: the loss never fell' if rate is None else as_flags(rate, recipe)}")
    print(f"Picture {picture}, numbers {numbers}; train with --learning-rate and one of these as the peak.")


def as_flags(rate, recipe):
    """A rate as --learning-rate takes it, and those of weights with rates of their own, which the sweep moved too."""
    others = {"--bias-rate": recipe.bias_rate, "--head-rate": recipe.head_rate, "--whiten-rate": recipe.whiten_rate}
    scaled = [
        f"{flag} {value * rate / recipe.learning_rate:.3g}" for flag, value in others.items() if value is not None
    ]
    return " ".join([format(rate, ".3g"), *(["with", *scaled] if scaled else [])])


def as_csv(found):
    """The sweep as text: one row a rate."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("learning_rate", "loss", "smoothed_loss"))
    writer.writerows(zip(found.rates, found.losses, found.smoothed_losses, strict=True))
    return text.getvalue()
