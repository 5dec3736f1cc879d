"""Find the processes that serve a repository by its path in their command lines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def commands_with(repository: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the id and command line of each process that names ``repository``, except this one."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if str(repository) in " ".join(arguments) and folder.name != str(os.getpid()):
            yield int(folder.name), arguments


def servers_of(repository: Path) -> list[int]:
    """Return the ids of the ``tritonserver`` processes: one, or none while it is down."""
    return [pid for pid, arguments in commands_with(repository) if arguments[0].endswith("/tritonserver")]


def workers_of(repository: Path) -> dict[str, int]:
    """Return the process id of each Python-backend model; one id for several instances."""
    found = commands_with(repository)
    return {Path(arguments[1]).parts[-3]: pid for pid, arguments in found if arguments[0].endswith("_backend_stub")}


def resident_mib(pid: int) -> float:
    """Return the resident memory of a process in MiB; 0 if it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS")), 0.0)
