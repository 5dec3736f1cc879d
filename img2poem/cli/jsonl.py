"""Files of poems, one a line, that only ever grow by whole lines and are never mistaken for another file."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from ..client.results import json_line
from ..errors import InvalidOption, WriteFailed
from ..files.outputs import check_output, unwritable
from .console import say

#: Bytes that a line has at most: far more than a poem and the longest path.
LONGEST = 2**20
#: How a line begins.
_BEGINS = b'{"photo": "'


class Lines:
    """The file at ``path``, made where there is none, and locked against other runs.

    Raises:
        InvalidOption: it is no file, cannot be written, or another run writes it.
    """

    #: What stands in front of the first line, if anything.
    head: ClassVar[str] = ""

    def __init__(self, path: Path) -> None:
        self._path = path
        check_output(path)
        try:
            self._file = open(path, "a+b")  # noqa: SIM115
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise InvalidOption(f"another run writes {path}") from None
        except OSError as error:
            raise unwritable(path, error) from None

    @staticmethod
    def line(fields: Mapping[str, Any]) -> str:
        """Return what is written of an object."""
        raise NotImplementedError

    def read(self) -> tuple[list[Any], int]:
        """Return the objects of the file, and the bytes of their lines: a kill may have left the beginning of another.

        Raises:
            ValueError: a line is of something else.
        """
        raise NotImplementedError

    def append(self, fields: Mapping[str, Any]) -> None:
        """Append an object as a whole or not at all.

        Raises:
            WriteFailed: the disk is full, say.
        """
        head = "" if self._size() or not self.head else f"{self.head}\n"
        self._write(f"{head}{self.line(fields)}\n".encode())

    def cut(self, size: int) -> None:
        """Leave the first ``size`` bytes.

        Raises:
            WriteFailed: the disk refuses.
        """
        try:
            os.ftruncate(self._file.fileno(), size)
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Let other runs have it."""
        self._file.close()

    def _size(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    def _write(self, line: bytes) -> None:
        file, data, before = self._file.fileno(), memoryview(line), self._size()
        try:
            while data:
                data = data[os.write(file, data) :]
        except BaseException as error:
            os.ftruncate(file, before)
            if isinstance(error, OSError):
                raise self._failed(error) from error
            raise

    def _failed(self, error: OSError) -> WriteFailed:
        return WriteFailed(f"{self._path} cannot be written: {error.strerror}; make room, then run again to go on")


class JsonLines(Lines):
    """An object of JSON a line, which begins with its photograph."""

    line = staticmethod(json_line)

    def read(self) -> tuple[list[Any], int]:
        """As of every file of lines."""
        self._file.seek(0)
        found, size = [], 0
        while line := self._file.readline(LONGEST):
            if not line.startswith(_BEGINS[: len(line)]):
                raise ValueError("a line begins in another way")
            if not line.endswith(b"\n"):
                if len(line) == LONGEST:
                    raise ValueError("a line has no end")
                break
            found.append(json.loads(line))
            size += len(line)
        return found, size


class Printed:
    """Lines on standard output, of the form that ``kind`` has in a file."""

    def __init__(self, kind: type[Lines]) -> None:
        self._kind, self._begun = kind, False

    def read(self) -> tuple[list[Any], int]:
        """Return nothing: what was printed earlier is not known."""
        return [], 0

    def append(self, fields: Mapping[str, Any]) -> None:
        """Print an object.

        Raises:
            WriteFailed: standard output is full or closed.
        """
        if self._kind.head and not self._begun:
            say(self._kind.head)
        self._begun = True
        say(self._kind.line(fields))

    def cut(self, size: int) -> None:
        """Do nothing: what is printed is printed."""

    def close(self) -> None:
        """Do nothing."""
