"""Checks of output files before anything is written, so that a command never overwrites its input or other data."""

from __future__ import annotations

import codecs
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from ..errors import InvalidOption

#: Bytes read from the start of a file to decide whether it is text.
_LOOKED_AT = 4096


def check_output(out: Path, inputs: Iterable[str | Path] = ()) -> bool:
    """Return whether ``out`` exists as a regular file, whose content the caller may want to check.

    Raises:
        InvalidOption: the folder of ``out`` does not exist; ``out`` is a folder, a device or a pipe; or it is the same
            file as one of ``inputs``, links included.
    """
    if not out.parent.is_dir():
        raise InvalidOption(f"{out.parent} is not a folder")
    try:
        found = out.stat()
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        raise unwritable(out, error) from None
    if not stat.S_ISREG(found.st_mode):
        raise InvalidOption(f"{out} is not a file, but a folder, a device or a pipe; name a file")
    if any(_is_same(one, found) for one in inputs):
        raise InvalidOption(f"{out} is the photograph itself; name another file")
    return True


def check_log(log: Path) -> None:
    """Check that log lines may be appended to ``log``: it is a text file, or does not exist.

    Raises:
        InvalidOption: see :func:`check_output`; or the file is not UTF-8 text.
    """
    if not check_output(log):
        return
    try:
        with log.open("rb") as file:
            beginning = file.read(_LOOKED_AT)
    except OSError as error:
        raise unwritable(log, error) from None
    if b"\0" in beginning or not _is_text(beginning):
        raise InvalidOption(f"{log} holds something else than a log; name another file")


def unwritable(out: Path, error: Exception) -> InvalidOption:
    """Return the error for an output that cannot be opened or replaced."""
    return InvalidOption(f"{out} cannot be written: {getattr(error, 'strerror', None) or error}")


def _is_text(beginning: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(beginning)
    except UnicodeDecodeError:
        return False
    return True


def _is_same(path: str | Path, found: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(path), found)
    except (OSError, ValueError):
        return False
