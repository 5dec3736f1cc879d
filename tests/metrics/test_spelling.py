from __future__ import annotations

import pytest

from img2poem.metrics import TrainingText, english_words, unknown_words


def test_words_that_do_not_exist_are_counted_and_listed() -> None:
    poems = ["The sea is wide.\nthe skancing sea", "untrihs skancing"]
    # By hand: 3 of 9 words.
    assert unknown_words(poems, english_words()) == (3 / 9, ("skancing", "untrihs"))
    assert unknown_words(poems, english_words() | {"skancing"}).words == ("untrihs",)


def test_the_training_text_is_known() -> None:
    training = TrainingText(["The Sheltie's floaties\nlie there"])
    assert training.words == {"the", "sheltie's", "floaties", "lie", "there"}
    assert not unknown_words(["there lie the floaties"], training.words).words


def test_hyphens_and_a_possessive_s_make_no_new_word() -> None:
    poem = "knee-deep in the dog's green-and-white boat, red-zxq, a zxq's"
    assert unknown_words([poem], english_words()).words == ("red-zxq", "zxq's")


def test_the_list_has_common_words_and_no_abbreviations() -> None:
    words = english_words()
    assert {"i", "a", "is", "sea", "seas", "running", "raincoats", "don't", "it's"} <= words
    assert not {"b", "kw", "rx", "dc", "zz", "hockly"} & words


def test_nothing_to_measure_says_so() -> None:
    with pytest.raises(ValueError, match="no words"):
        unknown_words(["!"], frozenset())
