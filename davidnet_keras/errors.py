"""Errors that the user can fix, and the checks of arguments that every room shares."""

import difflib
import math
import numbers
import operator
from collections.abc import Iterable
from typing import Any


class UserError(ValueError):
    """Something that the user gave cannot be used; the message says what is wrong and what to do. Exit code 2."""


class FolderInUse(UserError):
    """Another process is using the run folder."""


class DataError(UserError):
    """The data set cannot be used; the message says why and what to do."""


def whole_number(name: str, value: Any, least: int | None = None, most: int | None = None) -> int:
    """Return `value` as an int.

    Args:
        name: of the argument, for the message.
        value: any whole number, of NumPy's types too, but no bool.
        least, most: the range, both ends included. Default: no limit.

    Raises:
        UserError (a ValueError): it is no whole number, or outside the range.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    too_small = number is not None and least is not None and number < least
    too_large = number is not None and most is not None and number > most
    if number is None or too_small or too_large:
        limit = "" if least is None else f" of {least} or more" if most is None else f" from {least} to {most}"
        raise UserError(f"`{name}` must be a whole number{limit}. Received: {name}={value!r}")
    return number


def number(name: str, value: Any, below: float = math.inf) -> float:
    """Return `value`, a number of at least 0 and below `below`, as a float; UserError (a ValueError) for any other."""
    result = float(value) if isinstance(value, numbers.Real) and not isinstance(value, bool) else math.nan
    if not 0 <= result < below:
        limit = "" if below == math.inf else f" and below {below}"
        raise UserError(f"`{name}` must be a finite number of at least 0{limit}. Received: {name}={value!r}")
    return result


def refuse_unknown(owner: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise TypeError for the first keyword argument that `owner` does not have, and name the nearest that it has."""
    known = list(known)
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}."
            raise TypeError(f"{owner} has no argument {name}; {hint}")
