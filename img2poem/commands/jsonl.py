"""A file of JSON objects, one a line, that only ever grows by whole lines and is never mistaken for another file."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from ..errors import InvalidOption, WriteFailed
from ..outputs import check_output, unwritable

#: Bytes that a line has at most: far more than a poem and the longest path.
_LONGEST = 2**20


class JsonLines:
    """The file at ``path``, made where there is none, and locked against other runs.

    Args:
        path: of the file.
        begins: how every line of it begins.

    Raises:
        InvalidOption: it is no file, cannot be written, or another run writes it.
    """

    def __init__(self, path: Path, begins: str) -> None:
        self._path, self._begins = path, begins.encode()
        check_output(path)
        try:
            self._file = open(path, "a+b")  # noqa: SIM115
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise InvalidOption(f"another run writes {path}") from None
        except OSError as error:
            raise unwritable(path, error) from None

    def read(self) -> tuple[list[Any], int]:
        """Return the objects of the file, and the bytes of their lines: a kill may have left the beginning of another.

        Raises:
            ValueError: a line is of something else.
        """
        self._file.seek(0)
        found, size = [], 0
        while line := self._file.readline(_LONGEST):
            if not line.startswith(self._begins[: len(line)]):
                raise ValueError("a line begins in another way")
            if not line.endswith(b"\n"):
                if len(line) == _LONGEST:
                    raise ValueError("a line has no end")
                break
            found.append(json.loads(line))
            size += len(line)
        return found, size

    def cut(self, size: int) -> None:
        """Leave the first ``size`` bytes.

        Raises:
            WriteFailed: the disk refuses.
        """
        try:
            os.ftruncate(self._file.fileno(), size)
        except OSError as error:
            raise self._failed(error) from error

    def append(self, line: str) -> None:
        """Append a line as a whole or not at all.

        Raises:
            WriteFailed: the disk is full, say.
        """
        file, data = self._file.fileno(), memoryview(line.encode() + b"\n")
        before = os.fstat(file).st_size
        try:
            while data:
                data = data[os.write(file, data) :]
        except BaseException as error:
            os.ftruncate(file, before)
            if isinstance(error, OSError):
                raise self._failed(error) from error
            raise

    def close(self) -> None:
        """Let other runs have it."""
        self._file.close()

    def _failed(self, error: OSError) -> WriteFailed:
        return WriteFailed(f"{self._path} cannot be written: {error.strerror}; make room, then run again to go on")
