"""What every request passes before it reaches a route: its id, security headers, counters, and the limits."""

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
from .settings import WebSettings

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
    """Give each request an id (``X-Request-ID``, kept where a caller sends one), and answers their headers; count."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if re.fullmatch(r"[A-Za-z0-9._-]{1,64}", given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        # What can be got can be asked for its head too; the server leaves the body out.
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
            if status:  # of an answer that has begun, the connection can only be broken off
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
    """Refuse strange hosts (421), bodies too large (413) or compressed (415), callers that ask too often (429)."""

    def __init__(self, app: ASGIApp, settings: WebSettings) -> None:
        self._app, self._settings = app, settings
        self._rate = parse(settings.rate) if settings.rate else None
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        refused = self._strange(headers) or self._too_large(headers) or _compressed(headers) or await self._often(scope)
        if refused:
            status, detail, more = refused
            response = answer(problem(status, detail, scope["state"]["request_id"]), more)
            body = Body(receive, send, 0, status == 413 and "expect" not in headers)
            return await response(scope, receive, body.send)
        body = Body(receive, send, self._settings.max_bytes + _AROUND)

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
        return 421, f"this server is not {host or 'without a name'}; its operator can allow the name: --allow-host", {}

    def _too_large(self, headers: Headers) -> _Refusal | None:
        length = headers.get("content-length", "")
        if not length.isdecimal() or int(length) <= self._settings.max_bytes + _AROUND:
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
        return 429, f"{self._rate} are allowed; try again in {wait} s", {"retry-after": str(wait)}

    def _told(self) -> str:
        return f"more than the {self._settings.max_mb} MiB allowed; make the picture smaller"


_Refusal = tuple[int, str, dict[str, str]]
#: What a form may have around the photograph, in bytes.
_AROUND = 2**16


def _compressed(headers: Headers) -> _Refusal | None:
    if headers.get("content-encoding", "identity").lower() in ("", "identity"):
        return None
    detail = "the body is compressed (Content-Encoding); send it as it is"
    return 415, detail, {"accept-encoding": "identity", "connection": "close"}


def _method(scope: Scope) -> str:
    """Return the method; one of a caller's invention would be a counter of its own."""
    known = ("GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "PATCH")
    return scope["method"] if scope["method"] in known else "other"


def _caller(scope: Scope) -> str:
    """Return whom a request counts for: an IPv4 address, or the network of 64 bits that an IPv6 one is of.

    A socket for both has IPv4 addresses as IPv6 ones, all of one network.
    """
    host = scope["client"][0] if scope.get("client") else "unknown"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return str(host)
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False))
