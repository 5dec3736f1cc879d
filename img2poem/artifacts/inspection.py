"""Inspection of a model repository or package: its stamps, files and hashes, and whether they agree."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import BadRepository, MissingDependency
from . import manifest
from .compact import WEIGHTS, compact_name
from .installed import how_to_mend
from .package import FILES, config_of, contract_hash, faults
from .sessions import open_session

PREFIX = "img2poem."
_PARAMETER = re.compile(
    r'parameters \{\s*key: "(img2poem\.[^"]+)"\s*value \{\s*string_value: "((?:[^"\\]|\\.)*)"', re.S
)
_PLATFORM = re.compile(r'^(?:platform|backend): "([^"]+)"', re.M)


@dataclass(frozen=True)
class ModelReport:
    """One model: its platform, the size of its files in bytes, and its stamps.

    The stamps come from ``config.pbtxt``. In a compact repository they come from the ONNX file, if onnxruntime is
    installed.
    """

    name: str
    platform: str
    size: int
    stamps: dict[str, str]


@dataclass(frozen=True)
class Report:
    """A repository: contract, what it was made from, models, all problems, and bytes of weights that models share."""

    contract: str
    made_from: dict[str, Any]
    models: list[ModelReport]
    problems: list[str] = field(default_factory=list)
    shared: int = 0


@dataclass(frozen=True)
class PackageReport:
    """A model package: name, architecture, contract, sizes of its files in bytes, and all problems."""

    name: str
    architecture_version: int
    contract: str
    files: dict[str, int]
    problems: list[str] = field(default_factory=list)


def inspect(repository: Path) -> Report:
    """Read every file of ``repository``; compare the files with the manifest, and the stamps with each other.

    Raises:
        BadRepository: the folder is not an exported repository, or its manifest has changed.
    """
    try:
        found = manifest.read(repository)
        contract, made_from = str(found.about["contract"]), dict(found.about["made_from"])
    except (OSError, KeyError, TypeError):
        raise no_repository(repository) from None
    except ValueError as error:
        raise BadRepository(f"{repository}: {error}; make it anew with: python -m export.all --force") from None
    problems = manifest.differences(repository, found.files).told()
    models = []
    for config in sorted(repository.glob("*/config.pbtxt")):
        model = _read(config)
        models.append(model)
        problems += _stamp_problems(model, contract)
        problems += _graph_problems(config.parent, model)
    for path in sorted(repository.glob(compact_name("*"))):
        stamps, wrong = _inside(path, repository)
        model = ModelReport(path.stem, "onnxruntime_onnx", path.stat().st_size, stamps or {})
        models.append(model)
        problems += wrong + (_stamp_problems(model, contract) if stamps else [])
    weights = repository / WEIGHTS
    return Report(contract, made_from, models, problems, weights.stat().st_size if weights.is_file() else 0)


def no_repository(folder: Path) -> BadRepository:
    """Return the error for a folder that is not a model repository."""
    if is_package(folder):
        return BadRepository(
            f"{folder} is a model package, not a repository; export it with: python -m export.all --weights {folder}"
        )
    return BadRepository(f"{folder} holds no exported model repository; {how_to_mend(folder)}")


def is_package(folder: Path) -> bool:
    """Whether ``folder`` is a model package rather than a repository: it has a ``config.json``."""
    return (folder / "config.json").is_file()


def inspect_package(folder: Path) -> PackageReport:
    """Read every file of the model package in ``folder`` and compare it with the manifest.

    Raises:
        BadPackage: the folder is not a package, or has another architecture version.
    """
    config = config_of(folder)
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    contract = contract_hash(folder) if {*FILES} <= sizes.keys() else ""
    return PackageReport(config.name, config.architecture_version, contract, sizes, faults(folder))


def _read(config: Path) -> ModelReport:
    text = config.read_text(encoding="utf-8", errors="replace")
    stamps = {key.removeprefix(PREFIX): _unescaped(value) for key, value in _PARAMETER.findall(text)}
    platform = _PLATFORM.search(text)
    size = sum(path.stat().st_size for path in config.parent.rglob("*") if path.is_file() and path != config)
    return ModelReport(config.parent.name, platform[1] if platform else "unknown", size, stamps)


def _unescaped(value: str) -> str:
    try:
        return str(json.loads(f'"{value}"'))
    except ValueError:  # damaged; the manifest reports it too
        return value


def _stamp_problems(model: ModelReport, contract: str) -> list[str]:
    stamped = model.stamps.get("contract")
    if stamped != contract:
        return [f"{model.name} is of another model package: contract {(stamped or 'none')[:8]}, not {contract[:8]}"]
    return []


def _graph_problems(folder: Path, model: ModelReport) -> list[str]:
    """Compare the stamps inside an ONNX file with those of ``config.pbtxt``, if onnxruntime is installed."""
    path = folder / "1" / "model.onnx"
    if not path.is_file():
        return []
    inside, wrong = _inside(path, folder.parent)
    if inside is None:
        return wrong
    differ = [name for name, value in model.stamps.items() if inside.get(name) != value]
    return [f"{model.name}: model.onnx and config.pbtxt disagree on {', '.join(differ)}"] if differ else []


def _inside(path: Path, repository: Path) -> tuple[dict[str, str] | None, list[str]]:
    """Return the stamps inside an ONNX file (None if they cannot be read) and its problems."""
    try:
        found = open_session(path, repository=repository).get_modelmeta().custom_metadata_map
    except MissingDependency:
        return None, []
    except BadRepository as error:
        return None, [str(error)]
    return {name.removeprefix(PREFIX): value for name, value in found.items()}, []
