"""Files that a command is told to write: refused before the first byte where they would destroy something."""

from __future__ import annotations

import codecs
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from ..errors import InvalidOption

#: Bytes of a file by which it is told whether it is text.
_LOOKED_AT = 4096


def check_output(out: Path, inputs: Iterable[str | Path] = ()) -> bool:
    """Return whether ``out`` is there already, as a file that may be looked at and replaced.

    Raises:
        InvalidOption: its folder is not there; it is a folder, a device or a pipe; or it is one of ``inputs``, by
            whatever name.
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
    """Refuse a file that lines of a log cannot be appended to without harm.

    Raises:
        InvalidOption: as :func:`check_output`; or it holds what is no text.
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
