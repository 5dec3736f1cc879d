"""Runs flows against endpoints: each request is tried, retried where that is safe, and sent on to another endpoint.

:class:`Dispatcher` blocks, :class:`AsyncDispatcher` is for asyncio; they differ in nothing else.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import aclosing, closing
from typing import Any, TypeVar

from ..errors import ConnectionFailed
from ..requests import Answer, Call, Flow, Follow, Hook, Infer, Line, Look, ModelInfo, Request
from ..transports.base import AsyncEndpoint, AsyncFollowing, Endpoint, Following
from .failover import Failover

T = TypeVar("T")


class Dispatcher:
    """Runs flows; many threads may at once.

    Args:
        endpoints: in the order of preference.
        retries: how often a request is tried again.
        hooks: told of each attempt.
    """

    def __init__(self, endpoints: Sequence[Endpoint], retries: int, hooks: Sequence[Hook] = ()) -> None:
        self.endpoints = list(endpoints)
        self.failover = Failover([one.name for one in endpoints], retries, hooks)

    def run(self, flow: Flow[T], call: Call) -> T:
        """Run a flow to its end and return what it returns."""
        lines = self.lines(flow, call)
        while True:
            try:
                next(lines)
            except StopIteration as end:
                value: T = end.value
                return value

    def lines(self, flow: Flow[T], call: Call) -> Generator[Line, None, T]:
        """Run a flow, yield the lines that it yields, and return what it returns."""
        with closing(flow):
            try:
                reply: Any = None
                while True:
                    step = flow.send(reply)
                    reply = None
                    if isinstance(step, Line):
                        yield step
                    elif isinstance(step, Follow):
                        for part in self._followed(step, call):
                            if isinstance(part, Answer):
                                reply = part
                            else:
                                yield part
                    else:
                        reply = self._answered(step, call)
            except StopIteration as end:
                value: T = end.value
                return value

    def follows(self) -> bool:
        """Whether every endpoint has answers in parts."""
        return all(isinstance(one, Following) for one in self.endpoints)

    def close(self) -> None:
        """Close every endpoint."""
        for endpoint in self.endpoints:
            endpoint.close()

    def _followed(self, request: Follow, call: Call) -> Generator[Line | Answer, None, None]:
        """Yield the lines of an answer in parts, then the closing one.

        Tried again, it is the same, and goes on after the last line.
        """
        from tenacity import Retrying

        known = 0
        for attempt in Retrying(**self.failover.policy(call)):
            with attempt:
                place = self.failover.current()
                number = attempt.retry_state.attempt_number
                with (
                    self.failover.attempt(place, request.model, call, number) as tried,
                    closing(self._parts_of(place, request, tried)) as parts,
                ):
                    for part in parts:
                        if isinstance(part, Answer):
                            yield part
                        elif part.index == known:
                            known += 1
                            yield part
                        self.failover.renew(tried, call, number)

    def _parts_of(self, place: int, request: Follow, call: Call) -> Generator[Line | Answer, None, None]:
        endpoint = self.endpoints[place]
        assert isinstance(endpoint, Following)
        self._compared(place, request, call)
        with closing(endpoint.follow(request, call)) as parts:
            for part in parts:
                if (line := request.line(part)) is None:
                    yield part
                    return
                yield line
        raise ConnectionFailed(f"{endpoint.name} broke off its answer")

    def _answered(self, request: Request, call: Call) -> Answer | ModelInfo:
        from tenacity import Retrying

        for attempt in Retrying(**self.failover.policy(call)):
            with attempt:
                place, number = self.failover.current(), attempt.retry_state.attempt_number
                with self.failover.attempt(place, request.model, call, number) as tried:
                    return self._asked(place, request, tried)
        raise AssertionError("tenacity raises the last error")

    def _asked(self, place: int, request: Request, call: Call) -> Answer | ModelInfo:
        endpoint, known = self.endpoints[place], self.failover.known[place]
        if isinstance(request, Look):
            if request.model not in known.models:
                known.models[request.model] = endpoint.look(request.model, call)
            return known.models[request.model]
        self._compared(place, request, call)
        return endpoint.infer(request, call)

    def _compared(self, place: int, request: Infer, call: Call) -> None:
        if request.model in self.failover.known[place].compared:
            return
        flow, reply = self.failover.comparison(place, request.model), None
        while True:
            try:
                step = flow.send(reply)
            except StopIteration:
                return
            assert isinstance(step, Look)
            reply = self._asked(place, step, call)


class AsyncDispatcher:
    """As :class:`Dispatcher`, for the tasks of one event loop."""

    def __init__(self, endpoints: Sequence[AsyncEndpoint], retries: int, hooks: Sequence[Hook] = ()) -> None:
        self.endpoints = list(endpoints)
        self.failover = Failover([one.name for one in endpoints], retries, hooks)

    async def run(self, flow: Flow[T], call: Call) -> T:
        """Run a flow to its end and return what it returns."""
        result: list[T] = []
        async with aclosing(self.lines(kept(flow, result), call)) as lines:
            async for _ in lines:
                pass
        return result[0]

    async def lines(self, flow: Flow[T], call: Call) -> AsyncGenerator[Line, None]:
        """Run a flow and yield the lines that it yields."""
        with closing(flow):
            reply: Any = None
            while True:
                try:
                    step = flow.send(reply)
                except StopIteration:
                    return
                reply = None
                if isinstance(step, Line):
                    yield step
                elif isinstance(step, Follow):
                    async with aclosing(self._followed(step, call)) as parts:
                        async for part in parts:
                            if isinstance(part, Answer):
                                reply = part
                            else:
                                yield part
                else:
                    reply = await self._answered(step, call)

    def follows(self) -> bool:
        """Whether every endpoint has answers in parts."""
        return all(isinstance(one, AsyncFollowing) for one in self.endpoints)

    async def close(self) -> None:
        """Close every endpoint."""
        for endpoint in self.endpoints:
            await endpoint.close()

    async def _followed(self, request: Follow, call: Call) -> AsyncGenerator[Line | Answer, None]:
        """Yield the lines of an answer in parts, then the closing one.

        Tried again, it is the same, and goes on after the last line.
        """
        from tenacity import AsyncRetrying

        known = 0
        async for attempt in AsyncRetrying(**self.failover.policy(call)):
            with attempt:
                place = self.failover.current()
                number = attempt.retry_state.attempt_number
                with self.failover.attempt(place, request.model, call, number) as tried:
                    async with aclosing(self._parts_of(place, request, tried)) as parts:
                        async for part in parts:
                            if isinstance(part, Answer):
                                yield part
                            elif part.index == known:
                                known += 1
                                yield part
                            self.failover.renew(tried, call, number)

    async def _parts_of(self, place: int, request: Follow, call: Call) -> AsyncGenerator[Line | Answer, None]:
        endpoint = self.endpoints[place]
        assert isinstance(endpoint, AsyncFollowing)
        await self._compared(place, request, call)
        async with aclosing(endpoint.follow(request, call)) as parts:
            async for part in parts:
                if (line := request.line(part)) is None:
                    yield part
                    return
                yield line
        raise ConnectionFailed(f"{endpoint.name} broke off its answer")

    async def _answered(self, request: Request, call: Call) -> Answer | ModelInfo:
        from tenacity import AsyncRetrying

        async for attempt in AsyncRetrying(**self.failover.policy(call)):
            with attempt:
                place, number = self.failover.current(), attempt.retry_state.attempt_number
                with self.failover.attempt(place, request.model, call, number) as tried:
                    return await self._asked(place, request, tried)
        raise AssertionError("tenacity raises the last error")

    async def _asked(self, place: int, request: Request, call: Call) -> Answer | ModelInfo:
        endpoint, known = self.endpoints[place], self.failover.known[place]
        if isinstance(request, Look):
            if request.model not in known.models:
                known.models[request.model] = await endpoint.look(request.model, call)
            return known.models[request.model]
        await self._compared(place, request, call)
        return await endpoint.infer(request, call)

    async def _compared(self, place: int, request: Infer, call: Call) -> None:
        if request.model in self.failover.known[place].compared:
            return
        flow, reply = self.failover.comparison(place, request.model), None
        while True:
            try:
                step = flow.send(reply)
            except StopIteration:
                return
            assert isinstance(step, Look)
            reply = await self._asked(place, step, call)


def kept(flow: Flow[T], result: list[T]) -> Flow[None]:
    """Run ``flow`` and put what it returns into ``result``: an asynchronous generator cannot return it."""
    result.append((yield from flow))
