"""A folder that is written as a whole or not at all, also when its writer is killed."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import Img2PoemError


@contextmanager
def replacing(target: Path, mark: str, error: type[Img2PoemError]) -> Iterator[Path]:
    """Yield an empty folder that takes the place of ``target`` when the block ends without an error.

    A writer that is killed leaves the old folder whole or, between two renames, aside as ``<target>.old``, which
    the next one puts back.

    Args:
        target: the folder to write.
        mark: a file by which a folder that may be replaced is known.
        error: raised, with the reason, instead of the block.

    Raises:
        Img2PoemError: ``error``: ``target`` is there but has no ``mark``, cannot be replaced, or another process is
            writing it.
    """
    target = target.resolve()
    if os.path.ismount(target):
        raise error(f"{target} is a mount point, which cannot be renamed; name a folder within it")
    if target.exists() and any(target.iterdir() if target.is_dir() else [target]) and not (target / mark).exists():
        raise error(f"{target} holds something else, without {mark}; name another --out")
    target.parent.mkdir(parents=True, exist_ok=True)
    staging, old = (target.with_name(f"{target.name}.{part}") for part in ("new", "old"))
    with open(target.with_name(f"{target.name}.lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise error(f"another process is writing {target}; wait for it to end") from None
        _tidy(target, staging, old)  # after one that was killed
        staging.mkdir()
        try:
            yield staging
            if target.exists():
                target.rename(old)
            os.rename(staging, target)
        finally:
            _tidy(target, staging, old)


def _tidy(target: Path, staging: Path, old: Path) -> None:
    """Remove a half-written folder, and put the old one back where no new one took its place."""
    shutil.rmtree(staging, ignore_errors=True)
    if old.exists() and not target.exists():
        old.rename(target)
    shutil.rmtree(old, ignore_errors=True)
