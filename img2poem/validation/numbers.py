"""Validation of numbers. NumPy scalars become Python numbers."""

from __future__ import annotations

import math
import numbers

from ..errors import InvalidOption


def whole(name: str, value: object) -> int:
    """Return ``value`` as an int.

    Raises:
        InvalidOption: ``value`` is not an integer. The message calls it ``name``.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise InvalidOption(f"{name} must be a whole number, not {value!r}")
    return int(value)


def at_least(lowest: int, name: str, value: object) -> int:
    """Return ``value`` as an int of at least ``lowest``.

    Raises:
        InvalidOption: ``value`` is not an integer, or is less than ``lowest``.
    """
    found = whole(name, value)
    if found < lowest:
        raise InvalidOption(f"{name} must be {lowest} or more, not {found}")
    return found


def real(name: str, value: object) -> float:
    """Return a finite number: integers as an int, other numbers as a float.

    Raises:
        InvalidOption: ``value`` is not a number, or not finite.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise InvalidOption(f"{name} must be a number, not {value!r}")
    return int(value) if isinstance(value, numbers.Integral) else float(value)


def told(value: float) -> str:
    """Format a number for a message. Integers keep all digits."""
    return str(int(value)) if isinstance(value, numbers.Integral) else f"{value:g}"
