"""A folder of photographs to a file of poems, in a way that can be killed and gone on with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..client import Img2Poem
from ..decoding import AnyStrategy
from ..errors import BadImage, Img2PoemError, InvalidOption, NoPoem, Overloaded, ServerError, Timeout
from ..flows import Where
from ..form import Form
from ..images import SUFFIXES
from ..outputs import check_output
from ..results import Poem, json_line
from .jsonl import JsonLines

#: What one photograph may fail with while the others go on; anything else would befall them too.
_OF_ONE = (BadImage, NoPoem, Overloaded, ServerError, Timeout)

#: How a line of either file begins.
_BEGINS = '{"photo": "'


@dataclass(frozen=True)
class Summary:
    """How many poems were written now, were there before, and could not be written."""

    written: int
    kept: int
    failed: int


class Batch:
    """The work on one folder; use it as a context manager.

    Args:
        folder: with the photographs.
        out: takes one JSON object a line; ``photo`` is the path within ``folder``. Failures go to the same name with
            ``.errors.jsonl`` behind it.
        strategy: for every poem.
        form: for every poem.

    Raises:
        InvalidOption: no such folder, a file that cannot be written or holds other poems, or another run writes it.
    """

    def __init__(self, folder: Path, out: Path, strategy: AnyStrategy, form: Form | None) -> None:
        self._folder, self._out, self._strategy, self._form = folder, out, strategy, form
        self._errors = out.with_name(out.name + ".errors.jsonl")
        if not folder.is_dir():
            raise InvalidOption(f"{folder} is not a folder")
        if out.suffix.lower() in SUFFIXES:
            raise InvalidOption(f"{out} is named as a photograph; name the poems' file otherwise, as poems.jsonl")
        self._poems = JsonLines(out, _BEGINS)

    def __enter__(self) -> Batch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._poems.close()

    def run(self, poet: Img2Poem, where: Where | None = None) -> Summary:
        """Write what is still to be written.

        Raises:
            InvalidOption: a file to be written holds something else, or is one of the photographs.
            WriteFailed: the disk is full, say.
            Img2PoemError: something failed that the other photographs would fail by too.
        """
        names = sorted(p.relative_to(self._folder).as_posix() for p in self._folder.rglob("*") if _is_photo(p))
        check_output(self._out, [self._folder / name for name in names])
        kept, size = self._kept()
        todo = [name for name in names if name not in kept]
        with closing(JsonLines(self._errors, _BEGINS)) as errors:
            _failures(self._errors, errors)
            self._poems.cut(size)  # a line that a kill left unfinished
            errors.cut(0)
            failed = self._write(todo, len(names), poet, where, errors)
        if not failed:
            self._errors.unlink()
        return Summary(len(todo) - failed, len(names) - len(todo), failed)

    def _write(self, todo: Sequence[str], total: int, poet: Img2Poem, where: Where | None, errors: JsonLines) -> int:
        """Write the poems of ``todo``, and return how many failed."""
        failed = 0
        poems = poet.write_each((self._folder / name for name in todo), self._strategy, form=self._form, where=where)
        with closing(poems), _progress() as progress:
            task = progress.add_task("poems", total=total, completed=total - len(todo))
            for name, poem in zip(todo, poems, strict=True):
                failed += not self._noted(name, poem, errors)
                progress.advance(task)
        return failed

    def _noted(self, name: str, poem: Poem | Img2PoemError, errors: JsonLines) -> bool:
        if isinstance(poem, Poem):
            self._poems.append(poem.to_json(photo=name))
            return True
        if not isinstance(poem, _OF_ONE):
            raise poem
        told = {"photo": name, "error": type(poem).__name__, "message": str(poem), "request_id": poem.request_id}
        errors.append(json_line(told))
        return False

    def _kept(self) -> tuple[set[str], int]:
        """Return the photographs that have their poem, and the bytes of their lines."""
        try:
            poems, size = self._poems.read()
            found = {str(poem["photo"]) for poem in poems}
            strategy, form = self._told()
            same = all(poem["strategy"] == strategy and poem["form"] == form for poem in poems)
        except (ValueError, KeyError, TypeError):
            raise InvalidOption(f"{self._out} holds something else than poems; name another file") from None
        if not same:
            raise InvalidOption(f"{self._out} holds poems of another strategy or form; name another file")
        return found, size

    def _told(self) -> tuple[object, object]:
        """Return strategy and form as a line of the file has them."""
        strategy = {"name": self._strategy.name, **asdict(self._strategy)}
        found: list[object] = json.loads(json.dumps([strategy, self._form and asdict(self._form)]))
        return found[0], found[1]


def _failures(path: Path, errors: JsonLines) -> None:
    """Refuse a file that is not the failures of an earlier run: it is about to be emptied."""
    try:
        found, _ = errors.read()
        if all({"photo", "error", "message"} <= line.keys() for line in found):
            return
    except (ValueError, AttributeError):
        pass
    raise InvalidOption(f"{path} holds something else than failures; name another --out")


def _is_photo(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    return Progress(*columns, console=console, disable=not console.is_terminal)
