"""Which settings of a run may change when it is resumed."""

import dataclasses

from davidnet_keras.errors import UserError

# The weights and optimizer slots in the checkpoints, and the training pictures, depend on these.
_FIXED = {"name", "network", "whitening", "identity_start", "activation", "optimizer", "width", "precision", "hold_out"}
_BATCHES = ("batch_size", "seed")  # decide the batches of an epoch, and so cannot change inside one


def check_changes(begun, now, allowed=False, series=False):
    """Return the settings in which two recipes differ, `{name: [begun, now]}`. UserError: one must not.

    Changes have to be `allowed` by the user; those of a `series` never are.
    """
    before, after = dataclasses.asdict(begun), dataclasses.asdict(now)
    changes = {name: [before[name], after[name]] for name in before if before[name] != after[name]}
    # The bias of a whitening fades by the number of steps, which the batch size sets.
    fixed = _FIXED | ({"batch_size"} if begun.network == "fastnet" and begun.whitening else set())
    refused = [name for name in changes if name in fixed or not allowed]
    if refused:
        flags = ", ".join("--recipe" if name == "name" else "--" + name.replace("_", "-") for name in refused)
        how = "" if series or fixed & set(refused) else ", or ask for the change with --change-recipe"
        given = "; ".join(f"{name}={changes[name][1]}, started with {changes[name][0]}" for name in refused)
        raise UserError(
            f"A resumed run keeps its settings; leave out {flags}, or start a new run{how}. Received: {given}"
        )
    return changes


def check_progress(changes, progress):
    """Raise UserError if the run is too far on for these changes."""
    if "epochs" in changes and changes["epochs"][1] < progress.epochs + (progress.batches > 0):
        raise UserError(
            f"The run stands after {progress}; ask for at least as many epochs, counting one that has begun. "
            f"Received: epochs={changes['epochs'][1]}"
        )
    moved = [name for name in _BATCHES if name in changes]
    if moved and progress.batches:
        raise UserError(
            f"The run stopped inside an epoch, whose batches would be others; change {' and '.join(moved)} when it has "
            f"stopped between two. Received: a run after {progress}"
        )
