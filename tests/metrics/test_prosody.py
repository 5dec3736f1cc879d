from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from img2poem.metrics import Prosody, prosody, rhymes, syllables

pytest.importorskip("pronouncing")


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ("night", "light", True),
        ("wind", "kind", True),  # one of two pronunciations
        ("wind", "pinned", True),  # the other pronunciation
        ("morning", "warning", True),
        ("moon-light", "night", True),
        ("night", "night", False),  # a word does not rhyme with itself
        ("love", "move", False),  # an eye rhyme only
        ("sing", "running", False),  # the last stressed vowel of "running" is not its last vowel
        ("night", "zzyzx", None),
    ],
)
def test_perfect_rhymes(left: str, right: str, expected: bool | None) -> None:
    assert rhymes(left, right) is expected
    assert rhymes(right, left) is expected


@pytest.mark.parametrize(("word", "expected"), [("sea", 1), ("river", 2), ("literally", 4), ("sea-river", 3)])
def test_syllables_by_the_dictionary(word: str, expected: int) -> None:
    assert syllables(word) == expected


@pytest.mark.parametrize(
    ("word", "expected"), [("clime", 1), ("silvered", 2), ("deeps", 1), ("gladness", 2), ("beechen", 2), ("zzz", 1)]
)
def test_syllables_of_unknown_words_by_their_spelling(word: str, expected: int) -> None:
    assert syllables(word) == expected


def test_a_limping_couplet_by_hand() -> None:
    # Rhyming pairs: night/light, not sea with either; syllables 4, 4, 1.
    found = prosody(["I walk at night\nand see the light\nsea\n"])
    assert found.rhyming_pairs == 1 / 3
    assert found.syllables_per_line == 3
    assert found.syllable_spread == pytest.approx(math.sqrt(2))
    assert found.known_words == 1


@pytest.mark.parametrize("ends", ["night light day way", "night day light way"])
def test_couplets_and_alternate_rhymes_have_two_pairs_of_five(ends: str) -> None:
    assert prosody([ends.replace(" ", "\n")]).rhyming_pairs == 2 / 5


def test_pairs_with_an_unknown_word_are_left_out_and_poems_stay_apart() -> None:
    assert prosody(["night\nzzyzx\nlight"]).rhyming_pairs == 1
    assert prosody(["night\nzzyzx"]).known_words == 1 / 2
    assert math.isnan(prosody(["night", "light"]).rhyming_pairs)


@given(st.lists(st.lists(st.sampled_from("sea night light zzyzx".split()), min_size=1), min_size=1))
def test_figures_stay_in_their_ranges(poems: list[list[str]]) -> None:
    found: Prosody = prosody(["\n".join(lines) for lines in poems])
    assert math.isnan(found.rhyming_pairs) or 0 <= found.rhyming_pairs <= 1
    assert 1 <= found.syllables_per_line <= 2 and found.syllable_spread >= 0
    assert 0 <= found.known_words <= 1


def test_no_line_says_so() -> None:
    with pytest.raises(ValueError, match="no words"):
        prosody(["", "\n"])
