"""``manifest.json``: the SHA-256 of every file in a folder, written with the files and verified before use.

Every model package and model repository has one. It detects accidental changes only: whoever can write to the folder
can also write a new manifest. Against deliberate changes, sign the folder (docs/reliability.md).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..files.atomic import write_atomically

NAME = "manifest.json"
_OWN = "sha256"


@dataclass(frozen=True)
class Manifest:
    """SHA-256 in hex by path within the folder, and further values from the writer."""

    files: dict[str, str]
    about: dict[str, Any]


class Differences(NamedTuple):
    """Paths within a folder that differ from its manifest."""

    missing: list[str]
    changed: list[str]
    unlisted: list[str]

    def told(self) -> list[str]:
        """Return one message per path."""
        words = ("is missing", "is not as it was written", "is not in the manifest")
        return [f"{name} {what}" for names, what in zip(self, words, strict=True) for name in names]


def write(folder: Path, about: Mapping[str, Any]) -> None:
    """Write the manifest of ``folder`` in its present state; ``about`` has further JSON values to store in it."""
    write_atomically(folder / NAME, _text({**about, "files": hashes(folder)}))


def read(folder: Path) -> Manifest:
    """Read the manifest of ``folder``.

    Raises:
        OSError: it cannot be read.
        ValueError: it has changed since it was written.
    """
    try:
        text = (folder / NAME).read_text(encoding="utf-8")
        about = json.loads(text)
        about.pop(_OWN)
        unchanged, files = text == _text(about), {str(name): str(wanted) for name, wanted in about["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        unchanged, files, about = False, {}, {}
    if not unchanged:
        raise ValueError(f"{NAME} has changed since it was written")
    return Manifest(files, about)


def differences(folder: Path, files: Mapping[str, str]) -> Differences:
    """Read every file of ``folder`` and compare it with ``files``."""
    found = hashes(folder)
    # Linked folders count as unlisted: their files are not compared, yet a server would read them.
    linked = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_symlink() and p.is_dir())
    return Differences(
        missing=[name for name in files if name not in found],
        changed=[name for name, wanted in files.items() if found.get(name, wanted) != wanted],
        unlisted=[name for name in found if name not in files] + linked,
    )


def hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file by path, without the manifest and Python's ``__pycache__``."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix(): hash_of(path) for path in files if path != folder / NAME}


def hash_of(path: Path) -> str:
    """Return a file's SHA-256 in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def named(names: list[str]) -> str:
    """Return the first three of ``names``, and the number of the others."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")


def _text(manifest: Mapping[str, Any]) -> str:
    """Return the JSON text of a manifest; its last field is a hash over the other fields."""
    rest = json.dumps(manifest, indent=2)
    return json.dumps({**manifest, _OWN: hashlib.sha256(rest.encode()).hexdigest()}, indent=2) + "\n"
