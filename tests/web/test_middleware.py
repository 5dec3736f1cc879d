"""Limits and headers."""

from __future__ import annotations

import base64
import codecs
import gzip
import json
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import cast

import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient

from img2poem.errors import InvalidOption
from img2poem.serving.server import Ports
from img2poem.system.hosts import is_loopback
from img2poem.web.app import PAGES
from img2poem.web.settings import WebSettings

from .caller import Caller
from .conftest import opened, running


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/docs"), ("GET", "/nowhere"), ("GET", "/pages/page.js"), ("PUT", "/v1/poems")],
)
def test_every_answer_is_guarded_and_named(client: TestClient, method: str, path: str) -> None:
    answer = client.request(method, path, headers={"x-request-id": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    if answer.status_code >= 400:
        assert answer.json()["status"] == answer.status_code and answer.json()["request_id"] == "mine-1"
    strange = client.request(method, path, headers={"x-request-id": "two words\t"})
    assert strange.headers["x-request-id"].isalnum()


def test_the_pages_take_nothing_from_elsewhere(client: TestClient) -> None:
    parts = [f"/pages/{path.name}" for path in PAGES.iterdir() if path.suffix in (".css", ".js", ".html")]
    assert len(parts) >= 10
    for path in ("/", "/docs", *parts):
        answer = client.get(path)
        assert answer.status_code == 200 and answer.headers["cache-control"] == "no-cache"
        assert "//" not in answer.text.replace("http://www.w3.org/2000/svg", "").replace("// ", "")
    for style in ("normal", "italic"):
        typeface = client.get(f"/type/{style}.ttf")
        assert typeface.headers["content-type"] == "font/ttf" and typeface.content[:4] == b"\0\1\0\0"
    assert client.get("/type/other.ttf").status_code == 422
    page = client.get("/docs").text
    for path in client.get("/openapi.json").json()["paths"]:
        assert f" {path}</code>" in page


def test_large_bodies_are_refused_with_and_without_a_length(repository: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield from (b"x" * 2**16 for _ in range(40))

    with opened(repository, max_mb=1) as client:
        for body in (b"x" * 2**21, pieces()):
            answer = client.post("/v1/poems", content=body)
            assert answer.status_code == 413 and "1 MiB" in answer.json()["detail"]
        form = client.post("/v1/poems", files={"photo": b"x" * 2**21})
        assert form.status_code == 413
        # A body at the size limit is parsed.
        assert client.post("/v1/poems", content=b"x" * 2**20).status_code == 415
        assert client.get("/v1/about").json()["max_bytes"] == 2**20


def test_a_compressed_body_is_refused_as_one(client: TestClient, photos: list[bytes]) -> None:
    packed = client.post("/v1/describe", content=gzip.compress(photos[0]), headers={"content-encoding": "gzip"})
    assert packed.status_code == 415 and "compressed" in packed.json()["detail"]
    assert packed.headers["accept-encoding"] == "identity"
    plain = client.post("/v1/describe", content=photos[0], headers={"content-encoding": "identity"})
    assert plain.status_code == 200


def test_json_may_begin_with_a_byte_order_mark(client: TestClient, photos: list[bytes]) -> None:
    """Programs on Windows send one."""
    url = f"data:image/jpeg;base64,{base64.b64encode(photos[0]).decode()}"
    message = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}
    bodies = {
        "/v1/describe": {"photo": url, "k": 2},
        "/v1/chat/completions": {"model": "img2poem", "messages": [message], "max_tokens": 8},
    }
    for path, fields in bodies.items():
        content = codecs.BOM_UTF8 + json.dumps(fields).encode()
        answer = client.post(path, content=content, headers={"content-type": "application/json"})
        assert answer.status_code == 200, answer.text


def test_who_asks_too_often_waits(repository: Path) -> None:
    with opened(repository, rate="2/hour") as client:
        statuses = [client.post("/v1/describe", content=b"no picture").status_code for _ in range(3)]
        answer = client.post("/v1/poems", content=b"no picture")
        assert statuses == [415, 415, 429] and answer.status_code == 429
        assert 0 < int(answer.headers["retry-after"]) <= 3600
        assert client.get("/").status_code == 200


def test_callers_of_ipv4_are_told_apart_on_a_socket_for_both(repository: Path) -> None:
    with opened(repository, rate="1/hour") as client:
        hosts = ("::ffff:10.0.0.1", "::ffff:10.0.0.2", "::ffff:10.0.0.1", "2001:db8::1", "2001:db8::2")
        callers = [TestClient(client.app, "http://127.0.0.1", client=(host, 1)) for host in hosts]
        statuses = [caller.post("/v1/describe", content=b"no picture").status_code for caller in callers]
    assert statuses == [415, 415, 429, 415, 429]


def test_what_nobody_foresaw_is_answered_and_counted_as_all_else(repository: Path) -> None:
    async def broken() -> None:
        raise ZeroDivisionError("secret")

    with opened(repository) as client:
        cast("FastAPI", client.app).add_api_route("/broken", broken)
        answer = client.get("/broken", headers={"x-request-id": "mine-2"})
        assert answer.status_code == answer.json()["status"] == 500 and "secret" not in answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["x-request-id"] == answer.json()["request_id"] == "mine-2"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        counted = 'img2poem_web_requests_total{method="GET",route="/broken",status="500"} 1.0'
        assert counted in client.get("/metrics").text


def test_an_answer_that_breaks_once_begun_breaks_off(repository: Path) -> None:
    """The server closes the connection if the application raises: otherwise a partial response would look complete."""

    async def parts() -> AsyncIterator[bytes]:
        yield b"half"
        raise ZeroDivisionError("secret")

    caller = Caller()
    with opened(repository) as client:
        app = cast("FastAPI", client.app)
        app.add_api_route("/broken", lambda: StreamingResponse(parts()))
        assert client.portal is not None
        with pytest.raises(ZeroDivisionError):
            client.portal.call(caller.asks, app, "/broken")
    assert [message["type"] for message in caller.answer] == ["http.response.start", "http.response.body"]
    assert caller.answer[1] == {"type": "http.response.body", "body": b"half", "more_body": True}


def test_a_form_without_a_poem_is_the_callers_problem(client: TestClient, photos: list[bytes]) -> None:
    asked = {
        "include": "temple mountain ocean window garden night",
        "lines": 1,
        "max_line_tokens": 5,
        "strategy": "greedy",
    }
    answer = client.post("/v1/poems", params=asked, content=photos[0])
    assert answer.status_code == 422 and answer.json()["type"] == "urn:img2poem:problem:no-poem"
    assert "relax the form" in answer.json()["detail"]


def test_only_its_own_names_reach_it(repository: Path) -> None:
    with opened(repository, hosts=("poems.example", "127.0.0.1")) as client:
        for host, status in (("poems.example", 200), ("Poems.Example:8080", 200), ("evil.example", 421), ("", 421)):
            assert client.get("/healthz", headers={"host": host}).status_code == status


def test_pages_from_elsewhere_are_let_in_where_they_are_named(repository: Path) -> None:
    mine, other = "https://app.example.org", "https://other.example"
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization, content-type"}
    with opened(repository, origins=(mine,), rate="1/hour") as client:
        before = client.options("/v1/chat/completions", headers={"origin": mine, **asked})
        answers = [client.post("/v1/describe", content=b"no picture", headers={"origin": mine}) for _ in range(2)]
        strange = client.get("/v1/about", headers={"origin": other})
        refused = client.options("/v1/poems", headers={"origin": other, **asked})
    assert before.status_code == 200 and before.headers["access-control-allow-origin"] == mine
    assert "authorization" in before.headers["access-control-allow-headers"]
    # Scripts can read why they were refused, whichever component refused them.
    assert [answer.status_code for answer in answers] == [415, 429]
    assert all(answer.headers["access-control-allow-origin"] == mine for answer in answers)
    assert "access-control-allow-origin" not in strange.headers and refused.status_code == 400
    with opened(repository) as client:
        assert "access-control-allow-origin" not in client.get("/v1/about", headers={"origin": mine}).headers
    with opened(repository, origins=("*",)) as client:
        assert client.get("/v1/about", headers={"origin": other}).headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    "wrong",
    [
        *({"max_mb": 0}, {"max_mb": 65}, {"concurrency": 0}, {"waiting": -1}, {"rate": "often"}),
        *({"origins": (origin,)} for origin in ("app.example.org", "https://app.example.org/", "ftp://a.example", "")),
    ],
)
def test_settings_are_checked(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidOption):
        WebSettings(**wrong)  # type: ignore[arg-type]


def test_loopback_is_known() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "::1", "localhost", "127.8.8.8")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.1.2", "example.org")))


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/docs", "/openapi.json", "/v1/about", "/pages/page.js"])
def test_what_can_be_got_can_be_asked_for_its_head(client: TestClient, path: str) -> None:
    got, head = client.get(path), client.head(path)
    assert head.status_code == got.status_code == 200 and not head.content
    for name in ("content-type", "content-length", "content-security-policy"):
        assert head.headers[name] == got.headers[name]
    assert client.head("/v1/poems").status_code == 405 and client.head("/nowhere").status_code == 404


def test_a_head_is_counted_as_one(repository: Path) -> None:
    with opened(repository) as client:
        client.head("/healthz")
        assert 'requests_total{method="HEAD",route="/healthz",status="200"} 1.0' in client.get("/metrics").text


@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "with its length"])
def test_who_sends_too_much_reads_the_answer(repository: Path, chunked: bool) -> None:
    """Regression: the connection was closed while the body was still arriving, and its reset lost the response."""
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {64 * 2**20}"
    head = f"POST /v1/poems HTTP/1.1\r\nHost: 127.0.0.1\r\n{length}\r\n\r\n"
    piece = b"x" * 2**20
    port = Ports.free().http
    with (
        running("--engine", repository, "--max-mb", "1", "--log-level", "error", port=port),
        socket.create_connection(("127.0.0.1", port)) as connection,
    ):
        connection.settimeout(120)
        connection.sendall(head.encode())
        for _ in range(64):
            connection.sendall(b"100000\r\n" + piece + b"\r\n" if chunked else piece)
        if chunked:
            connection.sendall(b"0\r\n\r\n")
        answer = connection.makefile("rb").readline()
    assert answer.split()[1] == b"413"
