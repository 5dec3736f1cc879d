"""OpenAI's chat interface, with its own client and with plain requests."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import openai
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from img2poem import BestOf, Greedy, Img2Poem, Sampling
from img2poem.serving.server import Ports

from ..waiting import eventually
from .caller import Caller
from .conftest import opened
from .test_admission import slow


def url_of(photo: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(photo).decode()}"


def messages(*urls: str, text: str = "Write a poem.") -> list[Any]:
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [{"role": "user", "content": [{"type": "text", "text": text}, *parts]}]


def body(*photos: bytes, **fields: object) -> dict[str, Any]:
    return {"model": "img2poem", "messages": messages(*map(url_of, photos)), **fields}


@pytest.fixture(scope="module")
def chat(gateway: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_its_own_client_gets_the_librarys_poem(chat: openai.OpenAI, repository: Path, photos: list[bytes]) -> None:
    answer = chat.chat.completions.create(
        model="img2poem", messages=messages(url_of(photos[0])), seed=9, temperature=0.6, top_p=0.9
    )
    greedy = chat.chat.completions.create(model="img2poem", messages=messages(url_of(photos[0])), temperature=0)
    with Img2Poem(repository) as poet:
        best = poet.write(photos[0], BestOf(sampling=Sampling(seed=9, temperature=0.6, top_p=0.9)))
        likeliest = poet.write(photos[0], Greedy())
    assert answer.choices[0].message.content == best.text and answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None and answer.usage.completion_tokens == len(best.tokens)
    assert greedy.choices[0].message.content == likeliest.text
    assert [one.id for one in chat.models.list()] == ["img2poem"] and chat.models.retrieve("img2poem").id == "img2poem"


def test_its_own_client_gets_lines_as_they_come(chat: openai.OpenAI, repository: Path, photos: list[bytes]) -> None:
    stream = chat.chat.completions.create(
        model="img2poem",
        messages=messages(url_of(photos[0])),
        seed=4,
        n=2,
        stream=True,
        stream_options={"include_usage": True},
    )
    *chunks, last = stream
    with Img2Poem(repository) as poet:
        poems = [poet.write(photos[0], Sampling(seed=seed)) for seed in (4, 5)]
    choices = [chunk.choices[0] for chunk in chunks]
    for index, poem in enumerate(poems):
        mine = [choice for choice in choices if choice.index == index]
        assert mine[0].delta.role == "assistant" and mine[-1].finish_reason == "stop"
        lines = [choice.delta.content for choice in mine[1:-1]]
        assert len(lines) == len(poem.lines) and "".join(map(str, lines)) == poem.text
    assert last.usage is not None and last.usage.completion_tokens == sum(len(poem.tokens) for poem in poems)


def test_several_poems_and_any_seed(client: TestClient, photos: list[bytes]) -> None:
    def poems(**fields: object) -> list[str]:
        answer = client.post("/v1/chat/completions", json=body(photos[0], **fields))
        assert answer.status_code == 200, answer.text
        return [choice["message"]["content"] for choice in answer.json()["choices"]]

    one, two = poems(n=2, seed=2**63 - 1)
    assert one != two and poems(seed=2**63 - 1) == [one] and poems(seed=0) == [two]
    assert poems() != poems()  # without a seed, each poem differs
    [short] = poems(seed=1, max_tokens=6)
    assert len(short.split()) <= 6
    assert poems(seed=1, max_completion_tokens=4000, max_tokens=1) == poems(seed=1)
    assert poems(seed=1, top_p=0) == poems(seed=1, top_p=0.01)


def test_the_last_photograph_of_a_conversation_counts(client: TestClient, photos: list[bytes]) -> None:
    def written(conversation: list[Any]) -> str:
        asked = {"model": "img2poem", "seed": 3, "messages": conversation}
        return str(client.post("/v1/chat/completions", json=asked).json()["choices"][0]["message"]["content"])

    first, second = (messages(url_of(photo)) for photo in (photos[0], photos[7]))
    turn = [{"role": "assistant", "content": "a poem"}, {"role": "user", "content": "another one"}]
    system = [{"role": "system", "content": "You are a poet."}]
    assert written(system + first + turn) == written(first)
    assert written(first + turn + second) == written(second) != written(first)


@pytest.mark.parametrize(
    ("change", "status", "code", "says"),
    [
        ({"messages": messages("https://example.org/photo.jpg")}, 400, "bad_image", "not fetched from elsewhere"),
        ({"messages": messages("http://127.0.0.1/photo.jpg")}, 400, "bad_image", "not fetched from elsewhere"),
        ({"messages": messages()}, 400, "bad_image", "no photograph"),
        ({"messages": [{"role": "user", "content": "a poem, please"}]}, 400, "bad_image", "no photograph"),
        ({"messages": messages("data:image/png;base64,!!")}, 400, "bad_image", "damaged"),
        ({"messages": messages("data:text/plain,hello")}, 400, "bad_image", "not a picture"),
        ({"messages": []}, 400, "invalid_option", "messages"),
        ({"model": "gpt-9"}, 404, "model_not_found", "the one that is served is 'img2poem'"),
        ({"n": 9}, 400, "invalid_option", "n: Input should be less than or equal to 8"),
        ({"temperature": 9}, 400, "invalid_option", "temperature"),
        ({"seed": "x", "stream": True}, 400, "invalid_option", "seed"),
    ],
)
def test_errors_are_openais(
    chat: openai.OpenAI, photos: list[bytes], change: dict[str, Any], status: int, code: str, says: str
) -> None:
    with pytest.raises(openai.APIStatusError) as raised:
        chat.chat.completions.create(**{**body(photos[0]), **change})
    error = raised.value
    assert (error.status_code, error.code, error.type) == (status, code, "invalid_request_error")
    assert says in error.message and error.request_id
    assert error.param == (next(iter(change)) if code == "invalid_option" else None)


@pytest.mark.parametrize("sent", [b"", b"no json", b"[1]", b"[" * 100_000, b"\xff\xfe"])
def test_a_body_that_is_no_request_is_refused(client: TestClient, sent: bytes) -> None:
    answer = client.post("/v1/chat/completions", content=sent)
    assert answer.status_code == 400 and answer.headers["content-type"] == "application/json"
    assert answer.json()["error"]["param"] == "body"


def test_the_guards_hold_and_speak_as_openai_does(repository: Path, photos: list[bytes]) -> None:
    with opened(repository, max_mb=1, rate="1/hour", hosts=("127.0.0.1",)) as client:
        large = client.post("/v1/chat/completions", content=b" " * 2**21)
        method = client.get("/v1/chat/completions")
        strange = client.get("/v1/models", headers={"host": "evil.example"})
        client.post("/v1/chat/completions", content=b"{}")
        often = client.post("/v1/chat/completions", content=b"{}")
        elsewhere = client.post("/v1/poems", content=photos[0])
    found = [(one.status_code, one.json()["error"]["code"]) for one in (method, often)]
    assert found == [(405, "method_not_allowed"), (429, "rate_limit_exceeded")]
    assert large.status_code == 413 and "1 MiB" in large.json()["error"]["message"]
    assert strange.status_code == 421 and "--allow-host" in strange.json()["error"]["message"]
    assert often.json()["error"]["type"] == "rate_limit_error" and int(often.headers["retry-after"]) > 0
    assert elsewhere.json()["type"] == "about:blank"  # other routes keep their error format
    assert all("content-security-policy" in one.headers for one in (large, method, strange, often))


def test_what_fails_once_the_stream_is_open_is_an_error_of_the_client(chat: openai.OpenAI, photos: list[bytes]) -> None:
    half = url_of(photos[0][: len(photos[0]) // 2])
    with pytest.raises(openai.APIError, match="truncated"):
        list(chat.chat.completions.create(model="img2poem", messages=messages(half), stream=True))


def test_models_that_are_away_are_a_server_error(photos: list[bytes]) -> None:
    address = f"127.0.0.1:{Ports.free().grpc}"
    with opened(f"grpc://{address}", timeout=3) as client:
        answer = client.post("/v1/chat/completions", json=body(photos[0]))
    assert answer.status_code in (502, 504) and answer.json()["error"]["type"] == "server_error"
    assert address not in answer.text


def test_what_nobody_foresaw_is_a_server_error(repository: Path, photos: list[bytes]) -> None:
    with opened(repository) as client:
        cast("FastAPI", client.app).state.poet.write = None
        answer = client.post("/v1/chat/completions", json=body(photos[0]))
        assert answer.status_code == 500 and answer.json()["error"]["type"] == "server_error"
        assert 'route="/v1/chat/completions",status="500"' in client.get("/metrics").text


def test_a_plain_request_gets_server_sent_events(gateway: str, tmp_path: Path, photos: list[bytes]) -> None:
    (tmp_path / "request.json").write_text(json.dumps(body(photos[0], stream=True, seed=1)))
    command = ["curl", "-sN", "--fail-with-body", f"{gateway}/v1/chat/completions", "-d", f"@{tmp_path}/request.json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
    events = re.findall(r"^data: (.*)$", done.stdout, re.M)
    assert events[-1] == "[DONE]" and len(events) >= 6
    assert {json.loads(event)["object"] for event in events[:-1]} == {"chat.completion.chunk"}
    assert len({json.loads(event)["id"] for event in events[:-1]}) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_who_goes_away_holds_the_place_until_the_thread_ends(
    repository: Path, photos: list[bytes], monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    asked = body(photos[0], stream=stream, n=3)
    caller = Caller(json.dumps(asked).encode())
    with slow(repository, monkeypatch, waiting=0) as gateway:
        working = gateway.asked(caller, "/v1/chat/completions")
        assert gateway.begun.wait(60)
        refused = gateway.client.post("/v1/chat/completions", json=asked)
        assert refused.status_code == 503 and refused.headers["retry-after"] == "2"
        assert refused.json()["error"]["code"] == "overloaded"
        gateway.left(caller)
        assert not eventually(gateway.counts("under_way", 0), seconds=0.5)
        gateway.ends.set()
        working.result(60)
        assert gateway.counts("under_way", 0)()
