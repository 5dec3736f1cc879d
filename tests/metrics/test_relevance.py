from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from img2poem.metrics import Retrieval, caption_retrieval, tf_idf

CAPTIONS = [["A dog runs.", "a brown dog"], ["A boat on a lake.", "the still lake"], ["A girl with a kite.", "a kite"]]


def test_weights_by_hand() -> None:
    # ltc: "a" is in both documents, so its weight is ln(2/2) = 0; "dog" occurs twice, "runs" once, each in one of two.
    documents, queries = tf_idf(["a dog, a dog runs", "a lake"], ["Dog, dog, dog of the lake", "night"])
    dog, runs = (1 + math.log(2)) * math.log(2), math.log(2)
    length = math.hypot(dog, runs)
    expected = np.array([[0, dog / length, 0, runs / length], [0, 0, 1, 0]])
    np.testing.assert_allclose(documents, expected, rtol=1e-6)
    three = 1 + math.log(3)
    np.testing.assert_allclose(queries[0], [0, three / math.hypot(three, 1), 1 / math.hypot(three, 1), 0], rtol=1e-6)
    assert not queries[1].any()


def test_poems_that_name_what_is_seen_find_their_captions() -> None:
    poems = ["my dog is brown\nand gone", "the lake\nso still", "fly little kite"]
    assert caption_retrieval(poems, CAPTIONS) == Retrieval(1.0, 1.0, 1.0, 1.0)


def test_poems_without_a_word_of_any_caption_come_last() -> None:
    assert caption_retrieval(["o love", "o night", "o"], CAPTIONS).median_rank == 3


@given(st.lists(st.text("abc \n", max_size=9), min_size=1, max_size=6), st.lists(st.text("abc "), max_size=4))
def test_vectors_have_length_1_or_0(documents: list[str], queries: list[str]) -> None:
    if not any(text.split() for text in documents):
        with pytest.raises(ValueError, match="no document has a word"):
            tf_idf(documents, queries)
        return
    for vectors in tf_idf(documents, queries):
        lengths = np.linalg.norm(vectors, axis=1)
        assert np.all((lengths == 0) | (np.abs(lengths - 1) < 1e-5))


def test_lengths_that_differ_say_so() -> None:
    with pytest.raises(ValueError, match="2 poems, 3 lists"):
        caption_retrieval(["a", "b"], CAPTIONS)
    with pytest.raises(ValueError, match="0 poems, 0 lists"):
        caption_retrieval([], [])
