"""The history of a run as a CSV file: read, written, cut, and turned into rows. Without Keras, which takes seconds."""

import csv
import io
import math
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .atomic import atomic_write


def read_history(path: str | os.PathLike) -> dict[str, list]:
    """Read a file that `HistoryCSV` wrote.

    Args:
        path: the CSV file; `~` is the home folder.

    Returns:
        Dict of columns, in the file's order: `epoch` a list of ints 1, 2, ..., the others lists of floats, NaN where
        the file has nothing.

    Raises:
        ValueError: the file is not a history.
        OSError: the file cannot be read.
    """
    try:
        text = (
            Path(os.path.expanduser(path)).read_bytes().decode("utf-8-sig")
        )  # a spreadsheet program may have put a mark in front
        header, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    except (UnicodeDecodeError, csv.Error, ValueError) as error:
        raise malformed(path, f"it is not a CSV file with a header ({error})") from error
    if header[:1] != ["epoch"] or len(set(header)) != len(header):
        raise malformed(path, "its header must start with epoch and name no column twice")
    for number, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise malformed(path, f"epoch {number} has {len(row)} values for {len(header)} columns")
        if row[0] != str(number):
            raise malformed(path, f"the row of epoch {number} starts with {row[0][:40]!r}")
    columns = {name: [to_number(path, row[i]) for row in rows] for i, name in enumerate(header)}
    return columns | {"epoch": list(range(1, len(rows) + 1))}


def write_history(path, columns):
    """Write a dict of columns so that `read_history` gives it back, whole or not at all."""
    write_lines(path, columns, [csv_line(row) for row in zip(*columns.values(), strict=True)])


def csv_line(values):
    """One row of the file; repr keeps every digit."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow("" if math.isnan(value) else repr(value) for value in values)
    return text.getvalue()


def write_lines(path, names, lines):
    """Write a header and the lines of the rows, whole or not at all."""
    header = io.StringIO()
    csv.writer(header, lineterminator="\n").writerow(names)
    with atomic_write(path) as temporary:
        temporary.write_bytes("".join([header.getvalue(), *lines]).encode())


def earlier_epochs(path, epochs):
    """The columns of a history file, cut after `epochs` epochs; ValueError if there are not as many."""
    if not os.path.isfile(os.path.expanduser(path)):
        raise ValueError(
            f"Training continues after epoch {epochs}, but there is no history of the epochs before; restore the file, "
            f"or train with initial_epoch=0. Received: path={str(path)!r}"
        )
    columns = read_history(path)
    if len(columns["epoch"]) < epochs:
        raise ValueError(
            f"Training continues after epoch {epochs}, but the history ends after epoch {len(columns['epoch'])}; "
            f"continue there, or restore the whole file. Received: path={str(path)!r}"
        )
    # A run that was killed may have recorded an epoch more than its checkpoint holds.
    return {name: values[:epochs] for name, values in columns.items()}


def rows_before(history, epoch):
    """The first `epoch` epochs of a history, as a list of dicts, one an epoch, without what is missing.

    Args:
        history: the file that `HistoryCSV` writes, or a dict of columns with one value an epoch.
        epoch: how many epochs.

    Raises:
        ValueError: the history does not hold as many epochs.
    """
    if not isinstance(history, Mapping):
        return rows_of(earlier_epochs(history, epoch))
    lengths = {len(column) for column in history.values()}
    if len(lengths) != 1 or max(lengths) < epoch:
        raise ValueError(
            f"Training continues after epoch {epoch}; each column of the history needs a value for every epoch "
            f"before. Received: history with lengths {sorted(lengths)}"
        )
    rows = rows_of({"epoch": list(range(1, max(lengths) + 1))} | dict(history))
    return [row for row in rows if row["epoch"] <= epoch]


def columns_from(history):
    """What `fit` returned, or a dict of columns, as a dict of columns of numbers; anything else as it is."""
    columns = getattr(history, "history", history)
    if not isinstance(columns, Mapping):
        return columns
    numbers = {name: column for name, column in columns.items() if all(map(is_number, column))}
    epochs = getattr(history, "epoch", None)  # from 0, and not from 0 in a fit with initial_epoch
    known = epochs and "epoch" not in numbers and {len(column) for column in numbers.values()} == {len(epochs)}
    return {"epoch": [epoch + 1 for epoch in epochs]} | numbers if known else numbers


def rows_of(columns):
    """A dict of columns as a list of dicts, one an epoch, without what is missing."""
    rows = (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))
    return [{name: value for name, value in row.items() if not math.isnan(value)} for row in rows]


def columns_of(rows):
    """A list of dicts as a dict of columns, NaN where a value is missing: epoch, learning_rate, ..., seconds."""
    names = dict.fromkeys(name for row in rows for name in row)
    first = [name for name in ("epoch", "learning_rate") if name in names]
    last = [name for name in ("seconds",) if name in names]
    middle = [name for name in names if name not in (*first, *last)]
    return {name: [row.get(name, math.nan) for row in rows] for name in (*first, *middle, *last)}


def log_row(epoch, logs):
    """The numbers in an epoch's logs, behind the epoch counted from 1."""
    numbers = {name: float(value) for name, value in (logs or {}).items() if is_number(value)}
    return {"epoch": epoch + 1} | numbers


def is_number(value):
    """Whether a log is one number, and no array or text."""
    return hasattr(value, "__float__") and np.ndim(value) == 0


def check_same_metrics(path, before, row):
    """ValueError unless the file's columns are this epoch's; validation may skip epochs."""
    training = [{name for name in names if not name.startswith("val_")} - {"seconds"} for names in (before, row)]
    if training[0] != training[1]:
        raise ValueError(
            f"The earlier epochs have other columns than this one ({', '.join(sorted(training[0] ^ training[1]))}); "
            f"train with the metrics and callbacks of then, or write to another file. Received: path={str(path)!r}"
        )


def to_number(path, text):
    """The float that a cell holds, NaN for an empty one."""
    try:
        return float(text) if text else math.nan
    except ValueError:
        raise malformed(path, f"{text[:40]!r} is not a number") from None


def malformed(path, reason):
    """The ValueError for a file that is no history."""
    return ValueError(f"This is not a history that HistoryCSV wrote: {reason}. Received: path={str(path)!r}")
