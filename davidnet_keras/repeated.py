"""One recipe trained several times, seed after seed, and what the runs say together."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

from davidnet_keras.errors import UserError
from davidnet_keras.mean_interval import MeanInterval, mean_interval
from davidnet_keras.model_file import check_model_file
from davidnet_keras.recipe import RECIPES
from davidnet_keras.run_folder import RunFolder
from davidnet_keras.series_folder import SeriesFolder, check_runs
from davidnet_keras.stop_signals import Interrupted, StopSignals


class Series(NamedTuple):
    """What a series of runs leaves."""

    results: list  # one dict a run: seed, and what its result.json holds
    accuracy: MeanInterval  # of the accuracies: n, mean, standard_deviation, interval
    accuracy_views: MeanInterval | None  # of those with several views of each test picture, where the recipe has them
    run_dir: Path

    def __str__(self):
        """The runs together, in a line or two."""
        n = self.accuracy.n
        text = f"{n} run{'s' * (n > 1)}: mean test accuracy {in_words(self.accuracy)}; {self.run_dir}/runs.png"
        if self.accuracy_views is None:
            return text
        return f"{text}\nWith {self.results[0]['views']} views of each test picture: {in_words(self.accuracy_views)}"


def in_words(figure):
    """A `MeanInterval` in percent."""
    n, mean, deviation, interval = figure
    if n == 1:
        return f"{100 * mean:.2f} %"
    low, high = (f"{100 * end:.2f}" for end in interval)
    return (
        f"{100 * mean:.2f} %, standard deviation {100 * deviation:.2f} %, 95 % interval of the mean {low} to {high} %"
    )


def no_callbacks(seed):
    """None, whatever the seed."""
    return ()


def train_runs(
    recipe=RECIPES["davidnet"],
    n=5,
    dataset="cifar10",
    data_dir=None,
    run_dir=None,
    callbacks=no_callbacks,
    progress=True,
    checkpoint_every=None,
):
    """Train a recipe n times in this process, with the seeds `recipe.seed` to `recipe.seed + n - 1`.

    Each run is the one that `train` makes with its seed, to the bit where the recipe is deterministic, in a folder of
    its own: `run_dir/seed-0` and so on. After each, `runs.json` holds the results so far with mean, standard deviation
    (n - 1) and the 95 % interval of the mean, and `runs.png` shows the mean with a band. Between two runs Keras's
    global state is cleared (`keras.backend.clear_session`), so that memory does not grow: models of yours that were
    made before can still be used, automatic names begin anew.

    Args:
        recipe: `Recipe` of the first run. Default: the reference notebook's.
        n: int, how many runs. Default 5.
        run_dir: folder to write, new or empty; None: `runs/<recipe>-<dataset>-<time>`.
        callbacks: function of the seed that returns a list of new `keras.callbacks.Callback` objects. Default: none.
        dataset, data_dir, progress, checkpoint_every: as `train`.

    Returns:
        `Series(results, accuracy, run_dir)`; the models stand in the runs' folders.

    Raises:
        UserError, OSError: as `train`; runs that are finished stay, and `resume_runs` goes on.
        Interrupted: as `train`; the batch was finished and its run saved, and `resume_runs` goes on.

    Example:
        train_runs(Recipe(epochs=5, batch_size=64), n=5, dataset="shapes").accuracy.interval
    """
    from davidnet_keras import training

    check_runs(n)
    seeded(recipe, n - 1)
    training.check_checkpoint_every(checkpoint_every)
    if dataset not in training.CLASSES:
        raise UserError(
            f"There is no such data set; choose {', '.join(training.CLASSES)}. Received: dataset={dataset!r}"
        )
    with SeriesFolder.create(run_dir or training.default_run_dir(recipe, dataset)) as folder:
        plan = {"runs": n, "dataset": dataset, "checkpoint_every": checkpoint_every}
        return train_missing(folder, recipe, plan, data_dir, callbacks, progress)


def resume_runs(run_dir, data_dir=None, n=None, callbacks=no_callbacks, progress=True, checkpoint_every=None):
    """Go on with a series: finished runs are kept, one that was interrupted is resumed, the others are started.

    Args:
        run_dir: the folder of the series.
        n: int, how many runs there are to be, as many as were asked for at least; None: as many.
        checkpoint_every: as `train_runs`; None: as the series was begun.
        data_dir, callbacks, progress: as `train_runs`.

    Returns, Raises: as `train_runs`.
    """
    from davidnet_keras import training

    training.check_checkpoint_every(checkpoint_every)
    with SeriesFolder.open(run_dir) as folder:
        recipe, plan = folder.read_recipe()
        plan["runs"] = runs_to_go_on_with(plan["runs"], n)
        plan["checkpoint_every"] = checkpoint_every or plan["checkpoint_every"]
        seeded(recipe, plan["runs"] - 1)
        recipe = as_begun(folder, recipe, plan, data_dir)
        return train_missing(folder, recipe, plan, data_dir, callbacks, progress)


def check_resume(run_dir, change_recipe=False):
    """UserError unless a folder holds a series, and nothing is to change in it."""
    if RunFolder(run_dir).recipe.exists():
        raise UserError(f"{run_dir} holds a single run; leave out --runs to continue it, or begin a series elsewhere.")
    SeriesFolder(run_dir).read_recipe()
    if change_recipe:
        raise UserError("The runs of a series have the same settings but for the seed; leave out --change-recipe.")


def runs_to_go_on_with(begun, n):
    """The number of runs, which may only grow; UserError else."""
    if n is None:
        return begun
    check_runs(n)
    if n < begun:
        raise UserError(f"The series was begun for {begun} runs; ask for as many at least. Received: runs={n}")
    return n


def as_begun(folder, recipe, plan, data_dir):
    """The recipe with the precision that "auto" took for the runs there are; UserError for other pictures than theirs.

    Else runs on another machine, or on other files, would be averaged with them as if they were repetitions.
    """
    from davidnet_keras.resuming import same_data

    runs = [folder.run(seeded(recipe, place).seed) for place in range(plan["runs"])]
    begun = [run for run in runs if run.recipe.exists()]
    if not begun or len(begun) == len(runs):  # nothing to compare with, or `resume` does
        return recipe
    conditions = begun[0].read_recipe()[1]
    same_data(begun[0].path, conditions, data_dir)
    return dataclasses.replace(recipe, precision=conditions["precision"])


def train_missing(folder, recipe, plan, data_dir, callbacks, progress):
    """Train what is not there yet, and record each run; returns the `Series`."""
    results, stop = [], StopSignals(announce=progress)
    record(folder, recipe, plan, results)
    for place in range(plan["runs"]):
        one = seeded(recipe, place)
        if not folder.run(one.seed).model.exists():
            if stop.received is not None:  # a run that was at its end has ended, but no other may begin
                raise Interrupted(stop.received, f"{place} of {plan['runs']} runs", folder.path, "resume_runs")
            if progress:
                print(f"Run {place + 1} of {plan['runs']}, seed {one.seed}")
            train_one(folder, one, plan, data_dir, callbacks(one.seed), progress, stop)
            forget_models()
        results.append({"seed": one.seed, **result_of_finished(folder.run(one.seed))})
        record(folder, recipe, plan, results)
        if progress:
            print(line_of(results[-1]))
    return Series(results, over_runs(results, "accuracy"), over_runs(results, "accuracy_views"), folder.path)


def over_runs(results, name):
    """The `MeanInterval` of one figure; None where a run does not have it."""
    values = [result.get(name) for result in results]
    return None if not values or None in values else mean_interval(values)


def train_one(folder, recipe, plan, data_dir, callbacks, progress, stop):
    """One run, begun or resumed, of which only the files remain."""
    from davidnet_keras import resuming, training

    run = folder.run(recipe.seed)
    common = {
        "data_dir": data_dir,
        "callbacks": callbacks,
        "progress": progress,
        "checkpoint_every": plan["checkpoint_every"],
        "stop": stop,
    }
    try:
        if run.recipe.exists():
            resuming.resume(run.path, **common)
        else:
            training.train(recipe, plan["dataset"], run_dir=run.path, **common)
    except Interrupted as interrupt:
        reached = f"{interrupt.progress} of seed {recipe.seed}"
        raise Interrupted(interrupt.signal_number, reached, folder.path, "resume_runs") from None


def forget_models():
    """Free what Keras holds of models that nobody uses any more; their callbacks must be gone too."""
    import keras

    policy = keras.config.dtype_policy()
    keras.backend.clear_session()
    keras.config.set_dtype_policy(policy)  # which that sets back too


def result_of_finished(run):
    """What the result.json of a run holds."""
    check_model_file(run.model)
    result = run.read_result()
    if not isinstance(result.get("accuracy"), float):
        raise UserError(f"{run.result} holds no accuracy; remove {run.path}, and --resume trains it again.")
    run.drop_checkpoints()  # a kill may have come between its model and this
    return result


def record(folder, recipe, plan, results):
    """runs.json and runs.png."""
    from davidnet_callbacks import atomic_write, plot_runs

    figures = {name: over_runs(results, name) for name in ("accuracy", "accuracy_views")}
    together = {name: figure and figure._asdict() for name, figure in figures.items()}
    folder.write(recipe, {"results": results, **together}, **plan)
    if results:
        runs = [(recipe.name, folder.run(result["seed"]).path) for result in results]
        title = f"{recipe.name} on {plan['dataset']}, {len(results)} of {plan['runs']} runs"
        with atomic_write(folder.picture) as temporary:
            plot_runs(runs, title=title).savefig(temporary)


def line_of(result):
    """A run in one line."""
    from davidnet_keras.cost import cost_text

    minutes, seconds = divmod(round(result["seconds"]), 60)
    cost = "" if result.get("petaflop") is None else f", {cost_text(1e15 * result['petaflop'])}"
    views = f" ({100 * result['accuracy_views']:.2f} % with {result['views']} views)" if "views" in result else ""
    return (
        f"seed {result['seed']}: test accuracy {100 * result['accuracy']:.2f} %{views}, {result['epochs']} epochs, "
        f"{minutes} min {seconds} s{cost}"
    )


def seeded(recipe, place):
    """The recipe of the run at a place of the series, from 0; UserError beyond the largest seed."""
    return dataclasses.replace(recipe, seed=recipe.seed + place)
