"""Streams of lines from a real server, as a client of tritonclient's gets them."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from numpy.typing import NDArray

from img2poem.decoding import Greedy, Sampling
from img2poem.serving.server import TritonServer

from .requests import client_of, inputs_of

#: Seconds until a test gives a stream up.
PATIENCE = 60


@dataclass
class Stream:
    """An open stream and what has come of it so far."""

    client: triton.InferenceServerClient
    arrived: queue.Queue[Any] = field(default_factory=queue.Queue)

    def ask(self, photo: bytes | None, request_id: str = "", **tensors: NDArray[Any]) -> None:
        images = {} if photo is None else {"image": np.array([[photo]], np.object_)}
        self.client.async_stream_infer("img2poem_stream", inputs_of({**images, **tensors}), request_id=request_id)

    def next(self) -> Line:
        result, error = self.arrived.get(timeout=PATIENCE)
        if error is not None:
            raise error
        return Line(result, time.perf_counter())

    def rest(self) -> list[Line]:
        """All lines to the closing response of one poem."""
        lines = [self.next()]
        while not lines[-1].final:
            lines.append(self.next())
        return lines


class Line:
    """One response."""

    def __init__(self, result: triton.InferResult, at: float) -> None:
        response, self.at = result.get_response(), at
        self.id = response.id
        found = {output.name: result.as_numpy(output.name)[0] for output in response.outputs}
        self.outputs = {*found}
        self.text, self.index = found["line"][0].decode(), int(found["index"][0])
        self.tokens, self.final = found["tokens"].tolist(), bool(found["final"][0])
        if self.final:
            self.score, self.reason = float(found["score"][0]), found["finish_reason"][0].decode()


@contextmanager
def streaming(server: TritonServer) -> Iterator[Stream]:
    stream = Stream(client_of(server))
    stream.client.start_stream(lambda result, error: stream.arrived.put((result, error)))
    try:
        yield stream
    finally:
        stream.client.stop_stream(cancel_requests=True)
        stream.client.close()


def options(strategy: Sampling | Greedy) -> dict[str, NDArray[Any]]:
    """The inputs of the stream that mean ``strategy``."""
    tensors = strategy.tensors()
    return tensors if isinstance(strategy, Sampling) else {**tensors, "temperature": np.zeros((1, 1), np.float32)}
