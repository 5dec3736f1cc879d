"""Errors of the data sets. Each message names the file, the record if there is one, and the remedy."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from ..errors import Img2PoemError

_Error = TypeVar("_Error", bound="BadData")


class BadData(Img2PoemError, ValueError):
    """A file of a data set is not in the format that its reader expects."""

    #: The file, and the record in it (None: the file as a whole).
    path: Path | None = None
    record: str | None = None

    @classmethod
    def at(cls: type[_Error], path: Path, problem: str, remedy: str, record: str | None = None) -> _Error:
        """Return the error about ``path``; its message consists of the arguments."""
        where = f"{path}, {record}" if record else str(path)
        # One argument only: subclasses of OSError would take several for errno and strerror.
        error = cls(f"{where}: {problem}; {remedy}")
        error.path, error.record = path, record
        return error


class MissingData(BadData, FileNotFoundError):
    """A file of a data set does not exist and could not be fetched."""


class DownloadStopped(Img2PoemError, OSError):
    """A download cannot continue, for example because the disk is full; the next call keeps all complete files."""
