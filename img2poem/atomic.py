"""A file that is written as a whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write ``content`` to ``path``, text in UTF-8, so that a reader, or the next run, never sees half of it.

    Raises:
        OSError: it cannot be written; what was there is left as it was.
    """
    staging = path.with_name(f".{path.name}.{os.getpid()}")  # two writers do not write into one
    try:
        staging.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(staging, path)
    except BaseException:
        staging.unlink(missing_ok=True)
        raise
