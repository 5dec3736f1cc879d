"""What a model repository says of itself, and whether it is true: stamps, files, hashes."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import BadRepository

PREFIX = "img2poem."
_PARAMETER = re.compile(
    r'parameters \{\s*key: "(img2poem\.[^"]+)"\s*value \{\s*string_value: "((?:[^"\\]|\\.)*)"', re.S
)
_PLATFORM = re.compile(r'^(?:platform|backend): "([^"]+)"', re.M)


@dataclass(frozen=True)
class ModelReport:
    """One model: its platform, the size of its files in bytes, and the stamps of its ``config.pbtxt``."""

    name: str
    platform: str
    size: int
    stamps: dict[str, str]


@dataclass(frozen=True)
class Report:
    """A repository: what it was made from, its models, and everything that is wrong with it."""

    contract: str
    made_from: dict[str, Any]
    models: list[ModelReport]
    problems: list[str] = field(default_factory=list)


def inspect(repository: Path) -> Report:
    """Read every file of ``repository`` and compare it with the manifest and the stamps with each other.

    Raises:
        BadRepository: the folder is no exported repository at all.
    """
    try:
        manifest = json.loads((repository / "manifest.json").read_text(encoding="utf-8"))
        contract, files, made_from = str(manifest["contract"]), dict(manifest["files"]), dict(manifest["made_from"])
    except (OSError, ValueError, KeyError, TypeError):
        raise BadRepository(
            f"{repository} holds no exported model repository; make one with: python -m export.all --out {repository}"
        ) from None
    problems = _file_problems(repository, files)
    models = []
    for config in sorted(repository.glob("*/config.pbtxt")):
        model = _read(config)
        models.append(model)
        problems += _stamp_problems(model, contract)
        problems += _graph_problems(config.parent, model)
    return Report(contract, made_from, models, problems)


def _file_problems(repository: Path, files: dict[str, str]) -> list[str]:
    problems = []
    for name, wanted in files.items():
        path = repository / name
        if not path.is_file():
            problems.append(f"{name} is missing")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != wanted:
            problems.append(f"{name} is not as it was written: its hash differs from the manifest's")
    found = {p.relative_to(repository).as_posix() for p in repository.rglob("*") if p.is_file()}
    unknown = sorted(name for name in found - files.keys() - {"manifest.json"} if "__pycache__" not in name)
    return problems + [f"{name} is not in the manifest" for name in unknown]


def _read(config: Path) -> ModelReport:
    text = config.read_text(encoding="utf-8", errors="replace")
    stamps = {key.removeprefix(PREFIX): json.loads(f'"{value}"') for key, value in _PARAMETER.findall(text)}
    platform = _PLATFORM.search(text)
    size = sum(path.stat().st_size for path in config.parent.rglob("*") if path.is_file() and path != config)
    return ModelReport(config.parent.name, platform[1] if platform else "unknown", size, stamps)


def _stamp_problems(model: ModelReport, contract: str) -> list[str]:
    stamped = model.stamps.get("contract")
    if stamped != contract:
        return [f"{model.name} is of another model package: contract {(stamped or 'none')[:8]}, not {contract[:8]}"]
    return []


def _graph_problems(folder: Path, model: ModelReport) -> list[str]:
    """Compare the stamps inside an ONNX file with those beside it, where onnxruntime is installed."""
    path = folder / "1" / "model.onnx"
    if not path.is_file():
        return []
    from .engines.local import open_session

    try:
        inside = open_session(path).get_modelmeta().custom_metadata_map
    except BadRepository as error:
        return [str(error)]
    wrong = [name for name, value in model.stamps.items() if inside.get(PREFIX + name) != value]
    return [f"{model.name}: model.onnx and config.pbtxt disagree on {', '.join(wrong)}"] if wrong else []
