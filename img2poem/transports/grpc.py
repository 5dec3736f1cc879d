"""Triton over gRPC, with tritonclient."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from typing import Any
from urllib.parse import SplitResult

from ..errors import (
    Cancelled,
    ConnectionFailed,
    Img2PoemError,
    InvalidOption,
    MissingDependency,
    Timeout,
)
from ..requests import Answer, Call, Follow, Infer, ModelInfo
from ..system.proxies import proxy_of
from .address import Access
from .forks import PerLoop, PerProcess, close_each
from .grpc_messages import answer, arguments, headers, info, translated

#: Channel arguments. They replace all of tritonclient's own, so the message sizes are repeated here. With gRPC's
#: default backoff a channel may wait two minutes before it reconnects to a restarted server.
_CHANNEL = [
    # A new channel opens a new connection.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5000),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


class _Connected:
    """Connection handling of both gRPC endpoints."""

    _client: PerProcess[Any] | PerLoop[Any]

    def _renew_after(self, error: Img2PoemError, client: Any) -> None:
        """Replace the connection after a timeout or a connection failure.

        A connection that lost its place in the byte stream never recovers. One that could not be opened rejects all
        calls until gRPC's backoff ends, even if the server is back.
        """
        if isinstance(error, Timeout | ConnectionFailed):
            self._client.renew(client)

    @contextlib.contextmanager
    def _until_closed(self) -> Iterator[None]:
        """Raise ``Cancelled`` if the channel of a call was closed. Cancellation of the task passes through."""
        try:
            yield
        except asyncio.CancelledError as error:
            # Tasks have no cancelling() before Python 3.11; there, int() returns 0.
            cancelling = getattr(asyncio.current_task(), "cancelling", int)
            if self._client.closed and not cancelling():
                raise Cancelled("the client was closed") from error
            raise


class GrpcEndpoint(_Connected):
    """Blocking gRPC endpoint: one connection for all threads, and one for each open stream.

    Args:
        url: ``grpc`` or ``grpcs``, with a port.
        access: headers, TLS files and priority.

    Raises:
        MissingDependency: tritonclient is not installed.
        InvalidOption: the TLS files, or the proxy in the environment, cannot be used.
    """

    def __init__(self, url: SplitResult, access: Access) -> None:
        self.name = url.geturl()
        self._url, self._access = url, access
        self._client: PerProcess[Any] = PerProcess(lambda: connected(url, access, asynchronous=False))
        self._streaming: PerProcess[set[Any]] = PerProcess(set)
        # Also at exit, where closing a channel would wait for the threads of open streams.
        weakref.finalize(self, _end_all, self._streaming)
        self._client.get()

    def infer(self, request: Infer, call: Call) -> Answer:
        """Run a model."""
        sent = arguments(request, call, self._access)
        result = self._answered("infer", call, **sent, client_timeout=call.deadline.left())
        return answer(result, request, call, self.name)

    def look(self, model: str, call: Call) -> ModelInfo:
        """Return the metadata of a model."""
        found = self._answered("get_model_config", call, model, client_timeout=call.deadline.left())
        return info(model, found.config)

    def follow(self, request: Follow, call: Call) -> Generator[Answer, None, None]:
        """Run a model and yield the parts of its response as they arrive. Closing the generator ends the work."""
        from tritonclient.utils import InferenceServerException

        open_streams, parts = self._streaming.get(), queue.SimpleQueue[tuple[Any, Any]]()
        # tritonclient allows one stream per client, so each stream has its own connection.
        client = connected(self._url, self._access, asynchronous=False)
        open_streams.add(client)
        try:
            _start(client, lambda result, error: parts.put((result, error)), headers(self._access))
            with contextlib.suppress(InferenceServerException):  # a broken stream; the callback gets the reason
                client.async_stream_infer(**arguments(request, call, self._access))
            while True:
                result, error = parts.get(timeout=call.deadline.left())
                if error is not None:
                    raise translated(error, call, self.name) from error
                yield answer(result, request, call, self.name)
        except queue.Empty:
            raise call.deadline.missed() from None
        finally:
            if client in open_streams:
                open_streams.discard(client)
                _end(client)

    def ready(self, call: Call) -> bool:
        """Whether every model is loaded."""
        return bool(self._answered("is_server_ready", call, client_timeout=call.deadline.left()))

    def close(self) -> None:
        """Close the connections."""
        if (client := self._client.close()) is not None:
            client.close()
        _end_all(self._streaming)

    def _answered(self, method: str, call: Call, *args: Any, **kwargs: Any) -> Any:
        from tritonclient.utils import InferenceServerException

        client = self._client.get()
        try:
            return getattr(client, method)(*args, headers=headers(self._access), **kwargs)
        except InferenceServerException as error:
            found = translated(error, call, self.name)
            self._renew_after(found, client)
            raise found from error
        except ValueError as error:  # the channel was closed
            raise Cancelled("the client was closed") from error


def _start(client: Any, callback: Callable[[Any, Any], None], sent: dict[str, str]) -> None:
    """Start the stream of a tritonclient client, from a daemon thread.

    The thread that reads the stream inherits the daemon flag. Otherwise a program that ends in the middle of a poem
    would wait for that thread, and possibly forever, since the thread waits for the server.
    """
    failed: list[Exception] = []

    def start() -> None:
        try:
            client.start_stream(callback, headers=sent)
        except Exception as error:
            failed.append(error)

    starting = threading.Thread(target=start, daemon=True)
    starting.start()
    starting.join()
    if failed:
        raise failed[0]


class AsyncGrpcEndpoint(_Connected):
    """Asyncio version of :class:`GrpcEndpoint`. Its errors are raised at the first request in each event loop."""

    def __init__(self, url: SplitResult, access: Access) -> None:
        self.name = url.geturl()
        self._access = access
        self._client: PerLoop[Any] = PerLoop(lambda: connected(url, access, asynchronous=True))

    async def infer(self, request: Infer, call: Call) -> Answer:
        """Run a model."""
        sent = arguments(request, call, self._access)
        result = await self._answered("infer", call, **sent, client_timeout=call.deadline.left())
        return answer(result, request, call, self.name)

    async def look(self, model: str, call: Call) -> ModelInfo:
        """Return the metadata of a model."""
        found = await self._answered("get_model_config", call, model, client_timeout=call.deadline.left())
        return info(model, found.config)

    async def follow(self, request: Follow, call: Call) -> AsyncGenerator[Answer, None]:
        """Run a model and yield the parts of its response as they arrive. Closing the generator ends the work."""
        from grpc.aio import AioRpcError
        from tritonclient.utils import InferenceServerException

        async def asked() -> AsyncGenerator[dict[str, Any], None]:
            yield arguments(request, call, self._access)

        client = self._client.get()
        parts = client.stream_infer(asked(), headers=headers(self._access))
        try:
            while True:
                with self._until_closed():
                    result, error = await _part(parts, call.deadline.left())
                if error is not None:
                    raise translated(error, call, self.name) from error
                yield answer(result, request, call, self.name)
        except StopAsyncIteration:
            return
        except (AioRpcError, TimeoutError) as error:
            found: Img2PoemError = call.deadline.missed()
            if isinstance(error, AioRpcError):
                found = translated(InferenceServerException(error.details() or "", str(error.code())), call, self.name)
            self._renew_after(found, client)
            raise found from error
        finally:
            parts.cancel()

    async def ready(self, call: Call) -> bool:
        """Whether every model is loaded."""
        return bool(await self._answered("is_server_ready", call, client_timeout=call.deadline.left()))

    async def close(self) -> None:
        """Close the connections."""
        await close_each(self._client.close(), lambda client: client.close())

    async def _answered(self, method: str, call: Call, *args: Any, **kwargs: Any) -> Any:
        from grpc.aio import UsageError
        from tritonclient.utils import InferenceServerException

        client = self._client.get()
        try:
            with self._until_closed():
                return await getattr(client, method)(*args, headers=headers(self._access), **kwargs)
        except InferenceServerException as error:
            found = translated(error, call, self.name)
            self._renew_after(found, client)
            raise found from error
        except UsageError as error:  # the channel was closed
            raise Cancelled("the client was closed") from error


async def _part(parts: Any, seconds: float) -> Any:
    """Return the next part of a stream.

    Raises:
        TimeoutError: it does not arrive within ``seconds``. (``anyio.fail_after`` does not recognise the
            ``CancelledError`` that gRPC raises.)
    """
    reading = asyncio.ensure_future(parts.__anext__())
    reading.add_done_callback(lambda done: done.cancelled() or done.exception())
    try:
        await asyncio.wait((reading,), timeout=seconds)
        if not reading.done():
            raise TimeoutError
        return reading.result()
    finally:
        reading.cancel()


def connected(url: SplitResult, access: Access, asynchronous: bool) -> Any:
    """Return a tritonclient client for ``url``. It connects at its first request.

    Raises:
        MissingDependency: tritonclient is not installed.
        InvalidOption: the TLS files, or the proxy in the environment, cannot be used.
    """
    try:
        if asynchronous:
            from tritonclient.grpc.aio import InferenceServerClient
        else:
            from tritonclient.grpc import InferenceServerClient
    except ImportError:
        raise MissingDependency("talking to a server needs tritonclient; pip install 'img2poem[client]'") from None
    tls = access.tls
    files = {"root_certificates": tls.ca, "private_key": tls.key, "certificate_chain": tls.certificate}
    secure = {"ssl": True, **{name: path and str(path) for name, path in files.items()}}
    direct = [] if proxy_of(url) else [("grpc.enable_http_proxy", 0)]
    try:
        return InferenceServerClient(
            url.netloc, channel_args=[*_CHANNEL, *direct], **(secure if url.scheme == "grpcs" else {})
        )
    except (OSError, ValueError) as error:
        raise InvalidOption(f"{url.geturl()} cannot be used: {error}") from error


def _end_all(streaming: PerProcess[set[Any]]) -> None:
    """End all open streams, and open no more."""
    clients = streaming.close() or set()
    while clients:
        _end(clients.pop())


def _end(client: Any) -> None:
    """Cancel the stream of ``client``, and close the client."""
    # tritonclient leaks the thread that waits for the next request of a cancelled stream; None ends it.
    if (stream := client._stream) is not None:
        stream._request_queue.put(None)
    client.stop_stream(cancel_requests=True)
    client.close()
