"""Atomic writing of files."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write ``content`` to ``path`` atomically: a reader sees the old content or the new. Text is encoded as UTF-8.

    If ``path`` is a symbolic link, its target is written.

    Raises:
        OSError: the file cannot be written. Its old content is kept.
    """
    target = Path(os.path.realpath(path))
    # A random name keeps concurrent writers apart, threads included. It is short even if the file's own name is long.
    staging = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        staging.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(staging, target)
    except BaseException:
        staging.unlink(missing_ok=True)
        raise
