"""The processes of the server's Python backend: which of them died.

Triton neither replaces one that died nor says so: its models stay "ready" and refuse every request.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


class Workers:
    """Looks after the children of a ``tritonserver`` process; call :meth:`dead` every second or so."""

    def __init__(self, server: int) -> None:
        self._server = server
        self._models: dict[int, str] = {}
        self._suspects: set[int] = set()

    def dead(self) -> list[str]:
        """Return the models whose process was dead at this look and at the one before.

        Once is not enough: a model that is being unloaded ends its process too, and Triton collects it at once.
        """
        defunct = set()
        for child, state in _children(self._server):
            if state == "Z":
                defunct.add(child)
            elif child not in self._models and (model := _model_of(child)):
                self._models[child] = model
        dead, self._suspects = defunct & self._suspects, defunct
        return sorted(self._models.get(child, f"process {child}") for child in dead)


def _children(parent: int) -> Iterator[tuple[int, str]]:
    """Yield id and state (``Z`` for dead and not collected) of each child process."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # The name stands in parentheses and may itself hold any character.
            state, ppid = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[:2]
        except OSError:
            continue  # ended meanwhile
        if int(ppid) == parent:
            yield int(folder.name), state


def _model_of(process: int) -> str:
    """Return the model that a backend process runs: its first argument is ``MODEL/VERSION/FILE``."""
    try:
        arguments = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
        return Path(arguments[1].decode("utf-8", "replace")).parts[-3]
    except (OSError, IndexError):
        return ""
