"""A client and the real server over a faulty network: the right poem or the right error, in time."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from img2poem import AsyncImg2Poem, ConnectionFailed, Greedy, Img2Poem, Img2PoemError, NotReady, Poem
from img2poem.errors import ServerError, Timeout
from img2poem.serving.server import Ports, TritonServer

from ..homes import Loop
from ..proxy import Fault, Proxy

#: Seconds after which a call counts as hanging, on any machine.
HANGS = 120
DEADLINE = 4.0

Write = Callable[[bytes], Poem]


@pytest.fixture(params=["grpc", "http"])
def proxy(request: pytest.FixtureRequest, server: TritonServer) -> Iterator[tuple[str, Proxy]]:
    with Proxy(getattr(server.ports, request.param)) as proxy:
        yield f"{request.param}://{proxy.address}", proxy


@pytest.fixture(params=["blocking", "asyncio"])
def write(request: pytest.FixtureRequest, proxy: tuple[str, Proxy]) -> Iterator[Write]:
    """Writes the greedy poem through the proxy, with the deadline."""
    url, _ = proxy
    loop = Loop()
    blocking, other = Img2Poem(url, timeout=DEADLINE), AsyncImg2Poem(url, timeout=DEADLINE)
    with ThreadPoolExecutor(16) as pool:
        if request.param == "blocking":
            yield lambda photo: pool.submit(blocking.write, photo, Greedy()).result(HANGS)
        else:
            yield lambda photo: loop.run(other.write(photo, Greedy()))
    blocking.close()
    loop.run(other.close())
    loop.close()


@pytest.fixture(scope="module")
def expected(repository: Path, photos: list[bytes]) -> list[str]:
    with Img2Poem(repository) as poet:
        return [poem.text for poem in poet.write(photos, Greedy())]


@pytest.mark.parametrize("before", [False, True], ids=["at once", "once connected"])
@pytest.mark.parametrize(
    ("fault", "errors"),
    [
        # gRPC may keep retrying the connection until the deadline.
        (Fault.drop, (ConnectionFailed, Timeout)),
        (Fault.reset, (ConnectionFailed, Timeout)),
        (Fault.garbage, (ConnectionFailed, ServerError, Timeout)),
        (Fault.stall, (Timeout,)),
        (Fault.drip, (Timeout,)),
    ],
    ids=lambda value: getattr(value, "value", ""),
)
def test_a_fault_that_lasts_is_named_and_forgotten(
    proxy: tuple[str, Proxy],
    write: Write,
    photos: list[bytes],
    expected: list[str],
    fault: Fault,
    errors: tuple[type[Img2PoemError], ...],
    before: bool,
) -> None:
    if before:
        assert write(photos[0]).text == expected[0]
    proxy[1].spoil(fault)
    with pytest.raises(errors) as caught:
        write(photos[1])
    assert type(caught.value) in errors and caught.value.request_id
    proxy[1].spoil(Fault.none)
    assert _eventually(write, photos[2]) == expected[2]


@pytest.mark.parametrize("fault", [Fault.drop, Fault.reset], ids=lambda fault: fault.value)
def test_a_fault_that_passes_costs_nobody_the_poem(
    proxy: tuple[str, Proxy], write: Write, photos: list[bytes], expected: list[str], fault: Fault
) -> None:
    for i in range(4):
        assert write(photos[i]).text == expected[i]
        proxy[1].spoil(fault, times=1)
        assert write(photos[i + 1]).text == expected[i + 1]


def test_in_chaos_nobody_gets_anothers_poem(proxy: tuple[str, Proxy], photos: list[bytes], expected: list[str]) -> None:
    over, chance = threading.Event(), random.Random(7)

    def spoil() -> None:
        while not over.wait(chance.uniform(0.02, 0.2)):
            proxy[1].spoil(chance.choice([*Fault, Fault.none, Fault.none]), times=chance.randint(1, 3))

    def ask(poet: Img2Poem, i: int) -> str:
        try:
            found = poet.write(photos[i], Greedy()).text
        except Img2PoemError as error:
            return type(error).__name__
        assert found == expected[i]
        return "poem"

    spoiler = threading.Thread(target=spoil)
    spoiler.start()
    with Img2Poem(proxy[0], timeout=DEADLINE) as poet, ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(ask, poet, i % len(photos)) for i in range(80)]
        outcomes = [future.result(HANGS) for future in futures]
        over.set()
        spoiler.join()
        proxy[1].spoil(Fault.none)
        assert _eventually(lambda photo: poet.write(photo, Greedy()), photos[0]) == expected[0]
    assert outcomes.count("poem") > 0 and set(outcomes) <= {"poem", "ConnectionFailed", "ServerError", "Timeout"}


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_server_that_is_killed_and_comes_back(
    repository: Path, photos: list[bytes], expected: list[str], scheme: str
) -> None:
    server = TritonServer(repository, Ports.free())
    url = f"{scheme}://127.0.0.1:{getattr(server.ports, scheme)}"
    with ThreadPoolExecutor(4) as pool, Img2Poem(url, retries=2) as poet, Img2Poem(url, retries=1000) as patient:
        with pytest.raises(ConnectionFailed):
            poet.write(photos[0], Greedy())
        early = pool.submit(patient.write, photos[0], Greedy(), timeout=HANGS)
        with server:
            assert early.result(HANGS).text == expected[0], "a slow start only takes time"
            assert poet.write(photos[1], Greedy()).text == expected[1]
            assert server.pid is not None
            under_way = [pool.submit(poet.write, photo, Greedy()) for photo in photos[:8]]
            os.kill(server.pid, signal.SIGKILL)
            for future, text in zip(under_way, expected, strict=False):
                error = future.exception(HANGS)
                assert future.result().text == text if error is None else isinstance(error, ConnectionFailed | NotReady)
            waiting = pool.submit(patient.write, photos[2], Greedy(), timeout=HANGS)
            server.stop()
            server.start()
            assert waiting.result(HANGS).text == expected[2]
            assert poet.write(photos[3], Greedy()).text == expected[3]


def _eventually(write: Write, photo: bytes) -> str:
    """Write again once the broken connections have been replaced."""
    for _ in range(20):
        try:
            return write(photo).text
        except Img2PoemError:
            continue
    return write(photo).text
