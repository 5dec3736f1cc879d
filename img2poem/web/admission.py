"""Admission control: a limit of concurrency and a queue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from ..errors import Overloaded
from .metrics import Metrics

P = ParamSpec("P")
T = TypeVar("T")

#: What was begun in threads at this place and has not ended.
_begun: ContextVar[set[Future[Any]]] = ContextVar("_begun")


class Threads(ThreadPoolExecutor):
    """Threads for an event loop: a place knows which of them still work for it.

    Cancelled, ``asyncio.to_thread`` returns at once, but its thread works on.
    """

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Begin ``fn`` in a thread."""
        working = super().submit(fn, *args, **kwargs)
        if (begun := _begun.get(None)) is not None:
            begun.add(working)
            working.add_done_callback(begun.discard)
        return working


class AdmissionQueue:
    """So many requests are worked for at once, some more wait, the rest is refused.

    Args:
        count: at once.
        waiting: that wait.
        metrics: told of both.
    """

    def __init__(self, count: int, waiting: int, metrics: Metrics) -> None:
        self._free, self._most, self._metrics = asyncio.Semaphore(count), waiting, metrics
        self._waiting = 0

    @asynccontextmanager
    async def taken(self, request: Request) -> AsyncIterator[None]:
        """Wait for a place and hold it, until the threads that were begun there (:class:`Threads`) have ended too.

        Raises:
            Overloaded: as many wait already as may.
            ClientDisconnect: the caller went away while waiting.
        """
        if self._free.locked() and self._waiting >= self._most:
            raise Overloaded("too many requests are under way; try again soon")
        self._waiting += 1
        coming = asyncio.ensure_future(self._free.acquire())
        try:
            with self._metrics.waiting.track_inprogress():
                await unless_gone(request, coming)
        except BaseException:
            # It may have come at the very moment at which nobody waited any more.
            if coming.done() and not coming.cancelled():
                self._free.release()
            raise
        finally:
            self._waiting -= 1
        begun: set[Future[Any]] = set()
        _begun.set(begun)
        try:
            with self._metrics.under_way.track_inprogress():
                try:
                    yield
                finally:
                    await asyncio.gather(*map(asyncio.wrap_future, begun.copy()), return_exceptions=True)
        finally:
            self._free.release()


async def unless_gone(request: Request, work: Awaitable[T]) -> T:
    """Return what ``work`` returns; where the caller goes away before, or the task is cancelled, end it.

    Raises:
        ClientDisconnect: the caller is gone.
    """
    working, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnect
    finally:
        for task in (working, gone):
            task.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
