"""Poems from the real server, line by line."""

from __future__ import annotations

import base64
import json
import re
import statistics
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from benchmarks.streams import client_of, streaming
from export.settings import Settings
from img2poem import Greedy, Img2Poem, Sampling
from img2poem.client.operations import line_options
from img2poem.decoding.strategies import MAX_FORBIDDEN
from img2poem.serving.server import TritonServer

from ..waiting import eventually

STREAMS = Settings.streams
REASONS = ("end", "length", "cancelled", "failed")
STRATEGIES: list[Sampling | Greedy] = [
    *(Sampling(seed=seed) for seed in range(4)),
    Sampling(seed=4, temperature=1.2345678, top_k=20, top_p=0.7, min_lines=8, max_lines=8),
    Sampling(seed=5, max_tokens=20),
    Greedy(),
    Greedy(max_lines=5, repetition_penalty=1.0),
]


def counted(server: TritonServer) -> dict[str, float]:
    """Return our own metrics by name; those of poems by reason."""
    with urllib.request.urlopen(server.metrics_url, timeout=10) as response:
        found = re.findall(r'^img2poem_(\w+)_total\{.*?(?:reason="(\w+)")?\} (\d+)', response.read().decode(), re.M)
    return {reason or name: float(count) for name, reason, count in found}


@pytest.fixture
def before(server: TritonServer) -> dict[str, float]:
    """The counters before a test, when the previous test's no longer change."""
    found: dict[str, float] = {}
    while found != (found := counted(server)):
        time.sleep(0.1)
    return found


def counted_since(server: TritonServer, before: dict[str, float], poems: int) -> dict[str, float]:
    """Return the increase of the counters once ``poems`` poems are counted, just after their last responses."""
    grown: dict[str, float] = {}

    def whole() -> bool:
        grown.update({name: count - before[name] for name, count in counted(server).items()})
        return sum(grown[reason] for reason in REASONS) == poems

    assert eventually(whole), f"{poems} poems, but {grown}"
    return grown


def test_a_stream_gives_the_tokens_of_the_whole_poem(
    server: TritonServer, before: dict[str, float], photos: list[bytes]
) -> None:
    lines = tokens = 0
    with Img2Poem(server.grpc_url) as poet, streaming(server) as stream:
        for number, strategy in enumerate(STRATEGIES):
            stream.ask(photos[number], f"poem-{number}", **line_options(strategy))
            *written, closing = stream.rest()
            poem = poet.write(photos[number], strategy)
            assert tuple(line.text for line in written) == poem.lines
            assert [line.index for line in (*written, closing)] == list(range(len(written) + 1))
            assert closing.tokens == [t for line in written for t in line.tokens] == list(poem.tokens)
            assert closing.score == pytest.approx(poem.score, abs=1e-4)
            assert closing.reason == ("length" if len(poem.tokens) == strategy.max_tokens else "end")
            assert {line.id for line in (*written, closing)} == {f"poem-{number}"}
            assert all("score" not in line.outputs for line in written)
            lines, tokens = lines + len(written), tokens + len(closing.tokens)
    grown = counted_since(server, before, len(STRATEGIES))
    assert grown["end"] >= 1 and grown["length"] >= 1
    assert grown["lines"] == lines and grown["tokens"] == tokens and grown["failed"] == 0


def test_lines_come_before_the_poem_is_whole(server: TritonServer, photos: list[bytes]) -> None:
    """Medians for poems of eight lines; docs/serving.md has the figures of an idle machine."""
    parts = []
    with streaming(server) as stream:
        for seed in range(9):
            started = time.perf_counter()
            stream.ask(photos[seed], **line_options(Sampling(seed=seed, min_lines=8, max_lines=8)))
            lines = stream.rest()
            assert [line.at for line in lines] == sorted(line.at for line in lines)
            parts.append((lines[0].at - started) / (lines[-1].at - started))
    assert statistics.median(parts) < 0.5


def test_options_that_are_not_given_have_the_defaults_of_sampling(server: TritonServer, photos: list[bytes]) -> None:
    with Img2Poem(server.grpc_url) as poet, streaming(server) as stream:
        stream.ask(photos[0], seed=np.array([[9]]))
        assert stream.rest()[-1].tokens == list(poet.write(photos[0], Sampling(seed=9)).tokens)


def test_many_streams_go_on_together_and_as_they_do_alone(server: TritonServer, photos: list[bytes]) -> None:
    """More streams than slots; their lines are decoded in batches."""

    def stream_of(job: int) -> list[int]:
        with streaming(server) as stream:
            stream.ask(photos[job % len(photos)], **line_options(Sampling(seed=job)))
            return stream.rest()[-1].tokens

    client = client_of(server)

    def decoded() -> tuple[int, int]:
        [statistic] = client.get_inference_statistics("poem_decoder_line").model_stats
        return statistic.inference_count, statistic.execution_count

    before, jobs = decoded(), range(STREAMS * 3)
    with ThreadPoolExecutor(len(jobs)) as pool:
        together = list(pool.map(stream_of, jobs))
    inferences, executions = (b - a for a, b in zip(before, decoded(), strict=True))
    client.close()
    assert executions < inferences
    assert together[::5] == [stream_of(job) for job in jobs[::5]]


def test_a_cancelled_stream_frees_its_slot(server: TritonServer, before: dict[str, float], photos: list[bytes]) -> None:
    """All slots are taken by poems whose callers disconnect after a line; the next poem must not wait for them."""
    client = client_of(server)
    for _ in range(STREAMS * 2):
        with streaming(server) as stream:
            stream.ask(photos[0], **line_options(Sampling(seed=1, min_lines=16, max_lines=16)))
            stream.next()
    assert eventually(lambda: counted(server)["cancelled"] > before["cancelled"])
    with streaming(server) as stream:
        for _ in range(STREAMS):
            stream.ask(photos[0], **line_options(Sampling(seed=1)))
        for _ in range(STREAMS):
            assert stream.rest()[-1].reason == "end"

    def lines() -> int:
        [statistic] = client.get_inference_statistics("poem_decoder_line").model_stats
        return int(statistic.inference_count)

    grown = counted_since(server, before, STREAMS * 3)
    assert grown["failed"] == 0
    assert grown["lines"] < STREAMS * 2 * 16
    at_rest = lines()
    time.sleep(0.3)
    assert lines() == at_rest, "nobody goes on with a cancelled poem"
    client.close()


@pytest.mark.parametrize(
    ("photo", "tensors", "says"),
    [
        (b"not a picture", {}, "BadImage"),
        (None, {"seed": np.array([[1]])}, "InvalidOption: give the photograph as image or as image_base64"),
        (None, {"image_base64": np.array([[b"%%"]], np.object_)}, "InvalidOption: image_base64 is not Base64"),
        (b"", {"temperature": np.array([[9]], np.float32)}, "InvalidOption: temperature must be from 0.05 to 4, not 9"),
        (b"", {"max_lines": np.array([[2]])}, r"InvalidOption: max_lines \(2\) is less than min_lines"),
        (b"", {"forbidden_tokens": np.full((1, MAX_FORBIDDEN), -1)}, "InvalidOption: forbidden_tokens must be from 0 "),
    ],
)
def test_what_cannot_be_streamed_says_why(
    server: TritonServer, before: dict[str, float], photo: bytes | None, tensors: dict[str, np.ndarray], says: str
) -> None:
    with streaming(server) as stream:
        stream.ask(photo, **tensors)
        with pytest.raises(InferenceServerException) as raised:
            stream.next()
    assert re.match(says, raised.value.message())
    grown = counted_since(server, before, poems=1)
    assert grown["failed"] == 1 and grown["bad_images"] == (says == "BadImage")


@pytest.mark.parametrize(
    ("asked", "says"),
    [({}, "BadImage: "), ({"forbidden_tokens": [-1] * MAX_FORBIDDEN}, "InvalidOption: forbidden_tokens must be")],
)
def test_the_fault_is_said_to_be_the_callers(server: TritonServer, asked: dict[str, list[int]], says: str) -> None:
    """Over REST, since a gRPC stream has no status per response."""
    body = {"image_base64": base64.b64encode(b"not a picture").decode(), **asked}
    url = f"{server.http_url}/v2/models/img2poem_stream/generate"
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(url, json.dumps(body).encode(), timeout=60).close()
    assert raised.value.code == 400 and json.load(raised.value)["error"].startswith(says)


def test_server_sent_events_over_rest(server: TritonServer, photos: list[bytes]) -> None:
    body = {"image_base64": base64.b64encode(photos[1]).decode(), "seed": 3, "max_lines": 4}
    url = f"{server.http_url}/v2/models/img2poem_stream/generate_stream"
    with urllib.request.urlopen(url, json.dumps(body).encode(), timeout=60) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        events = [json.loads(line.removeprefix(b"data: ")) for line in answer if line.startswith(b"data: ")]
    with Img2Poem(server.grpc_url) as poet:
        poem = poet.write(photos[1], Sampling(seed=3, max_lines=4))
    assert tuple(event["line"] for event in events[:-1]) == poem.lines
    assert events[-1]["final"] and events[-1]["tokens"] == list(poem.tokens)
