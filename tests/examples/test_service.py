"""The example service, under load and with unusable photographs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from img2poem import Form, Img2Poem
from img2poem.serving.server import Ports, TritonServer

from ..conftest import ROOT


@pytest.fixture(scope="module")
def service(server: TritonServer) -> Iterator[str]:
    port = Ports.free().http
    command = [sys.executable, "-m", "uvicorn", "examples.service:app", "--port", str(port), "--log-level", "warning"]
    running = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "POEMS": server.grpc_url})
    url = f"http://127.0.0.1:{port}"
    while not _answers(url):
        assert running.poll() is None
        time.sleep(0.1)
    yield url
    running.terminate()
    assert running.wait(60) is not None


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=60).status_code == 404
    except httpx.ConnectError:
        return False


def test_each_of_many_callers_gets_the_poem_of_its_photograph(
    service: str, server: TritonServer, photos: list[bytes]
) -> None:
    def ask(i: int) -> httpx.Response:
        return client.post("/poem", params={"lines": 4}, content=photos[i % len(photos)])

    with httpx.Client(base_url=service, timeout=120) as client, ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(80)))
    with Img2Poem(server.grpc_url) as poet:
        expected = [list(poem.lines) for poem in poet.write(photos, form=Form(lines=4))]
    assert {answer.status_code for answer in answers} == {200}
    assert [answer.json()["lines"] for answer in answers] == [expected[i % len(photos)] for i in range(80)]
    assert len({answer.json()["id"] for answer in answers}) == 80


@pytest.mark.parametrize(
    ("body", "parameters", "status", "error"),
    [
        (b"no picture", {}, 415, "BadImage"),
        (None, {"lines": 99}, 422, "InvalidOption"),
        (None, {"rhyme": "A1"}, 422, "InvalidOption"),
    ],
)
def test_what_is_wrong_is_said(
    service: str, photos: list[bytes], body: bytes | None, parameters: dict[str, str], status: int, error: str
) -> None:
    answer = httpx.post(f"{service}/poem", params=parameters, content=body or photos[0], timeout=120)
    assert answer.status_code == status and answer.json()["error"] == error
