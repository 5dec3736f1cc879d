"""Number of cores that this process may use, by its CPU affinity and the quotas of its control groups."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_OWN, _ROOT = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def allowed(own: Path = _OWN, root: Path = _ROOT) -> int:
    """Return the number of usable cores: the minimum of the CPU affinity and all control group quotas, rounded up.

    Args:
        own: file that lists the control groups of the process (cgroups(7)).
        root: mount point of the control groups, of version 2 (``cpu.max``) or 1 (``cpu/cpu.cfs_quota_us``).
    """
    runs_on = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([runs_on, *(math.ceil(quota) for quota in _quotas(own, root))]))


def _quotas(own: Path, root: Path) -> Iterator[float]:
    """Yield the quotas, in cores, of the process's control groups and all their parents."""
    for line in _text(own).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        version1 = "cpu" in controllers.split(",")
        if controllers and not version1:
            continue
        tops = [root / name for name in ("cpu", "cpu,cpuacct")] if version1 else []
        top = next((folder for folder in tops if folder.is_dir()), root)
        group = top / path.lstrip("/")
        # In a container the path may be the host's. Then only the top folder exists.
        for folder in {top, group, *(parent for parent in group.parents if parent.is_relative_to(top))}:
            limit = _quota(folder, version1)
            if limit is not None:
                yield limit


def _quota(folder: Path, version1: bool) -> float | None:
    names = ("cpu.cfs_quota_us", "cpu.cfs_period_us") if version1 else ("cpu.max",)
    words = " ".join(_text(folder / name) for name in names).split()
    try:
        quota, period = (int(word) for word in words)  # "max" and -1 mean no limit
    except ValueError:
        return None
    return quota / period if quota > 0 and period > 0 else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
