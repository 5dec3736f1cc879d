"""Detect dead processes of the server's Python backend, and whether any model is computing.

Triton neither replaces nor reports a dead process: its model stays "ready" and fails every request.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

#: Seconds without processor use after which the server counts as idle; gaps between the steps of an ensemble last
#: milliseconds.
_QUIET = 0.5


class Workers:
    """Watches the child processes of a ``tritonserver`` process; create it when all models are ready.

    Args:
        server: process id of ``tritonserver``.
    """

    def __init__(self, server: int) -> None:
        self._server = server
        self._models: dict[int, str] = {}
        self._suspects: set[int] = set()
        self.dead()  # records the model of each process while all are alive

    def dead(self) -> list[str]:
        """Return the models whose process was a zombie both in this call and in the previous one.

        One call is not enough: the process of a model that is being unloaded is a zombie too, until Triton reaps it.
        """
        defunct = set()
        for child in _children(self._server):
            if child.state == "Z":
                defunct.add(child.process)
            elif child.process not in self._models and (model := _model_of(child.process)):
                self._models[child.process] = model
        dead, self._suspects = defunct & self._suspects, defunct
        return sorted(self._models.get(child, f"process {child}") for child in dead)

    def wait_until_idle(self, timeout: float) -> None:
        """Return when no model is computing, or after ``timeout`` seconds.

        At shutdown Triton rejects the remaining steps of running ensembles, and it does not report how many run.
        """
        deadline, quiet_since, before = time.monotonic() + timeout, time.monotonic(), self._ticks()
        while time.monotonic() < min(deadline, quiet_since + _QUIET):
            time.sleep(0.05)
            now = self._ticks()
            if now != before:
                before, quiet_since = now, time.monotonic()

    def _ticks(self) -> int:
        return sum(child.ticks for child in _children(self._server))


def processes_of_models(server: int) -> dict[str, list[int]]:
    """Return the ids of a server's processes by model name; ``tritonserver`` and ``other`` have no model."""
    found = {"tritonserver": [server]}
    for child in _children(server):
        found.setdefault(_model_of(child.process) or "other", []).append(child.process)
    return found


class _Child(NamedTuple):
    process: int
    state: str  # Z: zombie
    ticks: int  # processor time so far, in clock ticks


def _children(parent: int) -> Iterator[_Child]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # ended meanwhile
        # The process name is in parentheses and may contain any character.
        fields = stat.rpartition(")")[2].split()
        if int(fields[1]) == parent:
            yield _Child(int(folder.name), fields[0], int(fields[11]) + int(fields[12]))


def _model_of(process: int) -> str:
    """Return the model of a backend process, whose first argument ends with ``MODEL/VERSION/FILE``; else empty."""
    try:
        arguments = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
        return Path(arguments[1].decode("utf-8", "replace")).parts[-3]
    except (OSError, IndexError):
        return ""
