"""The flags of the command line, derived from `Recipe`."""

import argparse
import dataclasses
from typing import Annotated, Any, Literal

import tyro

from davidnet_keras.data import datasets
from davidnet_keras.errors import UserError
from davidnet_keras.recipe import RECIPES, Recipe
from davidnet_keras.runs.run_folder import RunFolder
from davidnet_keras.runs.series_folder import SeriesFolder

PROGRAM = "python -m davidnet_keras"
DESCRIPTION = """Train David Page's ResNet-9 on small colour pictures and write a run folder:
history.csv, curves.png, lr.png, log.tsv, recipe.json, result.json and model.keras.

Other commands, each with a --help of its own: lr-find (find the learning rate), plot (draw runs over one another),
evaluate (test a run's model class by class), predict (name what pictures of yours show)."""

Dataset: Any = Literal[datasets.names()]


@dataclasses.dataclass(frozen=True)
class Data:
    """Where the pictures come from."""

    dataset: Annotated[Dataset, tyro.conf.arg(help="pictures to learn; shapes is drawn, the others are downloaded")] = (
        "cifar10"
    )
    data_dir: Annotated[
        str | None, tyro.conf.arg(help="folder or .tar.gz with CIFAR; None: Keras's cache, filled by a download")
    ] = None


@dataclasses.dataclass(frozen=True)
class Place(Data):
    """Where the pictures come from and where the run goes: what is no part of the recipe."""

    run_dir: Annotated[
        str | None, tyro.conf.arg(help="folder to write, new or empty; None: runs/<recipe>-<dataset>-<time>")
    ] = None
    resume: Annotated[
        str | None, tyro.conf.arg(help="run folder to continue from its newest checkpoint", metavar="RUN")
    ] = None
    change_recipe: Annotated[
        bool, tyro.conf.arg(help="with --resume: go on with the settings that are given here, where they differ")
    ] = False
    runs: Annotated[int, tyro.conf.arg(help="trainings, with the seeds seed, seed + 1, ...; their mean and spread")] = 1
    checkpoint_every: Annotated[
        int | None, tyro.conf.arg(help="batches between checkpoints inside an epoch; None: only after each epoch")
    ] = None


def recipe_options(recipe, base=Place, without=()):
    """`base` and the recipe as a dataclass that tyro turns into flags, with this recipe's values as the defaults."""
    options = []
    for item in dataclasses.fields(Recipe):
        if item.name == "name":
            choices = Literal[tuple(dict.fromkeys([*RECIPES, recipe.name]))]  # a run's may have a name of its own
            options.append(
                ("recipe", Annotated[choices, tyro.conf.arg(help="the settings to start from")], recipe.name)
            )
        elif item.name not in without:
            argument = tyro.conf.arg(help=item.metadata["help"])
            options.append((item.name, Annotated[item.type, argument], getattr(recipe, item.name)))
    return dataclasses.make_dataclass("Options", options, bases=(base,), frozen=True)


def given_flags(argv):
    """The fields that the user named, as {field}: `--no-flip` and `--batch-size=64` included."""
    names = (word[2:].split("=")[0].replace("-", "_") for word in argv if word.startswith("--"))
    return {name.removeprefix("no_") for name in names}


def default_recipe(argv):
    """The recipe whose values are the defaults of all other flags: the one to resume, or else the one that is named."""
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    finder.add_argument("--recipe", nargs="?")
    finder.add_argument("--resume", nargs="?")
    found = finder.parse_known_args(argv)[0]
    named = RECIPES.get(found.recipe, RECIPES["davidnet"])  # tyro refuses an unknown name
    return (found.resume and begun_recipe(found.resume)) or named


def begun_recipe(run_dir):
    """The recipe of a run or a series; None where there is none, which is refused when the run is taken up."""
    kind = SeriesFolder if SeriesFolder.is_there(run_dir) else RunFolder
    try:
        return kind(run_dir).read_recipe()[0]
    except UserError:
        return None


def parse(argv):
    """(Place, Recipe) as the user asks; tyro prints help or what is wrong and exits."""
    recipe = default_recipe(argv)
    options = tyro.cli(recipe_options(recipe), prog=PROGRAM, description=DESCRIPTION, args=argv)
    return place_and_recipe(options, Place, recipe)


def place_and_recipe(options, base, recipe):
    """What tyro made of `recipe_options(recipe, base)`, as a `base` and a `Recipe`."""
    values = dataclasses.asdict(options)
    place = base(**{item.name: values.pop(item.name) for item in dataclasses.fields(base)})
    return place, dataclasses.replace(recipe, name=values.pop("recipe"), **values)
