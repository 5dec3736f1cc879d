"""Transfer of one file over HTTP into its partial file: status codes, sizes, retries and resumption."""

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

#: Flickr redirects to this picture if a photograph has been removed.
_PLACEHOLDER = "photo_unavailable"
_ABOUT_RANGES = (httpx.codes.PARTIAL_CONTENT, httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE)


@dataclass(frozen=True)
class DownloadOptions:
    """Options of a download.

    Args:
        concurrency: most concurrent requests.
        attempts: most requests for one file; only failed connections, timeouts, 408, 429 and 5xx are retried.
        first_wait: seconds before the first retry; doubled before each further one, with jitter.
        max_wait: most seconds before a retry, even if the server asks for more (``Retry-After``).
        connect_timeout: seconds to establish a connection.
        read_timeout: seconds to wait for the next bytes.
        total_timeout: seconds for one whole request; it ends the transfer from a server that is too slow.
        max_bytes: size limit of a file; larger files are not fetched.
        quiet: print no progress bar and no table.

    Raises:
        InvalidOption: a number is not positive.
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
    """The file cannot be fetched, at least not now."""

    def __init__(self, outcome: Outcome, reason: str, detail: str = "") -> None:
        super().__init__(outcome, reason, detail)
        self.outcome, self.reason, self.detail = outcome, reason, detail


class _Transient(Lost):
    """A retry may succeed; ``wait`` is the delay in seconds that the server asks for."""

    def __init__(self, reason: str, detail: str = "", wait: float = 0.0) -> None:
        super().__init__("failed", reason, detail)
        self.wait = wait


class Transfer:
    """Transfer of ``url`` to ``part``, the partial file of ``path``; the caller verifies and finishes the file."""

    def __init__(self, client: httpx.AsyncClient, url: str, path: Path, options: DownloadOptions) -> None:
        self.part = PartialFile(path)
        self._client, self._url, self._options = client, url, options
        self._backoff = wait_exponential_jitter(options.first_wait, options.max_wait, jitter=options.first_wait)

    async def run(self) -> None:
        """Fetch the whole file, with retries.

        Raises:
            Lost: the file cannot be fetched.
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
            if lost.outcome != "failed":  # no later download will resume it
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
        # The server cannot continue the partial file: start again without a range.
        self.part.discard()
        await self._request()

    async def _receive(self, response: httpx.Response, size: int) -> None:
        """Append the body to the first ``size`` bytes of the partial file."""
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
    """Whether the response continues a partial file of ``size`` bytes."""
    start = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return response.status_code == httpx.codes.PARTIAL_CONTENT and start == str(size)


def _require_usable(response: httpx.Response, ranged: bool) -> None:
    """Raise :class:`Lost` unless the response is the file, or a part of it if a range was requested."""
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
    """Return the validator of this version of the file (entity tag or date); "" if the server sends no ranges."""
    if response.headers.get("Accept-Ranges") != "bytes" and response.status_code != httpx.codes.PARTIAL_CONTENT:
        return ""
    tag: str = response.headers.get("ETag", "")
    date: str = response.headers.get("Last-Modified", "")
    return date if not tag or tag.startswith("W/") else tag
