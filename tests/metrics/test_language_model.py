from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from img2poem.metrics import KneserNey, bits_per_character

VOCABULARY = "abcdx"  # x does not occur in the training text
corpora = st.lists(st.text("abcd", max_size=12), max_size=12).filter(any)


def test_a_bigram_model_by_hand() -> None:
    # Too small to estimate discounts, so they are 0.5, 1, 1.5 for counts of 1, 2, 3 or more. Unigrams count the
    # different tokens before them: a, b, c 1 each, the end 2 (b, c), 5 in all, 2.5 discounted, shared among 4:
    # P(b) = P(c) = (0.5 + 2.5 / 4) / 5 = 0.225, P(a) the same, P(end) = (1 + 2.5 / 4) / 5 = 0.325.
    a = (1.5 + 1.5 * 0.225) / 3  # "start a" occurs 3 times
    b = (1 + 1.5 * 0.225) / 3  # "a b" occurs twice, "a c" once
    end = (1 + 1 * 0.325) / 2  # "b end" occurs twice
    model = KneserNey(["ab", "ab", "ac"], order=2)
    np.testing.assert_allclose(model.token_bits("ab"), -np.log2([a, b, end]))
    # "c a" was never seen: the discount of "c end", times P(a).
    assert model.token_bits("aca")[2] == pytest.approx(-math.log2(0.5 * 0.225))


def naive(corpus: Sequence[str], order: int, context: str, token: str) -> float:
    """The textbook's version of the same model: dictionaries and recursion, "<" starts and ">" ends."""
    padded = [f"<{text}>" for text in corpus]
    raw = Counter(t[i : i + n] for t in padded for n in range(1, order + 2) for i in range(len(t) - n + 1))

    def count(ngram: str) -> int:
        if len(ngram) == order or ngram.startswith("<"):
            return raw[ngram] if ngram != "<" else 0
        return len({longer[0] for longer in raw if longer[1:] == ngram})

    def discounts(n: int) -> list[float]:
        sizes = Counter(count(ngram) for ngram in raw if len(ngram) == n)
        one, two, three, four = (sizes[k] for k in (1, 2, 3, 4))
        if min(one, two, three, four) > 0:
            y = one / (one + 2 * two)
            found = [0, 1 - 2 * y * two / one, 2 - 3 * y * three / two, 3 - 4 * y * four / three]
            if min(found[1:]) > 0:
                return found
        return [0, 0.5, 1, 1.5]

    def probability(context: str) -> float:
        n = len(context) + 1
        shorter = probability(context[1:]) if context else 1 / (len(VOCABULARY) + 1)
        d = discounts(n)
        followers = [count(ngram) for ngram in raw if len(ngram) == n and ngram.startswith(context)]
        if not sum(followers):
            return shorter
        freed = sum(d[min(c, 3)] for c in followers)
        c = count(context + token)
        return (c - d[min(c, 3)] + freed * shorter) / sum(followers)

    return probability(f"<{context}"[max(0, len(context) + 2 - order) :])


@given(corpora, st.integers(1, 4), st.text(VOCABULARY, max_size=5))
def test_it_agrees_with_the_textbook(corpus: list[str], order: int, text: str) -> None:
    bits = KneserNey(corpus, order, VOCABULARY).token_bits(text)
    expected = [-math.log2(naive(corpus, order, text[:i], token)) for i, token in enumerate(f"{text}>")]
    np.testing.assert_allclose(bits, expected, rtol=1e-9)


def test_it_agrees_with_the_textbook_where_discounts_are_estimated() -> None:
    random = np.random.default_rng(0)
    corpus = ["".join(random.choice(list("aaaabbcd"), 9)) for _ in range(20)]
    for order in (2, 3):
        bits = KneserNey(corpus, order, VOCABULARY).token_bits("abcax")
        expected = [-math.log2(naive(corpus, order, "abcax"[:i], token)) for i, token in enumerate("abcax>")]
        np.testing.assert_allclose(bits, expected, rtol=1e-9)


@given(corpora, st.integers(1, 6), st.text(VOCABULARY, max_size=8))
def test_probabilities_sum_to_1_after_contexts_seen_and_unseen(corpus: list[str], order: int, context: str) -> None:
    model = KneserNey(corpus, order, VOCABULARY)
    after = [model.token_bits(context + token)[len(context)] for token in VOCABULARY]
    assert np.sum(np.exp2(-np.array([*after, model.token_bits(context)[-1]]))) == pytest.approx(1)


@given(corpora, st.lists(st.text(VOCABULARY, max_size=6), min_size=1, max_size=6))
def test_bits_of_a_sequence_are_those_of_its_tokens(corpus: list[str], texts: list[str]) -> None:
    model = KneserNey(corpus, vocabulary=VOCABULARY)
    np.testing.assert_allclose(model.bits(texts), [model.token_bits(text).sum() for text in texts])


def test_numbers_and_strings_are_the_same_model() -> None:
    numbers = KneserNey([[7, 8, 9], [7, 9]])
    assert numbers.bits([[7, 8]]) == KneserNey(["abc", "ac"]).bits(["ab"])


def test_longer_contexts_help_where_text_repeats() -> None:
    corpus = ["the sea is wide and the sky is wide".split()] * 5
    one, five = (KneserNey(corpus, order).bits(corpus[:1])[0] for order in (1, 5))
    assert five < one / 3


def test_bits_per_character_weigh_texts_by_length() -> None:
    assert bits_per_character([3.0, 9.0], ["a\nb", "c"]) == 3


def test_what_cannot_be_measured_says_so() -> None:
    with pytest.raises(ValueError, match="no token to learn from"):
        KneserNey([[], ""])
    with pytest.raises(ValueError, match="order must be 1"):
        KneserNey(["ab"], order=0)
    with pytest.raises(ValueError, match="token 'z' is unknown"):
        KneserNey(["ab"]).bits(["az"])
    with pytest.raises(ValueError, match="no sequence"):
        KneserNey(["ab"]).bits([])
    with pytest.raises(ValueError, match="2 texts, bits of shape"):
        bits_per_character([1.0], ["a", "b"])
    with pytest.raises(ValueError, match="no character"):
        bits_per_character([1.0], [""])
