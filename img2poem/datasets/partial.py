"""Partial files of interrupted downloads, kept so that the download can resume if the server supports it."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ..files.atomic import write_atomically


class PartialFile:
    """``<name>.part`` in the folder of the final file, and a note ``<name>.part.json`` about its origin.

    The note is written only when a transfer stops. It has the server's version of the file (entity tag or date), so a
    part of unknown or outdated origin is never continued.
    """

    def __init__(self, path: Path) -> None:
        self._final = path
        self.path = path.with_name(path.name + ".part")
        self._note = path.with_name(path.name + ".part.json")

    def take_up(self, url: str) -> tuple[int, str]:
        """Return size and version of the partial file of ``url``; ``(0, "")`` if it cannot be continued."""
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
            if note["url"] == url and note["version"] and note["size"] == self.path.stat().st_size > 0:
                return note["size"], note["version"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            pass
        return 0, ""

    def begin(self) -> None:
        """Delete the note before writing, so that a part is not continued if the process dies."""
        self._note.unlink(missing_ok=True)

    def keep(self, url: str, version: str) -> None:
        """Keep the part of ``url`` if it can be continued, that is if ``version`` is not empty; else discard it."""
        if not version or not self.path.exists():
            return self.discard()
        note = {"url": url, "version": version, "size": self.path.stat().st_size}
        write_atomically(self._note, json.dumps(note))

    def finish(self) -> None:
        """Give the complete file its final name."""
        os.replace(self.path, self._final)

    def discard(self) -> None:
        """Delete the part and its note."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)
