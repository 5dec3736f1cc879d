"""Write the poems of a folder of photographs to a file; a later run resumes an interrupted one."""

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
from ..decoding.registry import distinct
from ..decoding.strategies import AnyStrategy
from ..errors import BadImage, Img2PoemError, InvalidOption, NoPoem, Overloaded, ServerError, Timeout
from ..files.outputs import check_output
from ..form.form import Form
from ..images.decode import SUFFIXES
from .console import shown, tell
from .csvlines import CsvLines
from .folders import photographs_in
from .jsonl import JsonLines, Lines, Printed

#: Errors that concern a single photograph. Any other error would repeat for all photographs and ends the run.
_OF_ONE = (BadImage, NoPoem, Overloaded, ServerError, Timeout)


class Format(str, Enum):
    """Format of the output file."""

    jsonl = "jsonl"
    csv = "csv"


_Noted = Callable[[dict[str, Any]], None]
_LINES: dict[Format, type[Lines]] = {Format.jsonl: JsonLines, Format.csv: CsvLines}


@dataclass(frozen=True)
class Summary:
    """Numbers of poems written by this run, poems kept from earlier runs, and photographs that failed."""

    written: int
    kept: int
    failed: int


class Batch:
    """Writes the poems of one folder; use it as a context manager.

    Args:
        folder: folder of the photographs, searched recursively (:func:`photographs_in`).
        out: output file with one record per poem, whose ``photo`` is the path relative to ``folder``. Failures are
            written to the file of the same name plus ``.errors.jsonl``. For ``-``, poems go to standard output and
            failures to standard error.
        strategy: strategy of every poem.
        form: form of every poem; None for none.
        count: number of poems per photograph.
        format: format of ``out``.

    Raises:
        InvalidOption: ``folder`` does not exist or holds no photograph; ``out`` has the suffix of a photograph, is
            one of the photographs, cannot be written or is locked by another run; or ``strategy`` does not sample
            and ``count`` is more than 1.
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
            raise InvalidOption(f"{out} has the suffix of a photograph; choose another, such as poems.jsonl")
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
        """Write the missing poems.

        Raises:
            InvalidOption: the output file holds something else, or poems of another strategy or form; or the file of
                failures holds something else.
            WriteFailed: an output cannot be written, for example because the disk is full.
            Img2PoemError: an error that would repeat for the other photographs.
        """
        kept, size = self._kept()
        with ExitStack() as stack:
            noted: _Noted = _told
            if self._errors is not None:
                errors = stack.enter_context(closing(JsonLines(self._errors)))
                _failures(self._errors, errors)
                self._poems.cut(size)  # drops the incomplete last line of a killed run
                errors.cut(0)
                noted = errors.append
            written, failed = self._write(kept, poet, where, noted)
        if self._errors is not None and not failed:
            self._errors.unlink()
        return Summary(written, len(kept), failed)

    def _write(self, kept: set[tuple[str, int]], poet: Img2Poem, where: Where | None, noted: _Noted) -> tuple[int, int]:
        """Write the poems that are not in ``kept``; return the numbers of poems written and photographs failed.

        The first poem of every photograph comes before the second of any. A failed photograph is not retried.
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
        """Return photograph and number of each poem in the file, and the size of its complete lines in bytes."""
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
    """Return the record of a failed photograph.

    Raises:
        Img2PoemError: ``error`` itself, if it would repeat for the other photographs.
    """
    if not isinstance(error, _OF_ONE):
        raise error
    return {"photo": name, "error": type(error).__name__, "message": str(error), "request_id": error.request_id}


def _told(failure: dict[str, Any]) -> None:
    tell(f"img2poem: {shown(failure['photo'])}: {failure['message']}")


def _failures(path: Path, errors: JsonLines) -> None:
    """Check that ``errors`` holds only failures of an earlier run, before it is truncated.

    Raises:
        InvalidOption: it holds something else.
    """
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
