"""The runtimes of one model: torch, in process, gRPC and HTTP, blocking and in asyncio."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from img2poem import AsyncImg2Poem, BeamSearch, BestOf, Img2Poem, Sampling
from img2poem.decoding.noise import drawn as decoder_inputs
from img2poem.decoding.strategies import AnyStrategy
from img2poem.images.decode import decode
from img2poem.nn import rules, search
from img2poem.nn.model import load_package
from img2poem.nn.rerank import Rerank

from .conftest import WEIGHTS


class Wrote(NamedTuple):
    text: str
    tokens: tuple[int, ...]
    score: float


Home = Callable[[bytes, AnyStrategy], Wrote]


class Torch:
    """The modules as trained, without export or server."""

    def __init__(self) -> None:
        self.model, self.tokenizer = load_package(WEIGHTS)

    def __call__(self, photo: bytes, strategy: AnyStrategy) -> Wrote:
        tensors = {
            name: torch.from_numpy(value).squeeze(1)
            for name, value in decoder_inputs(strategy.tensors(self.tokenizer.pieces)).items()
            if name != "noise"
        }
        options = rules.RowOptions(*(tensors[name] for name in rules.RowOptions._fields))
        with torch.inference_mode():
            embedding = self.model.image_encoder(torch.tensor(decode(photo))[None]).embedding
            found = self._search(strategy, embedding, options, tensors)
        tokens = tuple(found.tokens[0, : found.lengths[0]].tolist())
        return Wrote(self.tokenizer.decode(tokens), tokens, found.scores[0].item())

    def _search(
        self, strategy: AnyStrategy, embedding: torch.Tensor, options: rules.RowOptions, tensors: dict[str, Any]
    ) -> Any:
        decoder, pieces = self.model.poem_decoder, self.tokenizer.pieces
        if isinstance(strategy, BeamSearch):
            wide = search.BeamSearch(decoder, pieces, 10)
            return wide(embedding, options, tensors["beam_width"], tensors["length_penalty"])
        if not isinstance(strategy, Sampling | BestOf):
            return search.GreedySearch(decoder, pieces)(embedding, options)
        noise = torch.from_numpy(decoder_inputs(strategy.tensors(pieces))["noise"])
        drawing = [tensors[name] for name in ("temperature", "top_k", "top_p")]
        sampling = search.Sampling(decoder, pieces)
        if isinstance(strategy, Sampling):
            return sampling(embedding, options, *drawing, noise)
        several = [value.repeat_interleave(strategy.n, 0) for value in (embedding, *drawing)]
        drawn = sampling(several[0], options.repeated(strategy.n), *several[1:], noise.flatten(0, 1))
        return Rerank(self.model.poem_encoder, decoder.config.likelihood_weight)(
            *(value.view(1, strategy.n, *value.shape[1:]) for value in drawn), embedding
        )


def blocking(poet: Img2Poem, **options: Any) -> Home:
    def write(photo: bytes, strategy: AnyStrategy) -> Wrote:
        poem = poet.write(photo, strategy, **options)
        return Wrote(poem.text, poem.tokens, poem.score)

    return write


class Loop:
    """An event loop in a thread, for blocking tests."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def asynchronous(loop: Loop, poet: AsyncImg2Poem, **options: Any) -> Home:
    def write(photo: bytes, strategy: AnyStrategy) -> Wrote:
        poem = loop.run(poet.write(photo, strategy, **options))
        return Wrote(poem.text, poem.tokens, poem.score)

    return write


def assert_same(found: Wrote, expected: Wrote) -> None:
    assert found.tokens == expected.tokens
    assert found.text == expected.text
    assert np.isclose(found.score, expected.score, atol=1e-4)
