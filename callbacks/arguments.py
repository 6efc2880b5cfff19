"""Checks of arguments: each returns the value, or raises a ValueError that says what to pass."""

import math
import operator


def finite_number(name, value):
    """`value` as a float; ValueError unless it is a finite number."""
    try:
        number = math.nan if isinstance(value, str) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"A schedule is made of finite numbers. Received: {name}={value!r}")
    return number


def positive_number(name, value, meaning):
    """`value` as a float; ValueError that opens with `meaning` unless it is above 0."""
    number = finite_number(name, value)
    if number <= 0:
        raise ValueError(f"{meaning} must be positive. Received: {name}={number}")
    return number


def share(name, value):
    """`value` as a float; ValueError unless it is a number from 0 to 1."""
    number = finite_number(name, value)
    if not 0 <= number <= 1:
        raise ValueError(f"Pass a share, 0 to 1. Received: {name}={number}")
    return number


def whole_number(name, value, least):
    """`value` as an int; ValueError unless it is a whole number of at least `least`."""
    try:
        number = least - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise ValueError(f"Pass a whole number, {least} or more. Received: {name}={value!r}")
    return number
