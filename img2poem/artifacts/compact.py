"""A compact repository, for use in process alone: a file for each model, and one for the weights of all.

The models of a package share most of their weights, and here each stands once. Triton cannot serve it.
"""

from __future__ import annotations

from collections.abc import Container

#: The weights, which the models name as ONNX's external data.
WEIGHTS = "weights.bin"


def compact_name(model: str) -> str:
    """Return the path of a model within a compact repository."""
    return f"{model}.onnx"


def path_of(model: str, version: str, files: Container[str]) -> str:
    """Return the path of a model within the repository that holds ``files``, compact or not."""
    name = compact_name(model)
    return name if name in files else f"{model}/{version}/model.onnx"
