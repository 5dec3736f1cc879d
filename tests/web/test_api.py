"""The REST interface returns the library's results, and explains what it refuses."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from img2poem import BeamSearch, BestOf, Form, Img2Poem, Sampling
from img2poem.serving.server import Ports, TritonServer

from ..conftest import encoded, gradient
from .conftest import opened
from .events import events_of


def test_a_poem_is_the_librarys(client: TestClient, repository: Path, photos: list[bytes]) -> None:
    with Img2Poem(repository) as poet:
        best = poet.write(photos[0], BestOf(4, Sampling(seed=9, forbidden=("the", "a"))), form=Form(lines=5))
        beam = poet.write(photos[7], BeamSearch(width=2, max_lines=4), form=Form(acrostic="SEA", include=("sea",)))
    raw = client.post("/v1/poems", params={"n": 4, "seed": 9, "lines": 5, "forbidden": ["the", "a"]}, content=photos[0])
    fields = {"strategy": "beam", "width": "2", "max_lines": "4", "acrostic": "SEA", "include": "sea", "rhyme": ""}
    form = client.post("/v1/poems", data=fields, files={"photo": ("any name", photos[7])})
    for answer, poem in ((raw, best), (form, beam)):
        assert answer.status_code == 200, answer.text
        kept = {name: value for name, value in answer.json().items() if name not in ("timings", "request_id")}
        expected = _as_json(poem)
        assert kept == {name: expected[name] for name in kept}


def _as_json(found: Any) -> dict[str, Any]:
    return json.loads(found.to_json())  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def remote(server: TritonServer) -> Iterator[TestClient]:
    with opened(server.grpc_url) as client:
        yield client


def test_a_real_triton_behind_it_gives_the_same(client: TestClient, remote: TestClient, photos: list[bytes]) -> None:
    for path, options in (("poems", {"n": 3}), ("poems", {"rhyme": "AA", "strategy": "sample"}), ("describe", {})):
        here, there = (one.post(f"/v1/{path}", params=options, content=photos[0]).json() for one in (client, remote))
        assert all(here[name] == there[name] for name in ("tokens", "text") if path == "poems")
        assert path == "poems" or here["scenes"][0]["name"] == there["scenes"][0]["name"]
    streams = [one.post("/v1/poems/stream?seed=4", content=photos[0]).text for one in (client, remote)]
    here, there = (events_of(text)[:-1] for text in streams)
    assert here == there and len(here) >= 4
    assert remote.get("/readyz").json() == {"status": "ready"}


@pytest.mark.parametrize(
    "options", [{}, {"lines": 3}, {"strategy": "greedy"}, {"strategy": "best-of", "n": 2}, {"acrostic": "SUN"}], ids=str
)
def test_a_stream_has_the_lines_and_then_the_poem(
    client: TestClient, photos: list[bytes], options: dict[str, str]
) -> None:
    answer = client.post("/v1/poems/stream", params=options, content=photos[0])
    assert answer.headers["content-type"].startswith("text/event-stream")
    *lines, (last, poem) = events_of(answer.text)
    assert last == "poem" and {name for name, _ in lines} == {"line"}
    assert [data for _, data in lines] == [{"index": i, "text": text} for i, text in enumerate(poem["lines"])]
    written = client.post("/v1/poems", params={"strategy": "sample", **options}, content=photos[0]).json()
    assert poem["tokens"] == written["tokens"] and poem["strategy"] == written["strategy"]


def test_several_poems_about_a_photograph(client: TestClient, repository: Path, photos: list[bytes]) -> None:
    with Img2Poem(repository) as poet:
        expected = [poem.tokens for poem in poet.write_several(photos[0], 3, Sampling(seed=4))]
    options = {"strategy": "sample", "seed": 4, "count": 3}
    poems = client.post("/v1/poems", params=options, content=photos[0]).json()["poems"]
    assert [tuple(poem["tokens"]) for poem in poems] == expected and [poem["seed"] for poem in poems] == [4, 5, 6]
    events = events_of(client.post("/v1/poems/stream", params=options, content=photos[0]).text)
    assert [tuple(data["tokens"]) for name, data in events if name == "poem"] == expected
    lines = [line for poem in poems for line in poem["lines"]]
    assert [data["text"] for name, data in events if name == "line"] == lines
    one = client.post("/v1/poems", params={**options, "count": 1}, content=photos[0]).json()
    assert [tuple(poem["tokens"]) for poem in one["poems"]] == expected[:1]


def test_a_description_and_a_card(client: TestClient, repository: Path, photos: list[bytes]) -> None:
    with Img2Poem(repository) as poet:
        seen = poet.describe(photos[0], 2)
    assert client.post("/v1/describe?k=2", content=photos[0]).json() == _as_json(seen)
    fields = {"poem": "an old temple\nover the water", "layout": "over"}
    answer = client.post("/v1/card", data=fields, files={"photo": photos[0]})
    assert answer.headers["content-type"] == "image/png"
    with Image.open(io.BytesIO(answer.content)) as card:
        assert card.size == (1600, 1068) and card.text["Description"] == fields["poem"]


@pytest.mark.parametrize(
    ("path", "options", "body", "status", "says"),
    [
        ("poems", {}, b"this is text", 415, "not a picture"),
        ("poems", {}, b"", 415, "empty"),
        ("poems/stream", {}, b"this is text", 415, "not a picture"),
        ("poems", {"lines": 99}, None, 422, "lines: Input should be less than or equal to 16"),
        ("poems", {"colour": "red"}, None, 422, "colour"),
        ("poems", {"strategy": "magic"}, None, 422, "'greedy', 'beam', 'sample' or 'best-of'"),
        ("poems", {"strategy": "greedy", "temperature": 1}, None, 422, "goes with strategy sample or best-of"),
        ("poems/stream", {"n": 4}, None, 422, "n goes with strategy best-of, not with sample"),
        ("poems", {"strategy": "greedy", "count": 2}, None, 422, "greedy gives one poem"),
        ("poems", {"count": 33}, None, 422, "count: Input should be less than or equal to 32"),
        ("poems", {"rhyme": "AABB", "lines": 2}, None, 422, "only 2 lines"),
        ("poems", {"acrostic": "XX"}, None, 422, "no word of the vocabulary begins with 'x'"),
        ("poems", {"include": "qqxzv"}, None, 422, "no word 'qqxzv'"),
        ("describe", {"k": 0}, None, 422, "k: "),
        ("card", {}, None, 422, "1 to 32 lines"),
    ],
)
def test_what_is_wrong_is_a_problem(
    client: TestClient,
    photos: list[bytes],
    path: str,
    options: dict[str, str],
    body: bytes | None,
    status: int,
    says: str,
) -> None:
    answer = client.post(f"/v1/{path}", params=options, content=photos[0] if body is None else body)
    problem = answer.json()
    assert answer.status_code == problem["status"] == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert says in problem["detail"]
    kind = {415: "bad-image", 422: "invalid-option"}[status]
    assert problem["type"] == f"urn:img2poem:problem:{kind}"
    assert problem["request_id"] == answer.headers["x-request-id"]


def test_a_data_url_is_the_photograph(client: TestClient, photos: list[bytes]) -> None:
    packed = base64.b64encode(photos[0]).decode()
    url = f"data:image/jpeg;base64,{packed}"
    plain = client.post("/v1/poems/stream?seed=3&include=night", content=photos[0]).text
    folded = f"DATA:;BASE64,{packed[:100]}\n {packed[100:]}".rstrip("=")
    percent = "data:image/jpeg," + quote_from_bytes(photos[0])
    for body in (url, folded, percent, url.replace("+", "%2B").replace("/", "%2f")):
        assert _said(client.post("/v1/poems/stream?seed=3&include=night", content=body).text) == _said(plain)
    fields = {"photo": url, "include": ["night"]}
    assert _said(client.post("/v1/poems/stream?seed=3", json=fields).text) == _said(plain)
    assert client.post("/v1/describe", json={"photo": url, "k": 2}).json()["objects"][1:]
    card = client.post("/v1/card", json={"photo": url, "poem": "an old temple", "layout": "over"})
    assert card.headers["content-type"] == "image/png"


def _said(text: str) -> list[Any]:
    return [data for name, data in events_of(text) if name == "line"]


@pytest.mark.parametrize(
    ("sent", "status", "says"),
    [
        ({"photo": "https://example.org/photo.jpg"}, 415, "not fetched from elsewhere"),
        ({"photo": "file:///etc/passwd"}, 415, "not fetched from elsewhere"),
        ({"photo": "data:image/png;base64"}, 415, "comma"),
        ({"photo": "data:image/png;base64,a*b="}, 415, "damaged"),
        ({"photo": "data:image/png;base64,"}, 415, "empty"),
        ({"photo": "data:,this is text"}, 415, "not a picture"),
        ({"photo": 3}, 415, "must be a data: URL"),
        ({"lines": 3}, 415, "must be a data: URL"),
        ({"photo": "data:,x", "colour": "red"}, 422, "colour"),
        ({"photo": "data:,x", "include": "x" * 70_000}, 422, "too large"),
        ([1, 2], 422, "a JSON object"),
        (None, 422, "a JSON object"),
    ],
)
def test_json_that_is_wrong_is_a_problem(client: TestClient, sent: Any, status: int, says: str) -> None:
    headers = {"content-type": "application/json"}
    answer = client.post("/v1/poems", content=json.dumps(sent), headers=headers)
    assert answer.status_code == status and says in answer.json()["detail"], answer.text
    broken = client.post("/v1/poems", content=b"[" * 100_000, headers=headers)
    assert broken.status_code == 422 and "not JSON" in broken.json()["detail"]


def test_forms_are_read_strictly(client: TestClient, photos: list[bytes]) -> None:
    for files, data, status in (
        ({"picture": photos[0]}, {}, 415),
        ({}, {"photo": "text"}, 415),
        ({"photo": photos[0]}, {"lines": "many"}, 422),
        ({"photo": photos[0]}, {"surprise": "1"}, 422),
        ({"photo": photos[0], "second": photos[1]}, {}, 400),
    ):
        files = files or {"other": (None, "no file")}  # makes it a multipart form
        answer = client.post("/v1/poems", data=data, files=files)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"


def test_what_only_the_models_find_ends_a_stream(client: TestClient, photos: list[bytes]) -> None:
    half = client.post("/v1/poems/stream", content=photos[0][: len(photos[0]) // 2])
    letters = client.post("/v1/poems/stream?acrostic=XX", content=photos[0])
    for answer, status, says in ((half, 415, "truncated"), (letters, 422, "begins with 'x'")):
        [(name, problem)] = events_of(answer.text)
        assert name == "problem" and problem["status"] == status and says in problem["detail"]


def test_without_models_it_lives_and_says_so() -> None:
    address = f"127.0.0.1:{Ports.free().grpc}"
    with opened(f"grpc://{address}", timeout=3) as client:
        assert client.get("/healthz").status_code == 200
        ready = client.get("/readyz")
        poem = client.post("/v1/poems", content=encoded(gradient(), "PNG"))
    assert (ready.status_code, ready.headers["retry-after"]) == (503, "2")
    assert poem.status_code in (502, 504)
    # Callers must not learn where the models are.
    assert address not in ready.text + poem.text


def test_what_is_counted(client: TestClient, photos: list[bytes]) -> None:
    client.post("/v1/poems?strategy=greedy", content=photos[0])
    client.get("/nowhere")
    text = client.get("/metrics").text
    for sample in (
        'img2poem_web_requests_total{method="POST",route="/v1/poems",status="200"}',
        'img2poem_web_requests_total{method="GET",route="other",status="404"}',
        'img2poem_web_poems_total{strategy="greedy"}',
        'img2poem_web_model_seconds_count{error="",model="img2poem_greedy"}',
        "img2poem_web_under_way 0.0",
    ):
        assert sample in text
