"""One model, many runtimes: torch, in process, and the real server over gRPC and HTTP, blocking and in asyncio."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from img2poem import AsyncImg2Poem, BeamSearch, BestOf, Greedy, Img2Poem, Sampling
from img2poem.artifacts.package import contract_hash
from img2poem.decoding.strategies import AnyStrategy
from img2poem.serving.server import TritonServer

from ..conftest import WEIGHTS
from ..homes import Home, Loop, Torch, assert_same, asynchronous, blocking

FORBIDDEN = ("the", "flower", "flowers", "sun", "sea", "and")
STRATEGIES: list[AnyStrategy] = [
    Greedy(),
    Greedy(min_lines=1, max_lines=3, no_repeat_ngram=0, repetition_penalty=1.0),
    Sampling(seed=7),
    Sampling(seed=1, temperature=1.3, top_k=20, top_p=0.8, max_lines=5),
    BestOf(),
    BestOf(3, Sampling(seed=2, temperature=1.2, forbidden=FORBIDDEN)),
    BeamSearch(),
    BeamSearch(width=2, forbidden=FORBIDDEN),
    BeamSearch(width=1, max_line_tokens=6),
    BeamSearch(width=10, length_penalty=0.3, min_lines=6, max_tokens=50, no_repeat_ngram=2),
]


@pytest.fixture(scope="module")
def homes(repository: Path, server: TritonServer) -> Iterator[dict[str, Home]]:
    loop = Loop()
    poets = {"local": Img2Poem(repository), "grpc": Img2Poem(server.grpc_url), "http": Img2Poem(server.http_url)}
    others = {"aio-grpc": AsyncImg2Poem(server.grpc_url), "aio-http": AsyncImg2Poem(server.http_url)}
    yield {
        "torch": Torch(),
        **{name: blocking(poet) for name, poet in poets.items()},
        **{name: asynchronous(loop, poet) for name, poet in others.items()},
        "aio-local": asynchronous(loop, AsyncImg2Poem(repository)),
        **{f"{name}, steps": blocking(poet, where="client") for name, poet in poets.items()},
        "aio-grpc, steps": asynchronous(loop, others["aio-grpc"], where="client"),
    }
    for poet in poets.values():
        poet.close()
    for other in others.values():
        loop.run(other.close())
    loop.close()


@st.composite
def strategies(draw: st.DrawFn) -> AnyStrategy:
    """Any strategy with any options."""
    least = draw(st.integers(1, 4))
    common = {
        "min_lines": least,
        "max_lines": draw(st.integers(least, 6)),
        "max_tokens": draw(st.integers(8, 60)),
        "max_line_tokens": draw(st.integers(2, 14)),
        "no_repeat_ngram": draw(st.sampled_from([0, 2, 3, 4])),
        "repetition_penalty": draw(st.sampled_from([1.0, 1.5, 2.0])),
        "forbidden": draw(st.sampled_from([(), FORBIDDEN[:2], FORBIDDEN])),
    }
    sampling = {
        "seed": draw(st.integers(0, 2**63 - 1)),
        "temperature": draw(st.sampled_from([0.3, 0.8, 1.5])),
        "top_k": draw(st.integers(1, 64)),
        "top_p": draw(st.sampled_from([0.5, 0.9, 1.0])),
    }
    kind = draw(st.sampled_from(["greedy", "beam", "sample", "best-of"]))
    if kind == "greedy":
        return Greedy(**common)
    if kind == "beam":
        penalty = draw(st.sampled_from([0.0, 0.7, 1.0]))
        return BeamSearch(**common, width=draw(st.integers(1, 10)), length_penalty=penalty)
    drawn = Sampling(**common, **sampling)
    return drawn if kind == "sample" else BestOf(draw(st.integers(1, 6)), drawn)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(strategy=strategies(), which=st.integers(0, 13))
def test_every_home_writes_the_same(
    homes: dict[str, Home], photos: list[bytes], strategy: AnyStrategy, which: int
) -> None:
    expected = homes["torch"](photos[which], strategy)
    for home in homes.values():
        assert_same(home(photos[which], strategy), expected)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
def test_in_process_writes_as_torch_about_every_photograph(
    homes: dict[str, Home], photos: list[bytes], strategy: AnyStrategy
) -> None:
    for photo in photos:
        found = homes["local"](photo, strategy)
        assert_same(found, homes["torch"](photo, strategy))
        assert not set(strategy.forbidden) & set(re.findall("[a-z]+", found.text.lower()))


def test_every_home_sees_reads_and_describes_the_same(
    repository: Path, server: TritonServer, photos: list[bytes]
) -> None:
    package = Torch()
    poem = "over the old harbour\ngulls are crying, quixotically"
    ids, pixels = package.tokenizer.encode(poem), None
    with Img2Poem(repository) as local, Img2Poem(server.grpc_url) as grpc, Img2Poem(server.http_url) as http:
        assert local.info().contract == grpc.info().contract == http.info().contract == contract_hash(WEIGHTS)
        for photo in photos[:3]:
            expected = local.embed_image(photo), local.embed_poem(poem), local.describe(photo)
            assert np.isclose(np.linalg.norm(expected[0]), 1, atol=1e-4)
            for poet in (grpc, http):
                assert np.allclose(poet.embed_image(photo), expected[0], atol=1e-5)
                assert np.allclose(poet.embed_poem(poem), expected[1], atol=1e-5)
                assert poet.describe(photo).objects[0].name == expected[2].objects[0].name
                assert np.isclose(poet.score(photo, poem), expected[0] @ expected[1], atol=1e-5)
        assert pixels is None and package.tokenizer.pieces[ids[0]] == "over"


def test_concurrent_callers_get_their_own_poems(
    server: TritonServer, homes: dict[str, Home], photos: list[bytes]
) -> None:
    """Requests of different callers are batched; each gets its own photograph's poem."""
    jobs = [(photo, strategy) for photo in photos for strategy in STRATEGIES[:3]] * 2
    for url in (server.grpc_url, server.http_url):
        with Img2Poem(url) as poet, ThreadPoolExecutor(16) as pool:
            poems = list(pool.map(lambda job, poet=poet: poet.write(*job), jobs))
        for (photo, strategy), poem in zip(jobs, poems, strict=True):
            assert poem.tokens == homes["local"](photo, strategy).tokens
