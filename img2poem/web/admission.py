"""Admission control: concurrency limit and queue."""

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

#: Unfinished thread calls of the request that holds the current slot.
_begun: ContextVar[set[Future[Any]]] = ContextVar("_begun")


class Threads(ThreadPoolExecutor):
    """Thread pool of an event loop that records the unfinished calls of each slot.

    A cancelled ``asyncio.to_thread`` returns at once, but its thread continues to run.
    """

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run ``fn`` in a thread, and record the call for the current slot."""
        working = super().submit(fn, *args, **kwargs)
        if (begun := _begun.get(None)) is not None:
            begun.add(working)
            working.add_done_callback(begun.discard)
        return working


class AdmissionQueue:
    """Limits the requests in progress; further requests wait in a queue, and a full queue rejects new ones.

    Args:
        count: maximum number of requests in progress.
        waiting: maximum length of the queue.
        metrics: has a gauge of each.
    """

    def __init__(self, count: int, waiting: int, metrics: Metrics) -> None:
        self._free, self._most, self._metrics = asyncio.Semaphore(count), waiting, metrics
        self._waiting = 0

    @asynccontextmanager
    async def taken(self, request: Request) -> AsyncIterator[None]:
        """Wait for a slot; hold it until the block and all threads that it started (:class:`Threads`) have ended.

        Raises:
            Overloaded: the queue is full.
            ClientDisconnect: the client disconnected while waiting.
        """
        if self._free.locked() and self._waiting >= self._most:
            raise Overloaded("too many requests are under way; try again soon")
        self._waiting += 1
        coming = asyncio.ensure_future(self._free.acquire())
        try:
            with self._metrics.waiting.track_inprogress():
                await unless_gone(request, coming)
        except BaseException:
            # The slot may have been acquired at the moment the wait ended.
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
    """Return the result of ``work``; cancel it if the client disconnects or the task is cancelled.

    Raises:
        ClientDisconnect: the client disconnected.
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
