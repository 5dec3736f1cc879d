from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from img2poem.metrics import distinct, line_counts, repeated_lines, repeated_words

poems = st.lists(st.lists(st.sampled_from("sea sky sun rain".split()), min_size=2).map(" ".join), min_size=1)


def test_distinct_counts_across_lines_but_not_across_poems() -> None:
    # By hand: "the sea", "sea the", "the sea" and, in the second text, "the sea": 2 different of 4.
    assert distinct(["the sea\nthe sea", "the sea"], 2) == 2 / 4
    assert distinct(["the sea\nthe sea", "the sea"], 1) == 2 / 6


def test_distinct_reads_capitals_and_punctuation_as_plain() -> None:
    assert distinct(["The sea, the SEA!"], 1) == 2 / 4


def test_distinct_over_the_first_ngrams_only() -> None:
    assert distinct(["sea sky sea sky sea sky"], 2, first=2) == 1
    assert distinct(["sea sky"], 2, first=20_000) == 1


@given(poems, st.integers(1, 2), st.integers(1, 9))
def test_distinct_is_a_share_and_falls_when_all_is_said_twice(texts: list[str], n: int, first: int) -> None:
    assert 0 < distinct(texts, n, first) <= 1
    assert distinct(texts * 2, n) == pytest.approx(distinct(texts, n) / 2)


def test_repeated_lines_repeat_within_their_poem() -> None:
    # By hand: of 3 + 1 lines one repeats within its poem; a line of another poem is no repetition.
    assert repeated_lines(["the sea\nthe sky\nThe sea.\n", "the sea"]) == 1 / 4


def test_repeated_words_are_long_ones_that_come_again_in_their_poem() -> None:
    # By hand: of grass, wave, wave, they, they and, in the second text, grass, two repeat; "he's", "the" and "sea" are
    # too short.
    assert repeated_words(["The grass, a wave, the sea;\nthey've a WAVE. He's they; he's the sea", "grass"]) == 2 / 6
    assert repeated_words(["the sea, the sea"], letters=3) == 2 / 4


def test_line_counts_leave_out_empty_lines() -> None:
    assert line_counts(["a\n\nb\n", "", "a\n...\n"]).tolist() == [2, 0, 1]


def test_nothing_to_measure_says_so() -> None:
    with pytest.raises(ValueError, match="no 2-grams"):
        distinct(["sea", ""], 2)
    with pytest.raises(ValueError, match="no lines"):
        repeated_lines(["\n"])
    for measure in (line_counts, repeated_words):
        with pytest.raises(ValueError, match="no poems"):
            measure([])
    assert repeated_words(["the sea"]) == 0


@pytest.mark.parametrize(("n", "first", "says"), [(0, None, "n must be 1"), (2, 0, "first must be 1")])
def test_a_wrong_count_says_what_is_right(n: int, first: int | None, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        distinct(["the sea"], n, first)
