"""The keys of Keras's logs: which belong together, which is the accuracy, and which way is better."""

import re
from collections.abc import Mapping
from typing import NamedTuple

SCHEDULED = ("learning_rate", "momentum")  # what schedulers log
MEASURED = ("seconds", "images_per_second", "train_seconds", "seconds_to_target")  # what clocks log
NOT_METRICS = {"epoch", "lr", *SCHEDULED, *MEASURED}
TOP1 = ("accuracy", "acc", "categorical_accuracy", "sparse_categorical_accuracy")

# The names that Keras gives its metrics, and the short ones that `compile` takes.
HIGHER = {"auc", "f1", "f1_score", "fbeta_score", "precision", "recall", "r2_score", "mean_io_u", "iou", "dice"}
LOWER = {"mae", "mse", "mape", "msle", "rmse", "kl_divergence", "poisson", "log_cosh", "hinge", "perplexity"}
LOWER_ENDS = ("_loss", "_error", "_crossentropy", "_hinge", "_mae", "_mse", "_rmse")


def refuse_metrics(callback, model, reserved):
    """ValueError if a compiled model has a metric with the name of a column that the callback adds itself."""
    names = []
    for metric in getattr(model, "metrics", ()):
        names.append(getattr(metric, "name", ""))
        # Keras makes these with the first batch. Private, but nothing else has their names.
        for given in ("_user_metrics", "_user_weighted_metrics"):
            names += _names_in(getattr(metric, given, None))
    refuse_names(callback, names, reserved)


def refuse_names(callback, names, reserved):
    """ValueError if one of these metrics has the name of a column that the callback adds itself."""
    if taken := [name for name in reserved if name in names]:
        reason = f"{type(callback).__name__} keeps the name {taken[0]!r} for itself; rename the metric"
        raise ValueError(f"{reason}. Received: a metric named {taken[0]!r}")


def _names_in(metrics):
    """The names of the metrics in the argument of `compile`, however nested."""
    if isinstance(metrics, Mapping):
        metrics = list(metrics.values())
    if isinstance(metrics, list | tuple):
        return [name for metric in metrics for name in _names_in(metric)]
    return [metrics if isinstance(metrics, str) else getattr(metrics, "name", getattr(metrics, "__name__", ""))]


class Metric(NamedTuple):
    """One quantity, as measured in training and in validation."""

    name: str
    train: str | None  # the key in the logs, None where there is none
    validation: str | None


def paired_metrics(keys):
    """Pair the training and validation keys of logs: the loss first, then accuracies, then the others."""
    keys = [key for key in keys if key not in NOT_METRICS and not key.startswith("learning_rate_")]
    known = {key: key for key in keys}
    names = dict.fromkeys(key.removeprefix("val_") for key in keys)
    pairs = [Metric(name, known.get(name), known.get(f"val_{name}")) for name in names]
    return sorted(pairs, key=lambda pair: 0 if is_loss(pair.name) else 1 if is_accuracy(pair.name) else 2)


def _unnumbered(name):
    """A metric's name without the number that Keras appends to a repeated name: auc_1 is auc."""
    return re.sub(r"_\d+$", "", name)


def is_loss(name):
    """Whether a metric is the loss, or the loss of one output."""
    return name == "loss" or name.endswith("_loss")


def is_accuracy(name):
    """Whether a metric is a share of correct answers, 0 to 1."""
    name = _unnumbered(name)
    return name in TOP1 or name.endswith(("_accuracy", "_acc"))


def better(name):
    """The function that picks the best of a metric's values, `min` or `max`; None if the name does not tell."""
    plain = _unnumbered(name)
    if is_accuracy(name) or plain in HIGHER or plain.endswith(tuple(f"_{end}" for end in HIGHER)):
        return max
    return min if is_loss(name) or plain in LOWER or plain.endswith(LOWER_ENDS) else None


def top1_validation_key(keys):
    """The key of the top-1 validation accuracy, or None."""
    return next((f"val_{name}" for name in TOP1 if f"val_{name}" in keys), None)
