"""Every way to a poem: ensembles over gRPC and REST, streams, client-side decoding, pixels, in process."""

from __future__ import annotations

import queue
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from numpy.typing import NDArray
from tritonclient.utils import np_to_triton_dtype

from img2poem import BeamSearch, Greedy, Img2Poem, Sampling
from img2poem.images import decode
from img2poem.serving.server import TritonServer

AnySearch = Greedy | BeamSearch | Sampling
Tensors = Mapping[str, NDArray[Any]]
Tokens = tuple[int, ...]

_TIMEOUT = 120


class Homes:
    """The ways to a poem's tokens that a running server and its repository offer, by name."""

    def __init__(self, server: TritonServer) -> None:
        urls = server.grpc_url, server.http_url, server.repository
        self._grpc, self._http, self._local = (Img2Poem(target, timeout=_TIMEOUT) for target in urls)
        self._client = triton.InferenceServerClient(server.grpc_url.partition("://")[2])

    def of(self, strategy: AnySearch) -> dict[str, Callable[[bytes, AnySearch], Tokens]]:
        """Return those that know ``strategy``."""
        every: dict[str, Callable[[bytes, AnySearch], Tokens]] = {
            "ensemble, gRPC": lambda photo, strategy: self._grpc.write(photo, strategy, where="server").tokens,
            "ensemble, REST": lambda photo, strategy: self._http.write(photo, strategy, where="server").tokens,
            "client-side decoding": lambda photo, strategy: self._grpc.write(photo, strategy, where="client").tokens,
            "in process": lambda photo, strategy: self._local.write(photo, strategy).tokens,
        }
        if isinstance(strategy, BeamSearch):
            return {**every, "pixels": self._by_pixels}
        return {**every, "stream": self._by_stream}

    def close(self) -> None:
        """Close the connections."""
        for poet in (self._grpc, self._http, self._local):
            poet.close()
        self._client.close()

    def _by_pixels(self, photo: bytes, strategy: AnySearch) -> Tokens:
        tensors = {"pixels": decode(photo)[None], **strategy.tensors()}
        result = self._client.infer("img2poem_pixels", inputs_of(tensors), client_timeout=_TIMEOUT)
        tokens, length = result.as_numpy("tokens"), result.as_numpy("length")
        return tuple(tokens[0, : length[0, 0]].tolist())

    def _by_stream(self, photo: bytes, strategy: AnySearch) -> Tokens:
        responses: queue.Queue[tuple[Any, Any]] = queue.Queue()
        greedy = {"temperature": np.zeros((1, 1), np.float32)} if isinstance(strategy, Greedy) else {}
        self._client.start_stream(lambda result, error: responses.put((result, error)))
        try:
            tensors = {"image": np.array([[photo]], np.object_), **strategy.tensors(), **greedy}
            self._client.async_stream_infer("img2poem_stream", inputs_of(tensors))
            while True:
                result, error = responses.get(timeout=_TIMEOUT)
                if error is not None:
                    raise error
                if result.as_numpy("final")[0, 0]:
                    return tuple(result.as_numpy("tokens")[0].tolist())
        finally:
            self._client.stop_stream()


def inputs_of(tensors: Tensors) -> list[Any]:
    """Return tritonclient's inputs."""
    inputs = []
    for name, value in tensors.items():
        inputs.append(triton.InferInput(name, list(value.shape), np_to_triton_dtype(value.dtype)))
        inputs[-1].set_data_from_numpy(value)
    return inputs
