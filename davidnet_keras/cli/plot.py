"""`python -m davidnet_keras plot RUN...`: runs over one another. Without TensorFlow, which takes seconds to import."""

import dataclasses

from davidnet_keras.cli.options import Parser, picture_path, write_picture
from davidnet_keras.errors import UserError
from davidnet_keras.runs.run_folder import RunFolder
from davidnet_keras.runs.series_folder import SeriesFolder

DESCRIPTION = """Draw runs over one another. Runs of one recipe and data set that differ in the seed
alone become their mean, with a band of one standard deviation."""


def main(argv):
    """Run the command; UserError for bad input."""
    parser = Parser("plot", argv, "RUN... [flags]", DESCRIPTION)
    what = "run folders, folders of several seeds, or history.csv files"
    parser.add_argument("runs", metavar="RUN", nargs="*", help=what, default=[])
    parser.flag("output", "runs.png", "picture to write: .png, .svg or .pdf", metavar="FILE")
    columns = "columns of history.csv to draw, such as val_accuracy (default: each metric, of validation)"
    parser.add_argument("--metric", nargs="*", default=[], metavar="COLUMN", help=columns)
    logarithmic = "which of these get a logarithmic axis, such as loss"
    parser.add_argument("--log", nargs="*", default=[], metavar="COLUMN", help=logarithmic)
    parser.flag("title", None, "of the picture", str | None)
    options = parser.parse()
    from davidnet_callbacks import plot_runs

    output = picture_path(options.output)
    if not options.runs:
        raise UserError("Name one run folder or more.")
    runs = [run for path in options.runs for run in runs_in(path)]
    try:
        figure = plot_runs(labelled(runs), options.metric or None, options.title, options.log)
    except (OSError, ValueError) as error:
        raise UserError(f"These runs cannot be drawn: {error}") from error
    write_picture(figure, output)
    print(f"{len(runs)} {'run' if len(runs) == 1 else 'runs'} drawn in {output}")


def runs_in(path):
    """The folders of a series' runs that have an epoch to draw; the path itself where there is no series."""
    if not SeriesFolder.exists(path):
        return [path]
    series = SeriesFolder(path)
    recipe, plan = series.read_recipe()
    runs = [series.run(recipe.seed + i) for i in range(plan["runs"])]
    begun = [str(run.path) for run in runs if run.history.exists()]
    if not begun:
        raise UserError(f"No run in {path} has finished an epoch yet; draw it later.")
    return begun


def labelled(paths):
    """A list of (label, run) for `plot_runs`: runs that differ in the seed alone get one label."""
    from davidnet_callbacks.figures.runs import distinct_names

    settings = [_settings(path) for path in paths]
    known = [one for one in settings if one is not None]
    differing = sorted({name for one in known for name in one if any(one[name] != other[name] for other in known)})
    labels = distinct_names(paths)
    for i, one in enumerate(settings):
        if one is not None and len(known) > 1:
            labels[i] = ", ".join(f"{name.replace('_', ' ')} {one[name]}" for name in differing) or one["recipe"]
    return list(zip(labels, paths, strict=True))


def _settings(path):
    """What fixes a run's result apart from the seed; None for anything but a run folder."""
    folder = RunFolder(path)
    if not folder.recipe.is_file():
        return None
    recipe, conditions = folder.read_recipe()
    settings = dataclasses.asdict(dataclasses.replace(recipe, seed=0))
    settings["recipe"] = settings.pop("name")
    # Among them the precision that the run had, in place of "auto".
    return settings | {name: str(conditions[name]) for name in ("dataset", "data", "precision")}
