from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from img2poem.metrics import order_gain

poems = st.lists(
    st.lists(st.lists(st.sampled_from("the sea is wide and deep".split()), min_size=1, max_size=6), min_size=1),
    min_size=1,
)


def out_of_order(texts: Sequence[str]) -> list[float]:
    """One bit for each adjacent pair in a line that is in descending alphabetical order."""
    return [
        float(sum(a > b for line in text.split("\n") for a, b in zip(line.split(), line.split()[1:], strict=False)))
        for text in texts
    ]


def test_ordered_lines_gain_and_the_gain_is_by_word() -> None:
    gain = order_gain(["a b c d e f\ng h i j k l"] * 50, out_of_order)
    # By hand: in a random order, half of the 5 pairs of each line descend; 12 words have 10 pairs.
    assert gain == pytest.approx(0.5 * 10 / 12, abs=0.1)
    assert order_gain(["f e d c b a\nl k j i h g"] * 50, out_of_order) < 0
    assert order_gain(["sea\nwide\nstill"], out_of_order) == 0, "lines of one word have one order"


def test_words_stay_in_their_lines_and_punctuation_and_capitals_do_not_count() -> None:
    seen: list[str] = []

    def bits(texts: Sequence[str]) -> list[float]:
        seen.extend(texts)
        return [0.0] * len(texts)

    order_gain(["The sea, wide -- and deep.\n\nDon't go!", "", "!?"], bits)
    written, shuffled = seen
    assert written == "the sea wide and deep\ndon't go"
    assert [sorted(line.split()) for line in shuffled.split("\n")] == [
        sorted("the sea wide and deep".split()),
        ["don't", "go"],
    ]


@given(poems, st.integers(0, 9))
def test_a_poem_is_shuffled_the_same_way_in_any_company(written: list[list[list[str]]], seed: int) -> None:
    texts = ["\n".join(map(" ".join, poem)) for poem in written]
    words = [len(text.split()) for text in texts]
    alone = [order_gain([text], out_of_order, seed) for text in texts]
    together = order_gain(texts, out_of_order, seed)
    assert together == pytest.approx(sum(a * n for a, n in zip(alone, words, strict=True)) / sum(words))


def test_nothing_to_measure_says_so() -> None:
    with pytest.raises(ValueError, match="no words"):
        order_gain(["", "..."], out_of_order)
