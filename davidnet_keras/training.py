"""Recipe -> data -> model -> fit -> run folder."""

import time
import zlib
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from tqdm.keras import TqdmCallback

from davidnet_callbacks import (
    DawnbenchLog,
    EpochTable,
    HistoryCSV,
    OneCycleTriangle,
    PlotCurves,
    atomic_write,
    plot_schedule,
    read_history,
)
from davidnet_callbacks.dawnbench import earlier_lines
from davidnet_callbacks.history_file import earlier_epochs
from davidnet_keras.augment import Augmentation, Cutout, RandomCrop, RandomFlip
from davidnet_keras.cifar import load_cifar10, load_cifar100
from davidnet_keras.errors import UserError
from davidnet_keras.model import DavidNet
from davidnet_keras.optimizer import MomentumSGD
from davidnet_keras.pipeline import steps_per_epoch, test_dataset, train_dataset
from davidnet_keras.precision import choose_precision, device
from davidnet_keras.recipe import RECIPES
from davidnet_keras.run_callbacks import SaveCheckpoint, StopWhenDiverged
from davidnet_keras.run_folder import RunFolder
from davidnet_keras.shapes import load_shapes

CLASSES = {"cifar10": 10, "cifar100": 100, "shapes": 10}
EVALUATION_BATCH_SIZE = 1000


class Run(NamedTuple):
    """What a training run leaves: the model, one list per column of history.csv, the folder's path."""

    model: keras.Model
    history: dict
    run_dir: Path


def train(recipe=RECIPES["davidnet"], dataset="cifar10", data_dir=None, run_dir=None, callbacks=(), progress=True):
    """Train by a recipe and write the run folder.

    Args:
        recipe: `Recipe`. Default: the reference notebook's.
        dataset: "cifar10", "cifar100" or "shapes".
        data_dir: folder or archive with CIFAR; None: Keras's cache, filled by a download. Not used by "shapes".
        run_dir: folder to write, new or empty; None: `runs/<recipe>-<dataset>-<time>`.
        callbacks: further `keras.callbacks.Callback` objects, run before the checkpoint of each epoch.
        progress: bool, whether to show progress bars and the epoch table.

    Returns:
        `Run(model, history, run_dir)`.

    Raises:
        UserError (a ValueError): data or folder cannot be used; the loss became NaN.
    """
    if dataset not in CLASSES:
        raise UserError(f"There is no such data set; choose {', '.join(CLASSES)}. Received: dataset={dataset!r}")
    data = load(dataset, data_dir)
    check_batch_size(recipe, data)
    with RunFolder.create(run_dir or default_run_dir(recipe, dataset)) as folder:
        precision, reason = choose_precision(recipe.precision)
        folder.write_recipe(recipe, **conditions(dataset, data, precision, reason))
        if progress:
            print(
                f"{len(data[0][0]):,} pictures of {dataset}, {recipe.epochs} epochs, {precision} ({reason}), {device()}"
            )
        keras.utils.set_random_seed(recipe.seed)
        model = build_model(recipe, CLASSES[dataset], data, precision)
        return fit(model, recipe, data, folder, 0, callbacks, progress)


def resume(run_dir, data_dir=None, callbacks=(), progress=True):
    """Continue a run after its last finished epoch, as if it had never stopped.

    Args, Returns, Raises: as `train`; the recipe, the data set's name and the precision come from the run folder, and
    the data must be the same.
    """
    with RunFolder.open(run_dir) as folder:
        recipe, before = folder.read_recipe()
        if folder.model.exists():
            return Run(keras.saving.load_model(folder.model), read_history(folder.history), folder.path)
        data = load(before["dataset"], data_dir)
        now = conditions(before["dataset"], data, before["precision"], before["precision_reason"])
        if now["data"] != before["data"]:
            raise UserError(
                f"These are not the pictures that {run_dir} was trained on; give the same --data-dir as then."
            )
        keras.utils.set_random_seed(recipe.seed)
        model, epochs = folder.load_checkpoint()
        if model is None:
            model = build_model(recipe, CLASSES[before["dataset"]], data, before["precision"])
        check_records(folder, epochs)
        return fit(model, recipe, data, folder, epochs, callbacks, progress)


def check_records(folder, epochs):
    """Refuse to go on from records that do not hold the finished epochs, before anything is written over."""
    if not epochs:
        return
    try:
        earlier_epochs(folder.history, epochs)
        earlier_lines(folder.log, epochs)
    except (OSError, ValueError) as error:
        raise UserError(f"The run cannot go on: {error}") from error


def default_run_dir(recipe, dataset):
    """runs/<recipe>-<dataset>-<time>, below the working directory."""
    return f"runs/{recipe.name}-{dataset}-{time.strftime('%Y%m%d-%H%M%S')}"


def load(dataset, data_dir):
    """((x_train, y_train), (x_test, y_test)) of a data set by name."""
    if dataset == "shapes":
        return load_shapes()
    return {"cifar10": load_cifar10, "cifar100": load_cifar100}[dataset](data_dir)


def check_batch_size(recipe, data):
    """A batch larger than the set is a slip: the rate and decay would be scaled for pictures that are not there."""
    pictures = len(data[0][0])
    if recipe.batch_size > pictures:
        raise UserError(f"The batch size {recipe.batch_size} is more than the {pictures} training pictures; lower it.")


def conditions(dataset, data, precision, reason):
    """What beside the recipe fixes or explains a result, for recipe.json."""
    checksum = 0
    for array in (array for split in data for array in split):
        checksum = zlib.crc32(np.ascontiguousarray(array), checksum)
    return {
        "dataset": dataset,
        "data": {"train": len(data[0][0]), "test": len(data[1][0]), "crc32": f"{checksum:08x}"},
        "precision": precision,
        "precision_reason": reason,
        "device": device(),
        "versions": {name: version(name) for name in ("davidnet_keras", "tensorflow", "keras", "numpy")},
    }


def build_model(recipe, num_classes, data, precision):
    """A DavidNet of the recipe, normalising with the training set's statistics, compiled."""
    model = DavidNet(num_classes, recipe.width, recipe.logit_scale, recipe.dropout, recipe.l2, dtype=precision)
    model.adapt(data[0][0])
    model.compile(
        optimizer=MomentumSGD(recipe.peak_rate, recipe.momentum),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum"),
        metrics=["accuracy"],
    )
    return model


def augmentation(recipe, mean):
    """The recipe's augmentation as one layer; cut squares get the training mean, which is 0 after normalising."""
    layers = []
    if recipe.crop_padding:
        layers.append(RandomCrop(recipe.crop_padding))
    if recipe.flip:
        layers.append(RandomFlip())
    if recipe.cutout:
        layers.append(Cutout(recipe.cutout, fill=mean))
    return Augmentation(layers)


def training_data(model, recipe, data, initial_epoch=0):
    """The training set as an endless `tf.data.Dataset` of augmented batches."""
    x_train, y_train = data[0]
    augment = augmentation(recipe, model.get_layer("normalize").mean.numpy().tolist())
    return train_dataset(x_train, y_train, recipe.batch_size, augment, recipe.seed, initial_epoch)


def fit(model, recipe, data, folder, initial_epoch, callbacks, progress):
    """`model.fit` with the recipe's callbacks, into the run folder."""
    (x_train, _), (x_test, y_test) = data
    steps = steps_per_epoch(len(x_train), recipe.batch_size)
    schedule = OneCycleTriangle(recipe.peak_rate, recipe.epochs, recipe.warmup_epochs)
    with atomic_write(folder.rates) as temporary:
        plot_schedule(schedule.schedule, recipe.epochs, steps).savefig(temporary)
    model.fit(
        training_data(model, recipe, data, initial_epoch),
        epochs=recipe.epochs,
        initial_epoch=initial_epoch,
        steps_per_epoch=steps,
        shuffle=False,  # the data set shuffles itself
        validation_data=test_dataset(x_test, y_test, EVALUATION_BATCH_SIZE),
        verbose=0,
        callbacks=[
            StopWhenDiverged(),
            schedule,
            *(progress_callbacks(recipe, folder, initial_epoch) if progress else []),
            HistoryCSV(folder.history),
            PlotCurves(folder.curves, history=folder.history),
            DawnbenchLog(folder.log),
            *callbacks,
            SaveCheckpoint(folder),  # the last: an epoch that has a checkpoint has been recorded whole
        ],
    )
    folder.finish(folder.saved_epochs()[-1])  # fewer than the recipe's if a callback stopped training
    return Run(model, read_history(folder.history), folder.path)


def progress_callbacks(recipe, folder, initial_epoch):
    """Bars on a terminal, and the reference's row for every epoch; its clock goes on where a stopped run's was."""
    seconds = read_history(folder.history)["seconds"][initial_epoch - 1] if initial_epoch else 0.0
    # disable=None: no bars where standard error is a file.
    return [TqdmCallback(disable=None), EpochTable(learning_rate_scale=recipe.batch_size, seconds=seconds)]
