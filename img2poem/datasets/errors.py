"""What goes wrong with data: every text names the file, the record where there is one, and the remedy."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from ..errors import Img2PoemError

_Error = TypeVar("_Error", bound="BadData")


class BadData(Img2PoemError, ValueError):
    """A file of a data set is not in the format that its reader expects."""

    #: The file, and the record in it (``None``: the file as a whole).
    path: Path | None = None
    record: str | None = None

    @classmethod
    def at(cls: type[_Error], path: Path, problem: str, remedy: str, record: str | None = None) -> _Error:
        """Return the error about ``path``, whose text is made of the other arguments."""
        where = f"{path}, {record}" if record else str(path)
        # One argument only: several would be taken for errno and strerror in subclasses of OSError.
        error = cls(f"{where}: {problem}; {remedy}")
        error.path, error.record = path, record
        return error


class MissingData(BadData, FileNotFoundError):
    """A file of a data set is not there and could not be had."""


class DownloadStopped(Img2PoemError, OSError):
    """A download cannot go on, say because the disk is full; what is whole stays and counts next time."""
