"""One file over HTTP into its partial file: statuses, sizes, retries and resumption."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import httpx
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from ..errors import InvalidOption
from ..images.decode import MAX_BYTES
from .partial import PartialFile
from .report import Outcome

#: Flickr answers with a redirect to this picture where a photograph has been taken away.
_PLACEHOLDER = "photo_unavailable"
_ABOUT_RANGES = (httpx.codes.PARTIAL_CONTENT, httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE)


@dataclass(frozen=True)
class DownloadOptions:
    """How to download.

    Args:
        concurrency: most requests at the same time.
        attempts: most requests for one file; only failed connections, timeouts, 408, 429 and 5xx are retried.
        first_wait: seconds before the second attempt, doubled before each further one, with jitter.
        max_wait: most seconds before an attempt, also where the server asks for more (``Retry-After``).
        connect_timeout: seconds for a connection.
        read_timeout: seconds without a single byte.
        total_timeout: seconds for one request as a whole; a server that trickles ends here.
        max_bytes: a larger file is not fetched.
        quiet: no progress bar, no table.

    Raises:
        InvalidOption: one of them is not positive.
    """

    concurrency: int = 16
    attempts: int = 4
    first_wait: float = 1.0
    max_wait: float = 60.0
    connect_timeout: float = 10.0
    read_timeout: float = 30.0
    total_timeout: float = 300.0
    max_bytes: int = MAX_BYTES
    quiet: bool = False

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name != "quiet" and not value > 0:
                raise InvalidOption(f"{name} must be positive, not {value}")


class Lost(Exception):
    """The file cannot be had, at least not now."""

    def __init__(self, outcome: Outcome, reason: str, detail: str = "") -> None:
        super().__init__(outcome, reason, detail)
        self.outcome, self.reason, self.detail = outcome, reason, detail


class _Transient(Lost):
    """It may be had a moment later; ``wait`` is how many seconds the server asks for."""

    def __init__(self, reason: str, detail: str = "", wait: float = 0.0) -> None:
        super().__init__("failed", reason, detail)
        self.wait = wait


class Transfer:
    """The transfer of ``url`` to ``part``, the partial file of ``path``, to be verified and finished by the caller."""

    def __init__(self, client: httpx.AsyncClient, url: str, path: Path, options: DownloadOptions) -> None:
        self.part = PartialFile(path)
        self._client, self._url, self._options = client, url, options
        self._backoff = wait_exponential_jitter(options.first_wait, options.max_wait, jitter=options.first_wait)

    async def run(self) -> None:
        """Fetch the whole file, with retries.

        Raises:
            Lost: it cannot be had.
        """
        retrying = AsyncRetrying(
            stop=stop_after_attempt(self._options.attempts),
            wait=self._wait,
            retry=retry_if_exception_type(_Transient),
            reraise=True,
        )
        try:
            await retrying(self._attempt)
        except Lost as lost:
            if lost.outcome != "failed":  # no later attempt will go on with it
                self.part.discard()
            raise

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.wait if isinstance(error, _Transient) else 0.0
        return min(self._options.max_wait, max(self._backoff(state), asked))

    async def _attempt(self) -> None:
        try:
            await asyncio.wait_for(self._request(), self._options.total_timeout)
        except (httpx.TimeoutException, asyncio.TimeoutError) as error:
            raise _Transient("timeout", type(error).__name__) from error
        except (httpx.UnsupportedProtocol, httpx.InvalidURL, UnicodeError) as error:
            raise Lost("dead", "bad address", str(error)) from error
        except httpx.TooManyRedirects as error:
            raise Lost("dead", "redirect loop", str(error)) from error
        except httpx.RequestError as error:
            raise _Transient("connection failed", f"{type(error).__name__}: {error}") from error

    async def _request(self) -> None:
        size, version = self.part.take_up(self._url)
        headers = {"Range": f"bytes={size}-", "If-Range": version} if size else {}
        async with self._client.stream("GET", self._url, headers=headers) as response:
            if not size or response.status_code not in _ABOUT_RANGES or _goes_on(response, size):
                _require_usable(response, bool(size))
                whole = response.status_code == httpx.codes.OK
                return await self._receive(response, 0 if whole else size)
        # The server cannot continue what is there: anew, and this time without a range.
        self.part.discard()
        await self._request()

    async def _receive(self, response: httpx.Response, size: int) -> None:
        """Append the body to the ``size`` bytes that are there."""
        length = response.headers.get("Content-Length", "")
        total = size + int(length) if length.isdecimal() else None
        if total is not None and total > self._options.max_bytes:
            raise Lost("invalid", "too large", f"{total} bytes")
        self.part.begin()
        try:
            with open(self.part.path, "ab" if size else "wb") as file:
                async for chunk in response.aiter_raw():
                    size += len(chunk)
                    if size > self._options.max_bytes:
                        break
                    file.write(chunk)
        except httpx.RemoteProtocolError as error:
            self.part.keep(self._url, _version(response))
            raise Lost("failed", "cut off", f"{size} of {total} bytes") from error
        except BaseException:  # timeouts, lost connections and Ctrl-C alike
            self.part.keep(self._url, _version(response))
            raise
        if size > self._options.max_bytes:
            raise Lost("invalid", "too large", f"more than {self._options.max_bytes} bytes")


def _goes_on(response: httpx.Response, size: int) -> bool:
    """Tell whether the answer is the rest of a file of which ``size`` bytes are there."""
    start = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return response.status_code == httpx.codes.PARTIAL_CONTENT and start == str(size)


def _require_usable(response: httpx.Response, ranged: bool) -> None:
    """Raise :class:`Lost` unless the answer is the file, or a part of it where one was asked for."""
    if any(_PLACEHOLDER in hop.url.path for hop in (*response.history, response)):
        raise Lost("dead", "placeholder", f"redirected to {response.url}")
    status = response.status_code
    if status in (httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_MANY_REQUESTS) or status >= 500:
        after = response.headers.get("Retry-After", "")
        raise _Transient(f"HTTP {status}", wait=float(after) if after.isdecimal() else 0.0)
    if status >= 400:
        raise Lost("dead", f"HTTP {status}")
    if status != httpx.codes.OK and not (ranged and status == httpx.codes.PARTIAL_CONTENT):
        raise Lost("failed", f"HTTP {status}")


def _version(response: httpx.Response) -> str:
    """Return what identifies this version of the file, if the server can send parts of it."""
    if response.headers.get("Accept-Ranges") != "bytes" and response.status_code != httpx.codes.PARTIAL_CONTENT:
        return ""
    tag: str = response.headers.get("ETag", "")
    date: str = response.headers.get("Last-Modified", "")
    return date if not tag or tag.startswith("W/") else tag
