"""The searches in numpy, over the exported steps, give the tokens of the exported search loops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.served import ServedModel, served_models
from img2poem.calls import Call, Deadline
from img2poem.dispatch import Dispatcher
from img2poem.engines.local import LocalEndpoint, open_session
from img2poem.nn.model import load_package
from img2poem.searches import Searches

from .conftest import WEIGHTS

ROUNDS_BY_BATCH = {1: 20, 2: 10, 7: 5, 32: 1}


@pytest.fixture(scope="module")
def local(repository: Path) -> Dispatcher:
    return Dispatcher([LocalEndpoint(repository)], retries=0)


@pytest.fixture(scope="module")
def searches() -> Searches:
    model, tokenizer = load_package(WEIGHTS)
    return Searches(tokenizer.pieces[: model.config.decoder.vocabulary_size])


@pytest.fixture(scope="module")
def served() -> dict[str, ServedModel]:
    return {model.name: model for model in served_models(*load_package(WEIGHTS))}


@pytest.mark.parametrize("batch", ROUNDS_BY_BATCH)
@pytest.mark.parametrize("search", ["greedy", "beam", "sample"])
def test_numpy_gives_the_tokens_of_the_graphs(
    repository: Path, local: Dispatcher, searches: Searches, served: dict[str, ServedModel], search: str, batch: int
) -> None:
    """Random embeddings and options; 107 poems a search."""
    session = open_session(repository / f"poem_decoder_{search}" / "1" / "model.onnx")
    for seed in range(ROUNDS_BY_BATCH[batch]):
        inputs = served[f"poem_decoder_{search}"].sample(batch, np.random.default_rng([seed, batch]))
        tokens, scores, lengths, _ = session.run(None, inputs)
        options: dict[str, Any] = {name: value for name, value in inputs.items() if name != "embedding"}
        found = local.run(getattr(searches, search)(inputs["embedding"], options), Call(Deadline(600)))
        assert np.array_equal(found.tokens, tokens)
        assert np.array_equal(found.lengths, lengths[:, 0])
        assert np.abs(found.scores - scores[:, 0]).max() < 1e-4
