"""The beginning of a file whose download was cut off, kept so that it can go on where the server allows."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ..files.atomic import write_atomically


class PartialFile:
    """``<name>.part`` beside the file that is to be, and a note ``<name>.part.json`` about what it is part of.

    The note is written only when a transfer stops and names the server's version of the file (entity tag
    or date), so a part of unknown or outdated origin is never continued.
    """

    def __init__(self, path: Path) -> None:
        self._final = path
        self.path = path.with_name(path.name + ".part")
        self._note = path.with_name(path.name + ".part.json")

    def take_up(self, url: str) -> tuple[int, str]:
        """Return size and version of what is there of ``url``, ``(0, "")`` if nothing can be continued."""
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
            if note["url"] == url and note["version"] and note["size"] == self.path.stat().st_size > 0:
                return note["size"], note["version"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            pass
        return 0, ""

    def begin(self) -> None:
        """Prepare for writing: the note no longer vouches for what is there, should the process die."""
        self._note.unlink(missing_ok=True)

    def keep(self, url: str, version: str) -> None:
        """Keep what is there of ``url`` if it has a ``version`` by which it can be continued, else discard it."""
        if not version or not self.path.exists():
            return self.discard()
        note = {"url": url, "version": version, "size": self.path.stat().st_size}
        write_atomically(self._note, json.dumps(note))

    def finish(self) -> None:
        """Give the file, now whole, its final name."""
        os.replace(self.path, self._final)

    def discard(self) -> None:
        """Delete what is there."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)
