"""Requests and line streams to a real server through tritonclient."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from numpy.typing import NDArray
from tritonclient.utils import np_to_triton_dtype

from img2poem.serving.server import TritonServer

#: Timeout of a stream in seconds.
PATIENCE = 60


def client_of(server: TritonServer, **options: Any) -> triton.InferenceServerClient:
    """Return a tritonclient gRPC client for ``server``."""
    return triton.InferenceServerClient(server.grpc_url.partition("://")[2], **options)


def inputs_of(tensors: Mapping[str, NDArray[Any]]) -> list[triton.InferInput]:
    """Return the tensors as tritonclient's inputs."""
    inputs = []
    for name, value in tensors.items():
        inputs.append(triton.InferInput(name, list(value.shape), np_to_triton_dtype(value.dtype)))
        inputs[-1].set_data_from_numpy(value)
    return inputs


@dataclass
class Stream:
    """An open stream and its responses so far."""

    client: triton.InferenceServerClient
    arrived: queue.Queue[Any] = field(default_factory=queue.Queue)

    def ask(self, photo: bytes | None, request_id: str = "", /, **tensors: NDArray[Any]) -> None:
        """Request a poem with the inputs ``tensors``."""
        images = {} if photo is None else {"image": np.array([[photo]], np.object_)}
        self.client.async_stream_infer("img2poem_stream", inputs_of({**images, **tensors}), request_id=request_id)

    def next(self) -> Line:
        """Wait for the next response; raise tritonclient's error if it is one."""
        at, result, error = self.arrived.get(timeout=PATIENCE)
        if error is not None:
            raise error
        return Line(result, at)

    def rest(self) -> list[Line]:
        """Return all lines of one poem up to its final response."""
        lines = [self.next()]
        while not lines[-1].final:
            lines.append(self.next())
        return lines


class Line:
    """One response; ``at`` is its arrival by ``time.perf_counter``."""

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
    """Open a stream to ``server``; requests still running at the end are cancelled."""
    stream = Stream(client_of(server))
    stream.client.start_stream(lambda result, error: stream.arrived.put((time.perf_counter(), result, error)))
    try:
        yield stream
    finally:
        stream.client.stop_stream(cancel_requests=True)
        stream.client.close()
