"""Recipe -> data -> model -> fit -> run folder."""

import dataclasses
import os
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
from tqdm.keras import TqdmCallback

from davidnet_callbacks import (
    DawnbenchLog,
    EpochTable,
    HistoryCSV,
    OneCycleTriangle,
    PlotCurves,
    atomic_write,
    plot_history,
    plot_schedule,
)
from davidnet_keras.data import datasets
from davidnet_keras.data.augmentation import AlternatingFlip, Augmentation, Cutout, RandomCrop, RandomFlip
from davidnet_keras.data.pipeline import steps_per_epoch, test_dataset, train_dataset
from davidnet_keras.errors import UserError
from davidnet_keras.kernels.devices import deterministic_ops
from davidnet_keras.models.averaged_views import with_views
from davidnet_keras.models.build import new_model
from davidnet_keras.models.cost import cost_text, inference_flops, training_flops
from davidnet_keras.precision import choose_precision, device
from davidnet_keras.recipe import RECIPES, Recipe
from davidnet_keras.runs.checkpoint import Progress
from davidnet_keras.runs.conditions import conditions
from davidnet_keras.runs.continued_fit import ContinuedCallbacks, make_metrics
from davidnet_keras.runs.run_callbacks import SaveCheckpoint, StopWhenDiverged
from davidnet_keras.runs.run_folder import RunFolder, check_checkpoint_every
from davidnet_keras.runs.stop_signals import StopSignals

EVALUATION_BATCH_SIZE = 1000


class Run(NamedTuple):
    """A finished training run."""

    model: keras.Model
    history: dict[str, list]  # one list per column of history.csv
    run_dir: Path


@dataclasses.dataclass(frozen=True)
class RunState:
    """Where a run is when training begins, and how it is saved and shown."""

    done: Progress = dataclasses.field(default_factory=lambda: Progress(0))
    saved: dict[str, Any] | None = None  # what the newest checkpoint holds beside the model; None: the run is new
    history: dict[str, list] = dataclasses.field(default_factory=dict)  # history.csv's columns, of finished epochs
    hours: float = 0.0  # of training, in finished epochs
    checkpoint_every: int | None = None  # batches between checkpoints inside an epoch; None: only after each epoch
    stop: StopSignals | None = None  # None: new ones
    progress: bool = True  # whether to show progress bars and the epoch table


def train(
    recipe: Recipe = RECIPES["davidnet"],
    dataset: str = "cifar10",
    data_dir: str | os.PathLike | None = None,
    run_dir: str | os.PathLike | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    progress: bool = True,
    checkpoint_every: int | None = None,
    stop: StopSignals | None = None,
) -> Run:
    """Train by a recipe and write the run folder.

    Args:
        recipe: the settings. Default: the reference notebook's.
        dataset: "cifar10", "cifar100", "cifar100-coarse" or "shapes".
        data_dir: folder or archive with CIFAR. Default: Keras's cache, filled by a download. Not used by "shapes".
        run_dir: folder to write, new or empty. Default: `runs/<recipe>-<dataset>-<time>`.
        callbacks: further callbacks, run before the checkpoint of each epoch. One with state keeps it over a `resume`
            by `get_state()`, a dict of plain values and NumPy arrays, and `set_state(state)`; Keras's EarlyStopping,
            ModelCheckpoint and SwapEMAWeights need nothing. The learning rate is the schedule's at every batch.
        progress: whether to show progress bars and the epoch table.
        checkpoint_every: batches between checkpoints inside an epoch. Default: only after each epoch.
        stop: records a signal that came too late to stop this run. Default: new.

    Raises:
        UserError (a ValueError): data or folder cannot be used; the loss or the weights became NaN.
        Interrupted (a KeyboardInterrupt): Ctrl-C, SIGTERM or SIGHUP came; the batch was finished and the run saved.
        OSError: a file cannot be written; the last checkpoint is as it was.
    """
    datasets.check_name(dataset)
    state = RunState(checkpoint_every=check_checkpoint_every(checkpoint_every), stop=stop, progress=progress)
    loaded = datasets.load(dataset, data_dir)
    data = datasets.held_out(loaded, recipe.hold_out)
    datasets.check_batch_size(recipe.batch_size, data)
    with RunFolder.create(run_dir or default_run_dir(recipe, dataset)) as folder:
        precision, reason = choose_precision(recipe.precision)
        details = conditions(dataset, loaded, data_dir, precision, reason)
        folder.write_recipe(recipe, run=uuid.uuid4().hex, checkpoint_every=checkpoint_every, **details)
        if progress:
            pictures = f"{len(data[0][0]):,} pictures of {dataset}"
            print(f"{pictures}, {recipe.epochs} epochs, {precision} ({reason}), {device()}")
        with deterministic_ops(recipe.deterministic):
            model = new_model(recipe, datasets.num_classes(dataset), data, precision)
            return fit(model, recipe, data, folder, callbacks, state)


def default_run_dir(recipe, dataset):
    """Return runs/<recipe>-<dataset>-<time>, below the working directory."""
    return f"runs/{recipe.name}-{dataset}-{time.strftime('%Y%m%d-%H%M%S')}"


def training_data(model, recipe, data, start=(0, 0)):
    """Return the training set as an endless `tf.data.Dataset` of augmented batches, from (epoch, step) on."""
    mean = model.get_layer("normalize").mean.numpy().tolist()
    augmentation = Augmentation(
        [
            *([RandomCrop(recipe.crop_padding)] if recipe.crop_padding else []),
            *([AlternatingFlip() if recipe.alternating_flip else RandomFlip()] if recipe.flip else []),
            *([Cutout(recipe.cutout, fill=mean)] if recipe.cutout else []),  # 0 after normalising
        ]
    )
    return train_dataset(*data[0], recipe.batch_size, augmentation, recipe.seed, *start)


def fit(model, recipe, data, folder, callbacks, state):
    """Train a model by the recipe from where its run is, a `RunState`, and write the rest of the run folder."""
    (x_train, _), test = data
    done, steps = state.done, steps_per_epoch(len(x_train), recipe.batch_size)
    ends = {"start": recipe.start_rate, "end": recipe.end_rate}
    schedule = OneCycleTriangle(recipe.peak_rate, recipe.epochs, recipe.warmup_epochs, **ends)
    seconds = state.history["seconds"][-1] if state.history else 0.0
    table = EpochTable(learning_rate_scale=recipe.rate_divisor, seconds=seconds)
    history, log = HistoryCSV(folder.history), DawnbenchLog(folder.log)
    with atomic_write(folder.rates) as temporary:
        plot_schedule(schedule.schedule, recipe.epochs, steps).savefig(temporary)
    # If a callback stopped the run after its last saved epoch, no epoch is left, only the end.
    epochs = done.epochs if state.saved and state.saved["stopped"] and not done.batches else recipe.epochs
    start = Progress(done.epochs + 1) if done.batches == steps else done  # where only the validation was left
    with state.stop or StopSignals(announce=state.progress) as stop:
        recorded = [
            StopWhenDiverged(),
            schedule,
            *model.training_callbacks(),
            *([TqdmCallback(disable=None), table] if state.progress else []),  # no bars where standard error is a file
            history,
            PlotCurves(folder.curves, history=folder.history),
            log,
            *callbacks,
        ]
        # The last: an epoch with a checkpoint has been recorded in full.
        save = SaveCheckpoint(folder, recorded, stop, state.checkpoint_every, recipe.batch_order)
        make_metrics(model)
        with ContinuedCallbacks([*recorded, save], model, done, state.saved, epochs, steps) as continued:
            model.fit(
                training_data(model, recipe, data, start),
                epochs=epochs,
                initial_epoch=done.epochs,
                steps_per_epoch=steps,
                shuffle=False,  # the data set shuffles itself
                validation_data=test_dataset(*test, EVALUATION_BATCH_SIZE),
                verbose=0,
                callbacks=continued,
            )
        columns, hours = (history.columns, log.hours) if history.columns else (state.history, state.hours)
        if not history.columns:  # no epoch was left, so PlotCurves drew nothing
            with atomic_write(folder.curves) as temporary:
                plot_history(columns).savefig(temporary)
        result, words = _result(model, recipe, columns, hours, data, bool(callbacks))
        folder.finish(model, result)
        if state.progress:
            print(words)
    return Run(model, columns, folder.path)


def _result(model, recipe, history, hours, data, changed):
    """Return result.json's content, `accuracy` from 0 to 1, `petaflop` in 1e15 operations or None, and a summary.

    A callback may have `changed` the weights since the last validation, as Keras's EarlyStopping does; then the model
    is tested again.
    """
    (x_train, _), test = data
    result = {
        "epochs": len(history["epoch"]),
        "seconds": history["seconds"][-1],
        "training_seconds": 3600 * hours,  # without validation and other work between epochs
        "accuracy": _accuracy(model, test) if changed else history["val_accuracy"][-1],
    }
    averaged, views = with_views(model, recipe.test_views)
    lines = []
    if views > 1:
        began = time.perf_counter()
        accuracy = _accuracy(averaged, test)
        result |= {"views": views, "accuracy_views": accuracy, "seconds_views": time.perf_counter() - began}
        lines.append(f"With {views} views of each picture: {100 * accuracy:.2f} %.")
    try:
        flops = training_flops(model, result["epochs"], len(x_train)) + inference_flops(model, len(test[0]), views)
        lines.append(f"{cost_text(flops)} for training and the final test, with convolutions at their textbook cost.")
    except UserError as error:  # no reason to lose a finished run
        flops = None
        lines.append(str(error))
    return result | {"petaflop": None if flops is None else flops / 1e15}, "\n".join(lines)


def _accuracy(model, test):
    return model.evaluate(test_dataset(*test, EVALUATION_BATCH_SIZE), verbose=0, return_dict=True)["accuracy"]
