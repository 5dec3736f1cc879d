"""Files of records, one per line: appended to in complete lines only, and checked before a run continues them."""

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

#: Maximum length of a line in bytes: far more than a poem and the longest path.
LONGEST = 2**20
#: Prefix of every line.
_BEGINS = b'{"photo": "'


class Lines:
    """A file of records at ``path``, created if missing and locked against other runs.

    Raises:
        InvalidOption: ``path`` is not a regular file, cannot be written, or is locked by another run.
    """

    #: Header line; empty for none.
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
        """Return the text of a record, without the final newline."""
        raise NotImplementedError

    def read(self) -> tuple[list[Any], int]:
        """Return the complete records and their size in bytes; a killed run may have left an incomplete one at the end.

        Raises:
            ValueError: the file holds something else.
        """
        raise NotImplementedError

    def append(self, fields: Mapping[str, Any]) -> None:
        """Append a record, completely or not at all.

        Raises:
            WriteFailed: the file cannot be written, for example because the disk is full.
        """
        head = "" if self._size() or not self.head else f"{self.head}\n"
        self._write(f"{head}{self.line(fields)}\n".encode())

    def cut(self, size: int) -> None:
        """Truncate the file to ``size`` bytes.

        Raises:
            WriteFailed: the file cannot be truncated.
        """
        try:
            os.ftruncate(self._file.fileno(), size)
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Close the file and release the lock."""
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
    """A JSON Lines file; the first key of each object is ``photo``."""

    line = staticmethod(json_line)

    def read(self) -> tuple[list[Any], int]:
        """Return the complete records and their size in bytes, as :meth:`Lines.read`."""
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
    """Records on standard output, in the format of ``kind``."""

    def __init__(self, kind: type[Lines]) -> None:
        self._kind, self._begun = kind, False

    def read(self) -> tuple[list[Any], int]:
        """Return no records: the output of earlier runs cannot be read."""
        return [], 0

    def append(self, fields: Mapping[str, Any]) -> None:
        """Print a record.

        Raises:
            WriteFailed: standard output is closed, or its disk is full.
        """
        if self._kind.head and not self._begun:
            say(self._kind.head)
        self._begun = True
        say(self._kind.line(fields))

    def cut(self, size: int) -> None:
        """Do nothing: printed records cannot be removed."""

    def close(self) -> None:
        """Do nothing: standard output stays open."""
