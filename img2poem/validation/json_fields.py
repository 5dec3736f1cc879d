"""Validation of parsed JSON values. Each error names the invalid field."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ..errors import InvalidOption

T = TypeVar("T")


def loaded(what: str, text: str | bytes) -> dict[str, Any]:
    """Parse a JSON object and return its fields.

    Raises:
        InvalidOption: ``text`` is not a JSON object. The message calls it ``what``.
    """
    try:
        found = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidOption(f"{what} is not JSON: {error}") from None
    return mapped(what, found)


def mapped(what: str, value: object) -> dict[str, Any]:
    """Return the fields of a parsed JSON object.

    Raises:
        InvalidOption: ``value`` is not an object.
    """
    if not isinstance(value, Mapping):
        raise InvalidOption(f"{what} must be a JSON object, not {value!r}")
    return dict(value)


def made(kind: Callable[..., T], what: str, fields: Mapping[str, Any]) -> T:
    """Return an instance of the dataclass ``kind``, which validates the values itself. Lists become tuples.

    Raises:
        InvalidOption: a field is unknown or missing, or its value is invalid.
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
    """Return ``value``, a string.

    Raises:
        InvalidOption: ``value`` is not a string.
    """
    if not isinstance(value, str):
        raise InvalidOption(f"{name} must be a string, not {value!r}")
    return value


def several(name: str, value: object, one: Callable[[str, object], T]) -> tuple[T, ...]:
    """Return the elements of a list, each validated by ``one``.

    Raises:
        InvalidOption: ``value`` is not a list, or an element is invalid.
    """
    if not isinstance(value, list | tuple):
        raise InvalidOption(f"{name} must be a list, not {value!r}")
    return tuple(one(name, element) for element in value)


def perhaps(name: str, value: object, one: Callable[[str, object], T]) -> T | None:
    """Return None for null, else the value validated by ``one``.

    Raises:
        InvalidOption: the value is invalid.
    """
    return None if value is None else one(name, value)
