"""The response cache answers repeated requests, and no others."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton

from benchmarks.streams import client_of, inputs_of
from img2poem import BeamSearch, BestOf, Greedy, Img2Poem, Sampling
from img2poem.decoding.strategies import AnyStrategy
from img2poem.images.decode import decode
from img2poem.serving.server import Ports, ServerSettings, TritonServer

OWN = {"max_tokens": 41}


@pytest.fixture(scope="module")
def caching(repository: Path) -> Iterator[TritonServer]:
    with TritonServer(repository, Ports.free(), ServerSettings(cache_mb=8)) as server:
        yield server


def hits(client: triton.InferenceServerClient, model: str) -> int:
    [statistic] = client.get_inference_statistics(model).model_stats
    return int(statistic.inference_stats.cache_hit.count)


def executions(client: triton.InferenceServerClient) -> int:
    """Return how often the models have run; Triton counts slightly after its response."""
    before, now = -1, 0
    while before != now:
        time.sleep(0.2)
        every = client.get_inference_statistics().model_stats
        before, now = now, sum(s.execution_count for s in every if not s.name.startswith("img2poem"))
    return now


@pytest.mark.parametrize(
    ("model", "strategy", "other"),
    [
        ("img2poem", BeamSearch(**OWN), BeamSearch(**OWN, width=4)),
        ("img2poem_greedy", Greedy(**OWN), Greedy(**OWN, max_lines=7)),
        ("img2poem_sample", Sampling(**OWN, seed=1), Sampling(**OWN, seed=2)),
        ("img2poem_best", BestOf(2, Sampling(**OWN, seed=1)), BestOf(2, Sampling(**OWN, seed=2))),
    ],
)
def test_a_repeated_request_is_answered_from_the_cache(
    caching: TritonServer, photos: list[bytes], model: str, strategy: AnyStrategy, other: AnyStrategy
) -> None:
    client = client_of(caching)
    with Img2Poem(caching.grpc_url) as poet:
        before, first = hits(client, model), poet.write(photos[2], strategy)
        poet.write(photos[2], other)
        poet.write(photos[3], strategy)
        assert hits(client, model) == before, "another seed, option or photograph is another request"
        done = executions(client)
        again = poet.write(photos[2], strategy)
    assert hits(client, model) == before + 1 and executions(client) == done
    assert dataclasses.replace(again, timings={}, request_id="") == dataclasses.replace(
        first, timings={}, request_id=""
    )
    client.close()


def test_pixels_are_cached_too(caching: TritonServer, photos: list[bytes]) -> None:
    client = client_of(caching)
    inputs = inputs_of({"pixels": decode(photos[2])[None], **BeamSearch(**OWN).tensors()})
    before = hits(client, "img2poem_pixels")
    poems = [client.infer("img2poem_pixels", inputs).as_numpy("tokens") for _ in range(2)]
    assert hits(client, "img2poem_pixels") == before + 1 and np.array_equal(*poems)
    client.close()


def test_errors_are_not_cached(caching: TritonServer, photos: list[bytes]) -> None:
    client = client_of(caching)
    inputs = inputs_of({"image": np.array([[photos[0][:5000]]], np.object_), **Greedy(**OWN).tensors()})
    before = hits(client, "img2poem_greedy")
    for _ in range(2):
        with pytest.raises(triton.InferenceServerException, match="BadImage"):
            client.infer("img2poem_greedy", inputs)
    assert hits(client, "img2poem_greedy") == before
    client.close()


def test_without_a_size_there_is_none(server: TritonServer, photos: list[bytes]) -> None:
    client, before = client_of(server), 0
    with Img2Poem(server.grpc_url) as poet:
        for _ in range(2):
            poet.write(photos[2], Greedy(**OWN))
            before, done = executions(client), before
    assert before > done and hits(client, "img2poem_greedy") == 0
    client.close()
