"""Shared memory of the server and its backend processes: one region in ``/dev/shm`` per model instance."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

FOLDER = Path("/dev/shm")  # noqa: S108
#: Initial size of a region in bytes: the minimum of Triton's Python backend, which also applies to Python-based
#: backends. The regions of processes that receive photographs grow with concurrent requests and never shrink; the
#: others do not grow (measured: 57 MiB in all after eight concurrent photographs of 3.8 MB).
REGION = 2**20
#: Free bytes that photographs need in addition.
ROOM = 32 * 2**20


def needed(repository: Path) -> int:
    """Return the number of bytes that the server needs to start."""
    models = {path.parents[1] for path in repository.glob("*/*/model.*")}
    return REGION * sum(map(instances, models))


def free() -> int:
    """Return the number of free bytes in ``FOLDER``."""
    return shutil.disk_usage(FOLDER).free


def instances(model: Path) -> int:
    """Return the number of instances of the model in the folder ``model``, from its config; each is one process."""
    config = model / "config.pbtxt"
    found = re.search(r"^\s*count: (\d+)", config.read_text(encoding="utf-8"), re.M) if config.is_file() else None
    return int(found[1]) if found else 1
