"""One recipe trained several times, seed after seed, and what the runs say together."""

import dataclasses
import warnings

from davidnet_keras.data import datasets
from davidnet_keras.errors import UserError
from davidnet_keras.recipe import RECIPES
from davidnet_keras.runs.model_file import check_model_file
from davidnet_keras.runs.run_folder import RunFolder
from davidnet_keras.runs.same_series import check_same_conditions, check_same_settings, precision_begun
from davidnet_keras.runs.series import Series, line_of, over_runs
from davidnet_keras.runs.series_folder import SeriesFolder, check_runs
from davidnet_keras.runs.stop_signals import Interrupted, StopSignals


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
        `Series(results, accuracy, accuracy_views, run_dir, tested)`; the models stand in the runs' folders.

    Raises:
        UserError, OSError: as `train`; runs that are finished stay, and `resume_runs` goes on.
        Interrupted: as `train`; the batch was finished and its run saved, and `resume_runs` goes on.

    Example:
        train_runs(Recipe(epochs=5, batch_size=64), n=5, dataset="shapes").accuracy.interval
    """
    from davidnet_keras.runs import train as training

    check_runs(n)
    seeded(recipe, n - 1)
    training.check_checkpoint_every(checkpoint_every)
    datasets.check_name(dataset)
    with SeriesFolder.create(run_dir or training.default_run_dir(recipe, dataset)) as folder:
        plan = {"runs": n, "dataset": dataset, "checkpoint_every": checkpoint_every}
        return train_missing(folder, recipe, plan, data_dir, callbacks, progress, recipe.precision)


def resume_runs(run_dir, data_dir=None, n=None, callbacks=no_callbacks, progress=True, checkpoint_every=None):
    """Go on with a series: finished runs are kept, one that was interrupted is resumed, the others are started.

    Args:
        run_dir: the folder of the series.
        n: int, how many runs there are to be, as many as were asked for at least; None: as many.
        checkpoint_every: as `train_runs`; None: as the series was begun.
        data_dir, callbacks, progress: as `train_runs`.

    Returns, Raises: as `train_runs`.
    """
    from davidnet_keras.runs import train as training

    training.check_checkpoint_every(checkpoint_every)
    with SeriesFolder.open(run_dir) as folder:
        recipe, plan = folder.read_recipe()
        plan["runs"] = runs_to_go_on_with(plan["runs"], n)
        plan["checkpoint_every"] = checkpoint_every or plan["checkpoint_every"]
        seeded(recipe, plan["runs"] - 1)
        runs = [folder.run(seeded(recipe, place).seed) for place in range(plan["runs"])]
        begun = [run for run in runs if run.recipe.exists()]
        check_same_settings(begun, recipe, plan["dataset"])
        check_same_conditions(begun)
        precision = precision_begun(begun, recipe, plan, data_dir)
        return train_missing(folder, recipe, plan, data_dir, callbacks, progress, precision)


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


def train_missing(folder, recipe, plan, data_dir, callbacks, progress, precision):
    """Train what is not there yet, and record each run; returns the `Series`.

    `precision` is what the runs that are begun here get in place of the recipe's.
    """
    stop, seeds = StopSignals(announce=progress), [seeded(recipe, place).seed for place in range(plan["runs"])]
    results = {seed: result_of_finished(folder.run(seed), seed) for seed in seeds if folder.run(seed).model.exists()}
    record(folder, recipe, plan, results)
    for place, seed in enumerate(seeds):
        if seed not in results:
            if stop.received is not None:  # a run that was at its end has ended, but no other may begin
                raise Interrupted(stop.received, f"{len(results)} of {len(seeds)} runs", folder.path, "resume_runs")
            if progress:
                print(f"Run {place + 1} of {len(seeds)}, seed {seed}")
            one = dataclasses.replace(recipe, seed=seed, precision=precision)
            train_one(folder, one, plan, data_dir, callbacks(seed), progress, stop)
            forget_models()
            results[seed] = result_of_finished(folder.run(seed), seed)
            record(folder, recipe, plan, results)
        if progress:
            print(line_of(results[seed], recipe.tested_on))
    return series_of(results, folder, recipe)


def train_one(folder, recipe, plan, data_dir, callbacks, progress, stop):
    """One run, begun or resumed, of which only the files remain."""
    from davidnet_keras.runs import resume as resuming
    from davidnet_keras.runs import train as training

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


def result_of_finished(run, seed):
    """The seed, and what the result.json of its run holds."""
    check_model_file(run.model)
    result = run.read_result()
    if not isinstance(result.get("accuracy"), float):
        raise UserError(f"{run.result} holds no accuracy; remove {run.path}, and --resume trains it again.")
    run.drop_checkpoints()  # a kill may have come between its model and this
    return {"seed": seed, **result}


def series_of(results, folder, recipe):
    """The `Series` of {seed: result}, by seed."""
    results = [results[seed] for seed in sorted(results)]
    figures = [over_runs(results, name) for name in ("accuracy", "accuracy_views")]
    return Series(results, *figures, folder.path, recipe.tested_on)


def record(folder, recipe, plan, results):
    """runs.json and runs.png of the {seed: result} so far."""
    from davidnet_callbacks import atomic_write, plot_runs

    series = series_of(results, folder, recipe)
    together = {name: (figure := getattr(series, name)) and figure._asdict() for name in ("accuracy", "accuracy_views")}
    folder.write(recipe, {"results": series.results, **together}, **plan)
    if results:
        runs = [(recipe.name, folder.run(seed).path) for seed in sorted(results)]
        title = f"{recipe.name} on {plan['dataset']}, {len(results)} of {plan['runs']} runs"
        try:
            figure = plot_runs(runs, title=title)
        except ValueError as error:  # an edited history of a finished run is no reason not to train the others
            warnings.warn(f"{folder.picture} is not drawn: {error}", stacklevel=2)
            return
        with atomic_write(folder.picture) as temporary:
            figure.savefig(temporary)


def seeded(recipe, place):
    """The recipe of the run at a place of the series, from 0; UserError beyond the largest seed."""
    return dataclasses.replace(recipe, seed=recipe.seed + place)
