"""The manifest's record of what a repository was made from."""

from __future__ import annotations

import hashlib
import importlib.metadata
from pathlib import Path
from typing import Any

from img2poem.artifacts import manifest
from img2poem.artifacts.package import Package

from .settings import Settings

_ROOT = Path(__file__).resolve().parent.parent
#: The tracked repository: the configs for GPUs, the label files and the sources of the Python models.
TRACKED = _ROOT / "triton_repo"
#: First line of every config.
HEADER = "# Written by python -m export.all; changes are lost at the next export.\n"
#: Folders of our code that exported files depend on, or may.
_SOURCES = (
    "export",
    *(f"img2poem/{room}" for room in "artifacts client decoding files form images nn system text validation".split()),
)
_LIBRARIES = ("torch", "onnx", "onnxscript", "onnxruntime", "tritonclient")


def sources() -> dict[str, str]:
    """Return what every exported file depends on beside weights and options: our code's hash, libraries' versions."""
    code = hashlib.sha256()
    files = [
        *(path for folder in _SOURCES for path in (_ROOT / folder).rglob("*.py")),
        *(_ROOT / "img2poem").glob("*.py"),
        *TRACKED.glob("*/1/model.py"),
        _ROOT / "img2poem" / "text" / "forbidden_words.txt",
    ]
    for path in sorted(files):
        code.update(path.relative_to(_ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return {"code": code.hexdigest(), **{name: importlib.metadata.version(name) for name in _LIBRARIES}}


def fingerprint(package: Package, settings: Settings) -> dict[str, Any]:
    """Return everything that an export depends on: the package, the options, our code, the libraries."""
    return {"contract": package.contract, "settings": settings.to_json(), **sources()}


def is_current(repository: Path, mark: dict[str, Any]) -> bool:
    """Whether ``repository`` was made from ``mark`` and none of its files has changed since."""
    try:
        found = manifest.read(repository)
    except (OSError, ValueError):
        return False
    return found.about.get("made_from") == mark and not any(manifest.differences(repository, found.files))


def may_be_replaced(folder: Path) -> bool:
    """Whether ``folder`` is an export, or ``triton_repo`` as it is tracked: without weights and manifest."""
    configs = [entry / "config.pbtxt" for entry in folder.iterdir() if entry.is_dir()]
    tracked = bool(configs) and all(path.is_file() and path.read_text().startswith(HEADER) for path in configs)
    return tracked or (folder / manifest.NAME).exists()


def write_manifest(repository: Path, mark: dict[str, Any], data: Path | None, models: dict[str, Any]) -> None:
    """Write ``manifest.json``: the repository's and each model's origin, and the SHA-256 of every file."""
    where = None if data is None else str(data)
    manifest.write(repository, {"contract": mark["contract"], "made_from": mark, "data": where, "models": models})
