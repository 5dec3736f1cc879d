"""Reading with a size limit, since a path may lead to endless data such as ``/dev/zero`` or a pipe."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import BinaryIO

from ..errors import InvalidOption

#: Maximum size in bytes of a text from a user: a poem, a key, certificates.
MAX_TEXT = 2**22


class TooLarge(ValueError):
    """The data exceeds the size limit."""


def read_limited(path: Path, most: int = MAX_TEXT) -> bytes:
    """Return the content of a file of at most ``most`` bytes.

    Raises:
        OSError: the file cannot be read.
        TooLarge: the file has more bytes.
    """
    with path.open("rb") as file:
        return limited(file, most)


def limited(file: BinaryIO, most: int = MAX_TEXT) -> bytes:
    """Like :func:`read_limited`, for an open file."""
    data = file.read(most + 1)
    if len(data) > most:
        raise TooLarge(f"it has more than the {most / 2**20:g} MiB allowed")
    return data


def check_readable(path: Path) -> None:
    """Check a file that a library will read later.

    Raises:
        InvalidOption: it is not a regular file, cannot be read, or has more than ``MAX_TEXT`` bytes.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InvalidOption(f"{path} is not a file")
        read_limited(path)
    except (OSError, ValueError) as error:
        raise InvalidOption(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
