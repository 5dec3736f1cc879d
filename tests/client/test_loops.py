"""One asyncio client in several event loops, sequentially and concurrently."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from img2poem import AsyncImg2Poem, Cancelled, Greedy
from img2poem.serving.server import TritonServer

from ..homes import Loop


@pytest.fixture(params=["folder", "grpc", "http"])
def poet(request: pytest.FixtureRequest, repository: Path, server: TritonServer) -> AsyncImg2Poem:
    targets = {"folder": str(repository), "grpc": server.grpc_url, "http": server.http_url}
    return AsyncImg2Poem(targets[request.param])


def test_each_run_has_connections_of_its_own(poet: AsyncImg2Poem, photos: list[bytes]) -> None:
    """Regression: the second loop reused the first's connections: RuntimeError over gRPC, "closed" over HTTP."""

    async def lines() -> list[str]:
        return [line.text async for line in poet.stream(photos[0], Greedy())]

    found = [asyncio.run(poet.write(photos[0], Greedy())).lines for _ in range(3)]
    assert found[0] == found[1] == found[2] == tuple(asyncio.run(lines()))
    asyncio.run(poet.close())
    with pytest.raises(Cancelled, match="closed"):
        asyncio.run(poet.write(photos[0], Greedy()))


def test_two_loops_at_once_share_a_client(poet: AsyncImg2Poem, photos: list[bytes]) -> None:
    first, second = Loop(), Loop()
    try:
        for loop in (first, second, first):
            assert loop.run(poet.write(photos[0], Greedy())).lines
        first.run(poet.close())
        for loop in (first, second):
            with pytest.raises(Cancelled, match="closed"):
                loop.run(poet.write(photos[0], Greedy()))
    finally:
        first.close()
        second.close()
