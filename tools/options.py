"""The options of typer commands and dataclasses, read from the code, one row each."""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

import docstring_parser
from typer.models import ArgumentInfo, OptionInfo

_PLAIN = {int: "whole number", float: "number", str: "text", Path: "path", bool: "switch"}


@dataclass(frozen=True)
class Row:
    """One option: its name, type, default and meaning. All but ``name`` may contain Markdown."""

    name: str
    type: str
    default: str
    meaning: str

    columns: ClassVar[tuple[str, ...]] = ("option", "type", "default", "meaning")

    @property
    def cells(self) -> tuple[str, ...]:
        """Return the row's values in the order of ``columns``."""
        return f"`{self.name}`", self.type, self.default, self.meaning


def of_command(command: Callable[..., None]) -> Iterator[Row]:
    """Yield the arguments and options of a typer command, in order.

    Raises:
        ValueError: one has no help or is not declared with ``Annotated``.
    """
    hints = get_type_hints(command, include_extras=True)
    for parameter in inspect.signature(command).parameters.values():
        annotation = hints[parameter.name]
        if get_origin(annotation) is not Annotated or not isinstance(info := get_args(annotation)[1], _Declared):
            raise ValueError(f"{command.__name__}: {parameter.name} is not declared by typer.Option or typer.Argument")
        if not info.help:
            raise ValueError(f"{command.__name__}: {parameter.name} has no help; say what it is for")
        kind = get_args(annotation)[0]
        default = default_of(parameter.default)
        if isinstance(info.show_default, str):  # a phrase or a value
            default = info.show_default if " " in info.show_default else f"`{info.show_default}`"
        yield Row(_name(parameter, kind, info), _with_range(kind, info), default, escaped(info.help))


_Declared = OptionInfo | ArgumentInfo


def of_settings(settings: Callable[..., Any], prefix: str = "--") -> Iterator[Row]:
    """Yield the options that tyro derives from a dataclass or function, including nested dataclasses.

    Annotated parameters are positional; their names are in capitals.

    Raises:
        ValueError: an option has no description.
    """
    told, hints = meanings(settings), get_type_hints(settings, include_extras=True)
    for parameter in inspect.signature(settings).parameters.values():
        kind, name = hints[parameter.name], prefix + parameter.name.replace("_", "-")
        if get_origin(kind) is Annotated:
            kind, name = get_args(kind)[0], parameter.name.upper()
        if dataclasses.is_dataclass(kind):
            yield from of_settings(kind, prefix)  # type: ignore[arg-type]
        else:
            taken = type_of(kind) + (" or `None`" if type(None) in get_args(kind) else "")
            yield Row(name, taken, default_of(parameter.default), told[parameter.name])


def meanings(thing: Callable[..., Any]) -> dict[str, str]:
    """Return the description of each parameter in the docstrings of a function, or of a dataclass and its bases.

    Raises:
        ValueError: a parameter has no description.
    """
    found: dict[str, str] = {}
    for part in reversed(thing.__mro__[:-1] if isinstance(thing, type) else [thing]):
        told = docstring_parser.parse_from_object(part).params
        found |= {one.arg_name: escaped(one.description) for one in told if one.description}
    hints = get_type_hints(thing)
    wanted = (name for name in inspect.signature(thing).parameters if not dataclasses.is_dataclass(hints[name]))
    if missing := [name for name in wanted if name not in found]:
        raise ValueError(f"the docstring of {thing.__name__} does not say what {', '.join(missing)} is for")
    return found


def type_of(kind: Any) -> str:
    """Return a type in words; choices are listed by value."""
    origin, inner = get_origin(kind), [one for one in get_args(kind) if one not in (type(None), Ellipsis)]
    if origin in (Union, types.UnionType):
        return " or ".join(map(type_of, inner))
    if origin is Literal:
        return _choices(inner)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _choices([member.value for member in kind])
    if isinstance(origin, type) and issubclass(origin, Collection):
        return f"{type_of(inner[0])}, any number"
    return _PLAIN.get(kind) or f"`{kind.__name__}`"


def default_of(value: Any) -> str:
    """Return a default as Markdown; ``required`` if there is none."""
    if value is inspect.Parameter.empty:
        return "**required**"
    if value is None or value in ("", ()):
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"`{value.value if isinstance(value, Enum) else value}`"


def escaped(text: str) -> str:
    """Return a docstring or help text as one line of a Markdown table."""
    text = " ".join(text.replace("``", "`").split())
    text = re.sub(r":\w+:`~?\.?([^`]+)`", r"`\1`", text)
    return text[:1].upper() + text[1:].replace("|", "\\|").replace("<", "&lt;")


def _choices(values: Collection[Any]) -> str:
    return ", ".join(f"`{value}`" for value in values)


def _name(parameter: inspect.Parameter, kind: Any, info: OptionInfo | ArgumentInfo) -> str:
    """Return an option's flags, or an argument's placeholder, as typer shows them."""
    if isinstance(info, ArgumentInfo):
        placeholder = info.metavar or parameter.name.upper()
        needed = parameter.default is parameter.empty or placeholder.startswith("[")
        return placeholder if needed else f"[{placeholder}]"
    # Within Annotated, typer stores the first name as the default.
    if names := [name for name in (info.default, *(info.param_decls or ())) if isinstance(name, str)]:
        return ", ".join(names)
    flag = "--" + parameter.name.replace("_", "-")
    return f"{flag} / --no-{flag[2:]}" if kind is bool else flag


def _with_range(kind: Any, info: OptionInfo | ArgumentInfo) -> str:
    if info.min is None and info.max is None:
        return type_of(kind)
    if info.max is None:
        return f"{type_of(kind)}, {info.min:g} or more"
    return f"{type_of(kind)}, {info.min:g} to {info.max:g}"
