"""Requests to a real server, as any client could send them."""

from __future__ import annotations

from typing import Any

import numpy as np
import tritonclient.grpc as triton

from benchmarks.streams import inputs_of
from img2poem.decoding.strategies import AnyStrategy, BeamSearch, Greedy
from img2poem.serving.settings import KEY_HEADER

KEY = "a-key-for-the-tests-0123"
OVER_GRPC = {f"triton-grpc-protocol-{KEY_HEADER}": KEY}


def poem_inputs(photo: bytes, strategy: AnyStrategy, batch: int = 1) -> list[triton.InferInput]:
    options = {name: np.repeat(value, batch, axis=0) for name, value in strategy.tensors().items()}
    return inputs_of({"image": np.array([[photo]] * batch, np.object_), **options})


def poem(client: triton.InferenceServerClient, photo: bytes, **options: Any) -> str:
    """Return the greedy poem; raise tritonclient's error."""
    result = client.infer("img2poem_greedy", poem_inputs(photo, Greedy()), client_timeout=60, **options)
    return str(result.as_numpy("text")[0, 0].decode())


def slow_poems(client: triton.InferenceServerClient, photo: bytes) -> int:
    """Send a large request, a second or more of work, and return its number of poems."""
    result = client.infer("img2poem", poem_inputs(photo, BeamSearch(width=10), batch=16), client_timeout=60)
    return int(result.as_numpy("text").shape[0])
