"""How much goes on at once, and what happens to the rest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from ..errors import Overloaded
from .metrics import Metrics

T = TypeVar("T")


class Places:
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
        """Wait for a place and hold it.

        Raises:
            Overloaded: as many wait already as may.
            ClientDisconnect: the caller went away while waiting.
        """
        if self._free.locked() and self._waiting >= self._most:
            raise Overloaded("too many requests are under way; try again soon")
        self._waiting += 1
        try:
            with self._metrics.waiting.track_inprogress():
                await unless_gone(request, self._free.acquire())
        finally:
            self._waiting -= 1
        try:
            with self._metrics.under_way.track_inprogress():
                yield
        finally:
            self._free.release()


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return what ``work`` returns; where the caller goes away before, end it.

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


async def in_thread(work: Callable[[], T]) -> T:
    """Return what ``work`` returns; cancelled, it goes on to its end all the same, and is waited for.

    Else its place would come free while it still takes a processor.
    """
    working = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait((working,))
        raise


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
