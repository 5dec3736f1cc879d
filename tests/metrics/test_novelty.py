from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from img2poem.metrics import TrainingText, copied_lines, new_ngrams, novelty

TRAINING = TrainingText(["the sea is wide\nthe sea is deep", "the sea"])
texts = st.lists(st.sampled_from("the sea is wide deep sky".split()), min_size=3).map(" ".join)


def test_novelty_counts_infrequent_and_unseen_ngrams() -> None:
    # By hand: in the training texts "the sea" occurs 3 times, "sea is" twice, the rest once.
    poem = ["the sea is wide and deep"]
    assert novelty(poem, TRAINING, 2, frequent=1) == 4 / 5
    assert novelty(poem, TRAINING, 2, frequent=2) == 3 / 5
    assert novelty(poem, TRAINING, 2) == new_ngrams(poem, TRAINING, 2) == 2 / 5


def test_new_ngrams_count_repetitions_and_cross_lines() -> None:
    # By hand: "the sea is", "sea is blue", "is blue the", "blue the sea", "the sea is", "sea is blue".
    assert new_ngrams(["the sea is blue\nthe sea is blue"], TRAINING, 3) == 4 / 6


def test_copied_lines_are_whole_lines_whatever_their_punctuation() -> None:
    assert copied_lines(["The sea is wide!\nthe sea is\nis wide\nmy sea is deep"], TRAINING) == 1 / 4


@given(texts, st.integers(1, 3), st.integers(1, 9))
def test_training_itself_is_not_new_and_novelty_falls_with_what_counts_as_frequent(
    text: str, n: int, frequent: int
) -> None:
    itself = TrainingText([text])
    assert new_ngrams([text], itself, n) == 0 and copied_lines([text], itself) == 1
    few, more, all_of_them = (novelty([text], TRAINING, n, frequent=k) for k in (frequent, frequent + 1, 2000))
    assert 1 >= few >= more >= all_of_them == new_ngrams([text], TRAINING, n)


def test_nothing_to_measure_says_so() -> None:
    with pytest.raises(ValueError, match="training text is empty"):
        TrainingText([])
    with pytest.raises(ValueError, match="no 3-grams"):
        new_ngrams(["the sea"], TRAINING)
    with pytest.raises(ValueError, match="no 2-grams"):
        novelty([], TRAINING, 2)
    with pytest.raises(ValueError, match="no lines"):
        copied_lines([""], TRAINING)
    with pytest.raises(ValueError, match="frequent must be 1"):
        novelty(["the sea"], TRAINING, 2, frequent=0)
