"""The numpy searches with the exported steps give the same tokens as the exported search loops."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from export.served import ServedModel, served_models
from img2poem.artifacts.sessions import open_session
from img2poem.client.drivers import Driver
from img2poem.decoding.registry import OPTIONS
from img2poem.decoding.search import Hypotheses, Searches
from img2poem.decoding.strategies import MAX_FORBIDDEN, MAX_TOKENS, TOP_TOKENS, Greedy
from img2poem.nn.model import load_package
from img2poem.nn.rules import RowOptions
from img2poem.nn.search import BeamSearch, GreedySearch, Sampling
from img2poem.requests import Call, Deadline, Flow, Infer
from img2poem.text.orthography import Orthography
from img2poem.transports.local import LocalEndpoint

from ..conftest import WEIGHTS
from ..nn.models import ORTHOGRAPHY, PIECES, STEPS, embeddings, small_decoder
from ..steps import run_on_torch

ROUNDS_BY_BATCH = {1: 20, 2: 10, 7: 5, 32: 1}


@pytest.fixture(scope="module")
def local(repository: Path) -> Driver:
    return Driver([LocalEndpoint(repository)], retries=0)


@pytest.fixture(scope="module")
def searches() -> Searches:
    model, tokenizer = load_package(WEIGHTS)
    return Searches(Orthography.of(model.config.decoder, tokenizer.pieces))


@pytest.fixture(scope="module")
def served() -> dict[str, ServedModel]:
    return {model.name: model for model in served_models(*load_package(WEIGHTS))}


@pytest.mark.parametrize("batch", ROUNDS_BY_BATCH)
@pytest.mark.parametrize("search", ["greedy", "beam", "sample"])
def test_numpy_gives_the_tokens_of_the_graphs(
    repository: Path, local: Driver, searches: Searches, served: dict[str, ServedModel], search: str, batch: int
) -> None:
    """Random embeddings and options; 107 poems per search."""
    session = open_session(repository / f"poem_decoder_{search}" / "1" / "model.onnx")
    for seed in range(ROUNDS_BY_BATCH[batch]):
        inputs = served[f"poem_decoder_{search}"].sample(batch, np.random.default_rng([seed, batch]))
        tokens, scores, lengths, _ = session.run(None, inputs)
        options: dict[str, Any] = {name: value for name, value in inputs.items() if name != "embedding"}
        found = local.run(getattr(searches, search)(inputs["embedding"], options), Call(Deadline(600)))
        assert np.array_equal(found.tokens, tokens)
        assert np.array_equal(found.lengths, lengths[:, 0])
        assert np.abs(found.scores - scores[:, 0]).max() < 1e-4


row_options = st.fixed_dictionaries(
    {
        "min_lines": st.integers(1, 4),
        "max_lines": st.integers(4, 8),
        "max_tokens": st.integers(3, STEPS),
        "max_line_tokens": st.integers(2, 8),
        "no_repeat_ngram": st.sampled_from([0, 2, 3, 4]),
        "repetition_penalty": st.sampled_from([1.0, 1.1, 2.0]),
    }
)


@settings(max_examples=40)
@given(
    st.lists(row_options, min_size=1, max_size=3), st.integers(0, 10_000), st.sampled_from(["greedy", "beam", "sample"])
)
def test_numpy_gives_the_tokens_of_torch(rows: list[dict[str, float]], seed: int, search: str) -> None:
    """With a small random decoder, under any options."""
    decoder, count = small_decoder(seed % 5), len(rows)
    embedding, random = embeddings(count, seed), np.random.default_rng(seed)
    forbidden = np.where(
        random.random((count, MAX_FORBIDDEN)) < 0.1, random.integers(0, 999, (count, MAX_FORBIDDEN)), 0
    )
    given: dict[str, Any] = {name: np.array([[row[name]] for row in rows], OPTIONS[name].dtype) for name in rows[0]}
    given["forbidden_tokens"] = forbidden
    options = RowOptions(*(torch.from_numpy(given[name]) for name in RowOptions._fields))
    options = RowOptions(*(value.squeeze(1) if value.shape[1] == 1 else value for value in options))
    modules = {
        "greedy": lambda: GreedySearch(decoder, PIECES)(embedding, options),
        "beam": lambda: BeamSearch(decoder, PIECES, 3)(
            embedding, options, torch.full((count,), 3), torch.full((count,), 0.8)
        ),
        "sample": lambda: Sampling(decoder, PIECES)(
            embedding, options, *(torch.full((count,), value) for value in (1.3, 20, 0.9)), torch.from_numpy(noise)
        ),
    }
    noise = random.random((count, MAX_TOKENS, TOP_TOKENS), np.float32).clip(1e-6, 1 - 1e-6)
    column = np.ones((count, 1), np.float32)
    more = {
        "greedy": {},
        "beam": {"beam_width": column.astype(np.int64) * 3, "length_penalty": column * np.float32(0.8)},
        "sample": {
            "temperature": column * np.float32(1.3),
            "top_k": column.astype(np.int64) * 20,
            "top_p": column * np.float32(0.9),
            "noise": noise,
        },
    }
    with torch.inference_mode():
        expected = modules[search]()
    flow = getattr(Searches(ORTHOGRAPHY), search)(embedding.numpy(), {**given, **more[search]})
    found = run_on_torch(flow, decoder, PIECES)
    assert np.array_equal(found.tokens[:, :STEPS], expected.tokens.numpy())
    assert np.array_equal(found.lengths, expected.lengths.numpy())
    assert np.abs(found.scores - expected.scores.numpy()).max() < 1e-4


def test_a_step_is_asked_for_no_more_rows_than_its_model_takes() -> None:
    """Regression: 32 rows were assumed, so that a repository exported with a smaller ``--max-batch`` refused them."""
    decoder, embedding = small_decoder(), embeddings(5, 0).numpy()
    options = {name: np.repeat(value, 5, axis=0) for name, value in Greedy().tensors().items()}
    rows: list[int] = []

    def noted(flow: Flow[Hypotheses]) -> Flow[Hypotheses]:
        reply: Any = None
        while True:
            try:
                request = flow.send(reply)
            except StopIteration as end:
                return cast("Hypotheses", end.value)
            if isinstance(request, Infer):
                rows.extend(map(len, request.inputs.values()))
            reply = yield request

    few = run_on_torch(noted(Searches(ORTHOGRAPHY, 2).greedy(embedding, options)), decoder, PIECES)
    all_at_once = run_on_torch(Searches(ORTHOGRAPHY).greedy(embedding, options), decoder, PIECES)
    assert {*rows} == {1, 2} and np.array_equal(few.tokens, all_at_once.tokens)
