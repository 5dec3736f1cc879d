"""Photographs and options for NVIDIA's ``perf_analyzer``: ``python -m benchmarks.perf_data greedy > greedy.json``.

    pip install perf-analyzer
    perf_analyzer -m img2poem_greedy -u 127.0.0.1:8001 -i grpc --input-data greedy.json --concurrency-range 1:16:5

Each step of its ``--input-data`` is one request. Bytes have Triton's format: a length prefix, then the content.
"""

from __future__ import annotations

import base64
import json
import struct
from enum import Enum
from typing import Annotated, Any

import typer

from img2poem.decoding.registry import REGISTRY
from img2poem.decoding.strategies import AnyStrategy

from .photographs import photographs

_Name = Enum("Strategy", {name.replace("-", "_"): name for name in REGISTRY}, type=str)  # type: ignore[misc]


def request(photo: bytes, strategy: AnyStrategy) -> dict[str, Any]:
    """Return the tensors of one request to the ensemble of ``strategy``."""
    image = base64.b64encode(struct.pack("<I", len(photo)) + photo).decode()
    tensors = strategy.tensors().items()
    options = {name: {"content": value[0].tolist(), "shape": [*value.shape[1:]]} for name, value in tensors}
    return {"image": {"b64": image, "shape": [1]}, **options}


def main(
    strategy: Annotated[_Name, typer.Argument(help="Strategy of the ensemble.")],
    count: Annotated[int, typer.Option(help="Number of photographs; requests cycle through them.")] = 64,
) -> None:
    """Print the JSON data."""
    requests = [request(photo, REGISTRY[strategy.value].kind()) for photo in photographs(count)]
    typer.echo(json.dumps({"data": requests}))


if __name__ == "__main__":
    typer.run(main)
