from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from img2poem.metrics import bleu

pytest.importorskip("sacrebleu")
texts = st.lists(st.sampled_from("the sea is wide and deep".split()), min_size=3, max_size=9).map(" ".join)


def test_clipped_precision() -> None:
    # Papineni et al. 2002, example 2: a modified unigram precision of 2/7; the bigram "the the" is in no reference.
    the = ["the the the the the the the"]
    found = bleu(the, [["The cat is on the mat.", "There is a cat on the mat."]])
    assert found.bleu_1 == pytest.approx(100 * 2 / 7)
    assert found.bleu_2 == found.bleu_3 == 0


def test_brevity_penalty_and_mean_of_precisions() -> None:
    # By hand: 4 of 4 words, 2 of 3 bigrams, 1 of 2 trigrams; 4 words against 5.
    found = bleu(["the sea\nis deep"], [["the sea is so deep"]])
    penalty = math.exp(1 - 5 / 4)
    assert found.bleu_1 == pytest.approx(100 * penalty)
    assert found.bleu_2 == pytest.approx(100 * penalty * (2 / 3) ** (1 / 2))
    assert found.bleu_3 == pytest.approx(100 * penalty * (2 / 3 * 1 / 2) ** (1 / 3))


@given(st.lists(st.tuples(texts, st.lists(texts, max_size=2)), min_size=1, max_size=4))
def test_a_text_among_its_references_scores_100(pairs: list[tuple[str, list[str]]]) -> None:
    poems = [poem for poem, _ in pairs]
    found = bleu(poems, [[*others, poem] for poem, others in pairs])
    assert found == pytest.approx((100, 100, 100))
    assert bleu(poems, [[poem.upper() + "!"] for poem in poems]) == pytest.approx((100, 100, 100))


@pytest.mark.parametrize(
    ("poems", "references", "says"),
    [
        ([], [], "one list of references"),
        (["a"], [], "one list of references"),
        (["a"], [[]], "at least one reference"),
    ],
)
def test_missing_references_say_so(poems: list[str], references: list[list[str]], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        bleu(poems, references)
