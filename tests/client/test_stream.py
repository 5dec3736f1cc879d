"""Streamed lines are those of the whole poem, in every runtime; a stream stops when nobody reads on."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from img2poem import (
    AsyncImg2Poem,
    BadImage,
    BeamSearch,
    BestOf,
    Cancelled,
    ConnectionFailed,
    Form,
    Greedy,
    Img2Poem,
    InvalidOption,
    Line,
    Poem,
    Sampling,
    Timeout,
)
from img2poem.decoding.strategies import Strategy
from img2poem.serving.server import Ports, TritonServer

from ..conftest import ROOT
from ..proxy import Fault, Proxy
from ..waiting import eventually

STRATEGIES: list[Strategy] = [
    Sampling(seed=3),
    Sampling(seed=2**62, temperature=1.3, top_k=20, top_p=0.9, forbidden=("the", "sea"), max_line_tokens=8),
    Greedy(),
    Greedy(max_tokens=9),
]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
def test_the_lines_are_those_of_the_whole_poem(target: str, photos: list[bytes], strategy: Strategy) -> None:
    with Img2Poem(target) as poet:
        for photo in photos[:3]:
            poem = poet.write(photo, strategy)
            lines = [Line(*line) for line in enumerate(poem.lines)]
            assert list(poet.stream(photo, strategy)) == lines == list(poet.stream(photo, strategy, where="client"))


def test_a_stream_can_end_with_the_whole_poem(target: str, photos: list[bytes]) -> None:
    async def parts() -> list[Line | Poem]:
        async with AsyncImg2Poem(target) as poet:
            return [part async for part in poet.stream_poem(photos[0], form=Form(lines=4))]

    with Img2Poem(target) as poet:
        poem = poet.write(photos[0], Sampling(), form=Form(lines=4))
        for *lines, whole in (list(poet.stream_poem(photos[0], form=Form(lines=4))), asyncio.run(parts())):
            assert isinstance(whole, Poem) and lines == [Line(*line) for line in enumerate(poem.lines)]
            own = {"timings": whole.timings, "request_id": whole.request_id, "score": whole.score}
            assert replace(poem, **own) == whole and abs(poem.score - whole.score) < 1e-4


def test_asyncio_streams_the_same_and_many_at_once(target: str, photos: list[bytes]) -> None:
    async def lines(poet: AsyncImg2Poem, seed: int) -> list[Line]:
        return [line async for line in poet.stream(photos[0], Sampling(seed=seed))]

    async def use() -> list[list[Line]]:
        async with AsyncImg2Poem(target) as poet:
            return await asyncio.gather(*(lines(poet, seed) for seed in range(6)))

    found = asyncio.run(use())
    with Img2Poem(target) as poet:
        assert found == [list(poet.stream(photos[0], Sampling(seed=seed))) for seed in range(6)]


def test_leaving_the_loop_leaves_the_client_whole(target: str, photos: list[bytes]) -> None:
    async def use() -> None:
        async with AsyncImg2Poem(target) as poet:
            for _ in range(3):
                async with aclosing(poet.stream(photos[0])) as lines:
                    assert (await anext(lines)).index == 0
            assert len([line async for line in poet.stream(photos[0])]) >= 3

    with Img2Poem(target) as poet:
        for _ in range(3):
            for line in poet.stream(photos[0]):
                assert line.index == 0
                break
        assert len(list(poet.stream(photos[0]))) >= 3
    asyncio.run(use())


@pytest.mark.parametrize(
    ("strategy", "form"), [(BeamSearch(), None), (BestOf(2), None), (Sampling(), Form(rhyme="AA"))], ids=str
)
def test_what_knows_no_line_before_the_end_is_refused(
    target: str, photos: list[bytes], strategy: Strategy, form: Form | None
) -> None:
    with Img2Poem(target) as poet, pytest.raises(InvalidOption, match="line by line"):
        list(poet.stream(photos[0], strategy, form=form))


def test_over_grpc_the_server_writes_line_by_line(server: TritonServer, photos: list[bytes]) -> None:
    """One request per poem; elsewhere, requiring this is an error."""
    asked: list[str] = []
    with Img2Poem(server.grpc_url, hooks=[lambda event: asked.append(event.model)]) as poet:
        poet.health()
        lines = list(poet.stream(photos[0], form=Form(lines=5)))
        # The second request reads the model's stamps for the final poem.
        assert len(lines) == 5 and asked == ["img2poem_stream"] * 2
        assert list(poet.stream(photos[0], form=Form(lines=5), where="client")) == lines
        assert "decoder_step" in asked
    with Img2Poem([server.grpc_url, server.http_url]) as poet:
        assert list(poet.stream(photos[0], form=Form(lines=5))) == lines
        with pytest.raises(InvalidOption, match="where='client'"):
            list(poet.stream(photos[0], where="server"))


def test_closing_the_client_ends_its_streams(target: str, photos: list[bytes]) -> None:
    with Img2Poem(target) as poet:
        lines = poet.stream(photos[0])
        next(lines)
    with pytest.raises(Cancelled):
        list(lines)

    async def closed() -> None:
        async with AsyncImg2Poem(target) as poet:
            lines = poet.stream(photos[0])
            await anext(lines)
        with pytest.raises(Cancelled):
            _ = [line async for line in lines]

    asyncio.run(closed())


def test_streams_of_asyncio_leave_a_connection_that_was_lost(server: TritonServer, photos: list[bytes]) -> None:
    """Regression: all streams share a connection, and each waited on the lost one until its deadline."""

    async def used() -> None:
        with Proxy(server.ports.grpc) as proxy:
            async with AsyncImg2Poem(f"grpc://{proxy.address}") as poet:
                expected = [line async for line in poet.stream(photos[0])]
                proxy.spoil(Fault.lost, times=1)
                with pytest.raises(Timeout):
                    _ = [line async for line in poet.stream(photos[0], timeout=2)]
                assert [line async for line in poet.stream(photos[0], timeout=20)] == expected

    asyncio.run(used())


def test_a_stream_fails_as_any_call(target: str, photos: list[bytes]) -> None:
    with Img2Poem(target) as poet:
        with pytest.raises(BadImage, match="truncated") as caught:
            list(poet.stream(photos[0][: len(photos[0]) // 2]))
        assert caught.value.request_id
        with pytest.raises(Timeout):
            list(poet.stream(photos[0], timeout=1e-4))
    nowhere = f"grpc://127.0.0.1:{Ports.free().grpc}"
    with Img2Poem(nowhere, retries=0) as poet, pytest.raises(ConnectionFailed):
        list(poet.stream(photos[0]))


def test_no_stream_leaves_a_thread_behind(target: str, photos: list[bytes]) -> None:
    """Regression: gRPC's thread that waits for a stream's next request remained after the stream's end."""
    with Img2Poem(target) as poet, Img2Poem(f"grpc://127.0.0.1:{Ports.free().grpc}", retries=0) as nobody:
        next(poet.stream(photos[0]))
        before = threading.active_count()
        for _ in range(4):
            list(poet.stream(photos[0]))
            next(poet.stream(photos[0]))
            with pytest.raises(ConnectionFailed):
                list(nobody.stream(photos[0]))
        assert eventually(lambda: threading.active_count() <= before, 5)


def test_a_fault_between_two_lines_costs_none(server: TritonServer, photos: list[bytes]) -> None:
    with Proxy(server.ports.grpc) as proxy, Img2Poem(f"grpc://{proxy.address}", timeout=20) as poet:
        expected = list(poet.stream(photos[0]))
        found = []
        for line in poet.stream(photos[0]):
            found.append(line)
            proxy.spoil(Fault.drop, times=1)
        assert found == expected
        with pytest.raises((ConnectionFailed, Timeout)):
            for _ in poet.stream(photos[0], timeout=4):
                proxy.spoil(Fault.drop)
        proxy.spoil(Fault.none)
        assert list(poet.stream(photos[0])) == expected


def test_a_program_may_end_in_the_middle_of_a_poem(server: TritonServer, photo_file: Path) -> None:
    """Regression: over gRPC, the thread that reads the stream kept the program alive."""
    code = "import sys, img2poem; lines = img2poem.Img2Poem(sys.argv[1]).stream(sys.argv[2]); print(next(lines).text)"
    for url in (server.grpc_url, server.http_url):
        command = [sys.executable, "-c", code, url, str(photo_file)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0 and done.stdout.strip() and not done.stderr
