"""The same photograph, options and seed give the same tokens, in any batch and with any number of threads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from img2poem import BeamSearch, BestOf, Greedy, Sampling
from img2poem.decoding.noise import drawn
from img2poem.decoding.strategies import AnyStrategy
from img2poem.images.decode import decode

#: Allowed difference of an embedding: sums are computed in different orders (docs/reliability.md).
BOUND = 1e-5
STRATEGIES: dict[str, AnyStrategy] = {
    "poem_decoder_greedy": Greedy(),
    "poem_decoder_beam": BeamSearch(width=4),
    "poem_decoder_sample": Sampling(seed=3, temperature=1.2),
    "poem_decoder_candidates": BestOf(3, Sampling(seed=5)),
}


def session(repository: Path, model: str, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(repository / model / "1" / "model.onnx", options)


@pytest.fixture(scope="module")
def alone(repository: Path, photos: list[bytes]) -> dict[str, Any]:
    """Each photograph alone, on one thread: embeddings, and tokens by decoder."""
    encoder = session(repository, "image_encoder", 1)
    embeddings = [encoder.run(["embedding"], {"pixels": decode(photo)[None]})[0] for photo in photos[:7]]
    found: dict[str, Any] = {"embeddings": np.concatenate(embeddings)}
    for model, strategy in STRATEGIES.items():
        decoder = session(repository, model, 1)
        options = drawn(strategy.tensors())
        found[model] = np.concatenate([decoder.run(None, {"embedding": e, **options})[0] for e in embeddings])
    return found


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("rows", [1, 2, 7])
def test_companions_and_threads_change_no_token(
    repository: Path, photos: list[bytes], alone: dict[str, Any], threads: int, rows: int
) -> None:
    pixels = np.stack([decode(photo) for photo in photos[:rows]])
    [embeddings] = session(repository, "image_encoder", threads).run(["embedding"], {"pixels": pixels})
    assert np.abs(embeddings - alone["embeddings"][:rows]).max() <= BOUND
    for model, strategy in STRATEGIES.items():
        options = {name: np.repeat(value, rows, axis=0) for name, value in drawn(strategy.tensors()).items()}
        tokens = session(repository, model, threads).run(None, {"embedding": embeddings, **options})[0]
        assert np.array_equal(tokens, alone[model][:rows]), model


def test_a_session_opened_anew_computes_the_same(repository: Path, photos: list[bytes]) -> None:
    pixels = {"pixels": decode(photos[0])[None]}
    first, second = (session(repository, "image_encoder", 2).run(["embedding"], pixels)[0] for _ in range(2))
    assert np.array_equal(first, second)
