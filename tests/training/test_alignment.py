"""The words that the alignment stage predicts from a photograph's embedding."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from training.alignment import frequent_words, word_targets
from training.corpus import Photo

CAPTIONS = st.lists(st.lists(st.sampled_from(["A dog", "the red dog.", "sea, Sea", "of"]), max_size=3), max_size=5)


def photos(*captions: list[str]) -> list[Photo]:
    return [Photo("coco", str(i), tuple(own), ()) for i, own in enumerate(captions)]


def test_words_count_once_a_photograph_and_stop_words_never() -> None:
    some = photos(["The dog, the dog!", "A dog on the sand"], ["sand of the SEA"], ["sand"])
    assert frequent_words(some, 2) == ["sand", "dog"]
    assert set(frequent_words(some, 10)) == {"sand", "dog", "sea"}


@given(CAPTIONS)
def test_a_target_is_whether_any_caption_has_the_word(captions: list[list[str]]) -> None:
    targets = word_targets(photos(*captions), ["dog", "sea"])
    assert targets.shape == (len(captions), 2)
    for row, own in zip(targets.tolist(), captions, strict=True):
        assert row == [any("dog" in text for text in own), any("sea" in text.lower() for text in own)]
