"""What is known of the epochs before a resumed one."""

from collections.abc import Mapping

from .history_file import earlier_epochs, rows_of


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
