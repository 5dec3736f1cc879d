"""Options that several commands share: of the search, derived from the registered strategies, and of the form."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, TypeVar, cast

import typer

from ..artifacts.installed import DISTRIBUTION, EXPORTED
from ..client.operations import Where
from ..decoding.options import Option
from ..decoding.registry import FIELDS, REGISTRY, build
from ..decoding.strategies import MAX_COUNT, AnyStrategy
from ..form.form import Form
from ..validation.numbers import told

T = TypeVar("T")

#: Description of the default of ``--engine``.
DEFAULT = f"{EXPORTED}, else the package {DISTRIBUTION}"
_FORM, _SEARCH = "Form of the poem", "Search"
_KINDS = "JPEG, PNG, GIF, WebP, BMP, TIFF, AVIF or HEIC"
#: Flags that are not the field's name.
_FLAGS = {"width": "--beam-width", "forbidden": "--forbid"}

Photos = Annotated[list[str], typer.Argument(metavar="PHOTO...", help=f"{_KINDS} files; - is standard input.")]
Photo = Annotated[str, typer.Argument(metavar="PHOTO", help=f"A {_KINDS} file; - is standard input.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]
_Count = Annotated[
    int,
    typer.Option(
        "--count",
        min=1,
        max=MAX_COUNT,
        help="Poems per photograph, by sample or best-of, with consecutive seeds.",
        rich_help_panel=_SEARCH,
    ),
]
_Where = Annotated[
    str | None,
    typer.Option(
        "--where",
        metavar="server|client",
        help="Who runs the search: the server, or this process over the decoder's steps. The poem is the same.",
        show_default="the server where it can",
        rich_help_panel=_SEARCH,
    ),
]
_Forbid = Annotated[
    list[str] | None,
    typer.Option("--forbid", metavar="WORD", help="A word that must not occur; repeat it.", rich_help_panel=_SEARCH),
]


def flag_of(field: str) -> str:
    """Return the flag of a strategy's field."""
    return _FLAGS.get(field, "--" + field.replace("_", "-"))


def _with_options(default: str, names: Iterable[str], counted: bool = True) -> Callable[[type[T]], type[T]]:
    """Give a class a field per option of the strategies ``names``, as a frozen dataclass.

    Args:
        default: strategy if ``--strategy`` is not given.
        names: strategies to choose from.
        counted: whether there is ``--count``.
    """
    entries = [REGISTRY[name] for name in names]
    choices = Enum("Strategy", {one.name.replace("-", "_"): one.name for one in entries}, type=str)  # type: ignore[misc]
    strategy = Annotated[choices, typer.Option("--strategy", help="Decoding strategy.", rich_help_panel=_SEARCH)]
    options: dict[str, Option] = {}
    for one in entries:
        options |= one.options
    # First the options that not every strategy has.
    order = sorted(options, key=lambda field: all(field in one.options for one in entries))

    def typed(field: str) -> Any:
        owners = [one.name for one in entries if field in one.options]
        return _Forbid if field == "forbidden" else _typed(field, options[field], owners, len(owners) < len(entries))

    fields = [
        ("strategy", strategy, dataclasses.field(default=choices(default))),
        *((field, typed(field), dataclasses.field(default=None)) for field in order),
        *([("count", _Count, dataclasses.field(default=1))] if counted else []),
        ("where", _Where, dataclasses.field(default=None)),
    ]

    def decorate(kind: type[T]) -> type[T]:
        made = dataclasses.make_dataclass(kind.__name__, fields, bases=(kind,), frozen=True)
        return cast("type[T]", made)

    return decorate


def _typed(field: str, option: Option, owners: list[str], some: bool) -> Any:
    with_strategy = f", with {' or '.join(owners)}" if some else ""
    declared = typer.Option(
        flag_of(field),
        help=f"{option.sentence}. {option.range}{with_strategy}.",
        show_default=told(option.default),
        rich_help_panel=_SEARCH,
    )
    return Annotated[option.type | None, declared]


class _Search:
    """Values of the options of a search."""

    strategy: Any
    count: int
    where: Where | None

    def built(self) -> AnyStrategy:
        """Return the strategy.

        Raises:
            InvalidOption: an option belongs to another strategy, or is out of range.
        """
        name = str(self.strategy.value)
        given = {field: value for field, value in vars(self).items() if field in FIELDS and value is not None}
        if "forbidden" in given:
            given["forbidden"] = tuple(word.lower() for word in given["forbidden"])
        return build(name, given, flag_of)


@_with_options("best-of", REGISTRY)
class Search(_Search):
    """Options of a search for whole poems."""


@_with_options("best-of", REGISTRY, counted=False)
class SearchOne(_Search):
    """Options of a search for one poem."""


@_with_options("sample", [one.name for one in REGISTRY.values() if one.streams])
class SearchLines(_Search):
    """Options of a search that knows each line before the poem's end."""


@dataclass(frozen=True)
class LineForm:
    """Values of the options of the form of a streamed poem."""

    lines: Annotated[int | None, typer.Option(help="Exact number of lines, 1 to 16.", rich_help_panel=_FORM)] = None

    def built(self) -> Form | None:
        """Return the form; None if no option was given.

        Raises:
            InvalidOption: the number is out of range.
        """
        return None if self.lines is None else Form(lines=self.lines)


@dataclass(frozen=True)
class FormOptions(LineForm):
    """Values of the options of a poem's form."""

    rhyme: Annotated[
        str, typer.Option(metavar="SCHEME", help="Rhyme scheme, as AABB or ABCB.", rich_help_panel=_FORM)
    ] = ""
    acrostic: Annotated[
        str, typer.Option(metavar="WORD", help="First letters of the lines.", rich_help_panel=_FORM)
    ] = ""
    include: Annotated[
        list[str] | None,
        typer.Option(metavar="WORD", help="A word that must occur; repeat it.", rich_help_panel=_FORM),
    ] = None
    first_words: Annotated[
        str, typer.Option(metavar="WORDS", help="Words that begin the poem.", rich_help_panel=_FORM)
    ] = ""

    def built(self) -> Form | None:
        """Return the form; None if no option was given.

        Raises:
            InvalidOption: a value is malformed, or values contradict each other.
        """
        form = Form(**{**vars(self), "include": tuple(self.include or ())})
        return None if form == Form() else form
