"""Middleware of all routes: request ids, security headers, metrics, the log, and limits."""

from __future__ import annotations

import ipaddress
import logging
import re
import time
import uuid

from fastapi import HTTPException
from limits import parse
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .bodies import Body
from .metrics import Metrics
from .problems import GONE, answer, problem, problem_of
from .settings import MAX_OTHER_BYTES, WebSettings

log = logging.getLogger("img2poem.web")

_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "media-src blob:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Watch:
    """Middleware that sets request ids and security headers, answers unexpected errors, and writes metrics and log.

    The id of a request is its ``X-Request-ID``, if valid, or a new one.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if re.fullmatch(r"[A-Za-z0-9._-]{1,64}", given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        # Every GET route also answers HEAD; the server omits the body.
        asked = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        started, status = time.perf_counter(), 0

        async def headed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers["x-request-id"] = request_id
                headers.setdefault("cache-control", "no-store")
            await send(message)

        try:
            await self._app(asked, receive, headed)
        except Exception as error:
            found = problem_of(error, request_id)
            if status:  # a response that has begun can only be aborted
                raise
            await answer(found)(asked, receive, headed)
        finally:
            seconds = time.perf_counter() - started
            route = getattr(asked.get("route"), "path", "other")
            self._metrics.requests.labels(_method(scope), route, status or GONE).inc()
            self._metrics.seconds.labels(route).observe(seconds)
            path = scope["path"].encode("unicode_escape").decode()
            log.info("%s %s %s %d %.0f ms", request_id, scope["method"], path, status or GONE, 1000 * seconds)


class Limits:
    """Middleware that rejects unknown hosts (421), too large (413) or compressed bodies (415), and too many requests.

    A client over its rate limit gets status 429 with ``Retry-After``.
    """

    def __init__(self, app: ASGIApp, settings: WebSettings) -> None:
        self._app, self._settings = app, settings
        self._rate = parse(settings.rate) if settings.rate else None
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, or reject it."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        refused = self._strange(headers) or self._too_large(headers) or _compressed(headers) or await self._often(scope)
        if refused:
            status, detail, more = refused
            response = answer(problem(status, detail, scope["state"]["request_id"]), more)
            body = Body(receive, send, 0, status == 413 and "expect" not in headers)
            return await response(scope, receive, body.send)
        body = Body(receive, send, self._settings.max_bytes + MAX_OTHER_BYTES)

        async def measured() -> Message:
            message = await body.receive()
            if body.is_too_large:
                raise HTTPException(413, self._told(), {"connection": "close"})
            return message

        return await self._app(scope, measured, body.send)

    def _strange(self, headers: Headers) -> _Refusal | None:
        host = re.sub(r":\d*$", "", headers.get("host", "")).lower()
        if not self._settings.hosts or host in self._settings.hosts:
            return None
        return 421, f"the host name {host or '(none)'} is not accepted; the operator can allow it: --allow-host", {}

    def _too_large(self, headers: Headers) -> _Refusal | None:
        length = headers.get("content-length", "")
        if not length.isdecimal() or int(length) <= self._settings.max_bytes + MAX_OTHER_BYTES:
            return None
        return 413, self._told(), {"connection": "close"}

    async def _often(self, scope: Scope) -> _Refusal | None:
        if self._rate is None or scope["method"] != "POST":
            return None
        caller = _caller(scope)
        if await self._limiter.hit(self._rate, caller):
            return None
        reset, _ = await self._limiter.get_window_stats(self._rate, caller)
        wait = max(1, round(reset - time.time()))
        return 429, f"{self._rate} is the limit; try again in {wait} s", {"retry-after": str(wait)}

    def _told(self) -> str:
        return f"more than the {self._settings.max_mb} MiB allowed; make the picture smaller"


_Refusal = tuple[int, str, dict[str, str]]


def _compressed(headers: Headers) -> _Refusal | None:
    if headers.get("content-encoding", "identity").lower() in ("", "identity"):
        return None
    detail = "the body is compressed (Content-Encoding); send it as it is"
    return 415, detail, {"accept-encoding": "identity", "connection": "close"}


def _method(scope: Scope) -> str:
    """Return the method, or ``other``: each invented method would be a new time series."""
    known = ("GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "PATCH")
    return scope["method"] if scope["method"] in known else "other"


def _caller(scope: Scope) -> str:
    """Return the client for rate limiting: its IPv4 address, or the /64 network of its IPv6 address.

    A dual-stack socket reports IPv4 addresses as IPv4-mapped IPv6 addresses, which are all in one /64 network.
    """
    host = scope["client"][0] if scope.get("client") else "unknown"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return str(host)
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False))
