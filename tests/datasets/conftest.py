from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.datasets.server import PhotoServer


@pytest.fixture
def photo_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[PhotoServer]:
    # A proxy from the environment would answer instead of the server.
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with PhotoServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()
