"""Recipe -> data -> model -> fit -> run folder."""

import time
import uuid
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import keras
import tensorflow as tf
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
    read_history,
)
from davidnet_callbacks.dawnbench import earlier_lines
from davidnet_keras.data import datasets
from davidnet_keras.data.alternating_flip import AlternatingFlip
from davidnet_keras.data.augmentation import Augmentation, Cutout, RandomCrop, RandomFlip
from davidnet_keras.data.pipeline import steps_per_epoch, test_dataset, train_dataset
from davidnet_keras.errors import UserError
from davidnet_keras.models.build import new_model
from davidnet_keras.precision import choose_precision, device
from davidnet_keras.recipe import RECIPES
from davidnet_keras.runs.checkpoint import Progress
from davidnet_keras.runs.continued_fit import ContinuedCallbacks, data_start, make_metrics
from davidnet_keras.runs.run_callbacks import SaveCheckpoint, StopFirstBias, StopWhenDiverged
from davidnet_keras.runs.run_folder import RunFolder, may_be_every
from davidnet_keras.runs.run_result import result_of
from davidnet_keras.runs.stop_signals import StopSignals

EVALUATION_BATCH_SIZE = 1000


class Run(NamedTuple):
    """What a training run leaves: the model, one list per column of history.csv, the folder's path."""

    model: keras.Model
    history: dict
    run_dir: Path


def train(
    recipe=RECIPES["davidnet"],
    dataset="cifar10",
    data_dir=None,
    run_dir=None,
    callbacks=(),
    progress=True,
    checkpoint_every=None,
    stop=None,
):
    """Train by a recipe and write the run folder.

    Args:
        recipe: `Recipe`. Default: the reference notebook's.
        dataset: "cifar10", "cifar100" or "shapes".
        data_dir: folder or archive with CIFAR; None: Keras's cache, filled by a download. Not used by "shapes".
        run_dir: folder to write, new or empty; None: `runs/<recipe>-<dataset>-<time>`.
        callbacks: further `keras.callbacks.Callback` objects, run before the checkpoint of each epoch. One that has
            state keeps it over a `resume` by `get_state()`, a dict of plain values and NumPy arrays, and
            `set_state(state)`; Keras's EarlyStopping, ModelCheckpoint and SwapEMAWeights need nothing. One that sets
            the learning rate has no effect: the schedule sets it at every batch.
        progress: bool, whether to show progress bars and the epoch table.
        checkpoint_every: batches between checkpoints inside an epoch; None: only after each epoch.
        stop: `StopSignals` to look at afterwards, for a signal that came when the run was as good as over; None: new.

    Returns:
        `Run(model, history, run_dir)`.

    Raises:
        UserError (a ValueError): data or folder cannot be used; the loss or the weights became NaN.
        Interrupted (a KeyboardInterrupt): Ctrl-C, SIGTERM or SIGHUP came; the batch was finished and the run saved.
        OSError: a file cannot be written; the last checkpoint is as it was.
    """
    datasets.check_name(dataset)
    check_checkpoint_every(checkpoint_every)
    everything = datasets.load(dataset, data_dir)
    data = datasets.held_out(everything, recipe.hold_out)
    datasets.check_batch_size(recipe.batch_size, data)
    with RunFolder.create(run_dir or default_run_dir(recipe, dataset)) as folder:
        precision, reason = choose_precision(recipe.precision)
        folder.write_recipe(
            recipe,
            run=uuid.uuid4().hex,
            checkpoint_every=checkpoint_every,
            **conditions(dataset, everything, precision, reason),
        )
        if progress:
            print(
                f"{len(data[0][0]):,} pictures of {dataset}, {recipe.epochs} epochs, {precision} ({reason}), {device()}"
            )
        model = new_model(recipe, datasets.num_classes(dataset), data, precision)
        return fit(model, recipe, data, folder, Progress(0), None, callbacks, progress, checkpoint_every, stop)


def check_checkpoint_every(batches):
    """UserError unless it is a number of batches, or None."""
    if not may_be_every(batches):
        raise UserError(
            f"Checkpoints are written every 1 batch or more, or not inside epochs at all. Received: "
            f"checkpoint_every={batches!r}"
        )


def default_run_dir(recipe, dataset):
    """runs/<recipe>-<dataset>-<time>, below the working directory."""
    return f"runs/{recipe.name}-{dataset}-{time.strftime('%Y%m%d-%H%M%S')}"


def conditions(dataset, data, precision, reason):
    """What beside the recipe fixes or explains a result, for recipe.json."""
    return {
        "dataset": dataset,
        "data": datasets.fingerprint(data),
        "precision": precision,
        "precision_reason": reason,
        **surroundings(),
    }


def surroundings():
    """What the last bits of a result depend on beside recipe, data and precision."""
    return {
        # On a GPU and in Winograd's coarse tiles float32 is rounded more where TensorFlow's switch allows it.
        "tensor_float_32": tf.config.experimental.tensor_float_32_execution_enabled(),
        "device": device(),
        "versions": {name: version(name) for name in ("davidnet_keras", "tensorflow", "keras", "numpy")},
    }


def augmentation(recipe, mean):
    """The recipe's augmentation as one layer; cut squares get the training mean, which is 0 after normalising."""
    layers = []
    if recipe.crop_padding:
        layers.append(RandomCrop(recipe.crop_padding))
    if recipe.flip:
        layers.append(AlternatingFlip() if recipe.alternating_flip else RandomFlip())
    if recipe.cutout:
        layers.append(Cutout(recipe.cutout, fill=mean))
    return Augmentation(layers)


def training_data(model, recipe, data, start=(0, 0)):
    """The training set as an endless `tf.data.Dataset` of augmented batches, from (epoch, step) on."""
    x_train, y_train = data[0]
    augment = augmentation(recipe, model.get_layer("normalize").mean.numpy().tolist())
    return train_dataset(x_train, y_train, recipe.batch_size, augment, recipe.seed, *start)


def fit(model, recipe, data, folder, done, state, callbacks, progress, checkpoint_every, stop=None):
    """`model.fit` with the recipe's callbacks, into the run folder, from where the run is."""
    (x_train, _), (x_test, y_test) = data
    steps = steps_per_epoch(len(x_train), recipe.batch_size)
    ends = {"start": recipe.start_rate, "end": recipe.end_rate}
    schedule = OneCycleTriangle(recipe.peak_rate, recipe.epochs, recipe.warmup_epochs, **ends)
    with atomic_write(folder.rates) as temporary:
        plot_schedule(schedule.schedule, recipe.epochs, steps).savefig(temporary)
    # A callback may have stopped the run in its last epoch: then there is only the end to make up for.
    epochs = done.epochs if state and state["stopped"] and not done.batches else recipe.epochs
    with stop or StopSignals(announce=progress) as stop:
        checkpoints = SaveCheckpoint(folder, stop, checkpoint_every, recipe.batch_order)
        checkpoints.callbacks = [
            StopWhenDiverged(),
            schedule,
            *([StopFirstBias()] if recipe.network == "fastnet" else []),
            *(progress_callbacks(recipe, folder, done.epochs) if progress else []),
            HistoryCSV(folder.history),
            PlotCurves(folder.curves, history=folder.history),
            DawnbenchLog(folder.log),
            *callbacks,
            checkpoints,  # the last: an epoch that has a checkpoint has been recorded whole
        ]
        make_metrics(model)
        model.fit(
            training_data(model, recipe, data, data_start(done, steps)),
            epochs=epochs,
            initial_epoch=done.epochs,
            steps_per_epoch=steps,
            shuffle=False,  # the data set shuffles itself
            validation_data=test_dataset(x_test, y_test, EVALUATION_BATCH_SIZE),
            verbose=0,
            callbacks=ContinuedCallbacks(checkpoints.callbacks, model, done, state, epochs, steps),
        )
        history = read_history(folder.history)
        if done.epochs == epochs:  # there was no epoch left, and so nothing that PlotCurves would have drawn
            with atomic_write(folder.curves) as temporary:
                plot_history(history).savefig(temporary)
        hours = earlier_lines(folder.log, len(history["epoch"]))[1]
        folder.finish(model, result_of(model, recipe, history, hours, data, progress, changed=bool(callbacks)))
    return Run(model, read_history(folder.history), folder.path)


def progress_callbacks(recipe, folder, initial_epoch):
    """Bars on a terminal, and the reference's row for every epoch; its clock goes on where a stopped run's was."""
    seconds = read_history(folder.history)["seconds"][initial_epoch - 1] if initial_epoch else 0.0
    # disable=None: no bars where standard error is a file.
    return [TqdmCallback(disable=None), EpochTable(learning_rate_scale=recipe.rate_divisor, seconds=seconds)]
