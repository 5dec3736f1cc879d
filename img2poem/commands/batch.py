"""A folder of photographs to a file of poems, in a way that can be killed and gone on with."""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..client import Img2Poem
from ..decoding import AnyStrategy
from ..errors import BadImage, Img2PoemError, InvalidOption, NoPoem, Overloaded, ServerError, Timeout
from ..flows import Where
from ..form import Form
from ..results import Poem, json_line

SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff")
#: What one photograph may fail with while the others go on; anything else would befall them too.
_OF_ONE = (BadImage, NoPoem, Overloaded, ServerError, Timeout)


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
        try:
            self._file: IO[bytes] = open(out, "a+b")  # noqa: SIM115
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InvalidOption(f"another run writes {out}") from None
        except OSError as error:
            raise InvalidOption(f"{out} cannot be written: {error.strerror}") from None

    def __enter__(self) -> Batch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def run(self, poet: Img2Poem, where: Where | None = None) -> Summary:
        """Write what is still to be written.

        Raises:
            Img2PoemError: something failed that the other photographs would fail by too.
        """
        kept = self._kept()
        names = sorted(p.relative_to(self._folder).as_posix() for p in self._folder.rglob("*") if _is_photo(p))
        todo = [name for name in names if name not in kept]
        paths = (self._folder / name for name in todo)
        failed = 0
        poems = poet.write_each(paths, self._strategy, form=self._form, where=where)
        with open(self._errors, "w", encoding="utf-8") as errors, closing(poems), _progress() as progress:
            task = progress.add_task("poems", total=len(names), completed=len(names) - len(todo))
            for name, poem in zip(todo, poems, strict=True):
                failed += not self._noted(name, poem, errors)
                progress.advance(task)
        if not failed:
            self._errors.unlink()
        return Summary(len(todo) - failed, len(names) - len(todo), failed)

    def _noted(self, name: str, poem: Poem | Img2PoemError, errors: IO[str]) -> bool:
        if isinstance(poem, Poem):
            # In one piece: a kill leaves whole lines, and perhaps the beginning of one.
            self._file.write(poem.to_json(photo=name).encode() + b"\n")
            self._file.flush()
            return True
        if not isinstance(poem, _OF_ONE):
            raise poem
        told = {"photo": name, "error": type(poem).__name__, "message": str(poem), "request_id": poem.request_id}
        errors.write(json_line(told) + "\n")
        errors.flush()
        return False

    def _kept(self) -> set[str]:
        """Return the photographs that have their poem, and cut off a line that a kill left unfinished."""
        self._file.seek(0)
        data = self._file.read()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            os.truncate(self._out, len(whole))
        try:
            poems = [json.loads(line) for line in whole.splitlines()]
            found = {str(poem["photo"]) for poem in poems}
            strategy, form = self._told()
            same = all(poem["strategy"] == strategy and poem["form"] == form for poem in poems)
        except (ValueError, KeyError, TypeError):
            raise InvalidOption(f"{self._out} holds something else than poems; name another file") from None
        if not same:
            raise InvalidOption(f"{self._out} holds poems of another strategy or form; name another file")
        return found

    def _told(self) -> tuple[object, object]:
        """Return strategy and form as a line of the file has them."""
        strategy = {"name": self._strategy.name, **asdict(self._strategy)}
        found: list[object] = json.loads(json.dumps([strategy, self._form and asdict(self._form)]))
        return found[0], found[1]


def _is_photo(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    return Progress(*columns, console=console, disable=not console.is_terminal)
