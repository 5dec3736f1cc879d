"""An endpoint that accepts requests but does not respond: failover to another one within the call's deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from img2poem import AsyncImg2Poem, CallEvent, ConnectionFailed, Greedy, Img2Poem, Line, Timeout
from img2poem.serving.server import TritonServer

from ..homes import Loop
from ..proxy import Fault, Proxy
from ..silent import Silent

#: Deadline of a call in seconds: half of it is lost on the silent endpoint; the rest suffices on any machine.
DEADLINE = 12.0

Poet = Img2Poem | AsyncImg2Poem


@contextmanager
def _blocking(target: Any, **options: Any) -> Iterator[tuple[Poet, Callable[[Any], Any]]]:
    with Img2Poem(target, **options) as poet:
        yield poet, lambda found: list(found) if hasattr(found, "__next__") else found


@contextmanager
def _asyncio(target: Any, **options: Any) -> Iterator[tuple[Poet, Callable[[Any], Any]]]:
    async def listed(lines: Any) -> list[Any]:
        return [line async for line in lines]

    loop = Loop()
    poet = AsyncImg2Poem(target, **options)
    try:
        yield poet, lambda found: loop.run(listed(found) if hasattr(found, "__anext__") else found)
    finally:
        loop.run(poet.close())
        loop.close()


both = pytest.mark.parametrize("client", [_blocking, _asyncio], ids=["blocking", "asyncio"])
schemes = pytest.mark.parametrize("scheme", ["grpc", "http"])


@both
@schemes
def test_another_endpoint_answers_within_the_same_call(
    server: TritonServer, photos: list[bytes], scheme: str, client: Any
) -> None:
    events: list[CallEvent] = []
    with Silent() as silent:
        targets = [f"{scheme}://{silent.address}", server.grpc_url]
        with client(targets, timeout=DEADLINE, retries=0, hooks=[events.append]) as (poet, done):
            first, second = (done(poet.write(photo, Greedy())) for photo in photos[:2])
    with Img2Poem(server.grpc_url) as alone:
        assert [first.text, second.text] == [alone.write(photo, Greedy()).text for photo in photos[:2]]
    left = [event for event in events if event.endpoint == targets[0]]
    # gRPC itself gives up a connection without a handshake before half of the deadline.
    assert len(left) == 1 and isinstance(left[0].error, Timeout | ConnectionFailed)


@both
def test_a_call_that_nobody_answers_ends_by_its_own_deadline(photos: list[bytes], client: Any) -> None:
    with Silent() as one, Silent() as other:
        targets = [f"http://{one.address}", f"http://{other.address}"]
        with client(targets, timeout=1.0) as (poet, done):
            for _ in range(2):
                with pytest.raises(Timeout, match="no answer within 1 s"):
                    done(poet.write(photos[0], Greedy()))
        assert one.connections and other.connections


@both
def test_a_stream_that_stops_between_two_lines_goes_on_elsewhere(
    server: TritonServer, photos: list[bytes], client: Any
) -> None:
    with Img2Poem(server.grpc_url) as alone:
        expected = list(alone.stream(photos[0]))
    found: list[Line] = []
    with Proxy(server.ports.grpc) as proxy:
        targets = [f"grpc://{proxy.address}", server.grpc_url]
        with client(targets, timeout=DEADLINE) as (poet, done):
            if isinstance(poet, Img2Poem):
                for line in poet.stream(photos[0]):
                    found.append(line)
                    proxy.spoil(Fault.lost)
            else:

                async def follow() -> None:
                    async for line in poet.stream(photos[0]):
                        found.append(line)
                        proxy.spoil(Fault.lost)

                done(follow())
            assert done(poet.write(photos[0], Greedy())).lines
    assert found == expected


def test_many_calls_at_once_leave_a_silent_endpoint_together(server: TritonServer, photos: list[bytes]) -> None:
    async def written() -> list[str]:
        with Silent() as silent:
            async with AsyncImg2Poem([f"http://{silent.address}", server.http_url], timeout=DEADLINE) as poet:
                return [poem.text for poem in await poet.write(photos[:6], Greedy())]

    with Img2Poem(server.http_url) as alone:
        assert asyncio.run(written()) == [poem.text for poem in alone.write(photos[:6], Greedy())]
