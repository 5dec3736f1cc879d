"""Proxies from the environment: never used for this machine, exceptions respected, named in errors."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from img2poem import AsyncImg2Poem, ConnectionFailed, Greedy, Img2Poem, InvalidOption
from img2poem.errors import MissingDependency
from img2poem.serving.server import Ports, ServerSettings, TritonServer
from img2poem.system.proxies import proxy_of

from ..cli.test_app import run
from ..conftest import ROOT
from ..homes import Loop

#: A port without a listener.
DEAD = "http://127.0.0.1:9"
NAMES = ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy", "no_proxy", "no_grpc_proxy")


@pytest.fixture(autouse=True)
def _without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("exceptions", "direct"),
    [
        ("", False),
        ("other.example", False),
        ("poems.example", True),
        ("other.example, .example", True),
        ("*.example", True),
        ("ems.example", False),
        ("*", True),
        ("poems.example:8000", True),
        ("poems.example:80", False),
        ("[::1],fd00::/8,10.0.0.0/8,nonsense::/1/2", False),
        (",, ,", False),
    ],
)
def test_exceptions_of_names(monkeypatch: pytest.MonkeyPatch, exceptions: str, direct: bool) -> None:
    monkeypatch.setenv("HTTP_PROXY", "proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", exceptions)
    found = proxy_of(urlsplit("http://Poems.example:8000"))
    assert found == (None if direct else "http://proxy.example:3128")


@pytest.mark.parametrize(
    ("host", "exceptions", "direct"),
    [
        ("10.1.2.3", "10.0.0.0/8", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("[fd00::5]", "fd00::/8", True),
        ("[fd00::5]", "[fd00::5]", True),
        ("[fd00::5]", "[fd00::5]:8000", True),
        ("[fd00::5]", "[fd00::5]:1", False),
        ("[2001:db8::1]", "fd00::/8", False),
        ("127.8.8.8", "", True),
        ("[::1]", "", True),
        ("localhost", "", True),
    ],
)
def test_exceptions_of_addresses(monkeypatch: pytest.MonkeyPatch, host: str, exceptions: str, direct: bool) -> None:
    monkeypatch.setenv("all_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", exceptions)
    for scheme in ("http", "https", "grpc", "grpcs"):
        assert (proxy_of(urlsplit(f"{scheme}://{host}:8000")) is None) is direct


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_this_machine_is_never_asked_through_a_proxy(
    server: TritonServer, photos: list[bytes], monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    for name in NAMES[:4]:
        monkeypatch.setenv(name, DEAD)
    monkeypatch.setenv("no_proxy", "[::1],fd00::/8")
    url, loop = server.grpc_url if scheme == "grpc" else server.http_url, Loop()
    other = AsyncImg2Poem(url)
    try:
        assert loop.run(other.write(photos[0], Greedy())).lines
        with Img2Poem(url) as poet:
            assert poet.write(photos[0], Greedy()).lines and list(poet.stream(photos[0]))
    finally:
        loop.run(other.close())
        loop.close()


def test_the_server_becomes_ready_and_healthy_behind_a_proxy(
    repository: Path, server: TritonServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in NAMES[:3]:
        monkeypatch.setenv(name, DEAD)
    shutil.copytree(repository / "decode_image", tmp_path / "decode_image")  # a single model loads fast
    with TritonServer(tmp_path, Ports.free(), ServerSettings(verify=False)) as another:
        assert another.pid
    done = run("doctor", "--url", server.http_url)
    assert done.returncode == 0, done.stdout
    assert subprocess.run([ROOT / "deploy" / "healthcheck.py", server.http_url], timeout=300).returncode == 0


@pytest.mark.parametrize("url", ["http://poems.example:8000", "https://poems.example", "grpc://poems.example:8001"])
def test_a_dead_proxy_is_not_called_a_dead_server(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    for name in NAMES[:3]:
        monkeypatch.setenv(name, "http://user:secret@127.0.0.1:9")
    with Img2Poem(url, retries=0, timeout=30) as poet, pytest.raises(ConnectionFailed) as caught:
        poet.info()
    assert "through the proxy http://127.0.0.1:9" in str(caught.value)
    assert "secret" not in str(caught.value) and "img2poem serve" not in str(caught.value)


def test_proxies_that_cannot_be_used_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:9")
    with Img2Poem("http://127.0.0.1:9"):
        pass
    with pytest.raises(MissingDependency, match=r"socks5://127.0.0.1:9 needs socksio; pip install"):
        Img2Poem("http://poems.example")
    for wrong in ("ftp://proxy:1", "http://", "http://proxy:port"):
        monkeypatch.setenv("all_proxy", wrong)
        with pytest.raises(InvalidOption, match="proxy of the environment"):
            AsyncImg2Poem("https://poems.example")


@pytest.fixture
def forwarding(server: TritonServer) -> Iterator[tuple[str, list[bytes]]]:
    """A plain HTTP proxy that forwards everything to the server, and the request lines that it received."""
    asked: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, sink: socket.socket) -> None:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.close()

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            head = client.recv(65536)
            asked.append(head.split(b"\r\n", 1)[0])
            upstream = socket.create_connection(("127.0.0.1", server.ports.http))
            upstream.sendall(head)
            threading.Thread(target=pump, args=(client, upstream), daemon=True).start()
            threading.Thread(target=pump, args=(upstream, client), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
    listener.close()


def test_other_machines_are_asked_through_it(
    forwarding: tuple[str, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", forwarding[0])
    with Img2Poem("http://poems.example:8000") as poet:
        assert poet.health()[0].ready
    assert forwarding[1][0].startswith(b"GET http://poems.example:8000/v2/health/ready ")
