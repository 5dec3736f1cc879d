from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from img2poem import BeamSearch, BestOf, Greedy, Sampling
from img2poem.decoding.noise import drawn, noise
from img2poem.decoding.registry import BEAM_OPTIONS, OPTIONS, RULE_OPTIONS, SAMPLE_OPTIONS
from img2poem.decoding.strategies import MAX_FORBIDDEN, MAX_TOKENS, TOP_TOKENS, Strategy
from img2poem.errors import InvalidOption


def test_options_become_tensors_of_one_row() -> None:
    tensors = BeamSearch(width=3, length_penalty=0.5, min_lines=2, max_lines=5).tensors()
    assert tuple(tensors) == BEAM_OPTIONS
    assert all(t.shape == (1, OPTIONS[n].width) and t.dtype == OPTIONS[n].dtype for n, t in tensors.items())
    assert not tensors["forbidden_tokens"].any()
    assert tensors["beam_width"][0, 0] == 3 and tensors["length_penalty"][0, 0] == np.float32(0.5)
    assert tuple(Greedy().tensors()) == RULE_OPTIONS


def test_a_forbidden_word_becomes_its_token() -> None:
    pieces = ["[PAD]", "sea", "gull", "the"]
    numbers = Greedy(forbidden=("the", "sea", "nowhere")).tensors(pieces)["forbidden_tokens"]
    assert numbers.shape == (1, MAX_FORBIDDEN) and numbers[0, :3].tolist() == [3, 1, 0] and not numbers[0, 2:].any()


def test_best_of_draws_its_samplings_own_poem_first() -> None:
    sampling = Sampling(seed=5, max_lines=6)
    best, alone = drawn(BestOf(3, sampling).tensors()), drawn(sampling.tensors())
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
    assert tuple(tensors) == (*SAMPLE_OPTIONS, "seed") and tensors["seed"].dtype == np.int64
    decoder = drawn(tensors)
    assert tuple(decoder) == (*SAMPLE_OPTIONS, "noise")
    found = decoder["noise"]
    assert found.shape == (1, MAX_TOKENS, TOP_TOKENS) and found.dtype == np.float32
    assert found.min() > 0 and found.max() < 1 and np.isfinite(-np.log(-np.log(found))).all()
    assert np.array_equal(found, drawn(Sampling(seed=seed, top_k=3).tensors())["noise"])
    rows = noise(np.array([[seed], [seed ^ 1]]), 2)
    assert np.array_equal(rows[0, 0], found[0]) and not np.isin(rows[1], rows[0]).all()


def test_the_noise_of_a_seed_never_changes() -> None:
    """SplitMix64's published output for the state that the seed is hashed to: a seed always gives the same poem."""

    def hashed(value: int) -> int:
        value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        value = (value ^ value >> 27) * 0x94D049BB133111EB % 2**64
        return value ^ value >> 31

    first = noise(np.array([[7]]))[0, 0, 0, :3].tolist()
    states = [(hashed(7) + (i + 1) * 0x9E3779B97F4A7C15) % 2**64 for i in range(3)]
    assert first == [((hashed(state) >> 41) + 0.5) / 2**23 for state in states]
    assert first == pytest.approx([0.5243459343910217, 0.3021389842033386, 0.9409962296485901])


def test_noise_is_uniform() -> None:
    """Tests each value over many neighbouring seeds, and the correlation of adjacent values."""
    values = noise(np.arange(64)[:, None], 2).reshape(64, -1).astype(np.float64)
    counts = np.histogram(values, 64, (0, 1))[0]
    expected = values.size / 64
    assert ((counts - expected) ** 2 / expected).sum() < 63 + 5 * np.sqrt(2 * 63)
    centred = (values - 0.5) * np.sqrt(12)
    for one, other in ((centred[:, 1:], centred[:, :-1]), (centred[1:], centred[:-1])):
        assert abs((one * other).mean()) < 5 / np.sqrt(one.size)


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
        ("max_lines", 2, "less than min_lines"),
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
