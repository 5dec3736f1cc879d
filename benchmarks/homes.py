"""Every way to a poem: ensembles over gRPC and REST, streams, client-side decoding, pixels, in process."""

from __future__ import annotations

import json
import queue
import urllib.request
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from numpy.typing import NDArray
from tritonclient.utils import np_to_triton_dtype

from img2poem import BeamSearch, Greedy, Img2Poem, Sampling
from img2poem.engines import read_pieces
from img2poem.engines.local import LocalEngine
from img2poem.images import decode
from img2poem.noise import drawn
from img2poem.searches import Searches
from img2poem.serving.server import TritonServer

AnySearch = Greedy | BeamSearch | Sampling
Tensors = Mapping[str, NDArray[Any]]
Tokens = tuple[int, ...]

_ENSEMBLES = {"greedy": "img2poem_greedy", "beam": "img2poem", "sample": "img2poem_sample"}
_TIMEOUT = 120


class Homes:
    """The ways to a poem's tokens that a running server and its repository offer, by name."""

    def __init__(self, server: TritonServer) -> None:
        self._http, self._local = server.http_url, LocalEngine(server.repository)
        self._poet = Img2Poem(server.grpc_url, timeout=_TIMEOUT)
        self._client = triton.InferenceServerClient(server.grpc_url.partition("://")[2])

    def of(self, strategy: AnySearch) -> dict[str, Callable[[bytes, AnySearch], Tokens]]:
        """Return those that know ``strategy``."""
        every: dict[str, Callable[[bytes, AnySearch], Tokens]] = {
            "ensemble, gRPC": self._by_grpc,
            "ensemble, REST": self._by_rest,
            "client-side decoding": self._by_steps,
            "in process": lambda photo, strategy: tuple(map(int, self._local.write(photo, strategy).tokens)),
        }
        if isinstance(strategy, BeamSearch):
            return {**every, "pixels": self._by_pixels}
        return {**every, "stream": self._by_stream}

    def close(self) -> None:
        """Close the connections."""
        self._poet.close()
        self._local.close()
        self._client.close()

    def infer(self, model: str, outputs: list[str], tensors: Tensors) -> list[NDArray[Any]]:
        """Call a served model over gRPC."""
        asked = [triton.InferRequestedOutput(name) for name in outputs]
        result = self._client.infer(model, inputs_of(tensors), outputs=asked, client_timeout=_TIMEOUT)
        return [result.as_numpy(name) for name in outputs]

    @cached_property
    def searches(self) -> Searches:
        """The searches in numpy over the served steps."""
        stamps = self._client.get_model_config("poem_text").config.parameters
        size = int(stamps["img2poem.vocabulary_size"].string_value)
        pieces = read_pieces(size, lambda tokens: self.infer("poem_text", ["pieces"], {"tokens": tokens})[0])
        return Searches(_ServedSteps(self), pieces)

    def _by_grpc(self, photo: bytes, strategy: AnySearch) -> Tokens:
        return self._poet.write(photo, strategy).tokens

    def _by_rest(self, photo: bytes, strategy: AnySearch) -> Tokens:
        """JSON, and the photograph behind it: Triton's binary extension of KServe v2."""
        inputs: list[dict[str, Any]] = [
            {"name": name, "shape": value.shape, "datatype": np_to_triton_dtype(value.dtype), "data": value.tolist()}
            for name, value in strategy.tensors().items()
        ]
        size = {"binary_data_size": len(photo) + 4}
        inputs.append({"name": "image", "shape": [1, 1], "datatype": "BYTES", "parameters": size})
        head = json.dumps({"inputs": inputs, "outputs": [{"name": "tokens"}, {"name": "length"}]}).encode()
        url = f"{self._http}/v2/models/{_ENSEMBLES[strategy.name]}/infer"
        body = head + len(photo).to_bytes(4, "little") + photo
        request = urllib.request.Request(url, body, {"Inference-Header-Content-Length": str(len(head))})
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
            found = {output["name"]: output["data"] for output in json.load(answer)["outputs"]}
        return tuple(found["tokens"][: found["length"][0]])

    def _by_steps(self, photo: bytes, strategy: AnySearch) -> Tokens:
        [embedding] = self.infer("image_encoder", ["embedding"], {"pixels": decode(photo)[None]})
        search = getattr(self.searches, strategy.name)
        found = search(embedding, drawn(strategy.tensors()))
        return tuple(found.tokens[0, : found.lengths[0]].tolist())

    def _by_pixels(self, photo: bytes, strategy: AnySearch) -> Tokens:
        tensors = {"pixels": decode(photo)[None], **strategy.tensors()}
        tokens, length = self.infer("img2poem_pixels", ["tokens", "length"], tensors)
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


class _ServedSteps:
    """The decoder, a call a step."""

    def __init__(self, homes: Homes) -> None:
        self._homes = homes

    def init(self, embedding: NDArray[np.float32]) -> NDArray[np.float32]:
        [hidden] = self._homes.infer("decoder_init", ["hidden"], {"embedding": embedding})
        return hidden

    def step(
        self, token: NDArray[np.int64], hidden: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
        outputs = ["top_logprobs", "top_tokens", "next_hidden"]
        logprobs, tokens, after = self._homes.infer("decoder_step", outputs, {"token": token, "hidden": hidden})
        return logprobs, tokens, after


def inputs_of(tensors: Tensors) -> list[Any]:
    """Return tritonclient's inputs."""
    inputs = []
    for name, value in tensors.items():
        inputs.append(triton.InferInput(name, list(value.shape), np_to_triton_dtype(value.dtype)))
        inputs[-1].set_data_from_numpy(value)
    return inputs
