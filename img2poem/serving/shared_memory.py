"""The memory that the server and the processes of its models share: a region of ``/dev/shm`` for each instance."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

FOLDER = Path("/dev/shm")  # noqa: S108
#: Bytes that a region has at first: the least that Triton's Python backend takes, for models of every backend that is
#: written in Python. Regions of processes that photographs go through grow with what is under way there and stay so;
#: the others stay as they are (measured: 57 MiB in all after eight photographs of 3.8 MB at once).
REGION = 2**20
#: Bytes beyond which there is room for photographs.
ROOM = 32 * 2**20


def needed(repository: Path) -> int:
    """Return the bytes without which the server does not start."""
    models = {path.parents[1] for path in repository.glob("*/*/model.*")}
    return REGION * sum(map(instances, models))


def free() -> int:
    """Return the bytes that are free."""
    return shutil.disk_usage(FOLDER).free


def instances(model: Path) -> int:
    """Return how many processes run the model in a folder of a repository."""
    config = model / "config.pbtxt"
    found = re.search(r"^\s*count: (\d+)", config.read_text(encoding="utf-8"), re.M) if config.is_file() else None
    return int(found[1]) if found else 1
