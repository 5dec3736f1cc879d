"""Perform the steps of a session: :class:`Driver` blocks, :class:`AsyncDriver` is for the tasks of event loops."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import AsyncExitStack, ExitStack, aclosing, closing
from typing import Any, TypeVar, cast

from ..errors import Img2PoemError
from ..requests import Call, Flow, Hook, Infer, Line, Look
from ..transports.base import AsyncEndpoint, AsyncFollowing, Endpoint, Following
from .session import Next, Open, Pause, Send, Session

T = TypeVar("T")


class Driver:
    """Runs flows in the calling thread; safe to share among threads.

    Args:
        endpoints: in order of preference.
        retries: see :class:`.session.Session`.
        hooks: called after each attempt.

    Raises:
        InvalidOption: an argument is invalid.
    """

    def __init__(self, endpoints: Sequence[Endpoint], retries: int, hooks: Sequence[Hook] = ()) -> None:
        self.endpoints = list(endpoints)
        self.names = [one.name for one in endpoints]
        self._session = Session(self.names, retries, hooks)

    def run(self, flow: Flow[T], call: Call) -> T:
        """Run ``flow`` to its end and return its result."""
        result: list[T] = []
        for _ in self.lines(kept(flow, result), call):
            pass
        return result[0]

    def lines(self, flow: Flow[None], call: Call) -> Generator[Line, None, None]:
        """Run ``flow`` and yield its lines."""
        reply: Any = None
        error: Img2PoemError | None = None
        with closing(self._session.steps(flow, call)) as steps, ExitStack() as stream:
            while True:
                try:
                    step = steps.send(reply) if error is None else steps.throw(error)
                except StopIteration:
                    return
                reply = error = None
                if isinstance(step, Line):
                    yield step
                    continue
                try:
                    match step:
                        case Pause(seconds):
                            time.sleep(seconds)
                        case Send(place, Look(model), attempt):
                            reply = self.endpoints[place].look(model, attempt)
                        case Send(place, Infer() as request, attempt):
                            reply = self.endpoints[place].infer(request, attempt)
                        case Open(place, request, attempt):
                            stream.close()
                            opened = cast("Following", self.endpoints[place]).follow(request, attempt)
                            parts = stream.enter_context(closing(opened))
                        case Next():
                            reply = next(parts, None)
                except Img2PoemError as raised:
                    stream.close()
                    error = raised

    def streams(self) -> bool:
        """Whether every endpoint can stream."""
        return all(isinstance(one, Following) for one in self.endpoints)

    def close(self) -> None:
        """Close every endpoint."""
        for endpoint in self.endpoints:
            endpoint.close()


class AsyncDriver:
    """:class:`Driver` for asyncio."""

    def __init__(self, endpoints: Sequence[AsyncEndpoint], retries: int, hooks: Sequence[Hook] = ()) -> None:
        self.endpoints = list(endpoints)
        self.names = [one.name for one in endpoints]
        self._session = Session(self.names, retries, hooks)

    async def run(self, flow: Flow[T], call: Call) -> T:
        """Run ``flow`` to its end and return its result."""
        result: list[T] = []
        async with aclosing(self.lines(kept(flow, result), call)) as lines:
            async for _ in lines:
                pass
        return result[0]

    async def lines(self, flow: Flow[None], call: Call) -> AsyncGenerator[Line, None]:
        """Run ``flow`` and yield its lines."""
        reply: Any = None
        error: Img2PoemError | None = None
        with closing(self._session.steps(flow, call)) as steps:
            async with AsyncExitStack() as stream:
                while True:
                    try:
                        step = steps.send(reply) if error is None else steps.throw(error)
                    except StopIteration:
                        return
                    reply = error = None
                    if isinstance(step, Line):
                        yield step
                        continue
                    try:
                        match step:
                            case Pause(seconds):
                                await asyncio.sleep(seconds)
                            case Send(place, Look(model), attempt):
                                reply = await self.endpoints[place].look(model, attempt)
                            case Send(place, Infer() as request, attempt):
                                reply = await self.endpoints[place].infer(request, attempt)
                            case Open(place, request, attempt):
                                await stream.aclose()
                                opened = cast("AsyncFollowing", self.endpoints[place]).follow(request, attempt)
                                parts = await stream.enter_async_context(aclosing(opened))
                            case Next():
                                reply = await anext(parts, None)
                    except Img2PoemError as raised:
                        await stream.aclose()
                        error = raised

    def streams(self) -> bool:
        """Whether every endpoint can stream."""
        return all(isinstance(one, AsyncFollowing) for one in self.endpoints)

    async def close(self) -> None:
        """Close every endpoint."""
        for endpoint in self.endpoints:
            await endpoint.close()


def kept(flow: Flow[T], result: list[T]) -> Flow[None]:
    """Run ``flow`` and append its result to ``result``: an asynchronous generator cannot return a value."""
    result.append((yield from flow))
