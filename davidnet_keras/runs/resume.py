"""Run folder -> the rest of its run."""

import warnings

from davidnet_callbacks import read_history
from davidnet_callbacks.dawnbench import earlier_lines
from davidnet_callbacks.history_file import earlier_epochs
from davidnet_keras.data import datasets
from davidnet_keras.errors import UserError
from davidnet_keras.models.build import new_model
from davidnet_keras.runs.changes import check_changes, check_progress
from davidnet_keras.runs.checkpoint import Progress, load_weights
from davidnet_keras.runs.model_file import load_model
from davidnet_keras.runs.run_folder import RunFolder
from davidnet_keras.runs.train import (
    Run,
    check_checkpoint_every,
    fit,
    surroundings,
)

COLUMNS = ("learning_rate", "accuracy", "loss", "val_accuracy", "val_loss", "seconds")  # every run's, at least


def resume(
    run_dir,
    data_dir=None,
    callbacks=(),
    progress=True,
    recipe=None,
    change_recipe=False,
    checkpoint_every=None,
    stop=None,
):
    """Continue a run after its newest checkpoint, as if it had never stopped.

    The data set's name and the precision come from the run folder, and the data must be the same. With
    `Recipe(deterministic=True)` the run ends with the very bits, weights and history, of one that was never stopped. A
    finished run is only given back.

    Args:
        run_dir: the run's folder.
        recipe: `Recipe` to go on with; None: the run's own.
        change_recipe: bool, whether `recipe` may differ from the run's own. recipe.json then says what was changed
            after how many epochs and batches.
        checkpoint_every: as `train`; None: as the run was begun.
        data_dir, callbacks, progress, stop: as `train`.

    Returns, Raises: as `train`.
    """
    check_checkpoint_every(checkpoint_every)
    with RunFolder.open(run_dir) as folder:
        begun, before = folder.read_recipe()
        recipe = recipe or begun
        changes = check_changes(begun, recipe, change_recipe)
        if folder.model.exists():
            return finished_run(folder, changes)
        every = checkpoint_every or before.get("checkpoint_every")
        data = datasets.held_out(same_data(run_dir, before, data_dir), recipe.hold_out)
        datasets.check_batch_size(recipe.batch_size, data)
        model = new_model(recipe, datasets.num_classes(before["dataset"]), data, before["precision"])
        path, done, state = folder.newest_checkpoint(begun.batch_order) or (None, Progress(0), None)
        if path is not None:
            load_into(model, path, changes)
        else:
            check_nothing_lost(folder)
        check_progress(changes, done)
        check_records(folder, done.epochs)
        if changes:
            before["changes"] = [*before.get("changes", []), {"after": str(done), "changed": changes}]
        if changes or every != before.get("checkpoint_every"):
            folder.write_recipe(recipe, **before | {"checkpoint_every": every})
        if "epochs" in changes and state is not None:
            state = state | {"stopped": False}  # a callback had ended the run, and now it is to be longer
        warn_of_other_surroundings(before)
        if progress:
            print(f"Going on after {done} of {recipe.epochs}.")
        return fit(model, recipe, data, folder, done, state, callbacks, progress, every, stop)


def finished_run(folder, changes):
    """The run as its folder has it."""
    if changes:
        raise UserError(f"The run in {folder.path} is finished; start a new one with other settings.")
    run = Run(load_model(folder.model), whole_history(folder), folder.path)
    folder.drop_checkpoints()  # only now: they are what is left if the model is damaged
    return run


def same_data(run_dir, before, data_dir):
    """The data that a run was begun with; UserError if it is other data."""
    data = datasets.load(before["dataset"], data_dir)
    if datasets.fingerprint(data) != before["data"]:
        raise UserError(f"These are not the pictures that {run_dir} was trained on; give the same --data-dir as then.")
    return data


def warn_of_other_surroundings(before):
    """Name what differs from when the run was begun, and costs it the same bits."""
    now = surroundings()
    differing = [name for name in now if name in before and before[name] != now[name]]
    if differing:
        pairs = "; ".join(f"{name}={now[name]}, begun with {before[name]}" for name in differing)
        warnings.warn(f"The run goes on, but not to the bits of one that never stopped: {pairs}.", stacklevel=3)


def load_into(model, path, changes):
    """Weights and optimizer state of a checkpoint into the run's model, but for what was changed in the recipe."""
    try:
        load_weights(path, model)
    except ValueError as error:
        raise UserError(f"The run cannot go on: {error}") from error
    if "momentum" in changes:
        optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)  # under loss scaling
        optimizer.momentum = changes["momentum"][1]


def check_records(folder, epochs):
    """Refuse to go on from records that do not hold the finished epochs, before anything is written over."""
    if not epochs:
        return
    whole_history(folder)
    try:
        earlier_epochs(folder.history, epochs)
        earlier_lines(folder.log, epochs)
    except (OSError, ValueError) as error:
        raise UserError(f"The run cannot go on: {error}") from error


def whole_history(folder):
    """history.csv's columns; UserError where it lacks one that every run writes."""
    try:
        history = read_history(folder.history)
    except (OSError, ValueError) as error:
        raise UserError(f"The run's history cannot be read: {error}") from error
    missing = [name for name in COLUMNS if name not in history]
    if missing:
        raise UserError(f"{folder.history} has no column {missing[0]}; restore it.")
    return history


def check_nothing_lost(folder):
    """Refuse to begin anew over the records of a run whose checkpoints are gone.

    A run that is killed in its first epoch's end may have recorded that one.
    """
    if folder.history.exists() and len(whole_history(folder)["epoch"]) > 1:
        raise UserError(
            f"{folder.path} has the records of a run but neither its model nor a checkpoint; restore those, or start a "
            "new run."
        )
