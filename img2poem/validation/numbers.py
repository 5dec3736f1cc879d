"""Numbers as callers give them, of Python's or of numpy's, made plain."""

from __future__ import annotations

import math
import numbers

from ..errors import InvalidOption


def whole(name: str, value: object) -> int:
    """Return a whole number.

    Raises:
        InvalidOption: ``value`` is none; ``name`` says of what.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise InvalidOption(f"{name} must be a whole number, not {value!r}")
    return int(value)


def at_least(lowest: int, name: str, value: object) -> int:
    """Return a whole number of ``lowest`` or more.

    Raises:
        InvalidOption: ``value`` is none.
    """
    found = whole(name, value)
    if found < lowest:
        raise InvalidOption(f"{name} must be {lowest} or more, not {found}")
    return found


def real(name: str, value: object) -> float:
    """Return a finite number; a whole one stays whole.

    Raises:
        InvalidOption: ``value`` is none.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise InvalidOption(f"{name} must be a number, not {value!r}")
    return int(value) if isinstance(value, numbers.Integral) else float(value)


def told(value: float) -> str:
    """Return a number for a message: whole ones with all their digits."""
    return str(int(value)) if isinstance(value, numbers.Integral) else f"{value:g}"
