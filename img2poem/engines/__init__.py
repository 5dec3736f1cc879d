"""Engines: the same served models, in process on ONNX Runtime or behind a Triton server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..decoding import MAX_TOKENS, AnyStrategy


class Written(NamedTuple):
    """What an engine returns for one photograph."""

    text: str
    tokens: NDArray[np.int64]  # [length], end token included
    score: float
    embedding: NDArray[np.float32]  # [embedding_dim]


class Engine(Protocol):
    """Anything that turns an encoded photograph into a poem."""

    name: str
    contract: str

    def write(self, image: bytes, strategy: AnyStrategy) -> Written:
        """Write one poem."""

    def close(self) -> None:
        """Free what the engine holds."""


def read_pieces(size: int, poem_text: Callable[[NDArray[np.int64]], NDArray[Any]]) -> list[str]:
    """Return a vocabulary of ``size`` pieces by id, as the ``pieces`` of ``poem_text(tokens)``, ``[B, MAX_TOKENS]``."""
    rows = np.arange(-(-size // MAX_TOKENS) * MAX_TOKENS).clip(max=size - 1).reshape(-1, MAX_TOKENS)
    # In parts that a server takes as one batch.
    parts = [poem_text(rows[start : start + 32]) for start in range(0, len(rows), 32)]
    pieces = np.concatenate(parts).reshape(-1)[:size]
    return [piece.decode() if isinstance(piece, bytes) else str(piece) for piece in pieces]
