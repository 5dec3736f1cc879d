"""Identify data by its contents, so that a result made from other data is noticed wherever the data lies."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from ..artifacts.manifest import hash_of


@functools.cache
def contents_of(path: Path) -> str:
    """Return a hash, 16 hex digits, of a file or a folder.

    Of a folder it covers the contents of its files, and the names and sizes of files in its subfolders. A process reads
    each path once.
    """
    digest, files = hashlib.sha256(), [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    for file in files:
        known = hash_of(file) if file.parent == path or file == path else str(file.stat().st_size)
        digest.update(f"{file.relative_to(path)} {known}\n".encode())
    return digest.hexdigest()[:16]
