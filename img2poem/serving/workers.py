"""The processes of the server's Python backend: which of them died.

Triton neither replaces one that died nor says so: its models stay "ready" and refuse every request.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

#: Seconds without computing after which no request is under way: the gaps between an ensemble's steps are
#: of milliseconds.
_QUIET = 0.5


class Workers:
    """Looks after the children of a ``tritonserver`` process; made when all models are ready."""

    def __init__(self, server: int) -> None:
        self._server = server
        self._models: dict[int, str] = {}
        self._suspects: set[int] = set()
        self.dead()  # while all are alive, to know which model each is

    def dead(self) -> list[str]:
        """Return the models whose process was dead at this look and at the one a second before.

        Once is not enough: a model that is being unloaded ends its process too, and Triton collects it at once.
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
        """Return when no model computes, or after ``timeout`` seconds.

        For Triton, asked to end, refuses the remaining steps of an ensemble that is under way, and has no
        measure of how many are.
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
    """Return the processes of a ``tritonserver`` process by the model that they run; its own by ``tritonserver``."""
    found = {"tritonserver": [server]}
    for child in _children(server):
        found.setdefault(_model_of(child.process) or "other", []).append(child.process)
    return found


class _Child(NamedTuple):
    process: int
    state: str  # Z: dead and not collected
    ticks: int  # of processor time so far


def _children(parent: int) -> Iterator[_Child]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # ended meanwhile
        # The name stands in parentheses and may itself hold any character.
        fields = stat.rpartition(")")[2].split()
        if int(fields[1]) == parent:
            yield _Child(int(folder.name), fields[0], int(fields[11]) + int(fields[12]))


def _model_of(process: int) -> str:
    """Return the model that a backend process runs: its first argument is ``MODEL/VERSION/FILE``."""
    try:
        arguments = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
        return Path(arguments[1].decode("utf-8", "replace")).parts[-3]
    except (OSError, IndexError):
        return ""
