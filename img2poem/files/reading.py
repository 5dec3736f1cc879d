"""Reading with a limit: what a path leads to may have no end, as ``/dev/zero`` or a pipe."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import BinaryIO

from ..errors import InvalidOption

#: Bytes that a text of a person's may have: a poem, a key, certificates.
MAX_TEXT = 2**22


class TooLarge(ValueError):
    """There is more to read than is allowed."""


def read_limited(path: Path, most: int = MAX_TEXT) -> bytes:
    """Return the bytes of a file, of which there may be ``most``.

    Raises:
        OSError: it cannot be read.
        TooLarge: there are more.
    """
    with path.open("rb") as file:
        return limited(file, most)


def limited(file: BinaryIO, most: int = MAX_TEXT) -> bytes:
    """As :func:`read_limited`, of a file that is open."""
    data = file.read(most + 1)
    if len(data) > most:
        raise TooLarge(f"it has more than the {most / 2**20:g} MiB allowed")
    return data


def check_readable(path: Path) -> None:
    """Refuse what others are to read whole, and may not read twice.

    Raises:
        InvalidOption: it is no file, cannot be read, or has more bytes than ``MAX_TEXT``.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InvalidOption(f"{path} is not a file")
        read_limited(path)
    except (OSError, ValueError) as error:
        raise InvalidOption(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
