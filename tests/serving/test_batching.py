"""Requests of many callers are batched, and no response depends on the other requests in its batch."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

import pytest

from benchmarks.streams import client_of
from img2poem import BeamSearch, BestOf, Greedy, Img2Poem, Sampling
from img2poem.decoding.strategies import AnyStrategy
from img2poem.serving.server import TritonServer

CALLERS = 64


def mixed(number: int) -> AnyStrategy:
    """Strategies whose rows differ in their options, even for the same decoder."""
    rules = {"min_lines": 1 + number % 4, "max_lines": 4 + number % 5, "no_repeat_ngram": (0, 2, 3)[number % 3]}
    sampling = Sampling(seed=number, temperature=0.5 + number / 64, top_k=1 + number, **rules)
    kinds = (Greedy(**rules), BeamSearch(width=1 + number % 6, **rules), sampling, BestOf(2 + number % 3, sampling))
    return kinds[number // 4 % 4]


def test_64_mixed_requests_at_once_get_the_answers_they_get_alone(server: TritonServer, photos: list[bytes]) -> None:
    jobs = [(photos[number % len(photos)], mixed(number)) for number in range(CALLERS)]
    client = client_of(server)

    def counts() -> dict[str, tuple[int, int]]:
        every = client.get_inference_statistics().model_stats
        return {one.name: (one.inference_count, one.execution_count) for one in every}

    before = counts()
    with Img2Poem(server.grpc_url, timeout=300) as poet:
        with ThreadPoolExecutor(CALLERS) as pool:
            together = list(pool.map(lambda job: poet.write(*job), jobs))
        after = counts()
        alone = [poet.write(*job) for job in jobs]
    client.close()
    assert [poem.tokens for poem in together] == [poem.tokens for poem in alone]
    assert [poem.score for poem in together] == pytest.approx([poem.score for poem in alone], abs=1e-4)
    grown = {name: [b - a for a, b in zip(before[name], after[name], strict=True)] for name in before}
    assert grown["image_encoder"][0] == CALLERS
    for model in ("image_encoder", "poem_decoder_greedy", "poem_decoder_beam", "poem_decoder_sample", "poem_text"):
        inferences, executions = grown[model]
        assert 0 < executions < inferences, model


def test_who_waits_goes_before_what_is_in_the_background(server: TritonServer, photos: list[bytes]) -> None:
    """In order of arrival, nearly all background requests would finish first."""
    with (
        Img2Poem(server.grpc_url, timeout=300, background=True) as background,
        Img2Poem(server.grpc_url) as poet,
        ThreadPoolExecutor(CALLERS) as pool,
    ):
        # Long poems: most of them must be unfinished even if this process is scheduled a second late.
        beam = BeamSearch(width=10, min_lines=8, max_lines=8, max_tokens=96)
        others = [pool.submit(background.write, photos[n % len(photos)], beam) for n in range(CALLERS)]
        wait(others, return_when=FIRST_COMPLETED)
        poet.write(photos[0], beam)
        assert sum(other.done() for other in others) < CALLERS * 3 // 4
