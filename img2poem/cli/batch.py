"""A folder of photographs to a file of poems, in a way that can be killed and gone on with."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..client.client import Img2Poem
from ..client.operations import Where
from ..client.results import Poem
from ..decoding.strategies import AnyStrategy, distinct
from ..errors import BadImage, Img2PoemError, InvalidOption, NoPoem, Overloaded, ServerError, Timeout
from ..files.outputs import check_output
from ..form.form import Form
from ..images.decode import SUFFIXES
from .console import shown, tell
from .csvlines import CsvLines
from .folders import photographs_in
from .jsonl import JsonLines, Lines, Printed

#: What one photograph may fail with while the others go on; anything else would befall them too.
_OF_ONE = (BadImage, NoPoem, Overloaded, ServerError, Timeout)


class Format(str, Enum):
    """How the poems are written."""

    jsonl = "jsonl"
    csv = "csv"


_Noted = Callable[[dict[str, Any]], None]
_LINES: dict[Format, type[Lines]] = {Format.jsonl: JsonLines, Format.csv: CsvLines}


@dataclass(frozen=True)
class Summary:
    """How many poems were written now and were there before, and how many photographs failed."""

    written: int
    kept: int
    failed: int


class Batch:
    """The work on one folder; use it as a context manager.

    Args:
        folder: with the photographs, in its folders too (:func:`photographs_in`).
        out: takes one poem a line; ``photo`` is the path within ``folder``. Failures go to the same name with
            ``.errors.jsonl`` behind it. ``-`` is standard output, and standard error for failures.
        strategy: for every poem.
        form: for every poem.
        count: poems about each photograph.
        format: of ``out``.

    Raises:
        InvalidOption: no such folder, or no photograph in it; a file that cannot be written, is one of the
            photographs or holds other poems; another run writes it; or the strategy knows no ``count`` poems.
    """

    def __init__(
        self,
        folder: Path,
        out: Path,
        strategy: AnyStrategy,
        form: Form | None,
        count: int = 1,
        format: Format = Format.jsonl,
    ) -> None:
        self._folder, self._out, self._form = folder, out, form
        self._strategies = distinct(strategy, count)
        self._errors = None if str(out) == "-" else out.with_name(out.name + ".errors.jsonl")
        if out.suffix.lower() in SUFFIXES:
            raise InvalidOption(f"{out} is named as a photograph; name the poems' file otherwise, as poems.jsonl")
        self._names = photographs_in(folder)
        if self._errors is None:
            self._poems: Lines | Printed = Printed(_LINES[format])
        else:
            check_output(out, [folder / name for name in self._names])
            self._poems = _LINES[format](out)

    def __enter__(self) -> Batch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._poems.close()

    def run(self, poet: Img2Poem, where: Where | None = None) -> Summary:
        """Write what is still to be written.

        Raises:
            InvalidOption: a file to be written holds something else.
            WriteFailed: the disk is full, say.
            Img2PoemError: something failed that the other photographs would fail by too.
        """
        kept, size = self._kept()
        with ExitStack() as stack:
            noted: _Noted = _told
            if self._errors is not None:
                errors = stack.enter_context(closing(JsonLines(self._errors)))
                _failures(self._errors, errors)
                self._poems.cut(size)  # a line that a kill left unfinished
                errors.cut(0)
                noted = errors.append
            written, failed = self._write(kept, poet, where, noted)
        if self._errors is not None and not failed:
            self._errors.unlink()
        return Summary(written, len(kept), failed)

    def _write(self, kept: set[tuple[str, int]], poet: Img2Poem, where: Where | None, noted: _Noted) -> tuple[int, int]:
        """Write the poems but those that are ``kept``: how many were written, and of how many photographs one failed.

        First comes one poem about each photograph, then, with ``count``, the second one about each.
        """
        written, failed = 0, set[str]()
        with _progress() as progress:
            task = progress.add_task("poems", total=len(self._names) * len(self._strategies), completed=len(kept))
            for number, strategy in enumerate(self._strategies):
                todo = [name for name in self._names if (name, number) not in kept and name not in failed]
                photos = (self._folder / name for name in todo)
                with closing(poet.write_each(photos, strategy, form=self._form, where=where)) as poems:
                    for name, poem in zip(todo, poems, strict=True):
                        if isinstance(poem, Poem):
                            self._poems.append({"photo": name, **poem.to_dict()})
                            written += 1
                        else:
                            noted(_failure(name, poem))
                            failed.add(name)
                        progress.advance(task)
        return written, len(failed)

    def _kept(self) -> tuple[set[tuple[str, int]], int]:
        """Return which poems are there, by photograph and number, and the bytes of their lines."""
        try:
            poems, size = self._poems.read()
            strategies = [json.loads(strategy.to_json()) for strategy in self._strategies]
            form = json.loads(json.dumps(self._form and asdict(self._form)))
            same = all(poem["strategy"] in strategies and poem["form"] == form for poem in poems)
            found = {(str(poem["photo"]), strategies.index(poem["strategy"])) for poem in poems if same}
        except (ValueError, KeyError, TypeError):
            raise InvalidOption(f"{self._out} holds something else than poems; name another file") from None
        if not same:
            raise InvalidOption(f"{self._out} holds poems of another strategy or form; name another file")
        return found, size


def _failure(name: str, error: Img2PoemError) -> dict[str, Any]:
    """Return what is noted of a photograph that failed.

    Raises:
        Img2PoemError: the others would fail by it too.
    """
    if not isinstance(error, _OF_ONE):
        raise error
    return {"photo": name, "error": type(error).__name__, "message": str(error), "request_id": error.request_id}


def _told(failure: dict[str, Any]) -> None:
    tell(f"img2poem: {shown(failure['photo'])}: {failure['message']}")


def _failures(path: Path, errors: JsonLines) -> None:
    """Refuse a file that is not the failures of an earlier run: it is about to be emptied."""
    try:
        found, _ = errors.read()
        if all({"photo", "error", "message"} <= line.keys() for line in found):
            return
    except (ValueError, AttributeError):
        pass
    raise InvalidOption(f"{path} holds something else than failures; name another --out")


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    return Progress(*columns, console=console, disable=not console.is_terminal)
