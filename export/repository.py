"""The repository as files: what it was made from, and how it is replaced as a whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from img2poem.errors import BadRepository
from img2poem.package import contract_hash

from .settings import Settings

MANIFEST = "manifest.json"
_ROOT = Path(__file__).resolve().parent.parent
_SOURCES = ("export", "img2poem/nn")
_LIBRARIES = ("torch", "onnx", "onnxscript", "onnxruntime", "tritonclient")


def sources() -> dict[str, str]:
    """Return what every exported file depends on beside weights and options: our code and the libraries."""
    code = hashlib.sha256()
    files = [
        *(path for folder in _SOURCES for path in (_ROOT / folder).rglob("*.py")),
        *(_ROOT / "img2poem").glob("*.py"),
    ]
    for path in sorted(files):
        code.update(path.relative_to(_ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return {"code": code.hexdigest(), **{name: importlib.metadata.version(name) for name in _LIBRARIES}}


def fingerprint(weights: Path, settings: Settings) -> dict[str, Any]:
    """Return all that an export depends on: the package, the options, our code, the libraries."""
    return {"contract": contract_hash(weights), "settings": settings.to_json(), **sources()}


def is_current(repository: Path, mark: dict[str, Any]) -> bool:
    """Whether ``repository`` was made from ``mark`` and all its files are still as they were written."""
    try:
        manifest = json.loads((repository / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return manifest.get("made_from") == mark and manifest.get("files") == _hashes(repository)


def write_manifest(repository: Path, mark: dict[str, Any], models: dict[str, Any]) -> None:
    """Write ``manifest.json``: what the repository was made from, by model too, and the SHA-256 of every file."""
    manifest = {"contract": mark["contract"], "made_from": mark, "models": models, "files": _hashes(repository)}
    (repository / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def hash_of(path: Path) -> str:
    """Return a file's SHA-256 in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of ``target`` when the block ends without an error.

    Raises:
        BadRepository: ``target`` is there but is no repository of ours, or another export holds it.
    """
    target = target.resolve()
    if target.exists() and any(target.iterdir() if target.is_dir() else [target]) and not (target / MANIFEST).exists():
        raise BadRepository(f"{target} holds something that is not a model repository; name another --out")
    target.parent.mkdir(parents=True, exist_ok=True)
    staging, old = (target.with_name(f"{target.name}.{part}") for part in ("new", "old"))
    with open(target.with_name(f"{target.name}.lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadRepository(f"another export is writing {target}; wait for it to end") from None
        # What a killed export left behind: its half-written folder, or the old one moved aside.
        shutil.rmtree(staging, ignore_errors=True)
        if old.exists() and not target.exists():
            old.rename(target)
        shutil.rmtree(old, ignore_errors=True)
        staging.mkdir()
        try:
            yield staging
            if target.exists():
                target.rename(old)
            os.rename(staging, target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


def _hashes(repository: Path) -> dict[str, str]:
    files = sorted(path for path in repository.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(repository).as_posix(): hash_of(path) for path in files if path != repository / MANIFEST}
