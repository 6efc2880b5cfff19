"""Run folder -> the rest of its run."""

import os
from collections.abc import Sequence
from typing import Any

import keras

from davidnet_callbacks import read_history
from davidnet_callbacks.dawnbench import earlier_lines
from davidnet_callbacks.history_file import earlier_epochs
from davidnet_keras.data import datasets
from davidnet_keras.errors import UserError
from davidnet_keras.kernels.devices import deterministic_ops
from davidnet_keras.models.build import new_model
from davidnet_keras.recipe import Recipe
from davidnet_keras.runs.changes import check_changes, check_progress
from davidnet_keras.runs.checkpoint import Progress, load_weights
from davidnet_keras.runs.conditions import same_data, warn_of_changes
from davidnet_keras.runs.model_file import load_model
from davidnet_keras.runs.run_folder import RunFolder, check_checkpoint_every
from davidnet_keras.runs.stop_signals import StopSignals
from davidnet_keras.runs.train import Run, RunState, fit

_COLUMNS = ("learning_rate", "accuracy", "loss", "val_accuracy", "val_loss", "seconds")  # in every run's history


def resume(
    run_dir: str | os.PathLike,
    data_dir: str | os.PathLike | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    progress: bool = True,
    recipe: Recipe | None = None,
    change_recipe: bool = False,
    checkpoint_every: int | None = None,
    stop: StopSignals | None = None,
) -> Run:
    """Continue a run after its newest checkpoint, as if it had never stopped; a finished one is returned as it is.

    Data set and precision are the run's own; the pictures must be the same. With `Recipe(deterministic=True)` weights
    and history end with the very bits of a run that was never stopped.

    Args:
        run_dir: the run's folder.
        recipe: settings to continue with. Default: the run's own.
        change_recipe: whether `recipe` may differ from the run's own; recipe.json then records the change and when.
        checkpoint_every: as `train`. Default: as the run was begun.
        data_dir, callbacks, progress, stop: as `train`.

    Raises: as `train`.
    """
    check_checkpoint_every(checkpoint_every)
    with RunFolder.open(run_dir) as folder:
        begun, before = folder.read_recipe()
        recipe = recipe or begun
        changes = check_changes(begun, recipe, change_recipe or folder.model.exists())
        if folder.model.exists():
            if changes:
                raise UserError(f"The run in {folder.path} is finished; start a new one with other settings.")
            run = Run(load_model(folder.model), _whole_history(folder), folder.path)
            folder.drop_checkpoints()  # not before: they are all that is left of a run whose model is damaged
            return run
        every = checkpoint_every or before.get("checkpoint_every")
        data = datasets.held_out(same_data(run_dir, before, data_dir), recipe.hold_out)
        datasets.check_batch_size(recipe.batch_size, data)
        path, done, saved = folder.newest_checkpoint(begun.batch_order) or (None, Progress(0), None)
        check_progress(changes, done)
        history, hours = _records(folder, done.epochs)
        state = RunState(done, saved, history, hours, every, stop, progress)
        if changes:
            before["changes"] = [*before.get("changes", []), {"after": str(done), "changed": changes}]
        if "epochs" in changes and saved is not None:
            saved["stopped"] = False  # a callback had ended the run, which is now to be longer
        with deterministic_ops(recipe.deterministic):
            model = new_model(recipe, datasets.num_classes(before["dataset"]), data, before["precision"])
            if path is not None:
                load_weights(path, model)
            if "momentum" in changes:  # the checkpoint's optimizer has the old one
                optimizer: Any = getattr(model.optimizer, "inner_optimizer", model.optimizer)  # under loss scaling
                optimizer.momentum = recipe.momentum
            if changes or every != before.get("checkpoint_every"):
                folder.write_recipe(recipe, **before | {"checkpoint_every": every})
            warn_of_changes(before)
            if progress:
                print(f"Resuming {folder.path} after {done}, of {recipe.epochs} epochs in all.")
            return fit(model, recipe, data, folder, callbacks, state)


def _records(folder, epochs):
    """Return the history and the hours of the finished epochs.

    UserError: the files do not hold them, or hold any although there is no checkpoint.
    """
    if epochs:
        _whole_history(folder)
        try:
            return earlier_epochs(folder.history, epochs), earlier_lines(folder.log, epochs)[1]
        except (OSError, ValueError) as error:
            raise UserError(f"The run cannot continue: {error}") from error
    # A run that is killed at the end of its first epoch may have recorded that one.
    if not folder.saved() and folder.history.exists() and len(_whole_history(folder)["epoch"]) > 1:
        raise UserError(
            f"{folder.path} has the records of a run but neither its model nor a checkpoint; restore those, or start a "
            "new run."
        )
    return {}, 0.0


def _whole_history(folder):
    """Return the columns of history.csv. UserError: it lacks one that every run writes."""
    try:
        history = read_history(folder.history)
    except (OSError, ValueError) as error:
        raise UserError(f"The run's history cannot be read: {error}") from error
    missing = [name for name in _COLUMNS if name not in history]
    if missing:
        raise UserError(f"{folder.history} has no column {missing[0]}; restore it.")
    return history
