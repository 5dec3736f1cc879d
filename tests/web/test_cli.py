"""``img2poem web`` starts, refuses invalid options, and shuts down cleanly."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from ..conftest import ROOT
from .conftest import running
from .events import events_of


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_after_the_poem_under_way(
    repository: Path, photos: list[bytes], number: signal.Signals
) -> None:
    with running("--engine", repository) as (url, process):
        with httpx.stream("POST", f"{url}/v1/poems/stream", content=photos[0], timeout=60) as answer:
            text = answer.iter_text()
            begun = next(text)
            process.send_signal(number)
            rest = "".join(text)
        assert events_of(begun + rest)[-1][0] == "poem"
        assert process.wait(30) == 0
        assert process.stderr is not None and "stopped" in process.stderr.read()


@pytest.mark.parametrize(
    ("options", "status", "says"),
    [
        (["--engine", "nowhere"], 1, "holds no exported model repository"),
        (["--engine", "a", "--url", "grpc://127.0.0.1:1"], 2, "not both"),
        (["--url", "grpc://127.0.0.1:1", "--max-mb", "65"], 2, "from 1 to 64 MiB"),
        (["--url", "grpc://127.0.0.1:1", "--rate", "often"], 2, "60/minute"),
        (["--url", "grpc://127.0.0.1:1", "--host", "no.such.name.invalid"], 1, "cannot listen on"),
    ],
)
def test_what_cannot_be_is_said_at_once(options: list[str], status: int, says: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "img2poem", "web", *options], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == status and says in done.stderr and "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_named(repository: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "img2poem", "web", "--engine", str(repository), "--port", port]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and port in done.stderr and "--port" in done.stderr
