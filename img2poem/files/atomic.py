"""A file that is written as a whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write ``content`` to ``path``, text in UTF-8, so that a reader, or the next run, never sees half of it.

    Where ``path`` is a link, the file that it leads to is written.

    Raises:
        OSError: it cannot be written; what was there is left as it was.
    """
    target = Path(os.path.realpath(path))
    # No two writers, threads included, write into one; and the name is short, however long the file's own is.
    staging = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        staging.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(staging, target)
    except BaseException:
        staging.unlink(missing_ok=True)
        raise
