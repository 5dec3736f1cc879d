from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from img2poem import BeamSearch, BestOf, Greedy, Sampling
from img2poem.decoding import (
    BEAM_OPTIONS,
    MAX_FORBIDDEN,
    MAX_TOKENS,
    OPTIONS,
    RULE_OPTIONS,
    SAMPLE_OPTIONS,
    TOP_TOKENS,
    Strategy,
)
from img2poem.errors import InvalidOption


def test_options_become_tensors_of_one_row() -> None:
    tensors = BeamSearch(width=3, length_penalty=0.5, min_lines=2, max_lines=5).tensors()
    assert tuple(tensors) == BEAM_OPTIONS
    assert all(t.shape == (1, OPTIONS[n].width) and t.dtype == OPTIONS[n].dtype for n, t in tensors.items())
    assert not tensors["forbidden_tokens"].any()
    assert tensors["beam_width"][0, 0] == 3 and tensors["length_penalty"][0, 0] == np.float32(0.5)
    assert tuple(Greedy().tensors()) == RULE_OPTIONS


def test_a_forbidden_word_becomes_its_rarest_piece() -> None:
    pieces = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "\n", *"abcdefghijklmnopqrstuvwxyz", "sea", "gull", "##gull", "##s"]
    strategy = Greedy(forbidden=("sea", "seagull", "seagulls", "ab"))
    spelt = strategy.tensors([*pieces, "##b"])["forbidden_tokens"]
    assert spelt.shape == (1, MAX_FORBIDDEN) and not spelt[0, 4:].any()
    assert [[*pieces, "##b"][i] for i in spelt[0, :4]] == ["sea", "##gull", "##s", "##b"]


def test_best_of_draws_its_samplings_own_poem_first() -> None:
    sampling = Sampling(seed=5, max_lines=6)
    best, alone = BestOf(3, sampling).tensors(), sampling.tensors()
    assert best["noise"].shape == (1, 3, MAX_TOKENS, TOP_TOKENS)
    assert np.array_equal(best["noise"][:, 0], alone["noise"])
    assert all(np.array_equal(best[name], alone[name]) for name in SAMPLE_OPTIONS)
    with pytest.raises(InvalidOption, match="n must be from 1 to 32"):
        BestOf(0)
    with pytest.raises(InvalidOption, match="must be a Sampling"):
        BestOf(2, Greedy())  # type: ignore[arg-type]


@given(st.integers(0, 2**63 - 1))
def test_a_seed_decides_the_noise(seed: int) -> None:
    tensors = Sampling(seed=seed).tensors()
    assert tuple(tensors) == (*SAMPLE_OPTIONS, "noise")
    noise = tensors["noise"]
    assert noise.shape == (1, MAX_TOKENS, TOP_TOKENS) and noise.dtype == np.float32
    assert noise.min() > 0 and noise.max() < 1 and np.isfinite(-np.log(-np.log(noise))).all()
    assert np.array_equal(noise, Sampling(seed=seed, top_k=3).tensors()["noise"])


def test_the_noise_of_a_seed_never_changes() -> None:
    """Golden values of numpy's PCG64, whose stream numpy keeps: a poem can be had again from its seed."""
    first = Sampling(seed=7).tensors()["noise"][0, 0, :3]
    assert first.tolist() == pytest.approx([0.6250954866409302, 0.8972138166427612, 0.7756856679916382])


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("width", 0, "width must be from 1 to 10"),
        ("width", 11, "width must be from 1 to 10"),
        ("width", 2.5, "whole number"),
        ("width", True, "whole number"),
        ("length_penalty", float("nan"), "a number"),
        ("repetition_penalty", 0.5, "from 1 to 4"),
        ("no_repeat_ngram", 1, "0 .off. or 2 to 4"),
        ("max_tokens", "9", "whole number"),
        ("max_lines", 3, "less than min_lines"),
        ("max_lines", -1, "from 1 to 16"),
        ("temperature", 0, "from 0.05 to 4"),
        ("top_k", 65, "from 1 to 64"),
        ("top_p", 1.5, "from 0.01 to 1"),
        ("seed", -1, "from 0 to"),
        ("forbidden", "sea", "tuple of words"),
        ("forbidden", ("Sea",), "letters a to z"),
        ("forbidden", ("",), "letters a to z"),
        ("forbidden", ("sea",) * 33, "may have 32 words, not 33"),
    ],
)
def test_a_wrong_option_says_what_is_right(option: str, value: object, says: str) -> None:
    strategy: type[Strategy] = Sampling if option in ("temperature", "top_k", "top_p", "seed") else BeamSearch
    with pytest.raises(InvalidOption, match=says):
        strategy(**{option: value})  # type: ignore[arg-type]


@given(st.sampled_from(sorted(OPTIONS)), st.integers(1, 9), st.integers(0, 99))
def test_random_options_are_in_range(name: str, batch: int, seed: int) -> None:
    option = OPTIONS[name]
    values = option.random(batch, np.random.default_rng(seed))
    assert values.shape == (batch, option.width) and values.dtype == option.dtype
    assert option.lowest <= values.min() and values.max() <= option.highest
