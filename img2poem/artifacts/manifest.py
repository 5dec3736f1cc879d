"""``manifest.json``: the SHA-256 of every file of a folder, written with them and compared before they are used.

A model package and a model repository have one each. It finds accidents and carelessness; whoever can write the
folder can write a new manifest too, against which a signature over the folder helps (docs/reliability.md).
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
    """SHA-256 in hex by the file's path within the folder, and what its writer tells beside."""

    files: dict[str, str]
    about: dict[str, Any]


class Differences(NamedTuple):
    """Paths within a folder that are not as its manifest says."""

    missing: list[str]
    changed: list[str]
    unlisted: list[str]

    def told(self) -> list[str]:
        """Return a line about each."""
        words = ("is missing", "is not as it was written", "is not in the manifest")
        return [f"{name} {what}" for names, what in zip(self, words, strict=True) for name in names]


def write(folder: Path, about: Mapping[str, Any]) -> None:
    """Write the manifest of ``folder`` as it is now; ``about`` are JSON values to keep in it."""
    write_atomically(folder / NAME, _text({**about, "files": hashes(folder)}))


def read(folder: Path) -> Manifest:
    """Read the manifest of ``folder``.

    Raises:
        OSError: it cannot be read.
        ValueError: a byte of it was changed since it was written.
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
    # What a server would read behind a linked folder, nobody has compared.
    linked = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_symlink() and p.is_dir())
    return Differences(
        missing=[name for name in files if name not in found],
        changed=[name for name, wanted in files.items() if found.get(name, wanted) != wanted],
        unlisted=[name for name in found if name not in files] + linked,
    )


def hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file but the manifest; what Python caches beside its sources is left out."""
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
    """Return the first of ``names``, and how many there are more."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")


def _text(manifest: Mapping[str, Any]) -> str:
    """Return the one text of a manifest, in which a hash over all the rest stands at the end."""
    rest = json.dumps(manifest, indent=2)
    return json.dumps({**manifest, _OWN: hashlib.sha256(rest.encode()).hexdigest()}, indent=2) + "\n"
