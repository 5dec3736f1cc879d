"""A server on loopback with the good and bad behaviour of photograph servers."""

from __future__ import annotations

import io
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image


def jpeg(seed: int = 0, size: tuple[int, int] = (96, 64)) -> bytes:
    """A photograph of noise: it compresses badly, so that any loss of data shows."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


class Handler(BaseHTTPRequestHandler):
    """Answers by the server's routes; HTTP/1.1, so connections are kept and reused."""

    protocol_version = "HTTP/1.1"
    server: PhotoServer

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        with self.server.counted(path, self.headers.get("Range")):
            route = self.server.routes.get(path)
            if route is None:
                self.answer(404, b"<html>no such photo</html>")
            else:
                route(self)

    def answer(self, status: int, body: bytes = b"", length: int | None = None, **headers: str) -> None:
        """Send ``body``; if ``length`` is given, declare it instead. A wrong length closes the connection."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = length is not None

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""


Route = Callable[[Handler], None]


class PhotoServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.routes: dict[str, Route] = {}
        self.requests: Counter[str] = Counter()
        self.ranges: list[str] = []
        self.most_at_once = 0
        self._active = 0
        self._lock = threading.Lock()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"

    @contextmanager
    def counted(self, path: str, asked: str | None) -> Iterator[None]:
        with self._lock:
            self.requests[path] += 1
            self._active += 1
            self.most_at_once = max(self.most_at_once, self._active)
            if asked:
                self.ranges.append(asked)
        try:
            yield
        finally:
            with self._lock:
                self._active -= 1

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients disconnect on purpose here."""


def photo(data: bytes) -> Route:
    return lambda handler: handler.answer(200, data, Content_Type="image/jpeg")


def slowly(data: bytes, seconds: float) -> Route:
    def route(handler: Handler) -> None:
        time.sleep(seconds)
        handler.answer(200, data)

    return route


def trickling(data: bytes, pause: float) -> Route:
    """Send one byte at a time: never silent, never done."""

    def route(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        for byte in data:
            handler.wfile.write(bytes([byte]))
            time.sleep(pause)

    return route


def redirect(target: str) -> Route:
    return lambda handler: handler.answer(302, b"moved", Location=target)


def in_turn(*routes: Route) -> Route:
    """Answer successive requests by successive routes; the last route repeats."""
    left = list(routes)
    lock = threading.Lock()

    def route(handler: Handler) -> None:
        with lock:
            chosen = left.pop(0) if len(left) > 1 else left[0]
        chosen(handler)

    return route


def status(code: int, **headers: str) -> Route:
    return lambda handler: handler.answer(code, b"sorry", **headers)


def cut(data: bytes, at: int, **headers: str) -> Route:
    """Declare the full length, send ``at`` bytes, and disconnect."""
    return lambda handler: handler.answer(200, data[:at], length=len(data), **headers)


def hang_up(handler: Handler) -> None:
    handler.close_connection = True


def ranged(data: bytes, tag: str, first: int | None = None) -> Route:
    """A file with an entity tag and range requests (RFC 9110); a full response breaks off after ``first`` bytes."""

    def route(handler: Handler) -> None:
        headers = {"ETag": tag, "Accept-Ranges": "bytes"}
        asked = handler.headers.get("Range")
        if asked and handler.headers.get("If-Range") == tag:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            handler.answer(206, data[start:], Content_Range=f"bytes {start}-{len(data) - 1}/{len(data)}", **headers)
        elif first is not None:
            handler.answer(200, data[:first], length=len(data), **headers)
        else:
            handler.answer(200, data, **headers)

    return route
