"""Values out of JSON, as what img2poem wrote there: anything else is refused by its name."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ..errors import InvalidOption

T = TypeVar("T")


def loaded(what: str, text: str | bytes) -> dict[str, Any]:
    """Return the fields of an object of JSON.

    Raises:
        InvalidOption: ``text`` is none; ``what`` says of what.
    """
    try:
        found = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidOption(f"{what} is not JSON: {error}") from None
    return mapped(what, found)


def mapped(what: str, value: object) -> dict[str, Any]:
    """Return the fields of an object that JSON held.

    Raises:
        InvalidOption: ``value`` is none.
    """
    if not isinstance(value, Mapping):
        raise InvalidOption(f"{what} must be an object of JSON, not {value!r}")
    return dict(value)


def made(kind: Callable[..., T], what: str, fields: Mapping[str, Any]) -> T:
    """Return an object of the dataclass ``kind``, which checks the values itself; lists become tuples.

    Raises:
        InvalidOption: a field is unknown or missing, or out of its range.
    """
    declared = dataclasses.fields(kind)  # type: ignore[arg-type]
    known = [field.name for field in declared]
    needed = [f.name for f in declared if f.default is f.default_factory is dataclasses.MISSING]
    if strange := sorted(fields.keys() - set(known)):
        raise InvalidOption(f"{what} has no {', '.join(strange)}; it has {', '.join(known)}")
    if missing := [name for name in needed if name not in fields]:
        raise InvalidOption(f"{what} lacks {', '.join(missing)}")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()})


def text(name: str, value: object) -> str:
    """Return a text.

    Raises:
        InvalidOption: ``value`` is none.
    """
    if not isinstance(value, str):
        raise InvalidOption(f"{name} must be a text, not {value!r}")
    return value


def several(name: str, value: object, one: Callable[[str, object], T]) -> tuple[T, ...]:
    """Return the elements of a list, each as ``one`` takes it.

    Raises:
        InvalidOption: ``value`` is none, or an element is refused.
    """
    if not isinstance(value, list | tuple):
        raise InvalidOption(f"{name} must be a list, not {value!r}")
    return tuple(one(name, element) for element in value)


def perhaps(name: str, value: object, one: Callable[[str, object], T]) -> T | None:
    """Return None for null, else the value as ``one`` takes it.

    Raises:
        InvalidOption: it is refused.
    """
    return None if value is None else one(name, value)
