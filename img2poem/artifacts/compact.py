"""Compact model repository, for in-process use only: one ONNX file per model, and one file of shared weights.

The models of a package share most of their weights; here each weight is stored once. Triton cannot serve this layout.
"""

from __future__ import annotations

from collections.abc import Container

#: File of the shared weights, the external data of the ONNX files.
WEIGHTS = "weights.bin"


def compact_name(model: str) -> str:
    """Return the path of a model within a compact repository."""
    return f"{model}.onnx"


def path_of(model: str, version: str, files: Container[str]) -> str:
    """Return the path of a model within the repository that holds ``files``, compact or not."""
    name = compact_name(model)
    return name if name in files else f"{model}/{version}/model.onnx"
