"""An invalid row fails no batch and changes no other row: each served model in ONNX Runtime, as Triton runs it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from export.served import Inputs, ServedModel
from img2poem.artifacts.sessions import open_session
from img2poem.decoding.registry import BEAM_OPTIONS, OPTIONS, SAMPLE_OPTIONS

#: Models whose inputs can be invalid; every value of a pixel is valid.
MODELS = (
    *("poem_encoder", "decoder_init", "decoder_step", "poem_decoder_greedy", "poem_decoder_beam"),
    *("poem_decoder_sample", "poem_decoder_line", "poem_decoder_candidates", "rerank", "poem_text", "noise"),
)
NONSENSE: dict[str, tuple[float, ...]] = {
    "f": (np.nan, np.inf, -np.inf, 3e38, -3e38),
    "i": (-1, 10**6, -(10**6), 2**62, 2**63 - 1, -(2**63)),
}
GOOD_ROWS = 2
#: Tokens of a valid row's poem: the fewest steps that still test a step.
STEPS = 8


def good_inputs(name: str, served: dict[str, ServedModel], rows: int) -> Inputs:
    random = np.random.default_rng(2)
    if name == "poem_text":
        return {"tokens": random.integers(4, 1000, (rows, 96))}
    if name == "noise":
        return {"seed": random.integers(0, 1000, (rows, 1)), "embedding": np.zeros((rows, 512), np.float32)}
    inputs = served[name].sample(rows, random)
    if "max_tokens" in inputs:
        inputs["max_tokens"][:] = STEPS
    if "candidate_lengths" in inputs:
        # Always the longest, so that both batches have the same shapes.
        inputs["candidate_lengths"][0, 0] = inputs["candidates"].shape[-1]
    return inputs


def nonsense(inputs: Inputs) -> Iterator[tuple[str, float]]:
    for name, values in inputs.items():
        yield from ((name, value) for value in NONSENSE.get(values.dtype.kind, ()))


def equal(some: NDArray[Any], others: NDArray[Any]) -> bool:
    return some.dtype == others.dtype and bool((some == others).all())


@pytest.mark.parametrize("name", MODELS)
def test_nonsense_fails_no_batch_and_changes_no_other_row(
    repository: Path, served: dict[str, ServedModel], name: str
) -> None:
    session = open_session(repository / name / "1" / "model.onnx")
    spoils = [*nonsense(good_inputs(name, served, 1))]
    good = good_inputs(name, served, GOOD_ROWS + len(spoils))
    bad = {tensor: values.copy() for tensor, values in good.items()}
    for row, (tensor, value) in enumerate(spoils, GOOD_ROWS):
        bad[tensor][row] = value
    wanted, found = session.run(None, good), session.run(None, bad)
    for output, want, got in zip(session.get_outputs(), wanted, found, strict=True):
        assert want.shape == got.shape
        assert equal(want[:GOOD_ROWS], got[:GOOD_ROWS]), output.name
        if output.name not in ("condition", "next_score", "poem_tokens"):  # these repeat the inputs
            assert not (got.dtype.kind == "f" and np.isnan(got).any()), output.name


@pytest.mark.parametrize("name", MODELS)
def test_nonsense_everywhere_is_answered(repository: Path, served: dict[str, ServedModel], name: str) -> None:
    session = open_session(repository / name / "1" / "model.onnx")
    good = good_inputs(name, served, 1)
    for place in range(max(map(len, NONSENSE.values()))):
        answer = session.run(None, {tensor: spoilt(values, place) for tensor, values in good.items()})
        assert all(len(part) == 1 for part in answer)


def spoilt(values: NDArray[Any], place: int) -> NDArray[Any]:
    choice = NONSENSE[values.dtype.kind]
    return np.full_like(values, choice[place % len(choice)])


@pytest.mark.parametrize("name", ["poem_decoder_beam", "poem_decoder_sample"])
def test_an_option_out_of_its_range_is_the_nearest_within(
    repository: Path, served: dict[str, ServedModel], name: str
) -> None:
    session = open_session(repository / name / "1" / "model.onnx")
    options = [option for option in OPTIONS if option in (BEAM_OPTIONS if name.endswith("beam") else SAMPLE_OPTIONS)]
    options.remove("forbidden_tokens")
    good = {tensor: np.repeat(values, len(options), axis=0) for tensor, values in good_inputs(name, served, 1).items()}
    good["max_tokens"][:] = OPTIONS["max_tokens"].lowest
    beyond = {tensor: values.copy() for tensor, values in good.items()}
    for row, option in enumerate(options):
        outside = {"f": np.inf, "i": 2**40}[good[option].dtype.kind]
        good[option][row], beyond[option][row] = OPTIONS[option].highest, outside
    for want, got in zip(session.run(None, good), session.run(None, beyond), strict=True):
        np.testing.assert_array_equal(want, got)
