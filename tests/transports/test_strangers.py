"""Errors for an address without an img2poem server, with one that refuses us, or with different encryption."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from img2poem import AsyncImg2Poem, Img2Poem, Img2PoemError, ServerError, Tls
from img2poem.serving.server import TritonServer

from ..cli.test_app import run
from ..homes import Loop


class Stranger(ThreadingHTTPServer):
    """Answers every request with the same status and body."""

    daemon_threads = True

    def __init__(self, status: int, body: bytes = b"<html>it works!</html>") -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, format: str, *args: Any) -> None:
                """Keep quiet."""

        super().__init__(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server_port}"

    def __enter__(self) -> Stranger:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


def told(url: str, **options: Any) -> tuple[str, Img2PoemError]:
    """Return the message of ``health`` and the error of a call; asyncio gives the same."""
    loop, other = Loop(), AsyncImg2Poem(url, retries=0, timeout=30, **options)
    try:
        with Img2Poem(url, retries=0, timeout=30, **options) as poet:
            [health], [another] = poet.health(timeout=20), loop.run(other.health(timeout=20))
            assert not health.ready and health == another
            with pytest.raises(Img2PoemError) as caught:
                poet.info()
        with pytest.raises(type(caught.value)):
            loop.run(other.info())
    finally:
        loop.run(other.close())
        loop.close()
    return health.detail, caught.value


@pytest.mark.parametrize(
    ("status", "body", "detail", "says"),
    [
        (401, b"", "denies access (status 401)", "denies access (status 401)"),
        (403, b'{"error": "no key"}', "denies access (no key)", "denies access (no key)"),
        (404, b"<html>", "is no Triton server", "is no Triton server, or not under this address (status 404)"),
        (200, b"<html>", "is no Triton server", "outside the KServe v2 protocol"),
        (400, b"plain HTTP to an HTTPS port", "is no Triton server", "is no Triton server"),
        (400, b"", "not every model is loaded", "is no Triton server"),
        (500, b"oh", "is no Triton server", "is no Triton server"),
        (502, b"", "is not ready: status 502", "is not ready: status 502"),
        (503, b"", "not every model is loaded", "is not ready: status 503"),
    ],
)
def test_another_service_is_called_one(status: int, body: bytes, detail: str, says: str) -> None:
    with Stranger(status, body) as stranger:
        health, error = told(f"http://{stranger.address}")
    assert detail in health and says in str(error)


def test_a_stranger_over_grpc_is_called_one() -> None:
    with Stranger(404) as stranger:
        health, error = told(f"grpc://{stranger.address}")
    assert "not every model" not in health and "is not ready" not in str(error)


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A server with a certificate of an unknown authority, and the authority's file."""
    authority, folder = trustme.CA(), tmp_path_factory.mktemp("papers")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with Stranger(404) as stranger:
        stranger.socket = context.wrap_socket(stranger.socket, server_side=True)
        yield stranger.address, folder / "ca.pem"


def test_a_certificate_that_nobody_signed_is_called_that(encrypted: tuple[str, Path]) -> None:
    address, authority = encrypted
    for scheme in ("https", "grpcs"):
        health, error = told(f"{scheme}://{address}")
        for text in (health, str(error)):
            assert "a certificate that is not trusted" in text and "Tls(ca=" in text
            assert "img2poem serve" not in text
    health, error = told(f"https://{address}", tls=Tls(ca=authority))
    assert isinstance(error, ServerError) and "is no Triton server" in health


def test_encryption_where_there_is_none_is_called_that(server: TritonServer) -> None:
    for url in (server.http_url.replace("http", "https"), server.grpc_url.replace("grpc", "grpcs")):
        health, error = told(url)
        for text in (health, str(error)):
            assert "does not speak TLS" in text and "img2poem serve" not in text


def test_the_command_says_the_same(encrypted: tuple[str, Path]) -> None:
    done = run("doctor", "--url", f"https://{encrypted[0]}")
    assert done.returncode == 1 and "a certificate that is not trusted" in done.stdout
