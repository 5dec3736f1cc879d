"""All interfaces that write poems: ensembles over gRPC and REST, streams, client-side decoding, pixels, in process."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from img2poem import BeamSearch, Greedy, Img2Poem, Sampling
from img2poem.client.operations import line_options
from img2poem.images.decode import decode
from img2poem.serving.server import TritonServer

from .streams import inputs_of, streaming

AnySearch = Greedy | BeamSearch | Sampling
Tokens = tuple[int, ...]

_TIMEOUT = 120


class Homes:
    """The interfaces of a running server and its repository that return a poem's tokens, by name."""

    def __init__(self, server: TritonServer) -> None:
        urls = server.grpc_url, server.http_url, server.repository
        self._grpc, self._http, self._local = (Img2Poem(target, timeout=_TIMEOUT) for target in urls)
        self._open = ExitStack()
        self._stream = self._open.enter_context(streaming(server))

    def of(self, strategy: AnySearch) -> dict[str, Callable[[bytes, AnySearch], Tokens]]:
        """Return the interfaces that support ``strategy``."""
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
        self._open.close()

    def _by_pixels(self, photo: bytes, strategy: AnySearch) -> Tokens:
        tensors = {"pixels": decode(photo)[None], **strategy.tensors()}
        result = self._stream.client.infer("img2poem_pixels", inputs_of(tensors), client_timeout=_TIMEOUT)
        tokens, length = result.as_numpy("tokens"), result.as_numpy("length")
        return tuple(tokens[0, : length[0, 0]].tolist())

    def _by_stream(self, photo: bytes, strategy: AnySearch) -> Tokens:
        assert not isinstance(strategy, BeamSearch)
        self._stream.ask(photo, **line_options(strategy))
        return tuple(self._stream.rest()[-1].tokens)
