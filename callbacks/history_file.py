"""The history of a run as a CSV file, read and written without Keras, whose import takes seconds."""

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
        Dict of columns, in the file's order: `epoch` a list of ints 1, 2, ..., the others lists of floats, NaN for an
        empty cell.

    Raises:
        ValueError: the file is not a history.
    """
    try:
        # A spreadsheet program may have added a byte order mark.
        text = Path(os.path.expanduser(path)).read_bytes().decode("utf-8-sig")
        header, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
        if header[:1] != ["epoch"] or len(set(header)) != len(header):
            raise ValueError("its header must start with epoch and name no column twice")
        for number, row in enumerate(rows, 1):
            if len(row) != len(header):
                raise ValueError(f"epoch {number} has {len(row)} values for {len(header)} columns")
            if row[0] != str(number):
                raise ValueError(f"the row of epoch {number} starts with {row[0]!r}")
        columns = {name: [float(row[i] or "nan") for row in rows] for i, name in enumerate(header)}
    except (csv.Error, ValueError) as error:
        raise ValueError(
            f"This is not a history that HistoryCSV wrote: {error!s:.99}. Received: path={str(path)!r}"
        ) from error
    return columns | {"epoch": list(range(1, len(rows) + 1))}


def write_history(path, columns):
    """Write a dict of columns for `read_history`, whole or not at all."""
    write_lines(path, columns, [csv_line(row) for row in zip(*columns.values(), strict=True)])


def csv_line(values):
    """The header or a row of the file; repr keeps every digit."""
    text = io.StringIO()
    cells = (value if isinstance(value, str) else "" if math.isnan(value) else repr(value) for value in values)
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def write_lines(path, names, lines):
    """Write a header and lines of `csv_line`, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_bytes("".join([csv_line(names), *lines]).encode())


def earlier_epochs(path, epochs):
    """The columns of a history file, cut after `epochs` epochs; ValueError if there are fewer."""
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
    # A killed run may have recorded one epoch more than its checkpoint holds.
    return {name: values[:epochs] for name, values in columns.items()}


def rows_before(history, epoch):
    """The first `epoch` epochs of a file or a dict of columns, as a list of dicts; ValueError if it has fewer."""
    if not isinstance(history, Mapping):
        return rows_of(earlier_epochs(history, epoch))
    lengths = {len(column) for column in history.values()}
    if len(lengths) != 1 or max(lengths) < epoch:
        reason = f"Training continues after epoch {epoch}; each column needs a value for every earlier epoch"
        raise ValueError(f"{reason}. Received: history with lengths {sorted(lengths)}")
    rows = rows_of({"epoch": list(range(1, max(lengths) + 1))} | dict(history))
    return [row for row in rows if row["epoch"] <= epoch]


def columns_from(history):
    """What `fit` returned, or a dict of columns, as a dict of columns of numbers; anything else unchanged."""
    columns = getattr(history, "history", history)
    if not isinstance(columns, Mapping):
        return columns
    numbers = {name: column for name, column in columns.items() if all(map(_is_number, column))}
    epochs = getattr(history, "epoch", None)  # from 0, and not from 0 in a fit with initial_epoch
    known = epochs and "epoch" not in numbers and {len(column) for column in numbers.values()} == {len(epochs)}
    return {"epoch": [epoch + 1 for epoch in epochs]} | numbers if known else numbers


def rows_of(columns):
    """A dict of columns as a list of dicts, one per epoch, without missing values."""
    rows = (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))
    return [{name: value for name, value in row.items() if not math.isnan(value)} for row in rows]


def columns_of(rows):
    """A list of dicts as a dict of columns, NaN if a value is missing: epoch, learning_rate, ..., seconds."""
    names = dict.fromkeys(name for row in rows for name in row)
    order = sorted(names, key=lambda name: {"epoch": 0, "learning_rate": 1, "seconds": 3}.get(name, 2))
    return {name: [row.get(name, math.nan) for row in rows] for name in order}


def log_row(epoch, logs):
    """The epoch, counted from 1, and the numbers in its logs."""
    return {"epoch": epoch + 1} | {name: float(value) for name, value in (logs or {}).items() if _is_number(value)}


def _is_number(value):
    return hasattr(value, "__float__") and np.ndim(value) == 0


def check_same_metrics(path, before, row):
    """ValueError unless the file's columns are this epoch's; validation may skip epochs."""
    training = [{name for name in names if not name.startswith("val_")} - {"seconds"} for names in (before, row)]
    if training[0] != training[1]:
        raise ValueError(
            f"The earlier epochs have other columns than this one ({', '.join(sorted(training[0] ^ training[1]))}); "
            f"train with the same metrics and callbacks, or write to another file. Received: path={str(path)!r}"
        )
