"""Replacement of a whole folder that survives a killed writer."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import Img2PoemError


@contextmanager
def replacing(target: Path, may_be_replaced: Callable[[Path], bool], error: type[Img2PoemError]) -> Iterator[Path]:
    """Yield an empty folder that replaces ``target`` when the block ends without an error.

    If the writer is killed, the old folder is intact: at ``target`` or, between the two renames, at
    ``<target>.old``. The next writer restores it from there.

    Args:
        target: folder to write.
        may_be_replaced: whether a folder that is not empty may be replaced.
        error: class of the errors to raise.

    Raises:
        Img2PoemError: of class ``error``: ``target`` is a file, may not be replaced, is a mount point, or another
            process is writing it.
    """
    target = target.resolve()
    if os.path.ismount(target):
        raise error(f"{target} is a mount point, which cannot be renamed; name a folder within it")
    if target.is_file() or (target.is_dir() and any(target.iterdir()) and not may_be_replaced(target)):
        raise error(f"{target} holds something else, which would be lost; name another --out")
    target.parent.mkdir(parents=True, exist_ok=True)
    staging, old = (target.with_name(f"{target.name}.{part}") for part in ("new", "old"))
    with open(target.with_name(f"{target.name}.lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise error(f"another process is writing {target}; wait for it to end") from None
        _tidy(target, staging, old)  # left by a killed writer
        staging.mkdir()
        try:
            yield staging
            if target.exists():
                target.rename(old)
            os.rename(staging, target)
        finally:
            _tidy(target, staging, old)


def _tidy(target: Path, staging: Path, old: Path) -> None:
    """Remove the incomplete new folder, and restore the old one unless it was replaced."""
    shutil.rmtree(staging, ignore_errors=True)
    if old.exists() and not target.exists():
        old.rename(target)
    shutil.rmtree(old, ignore_errors=True)
