"""The gateway as a listening process, and the application in this process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from img2poem.serving.server import Ports
from img2poem.web.app import create_app
from img2poem.web.settings import WebSettings

from ..conftest import ROOT


@contextmanager
def running(*options: str | Path, port: int | None = None) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run ``img2poem web`` in a separate process; yield its address."""
    port = port or Ports.free().http
    command = [sys.executable, "-m", "img2poem", "web", "--port", str(port), *map(str, options)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith("ready:"), line + process.stderr.read()
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture(scope="session")
def gateway(repository: Path) -> Iterator[str]:
    with running("--engine", repository, "--rate", "none", "--log-level", "error") as (url, _):
        yield url


@contextmanager
def opened(target: str | Path, **settings: object) -> Iterator[TestClient]:
    """Run the application in this process, with its lifespan."""
    app = create_app(target, WebSettings(**{"rate": None, **settings}))  # type: ignore[arg-type]
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def client(repository: Path) -> Iterator[TestClient]:
    with opened(repository) as client:
        yield client
