"""Concurrency limit, queue, and callers that disconnect."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from anyio.from_thread import BlockingPortal
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.requests import ClientDisconnect

from img2poem.errors import Overloaded
from img2poem.transports.local import LocalEndpoint
from img2poem.web import api
from img2poem.web.admission import AdmissionQueue, Threads, unless_gone
from img2poem.web.metrics import Metrics

from ..waiting import eventually
from .caller import Caller
from .conftest import opened


@dataclass
class Gateway:
    """An application whose work in threads continues until told to end."""

    client: TestClient
    begun: threading.Event
    ends: threading.Event

    def asked(self, caller: Caller, path: str) -> Future[None]:
        """Return the future of a running request."""
        return self.loop.start_task_soon(caller.asks, cast("FastAPI", self.client.app), path)

    def left(self, caller: Caller) -> None:
        self.loop.call(caller.leaves.set)

    def counts(self, name: str, number: int) -> Callable[[], bool]:
        return lambda: f"img2poem_web_{name} {number}.0\n" in self.client.get("/metrics").text

    @property
    def loop(self) -> BlockingPortal:
        assert self.client.portal is not None
        return self.client.portal


@contextmanager
def slow(repository: Path, monkeypatch: pytest.MonkeyPatch, waiting: int) -> Iterator[Gateway]:
    """A gateway with one place, whose work in threads lasts as long as the test wants."""
    begun, ends = threading.Event(), threading.Event()

    def slowed(work: Callable[..., Any]) -> Callable[..., Any]:
        def working(*args: Any) -> Any:
            begun.set()
            assert ends.wait(60)
            return work(*args)

        return working

    monkeypatch.setattr(LocalEndpoint, "infer", slowed(LocalEndpoint.infer))
    monkeypatch.setattr(api, "card", slowed(api.card))
    with opened(repository, concurrency=1, waiting=waiting) as client:
        try:
            yield Gateway(client, begun, ends)
        finally:
            ends.set()


PATHS = ("poems", "poems/stream", "poems/stream?strategy=greedy", "describe", "card?poem=sea")


@pytest.mark.parametrize("path", PATHS)
def test_who_goes_away_holds_the_place_until_the_thread_ends(
    repository: Path, photos: list[bytes], monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    caller = Caller(photos[0])
    with slow(repository, monkeypatch, waiting=0) as gateway:
        asked = gateway.asked(caller, f"/v1/{path}")
        assert gateway.begun.wait(60)
        gateway.left(caller)
        assert not eventually(gateway.counts("under_way", 0), seconds=0.5)
        assert gateway.client.post("/v1/describe", content=photos[0]).status_code == 503
        gateway.ends.set()
        asked.result(60)
        assert gateway.counts("under_way", 0)()
        assert gateway.client.post("/v1/describe", content=photos[0]).status_code == 200


@pytest.mark.parametrize("path", PATHS)
def test_who_goes_away_leaves_the_queue_at_once(
    repository: Path, photos: list[bytes], monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    first, second = Caller(photos[0]), Caller(photos[0])
    with slow(repository, monkeypatch, waiting=1) as gateway:
        working = gateway.asked(first, "/v1/describe")
        assert gateway.begun.wait(60)
        waiting = gateway.asked(second, f"/v1/{path}")
        assert eventually(gateway.counts("waiting", 1))
        gateway.left(second)
        waiting.result(60)
        assert gateway.counts("waiting", 0)() and gateway.counts("under_way", 1)()
        gateway.ends.set()
        working.result(60)
        assert first.answer[0]["status"] == 200 and second.answer[0]["status"] == 499


def test_places_are_few_and_come_free_again() -> None:
    async def use() -> None:
        queue, order, callers = AdmissionQueue(1, 1, Metrics()), [], [Caller() for _ in range(4)]

        async def work(name: str, caller: Caller) -> None:
            async with queue.taken(caller.request):
                order.append(name)
                await gate.wait()

        gate = asyncio.Event()
        names = ("first", "second", "third")
        first = asyncio.create_task(work(names[0], callers[0]))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(work(names[1], callers[1]))
        await asyncio.sleep(0.01)
        with pytest.raises(Overloaded):
            async with queue.taken(callers[3].request):
                pass
        callers[1].leaves.set()  # frees its place in the queue
        with pytest.raises(ClientDisconnect):
            await second
        third = asyncio.create_task(work(names[2], callers[2]))
        await asyncio.sleep(0.01)
        gate.set()
        await asyncio.gather(first, third)
        assert order == ["first", "third"]

    asyncio.run(use())


def test_a_place_is_held_while_a_thread_works_for_who_has_gone() -> None:
    async def use() -> None:
        queue, caller, other, ended = AdmissionQueue(1, 0, Metrics()), Caller(), Caller(), threading.Event()

        async def work() -> None:
            async with queue.taken(caller.request):
                await unless_gone(caller.request, asyncio.to_thread(ended.wait, 60))

        asyncio.get_running_loop().set_default_executor(Threads())
        working = asyncio.create_task(work())
        await asyncio.sleep(0.01)
        caller.leaves.set()
        await asyncio.sleep(0.01)
        with pytest.raises(Overloaded):
            async with queue.taken(other.request):
                pass
        ended.set()
        with pytest.raises(ClientDisconnect):
            await working
        async with queue.taken(other.request):
            pass

    asyncio.run(use())


def test_a_place_that_comes_as_its_caller_is_cancelled_is_not_lost() -> None:
    async def use(steps: int) -> None:
        queue, callers = AdmissionQueue(1, 1, Metrics()), [Caller() for _ in range(3)]

        async def work(caller: Caller) -> None:
            async with queue.taken(caller.request):
                pass

        async with queue.taken(callers[0].request):
            waiting = asyncio.create_task(work(callers[1]))
            await asyncio.sleep(0.01)
        for _ in range(steps):  # the place is being handed over
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await asyncio.wait_for(work(callers[2]), 20)

    for steps in range(8):
        asyncio.run(use(steps))


def _metric(gateway: str, name: str) -> float:
    text = httpx.get(f"{gateway}/metrics").text
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


@pytest.mark.parametrize("path", ["poems", "poems/stream"])
def test_who_goes_away_ends_the_work(gateway: str, photos: list[bytes], path: str) -> None:
    """A poem of this form takes many requests to the models; none follows after the caller has disconnected."""
    before = _metric(gateway, "img2poem_web_poems_total")
    form = {"rhyme": "AABBCCDD", "n": 16, "strategy": "best-of"}
    with httpx.Client(base_url=gateway, timeout=0.7) as client, pytest.raises(httpx.ReadTimeout):
        client.post(f"/v1/{path}", params=form, content=photos[0]).read()
    started = time.monotonic()
    assert eventually(lambda: _metric(gateway, "img2poem_web_under_way") == 0)
    asked = _metric(gateway, "img2poem_web_model_seconds_count")
    assert eventually(lambda: time.monotonic() > started + 1)
    assert _metric(gateway, "img2poem_web_model_seconds_count") <= asked + 1
    assert _metric(gateway, "img2poem_web_poems_total") == before
