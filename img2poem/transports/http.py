"""Triton over HTTP: KServe v2 messages of tritonclient, sent with httpx."""

from __future__ import annotations

import asyncio
import concurrent.futures
import importlib.util
import json
import ssl
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar
from urllib.parse import SplitResult

import numpy as np

from ..artifacts.inspection import PREFIX
from ..errors import (
    Cancelled,
    ConnectionFailed,
    Img2PoemError,
    InvalidOption,
    MissingDependency,
    NotReady,
    Overloaded,
    ServerError,
)
from ..requests import Answer, Call, Infer, ModelInfo
from ..system.proxies import proxy_of, without_password
from . import server_errors
from .address import Access
from .base import check_id
from .forks import PerLoop, PerProcess, close_each

T = TypeVar("T")

#: Connect timeout in seconds.
_CONNECT = 5.0
_LENGTH = "Inference-Header-Content-Length"


class AsyncHttpEndpoint:
    """Asyncio HTTP endpoint. Connections are kept open and reused.

    Args:
        url: ``http`` or ``https``.
        access: headers, TLS files and priority.

    Raises:
        MissingDependency: httpx, tritonclient's HTTP client, or socksio for a SOCKS proxy is not installed.
        InvalidOption: the TLS files, or the proxy in the environment, cannot be used.
    """

    def __init__(self, url: SplitResult, access: Access) -> None:
        self.name, self._proxy = url.geturl().rstrip("/"), proxy_of(url)
        self._client, self._priority = PerLoop(_connecting(self.name, access, self._proxy)), access.priority

    async def infer(self, request: Infer, call: Call) -> Answer:
        """Run a model."""
        from tritonclient.http import InferenceServerClient

        body, length = InferenceServerClient.generate_request_body(
            *_tensors(request), request_id=call.request_id, priority=self._priority
        )
        sent = {_LENGTH: str(length)} if length is not None else {}
        response = await self._answered("POST", f"/v2/models/{request.model}/infer", call, content=body, headers=sent)
        return _answer(response, request, call, self.name)

    async def look(self, model: str, call: Call) -> ModelInfo:
        """Return the metadata of a model."""
        response = await self._answered("GET", f"/v2/models/{model}/config", call)
        try:
            config = json.loads(response.content)
            parameters = config.get("parameters", {}).items()
            stamps = {k.removeprefix(PREFIX): str(v["string_value"]) for k, v in parameters if k.startswith(PREFIX)}
            steps = config.get("ensemble_scheduling", {}).get("step", [])
            parts = tuple(str(step["model_name"]) for step in steps)
            return ModelInfo(model, stamps, parts, int(config["max_batch_size"]))
        except (ValueError, AttributeError, KeyError, TypeError) as error:
            raise _nonsense(self.name) from error

    async def ready(self, call: Call) -> bool:
        """Whether every model is loaded."""
        response = await self._sent("GET", "/v2/health/ready", call)
        if response.status_code not in (200, 400, 503):
            raise _failed(response, self.name)
        if response.content and not _is_json(response.content):  # Triton's response has no body
            raise server_errors.stranger(self.name, f"status {response.status_code}")
        return bool(response.status_code == 200)

    async def close(self) -> None:
        """Close the connections."""
        await close_each(self._client.close(), lambda client: client.aclose())

    async def _answered(self, method: str, path: str, call: Call, **kwargs: Any) -> Any:
        response = await self._sent(method, path, call, **kwargs)
        if response.status_code != 200:
            raise _failed(response, self.name)
        return response

    async def _sent(self, method: str, path: str, call: Call, **kwargs: Any) -> Any:
        import anyio
        import httpx

        try:
            # httpx's timeouts limit each read and write; this one limits the whole request. asyncio.wait_for would
            # lose a cancellation that arrives together with the response, before Python 3.12.
            with anyio.fail_after(call.deadline.left()):
                return await self._client.get().request(method, path, **kwargs)
        except TimeoutError as error:
            raise call.deadline.missed() from error
        except (httpx.TransportError, httpx.DecodingError) as error:
            if self._client.closed:
                raise Cancelled("the client was closed") from error
            raise _translated(error, self.name, self._proxy) from error
        except RuntimeError as error:
            if "closed" not in str(error):
                raise
            raise Cancelled("the client was closed") from error


class HttpEndpoint:
    """Blocking HTTP endpoint. Requests of all threads run in one background event loop, for strict timeouts.

    Arguments and errors are those of :class:`AsyncHttpEndpoint`.
    """

    def __init__(self, url: SplitResult, access: Access) -> None:
        self._endpoint = AsyncHttpEndpoint(url, access)
        self.name = self._endpoint.name
        self._running: set[concurrent.futures.Future[Any]] = set()

    def infer(self, request: Infer, call: Call) -> Answer:
        """Run a model."""
        return self._run(self._endpoint.infer(request, call))

    def look(self, model: str, call: Call) -> ModelInfo:
        """Return the metadata of a model."""
        return self._run(self._endpoint.look(model, call))

    def ready(self, call: Call) -> bool:
        """Whether every model is loaded."""
        return self._run(self._endpoint.ready(call))

    def close(self) -> None:
        """Cancel the requests in progress and close the connections."""
        for future in list(self._running):
            future.cancel()
        self._run(self._endpoint.close())

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, _LOOP.get())
        self._running.add(future)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise Cancelled("the client was closed") from None
        finally:
            future.cancel()
            self._running.discard(future)


def _background_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="img2poem-http", daemon=True).start()
    return loop


_LOOP = PerProcess(_background_loop)


def _connecting(base: str, access: Access, proxy: str | None) -> Callable[[], Any]:
    """Return a factory of httpx clients for ``base``. A client connects at its first request."""
    try:
        import httpx
        import tritonclient.http  # noqa: F401
    except ImportError:
        raise MissingDependency("HTTP needs httpx and tritonclient; pip install 'img2poem[client]'") from None
    if proxy and proxy.startswith("socks") and not importlib.util.find_spec("socksio"):
        shown = without_password(proxy)
        raise MissingDependency(f"the proxy {shown} needs socksio; pip install 'httpx[socks]', or use no_proxy")
    tls = access.tls
    try:
        context = ssl.create_default_context(cafile=tls.ca)
        if tls.certificate is not None:
            context.load_cert_chain(tls.certificate, tls.key)
    except (OSError, ValueError) as error:
        raise InvalidOption(f"the TLS files cannot be used: {error}") from error
    return lambda: httpx.AsyncClient(
        base_url=base,
        headers=dict(access.headers),
        verify=context,
        proxy=proxy,
        trust_env=False,
        timeout=httpx.Timeout(None, connect=_CONNECT),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=32, keepalive_expiry=30.0),
    )


def _tensors(request: Infer) -> tuple[list[Any], list[Any]]:
    from tritonclient.http import InferInput, InferRequestedOutput
    from tritonclient.utils import np_to_triton_dtype

    inputs = []
    for name, value in request.inputs.items():
        inputs.append(InferInput(name, list(value.shape), np_to_triton_dtype(value.dtype)))
        inputs[-1].set_data_from_numpy(np.ascontiguousarray(value), binary_data=True)
    outputs = [
        InferRequestedOutput(name, binary_data=True, class_count=request.class_count(name)) for name in request.outputs
    ]
    return inputs, outputs


def _answer(response: Any, request: Infer, call: Call, name: str) -> Answer:
    from tritonclient.http import InferenceServerClient

    try:
        length = response.headers.get(_LENGTH)
        result = InferenceServerClient.parse_response_body(
            response.content, header_length=int(length) if length is not None else None
        )
        head = result.get_response()
        found, version = str(head.get("id", "")), str(head.get("model_version", ""))
        tensors = {output: result.as_numpy(output) for output in request.outputs}
    except Exception as error:  # tritonclient's exceptions on damaged messages have no common base
        raise _nonsense(name) from error
    check_id(found, call, name)
    if any(value is None for value in tensors.values()):
        raise _nonsense(name)
    return Answer(tensors, version)


def _translated(error: Exception, name: str, proxy: str | None) -> Img2PoemError:
    """Return the img2poem error for an httpx error."""
    import httpx

    broken_off = "disconnected" in str(error) or "without sending complete" in str(error)
    if isinstance(error, httpx.DecodingError) or (isinstance(error, httpx.RemoteProtocolError) and not broken_off):
        return _nonsense(name)
    return ConnectionFailed(server_errors.unreachable(name, _reason(error), proxy))


def _reason(error: BaseException) -> str:
    """Return the message of an httpx error or, if it is empty, of the underlying OSError, or else the error's name."""
    import httpx

    if isinstance(error, httpx.ConnectTimeout):
        return f"no connection within {_CONNECT:g} s"
    behind: BaseException | None = error
    while behind is not None and not str(behind):
        behind = behind.__cause__ or behind.__context__
    return str(behind) if behind is error or isinstance(behind, OSError) else type(error).__name__


def _failed(response: Any, name: str) -> Exception:
    """Return the error for a status other than 200."""
    status = f"status {response.status_code}"
    try:
        message: str | None = str(json.loads(response.content)["error"])
    except (ValueError, KeyError, TypeError):
        message = None
    found = server_errors.from_message(message or status, name)
    if type(found) is not ServerError:
        return found
    if response.status_code == 429:
        return Overloaded(f"{name} has too many requests waiting")
    if response.status_code in (502, 503, 504):
        return NotReady(f"{name} is not ready: {message or status}")
    if response.status_code in (401, 403, 407):
        return server_errors.refused(name, message or status)
    return found if message else server_errors.stranger(name, status)


def _is_json(content: bytes) -> bool:
    try:
        json.loads(content)
    except ValueError:
        return False
    return True


def _nonsense(name: str) -> ServerError:
    return ServerError(f"{name} sent a response outside the KServe v2 protocol")
