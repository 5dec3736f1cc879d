"""Engines: the same served models, in process on ONNX Runtime or behind a Triton server."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..decoding import Strategy


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

    def write(self, image: bytes, strategy: Strategy) -> Written:
        """Write one poem."""

    def close(self) -> None:
        """Free what the engine holds."""
