"""Connections of the client: deadlines, failover, closing, forks; and damaged repositories."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from img2poem import (
    AsyncImg2Poem,
    BeamSearch,
    BestOf,
    CallEvent,
    Cancelled,
    ConnectionFailed,
    ContractMismatch,
    Greedy,
    Img2Poem,
    InvalidOption,
    Poem,
    Timeout,
)
from img2poem.artifacts import manifest
from img2poem.errors import BadRepository
from img2poem.serving.server import Ports, TritonServer

from ..conftest import ROOT, encoded, gradient


def test_nobody_at_the_address() -> None:
    with Img2Poem(f"grpc://127.0.0.1:{Ports.free().grpc}", retries=0) as poet:
        [health] = poet.health()
        assert not health.ready and "img2poem serve" in health.detail
        with pytest.raises(ConnectionFailed, match="img2poem serve") as caught:
            poet.info()
        assert caught.value.request_id and caught.value.cause is not None


def test_a_deadline_that_is_too_short(target: str, photos: list[bytes]) -> None:
    with Img2Poem(target) as poet:
        with pytest.raises(Timeout, match="within"):
            poet.write(photos[0], timeout=1e-5)
        assert poet.write(photos[0], Greedy()).lines


@pytest.mark.parametrize(
    "url", ["ftp://x", "grpc://", "grpc://host", "grpc://host:port", "grpc://h:1/x", "http://", "http://:s@h"]
)
def test_addresses_of_another_form(url: str) -> None:
    with pytest.raises(InvalidOption, match="grpc://HOST:PORT"):
        Img2Poem(url)
    with pytest.raises(InvalidOption, match=r"form|port|target"):
        AsyncImg2Poem([url, "grpc://127.0.0.1:8001"])


@pytest.mark.parametrize(
    "options", [{"timeout": 0}, {"timeout": float("inf")}, {"concurrency": 0}, {"retries": -1}, {"device": "tpu"}]
)
def test_options_of_the_client_are_checked(repository: Path, options: dict[str, object]) -> None:
    with pytest.raises(InvalidOption):
        Img2Poem(repository, **options)  # type: ignore[arg-type]


def test_a_closed_client_says_so(target: str, photos: list[bytes]) -> None:
    poet = Img2Poem(target)
    assert poet.write(photos[0], Greedy()).lines
    poet.close()
    poet.close()
    with pytest.raises(Cancelled, match="closed"):
        poet.write(photos[0], Greedy())


def test_closing_ends_calls_under_way(server: TritonServer, photos: list[bytes]) -> None:
    for url in (server.grpc_url, server.http_url):
        poet = Img2Poem(url, retries=0)
        poet.info()
        with ThreadPoolExecutor(8) as pool:
            futures = [pool.submit(poet.write, photo, BestOf(32)) for photo in photos[:8]]
            poet.close()
            errors = [future.exception() for future in futures]
        assert all(error is None or isinstance(error, Cancelled) for error in errors) and any(errors)


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_closing_ends_the_calls_of_asyncio_too(server: TritonServer, photos: list[bytes], scheme: str) -> None:
    """Regression: gRPC raised its own cancellation, which is no ``Exception``; HTTP a broken connection."""

    async def errors() -> list[Any]:
        poet = AsyncImg2Poem(server.grpc_url if scheme == "grpc" else server.http_url, retries=0)
        await poet.info()
        calls = [asyncio.ensure_future(poet.write(photo, BestOf(32))) for photo in photos[:8]]
        await asyncio.sleep(0.05)
        await poet.close()
        return await asyncio.gather(*calls, return_exceptions=True)

    found = asyncio.run(errors())
    assert all(isinstance(one, Poem | Cancelled) for one in found) and any(isinstance(one, Cancelled) for one in found)


def test_hooks_are_told_of_every_attempt(server: TritonServer, photos: list[bytes]) -> None:
    events: list[CallEvent] = []
    nowhere = f"grpc://127.0.0.1:{Ports.free().grpc}"
    with Img2Poem([nowhere, server.grpc_url], hooks=[events.append]) as poet:
        poem = poet.write(photos[0], Greedy())
    failed, written = events[0], [event for event in events if event.error is None]
    assert failed.endpoint == nowhere and isinstance(failed.error, ConnectionFailed) and failed.attempt == 1
    assert written[0].endpoint == server.grpc_url and written[0].attempt == 2
    assert {event.request_id for event in events} == {poem.request_id}


def test_another_endpoint_takes_over_and_is_kept(server: TritonServer, photos: list[bytes]) -> None:
    nowhere = f"http://127.0.0.1:{Ports.free().http}"
    events: list[CallEvent] = []
    with Img2Poem([nowhere, server.http_url, server.grpc_url], retries=0, hooks=[events.append]) as poet:
        assert [health.ready for health in poet.health()] == [False, True, True]
        for _ in range(3):
            assert poet.write(photos[0], Greedy()).lines
    assert sum(event.endpoint == nowhere for event in events) == 1


def test_a_folder_without_a_repository_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(BadRepository, match=f"python -m export.all --out {tmp_path}"):
        Img2Poem(tmp_path)


def test_a_file_of_another_package_is_refused(repository: Path, tmp_path: Path, photos: list[bytes]) -> None:
    copy = Path(shutil.copytree(repository, tmp_path / "repository"))
    manifest.write(copy, {**manifest.read(copy).about, "contract": "0" * 64})
    with Img2Poem(copy) as poet, pytest.raises(ContractMismatch, match="another model package"):
        poet.write(photos[0])


def test_a_missing_or_damaged_file_is_named(repository: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(repository, tmp_path / "repository"))
    decoder = copy / "poem_decoder_beam" / "1" / "model.onnx"
    decoder.write_bytes(decoder.read_bytes()[:5000])
    with Img2Poem(copy) as poet:
        photo = encoded(gradient(), "PNG")
        assert poet.write(photo, Greedy()).lines, "the other decoder works"
        with pytest.raises(BadRepository, match="poem_decoder_beam"):
            poet.write(photo, BeamSearch())
        decoder.unlink()
        with pytest.raises(BadRepository, match="is missing"):
            poet.write(photo, BeamSearch())


_FORKING = """
import multiprocessing, sys
from img2poem import Greedy, Img2Poem

def write(poet, results):
    results.put(poet.write(sys.argv[2], Greedy()).text)

context = multiprocessing.get_context("fork")
with Img2Poem(sys.argv[1]) as poet:
    expected, results = poet.write(sys.argv[2], Greedy()).text, context.SimpleQueue()
    child = context.Process(target=write, args=(poet, results))
    child.start()
    child.join(60)
    hung = child.is_alive()
    child.kill()
    assert not hung and child.exitcode == 0 and results.get() == expected
    assert poet.write(sys.argv[2], Greedy()).text == expected, "the parent's connection is whole"
"""


def test_a_forked_child_goes_on_with_its_own_connection(target: str, photos: list[bytes], tmp_path: Path) -> None:
    """Run in a separate process, so that threads of other tests are not forked."""
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(photos[0])
    command = [sys.executable, "-c", _FORKING, target, str(photo)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
