"""Reuse of an earlier export: a file is kept if nothing that it depends on has changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from img2poem.artifacts import manifest

from .served import ServedModel


@dataclass(frozen=True)
class Made:
    """Record of an exported and checked file: its origin (``key``) and the results of the parity gate."""

    key: str
    format: str
    opset: int
    difference: float
    milliseconds: float


class Earlier:
    """The files of an earlier repository, if there is one; files that have changed since are ignored."""

    def __init__(self, repository: Path | None) -> None:
        self._repository = repository or Path()
        self._files: dict[str, str] = {}
        self._made: dict[str, Made] = {}
        if repository is not None:
            self._read(repository)

    def _read(self, repository: Path) -> None:
        try:
            found = manifest.read(repository)
            self._files = found.files
            self._made = {name: Made(**made) for name, made in found.about["models"].items()}
        except (OSError, ValueError, KeyError, TypeError):
            self._files, self._made = {}, {}

    def find(self, model: str, key: str, file: str) -> tuple[Path, Made] | None:
        """Return ``<model>/1/<file>`` and its record if it was made from ``key``, else None."""
        path, made = self._repository / model / "1" / file, self._made.get(model)
        wanted = self._files.get(f"{model}/1/{file}")
        if made is None or made.key != key or not path.is_file() or manifest.hash_of(path) != wanted:
            return None
        return path, made


def key_of(served: ServedModel, made_from: Mapping[str, Any]) -> str:
    """Return a hash of a model's weights, tables and tensors, and of ``made_from``: libraries, code, options."""
    digest = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode())
    tensors = [(asdict(spec) | {"dtype": spec.dtype.__name__}) for spec in (*served.inputs, *served.outputs)]
    digest.update(json.dumps(tensors).encode())
    _update(digest, served.module)
    return digest.hexdigest()


def _update(digest: Any, module: nn.Module) -> None:
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().contiguous().cpu().numpy().tobytes())
