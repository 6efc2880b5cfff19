"""One recipe trained several times, seed after seed, and the statistics of the runs."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from davidnet_keras.data import datasets
from davidnet_keras.errors import UserError
from davidnet_keras.recipe import RECIPES, Recipe
from davidnet_keras.runs.mean_interval import MeanInterval, mean_interval
from davidnet_keras.runs.model_file import check_model_file
from davidnet_keras.runs.run_folder import RunFolder, check_checkpoint_every
from davidnet_keras.runs.series_folder import SeriesFolder, check_repetitions, check_runs
from davidnet_keras.runs.stop_signals import Interrupted, StopSignals

if TYPE_CHECKING:
    import keras

    CallbacksOfSeed = Callable[[int], Sequence[keras.callbacks.Callback]]


class Series(NamedTuple):
    """The result of a series of runs."""

    results: list  # one dict per run: its seed, and the content of its result.json
    accuracy: MeanInterval | None  # None without a finished run
    accuracy_views: MeanInterval | None  # over several views of each test picture, where the recipe has them
    run_dir: Path
    tested: str = "test"  # or "held-out": the pictures that were tested

    def __str__(self):
        """Return the statistics in one line, or two with several views."""
        n = len(self.results)
        text = f"{n} run{'s' * (n > 1)}: mean {self.tested} accuracy {self.accuracy}; {self.run_dir}/runs.png"
        if self.accuracy_views is None:
            return text
        return f"{text}\nWith {self.results[0]['views']} views of each {self.tested} picture: {self.accuracy_views}"


def train_runs(
    recipe: Recipe = RECIPES["davidnet"],
    n: int = 5,
    dataset: str = "cifar10",
    data_dir: str | os.PathLike | None = None,
    run_dir: str | os.PathLike | None = None,
    callbacks: CallbacksOfSeed | None = None,
    progress: bool = True,
    checkpoint_every: int | None = None,
) -> Series:
    """Train a recipe n times in this process, with the seeds `recipe.seed` to `recipe.seed + n - 1`.

    Each run is the one that `train` makes with its seed, in its own folder: `run_dir/seed-0` and so on. After each,
    `runs.json` holds the results so far with mean, standard deviation (n - 1) and 95 % interval, and `runs.png` shows
    the mean with a band. Between two runs Keras's global state is cleared (`keras.backend.clear_session`).

    Args:
        recipe: settings of the first run. Default: the reference notebook's.
        n: number of runs. Default 5.
        run_dir: folder to write, new or empty. Default: `runs/<recipe>-<dataset>-<time>`.
        callbacks: function of the seed that returns new callbacks. Default: none.
        dataset, data_dir, progress, checkpoint_every: as `train`.

    Returns:
        `Series(results, accuracy, accuracy_views, run_dir, tested)`; the models are in the runs' folders.

    Raises:
        UserError, OSError, Interrupted: as `train`; finished runs stay, and `resume_runs` continues.

    Example:
        train_runs(Recipe(epochs=5, batch_size=64), n=5, dataset="shapes").accuracy.interval
    """
    check_runs(n)
    dataclasses.replace(recipe, seed=recipe.seed + n - 1)  # refuses seeds that are too large
    check_checkpoint_every(checkpoint_every)
    datasets.check_name(dataset)
    from davidnet_keras.runs.train import default_run_dir  # here: a refusal need not wait for Keras

    with SeriesFolder.create(run_dir or default_run_dir(recipe, dataset)) as folder:
        plan = {"runs": n, "dataset": dataset, "checkpoint_every": checkpoint_every}
        return _train_missing(folder, recipe, plan, recipe.precision, callbacks, data_dir, progress)


def resume_runs(
    run_dir: str | os.PathLike,
    data_dir: str | os.PathLike | None = None,
    n: int | None = None,
    callbacks: CallbacksOfSeed | None = None,
    progress: bool = True,
    checkpoint_every: int | None = None,
) -> Series:
    """Continue a series: finished runs are kept, an interrupted one is resumed, the others are started.

    Args:
        run_dir: the folder of the series.
        n: number of runs, at least as many as the series was started for. Default: as many.
        checkpoint_every: as `train_runs`. Default: as the series was begun.
        data_dir, callbacks, progress: as `train_runs`.

    Returns, Raises: as `train_runs`.
    """
    check_checkpoint_every(checkpoint_every)
    with SeriesFolder.open(run_dir) as folder:
        recipe, plan = folder.read_recipe()
        if n is not None and check_runs(n) < plan["runs"]:
            raise UserError(
                f"The series was started for {plan['runs']} runs; ask for at least as many. Received: runs={n}"
            )
        plan |= {"runs": n or plan["runs"], "checkpoint_every": checkpoint_every or plan["checkpoint_every"]}
        dataclasses.replace(recipe, seed=recipe.seed + plan["runs"] - 1)
        runs = [folder.run(recipe.seed + number) for number in range(plan["runs"])]
        begun = [run for run in runs if run.recipe.exists()]
        check_repetitions(begun, recipe, plan["dataset"])
        precision = recipe.precision
        if 0 < len(begun) < len(runs):  # new runs get the precision that "auto" chose then, and the same pictures
            from davidnet_keras.runs.conditions import same_data

            conditions = begun[0].read_recipe()[1]
            same_data(begun[0].path, conditions, data_dir)
            precision = conditions["precision"]
        return _train_missing(folder, recipe, plan, precision, callbacks, data_dir, progress)


def check_resume(run_dir, change_recipe=False):
    """Raise UserError unless a folder holds a series, and nothing is to change in it."""
    if RunFolder(run_dir).recipe.exists():
        raise UserError(f"{run_dir} holds a single run; leave out --runs to continue it, or begin a series elsewhere.")
    SeriesFolder(run_dir).read_recipe()
    if change_recipe:
        raise UserError("The runs of a series have the same settings but for the seed; leave out --change-recipe.")


def _train_missing(folder, recipe, plan, precision, callbacks, data_dir, progress):
    """Train the runs that are missing or unfinished, record each, and return the `Series`."""
    from davidnet_keras.runs.resume import resume
    from davidnet_keras.runs.train import train

    stop, seeds = StopSignals(announce=progress), range(recipe.seed, recipe.seed + plan["runs"])
    runs = {seed: folder.run(seed) for seed in seeds}
    results = {seed: _finished(run, seed) for seed, run in runs.items() if run.model.exists()}
    series = _record(folder, recipe, plan, results)
    common = {"data_dir": data_dir, "checkpoint_every": plan["checkpoint_every"], "progress": progress, "stop": stop}
    for number, (seed, run) in enumerate(runs.items(), 1):
        if seed not in results:
            if stop.received is not None:  # it came when the run before was nearly finished
                raise Interrupted(stop.received, f"{len(results)} of {len(seeds)} runs", folder.path, "resume_runs")
            if progress:
                print(f"Run {number} of {len(seeds)}, seed {seed}")
            one = dataclasses.replace(recipe, seed=seed, precision=precision)
            try:  # the model and its callbacks are not kept: only the run's files remain
                if run.recipe.exists():
                    resume(run.path, callbacks=callbacks(seed) if callbacks else (), **common)
                else:
                    train(
                        one, plan["dataset"], run_dir=run.path, callbacks=callbacks(seed) if callbacks else (), **common
                    )
            except Interrupted as interrupt:
                reached = f"{interrupt.progress} of seed {seed}"
                raise Interrupted(interrupt.signal_number, reached, folder.path, "resume_runs") from None
            _forget_models()
            results[seed] = _finished(run, seed)
            series = _record(folder, recipe, plan, results)
        if progress:
            print(run_in_words(results[seed], recipe.tested_on))
    return series


def _finished(run, seed):
    """Return the seed and the content of a finished run's result.json."""
    check_model_file(run.model)
    result = run.read_result()
    if not isinstance(result.get("accuracy"), float):
        raise UserError(f"{run.result} holds no accuracy; remove {run.path}, and --resume trains it again.")
    run.drop_checkpoints()  # a kill may have come between its model and this
    return {"seed": seed, **result}


def _forget_models():
    """Free what Keras keeps of models that nobody uses any more."""
    import keras

    policy = keras.config.dtype_policy()
    keras.backend.clear_session()
    keras.config.set_dtype_policy(policy)  # which clear_session resets too


def _record(folder, recipe, plan, results):
    """Write runs.json and runs.png of the `{seed: result}` so far, and return them as a `Series`."""
    from davidnet_callbacks import atomic_write, plot_runs

    seeds = sorted(results)
    figures = {}
    for name in ("accuracy", "accuracy_views"):
        values = [result.get(name) for result in results.values()]
        figures[name] = mean_interval(values) if values and None not in values else None
    series = Series([results[seed] for seed in seeds], **figures, run_dir=folder.path, tested=recipe.tested_on)
    together = {name: figure and figure._asdict() for name, figure in figures.items()}
    folder.write(recipe, {"results": series.results, **together}, **plan)
    if results:
        title = f"{recipe.name} on {plan['dataset']}, {len(results)} of {plan['runs']} runs"
        try:
            figure = plot_runs([(recipe.name, folder.run(seed).path) for seed in seeds], title=title)
        except ValueError as error:  # an edited history of a finished run is no reason not to train the others
            warnings.warn(f"{folder.picture} is not drawn: {error}", stacklevel=2)
            return series
        with atomic_write(folder.picture) as temporary:
            figure.savefig(temporary)
    return series


def run_in_words(result, tested="test"):
    """Return a run's result in one line; `tested` as in `Series`."""
    from davidnet_keras.models.cost import cost_text

    minutes, seconds = divmod(round(result["seconds"] + result.get("seconds_views", 0)), 60)
    cost = "" if result.get("petaflop") is None else f", {cost_text(1e15 * result['petaflop'])}"
    views = f" ({100 * result['accuracy_views']:.2f} % with {result['views']} views)" if "views" in result else ""
    return (
        f"seed {result['seed']}: {tested} accuracy {100 * result['accuracy']:.2f} %{views}, {result['epochs']} epochs, "
        f"{minutes} min {seconds} s{cost}"
    )
