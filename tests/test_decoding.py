from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from img2poem import BeamSearch, Greedy
from img2poem.decoding import BEAM_OPTIONS, OPTIONS, RULE_OPTIONS
from img2poem.errors import InvalidOption


def test_options_become_tensors_of_one_row() -> None:
    tensors = BeamSearch(width=3, length_penalty=0.5, min_lines=2, max_lines=5).tensors()
    assert tuple(tensors) == BEAM_OPTIONS
    assert all(t.shape == (1, 1) and t.dtype == OPTIONS[name].dtype for name, t in tensors.items())
    assert tensors["beam_width"][0, 0] == 3 and tensors["length_penalty"][0, 0] == np.float32(0.5)
    assert tuple(Greedy().tensors()) == RULE_OPTIONS


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
    ],
)
def test_a_wrong_option_says_what_is_right(option: str, value: object, says: str) -> None:
    with pytest.raises(InvalidOption, match=says):
        BeamSearch(**{option: value})  # type: ignore[arg-type]


@given(st.sampled_from(sorted(OPTIONS)), st.integers(1, 9), st.integers(0, 99))
def test_random_options_are_in_range(name: str, batch: int, seed: int) -> None:
    option = OPTIONS[name]
    values = option.random(batch, np.random.default_rng(seed))
    assert values.shape == (batch, 1) and values.dtype == option.dtype
    assert option.lowest <= values.min() and values.max() <= option.highest
