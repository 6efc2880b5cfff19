"""`python -m davidnet_keras plot RUN...`: runs over one another. Without TensorFlow, which takes seconds to import."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from davidnet_keras.cli.options import PROGRAM
from davidnet_keras.errors import UserError
from davidnet_keras.runs.run_folder import RunFolder
from davidnet_keras.runs.series_folder import SeriesFolder

DESCRIPTION = """Draw runs over one another. Runs of one recipe and data set that differ in the seed
alone become their mean, with a band of one standard deviation."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What to draw, and where."""

    runs: Annotated[
        tyro.conf.Positional[tuple[str, ...]],
        tyro.conf.arg(help="run folders, folders of several seeds, or history.csv files", metavar="RUN..."),
    ]
    output: Annotated[str, tyro.conf.arg(help="picture to write: .png, .svg or .pdf")] = "runs.png"
    metric: Annotated[
        tuple[str, ...],
        tyro.conf.arg(help="columns of history.csv to draw, such as val_accuracy; none: each metric, of validation"),
    ] = ()
    log: Annotated[tuple[str, ...], tyro.conf.arg(help="which of these get a logarithmic axis, such as loss")] = ()
    title: Annotated[str | None, tyro.conf.arg(help="of the picture")] = None


def main(argv):
    """Run the command; UserError for bad input."""
    options = tyro.cli(Options, prog=f"{PROGRAM} plot", description=DESCRIPTION, args=argv)
    from davidnet_callbacks import atomic_write, plot_runs

    output = Path(options.output)
    if output.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise UserError(f"The picture must end in .png, .svg or .pdf. Received: output={options.output!r}")
    if not options.runs:
        raise UserError("Name one run folder or more.")
    runs = [run for path in options.runs for run in runs_in(path)]
    try:
        figure = plot_runs(labelled(runs), options.metric or None, options.title, options.log)
    except (OSError, ValueError) as error:
        raise UserError(f"These runs cannot be drawn: {error}") from error
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(output) as temporary:
            figure.savefig(temporary)
    except OSError as error:
        raise UserError(f"The picture cannot be written ({error}); name another --output.") from error
    print(f"{len(runs)} {'run' if len(runs) == 1 else 'runs'} drawn in {output}")


def runs_in(path):
    """The folders of a series' runs that have anything to draw; for what is no series, itself."""
    if not SeriesFolder.is_there(path):
        return [path]
    series = SeriesFolder(path)
    recipe, plan = series.read_recipe()
    runs = [series.run(recipe.seed + place) for place in range(plan["runs"])]
    begun = [str(run.path) for run in runs if run.history.exists()]
    if not begun:
        raise UserError(f"No run in {path} has finished an epoch yet; draw it later.")
    return begun


def labelled(paths):
    """A list of (label, run) for `plot_runs`: runs that differ in the seed alone get one label."""
    from davidnet_callbacks.figures.runs import distinct_names

    settings = [settings_of(path) for path in paths]
    known = [one for one in settings if one is not None]
    differing = sorted({name for one in known for name in one if any(one[name] != other[name] for other in known)})
    labels = distinct_names(paths)
    for place, one in enumerate(settings):
        if one is not None and len(known) > 1:
            said = ", ".join(f"{name.replace('_', ' ')} {one[name]}" for name in differing)
            labels[place] = said or one["recipe"]
    return list(zip(labels, paths, strict=True))


def settings_of(path):
    """What fixes a run's result apart from the seed; None for what is no folder of this program's."""
    folder = RunFolder(path)
    if not folder.recipe.is_file():
        return None
    recipe, conditions = folder.read_recipe()
    values = dataclasses.asdict(recipe)
    del values["seed"]
    # In place of the precision that was asked for, the one that "auto" took.
    values |= {"recipe": values.pop("name"), "dataset": conditions["dataset"], "precision": conditions["precision"]}
    return values | {"data": str(conditions["data"])}
