"""Whether a run may go on with other settings than it was begun with."""

import dataclasses

from davidnet_keras.errors import UserError

# The weights and slots in the checkpoints, and the pictures trained on, are those of these settings.
FIXED = (
    "name",
    "network",
    "whitening",
    "identity_start",
    "activation",
    "optimizer",
    "width",
    "precision",
    "hold_out",
)
# What the batches of an epoch follow from: with others, half an epoch of then is not half an epoch of now.
BATCHES = ("batch_size", "seed")


def check_changes(begun, wanted, allowed=False, series=False):
    """The settings in which two recipes differ, {name: [before, now]}; UserError where they may not.

    Args:
        begun: `Recipe` that the run was begun with.
        wanted: `Recipe` that it is asked to go on with.
        allowed: bool, whether the user asked for changes.
        series: bool, whether these are the recipes of a series, where none is possible.
    """
    names = [item.name for item in dataclasses.fields(begun)]
    changes = {name: [getattr(begun, name), getattr(wanted, name)] for name in names}
    changes = {name: pair for name, pair in changes.items() if pair[0] != pair[1]}
    # The bias of a whitening fades by the number of steps, which are others in an epoch of other batches.
    fixed = {*FIXED, *(["batch_size"] if begun.network == "fastnet" and begun.whitening else [])}
    refused = [name for name in changes if name in fixed or not allowed]
    if refused:
        flags = ", ".join("--recipe" if name == "name" else "--" + name.replace("_", "-") for name in refused)
        how = "" if series or fixed & set(refused) else ", or ask for the change with --change-recipe"
        pairs = "; ".join(f"{name}={changes[name][1]}, begun with {changes[name][0]}" for name in refused)
        raise UserError(
            f"A run goes on with the settings it was begun with; leave out {flags}, or start a new run{how}. "
            f"Received: {pairs}"
        )
    return changes


def check_progress(changes, progress):
    """UserError where the run is too far for these changes."""
    if "epochs" in changes and changes["epochs"][1] < progress.epochs + (progress.batches > 0):
        raise UserError(
            f"The run stands after {progress}; ask for as many epochs at least, one that is begun included. "
            f"Received: epochs={changes['epochs'][1]}"
        )
    moved = [name for name in BATCHES if name in changes]
    if moved and progress.batches:
        raise UserError(
            f"The run stopped inside an epoch, whose batches would be others; change {' and '.join(moved)} when it has "
            f"stopped between two. Received: a run after {progress}"
        )
