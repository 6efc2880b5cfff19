"""What the keys of Keras's logs mean: which belong together, and which is the accuracy."""

from typing import NamedTuple

NOT_METRICS = {"epoch", "learning_rate", "lr", "seconds"}
TOP1 = ("accuracy", "acc", "categorical_accuracy", "sparse_categorical_accuracy")


class Metric(NamedTuple):
    """One quantity, as measured in training and in validation."""

    name: str
    train: str | None  # the key in the logs, None where there is none
    validation: str | None


def paired_metrics(keys):
    """Pair the training and validation keys of logs: the loss first, then accuracies, then the others as they come."""
    keys = [key for key in keys if key not in NOT_METRICS and not key.startswith("learning_rate_")]
    names = dict.fromkeys(key.removeprefix("val_") for key in keys)
    pairs = []
    for name in names:
        validation = f"val_{name}"
        pairs.append(Metric(name, name if name in keys else None, validation if validation in keys else None))
    return sorted(pairs, key=lambda pair: 0 if is_loss(pair.name) else 1 if is_accuracy(pair.name) else 2)


def is_loss(name):
    """Whether a metric is the loss, or the loss of one output."""
    return name == "loss" or name.endswith("_loss")


def is_accuracy(name):
    """Whether a metric is a share of right answers, 0 to 1."""
    return name in TOP1 or name.endswith(("_accuracy", "_acc"))


def top1_validation_key(keys):
    """The key of the top-1 validation accuracy, or None."""
    return next((f"val_{name}" for name in TOP1 if f"val_{name}" in keys), None)
