from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from img2poem.metrics import Retrieval, first_ranks, retrieval


def test_ranks_by_hand() -> None:
    # Scores, by hand: query 0 gives 1, 0, 0.8; query 1 gives 0, 1, 0.6; query 2 gives 1, 0, 0.8.
    items = [[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]]
    queries = [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    assert first_ranks(queries, items).tolist() == [1, 1, 2]
    assert retrieval(queries, items) == Retrieval(2 / 3, 1.0, 1.0, 1.0)


def test_several_right_items_count_by_the_best_and_the_way_back_by_their_query() -> None:
    photographs = [[1.0, 0.0], [0.0, 1.0]]
    captions = [[0.1, 0.0], [0.9, 0.0], [0.5, 0.4], [0.5, 0.3]]
    owners = [0, 0, 1, 1]
    assert first_ranks(photographs, captions, item_labels=owners).tolist() == [1, 1]
    assert first_ranks(captions, photographs, query_labels=owners).tolist() == [1, 1, 2, 2]


def test_an_encoder_that_says_the_same_to_all_comes_last() -> None:
    same = np.full((40, 7), 7**-0.5, np.float32)
    assert (first_ranks(same, same) == 40).all()
    assert retrieval(same, same) == Retrieval(0.0, 0.0, 0.0, 40.0)


@given(st.integers(1, 1100), st.integers(0, 99))
def test_ranks_do_not_depend_on_the_order_of_items(count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    queries, items = random.normal(size=(2, count, 3))
    ranks = first_ranks(queries, items)
    assert ranks.min() >= 1 and ranks.max() <= count
    order = random.permutation(count)
    assert (first_ranks(queries, items[order], item_labels=order) == ranks).all()


@given(st.integers(1, 60), st.integers(0, 99))
def test_unit_vectors_find_themselves(count: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(count, 8))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert retrieval(unit, unit) == Retrieval(1.0, 1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("queries", "items", "labels", "says"),
    [
        (np.zeros((0, 2)), np.ones((1, 2)), None, "queries must be a matrix"),
        (np.ones(2), np.ones((1, 2)), None, "queries must be a matrix"),
        (np.ones((1, 2)), np.ones((1, 3)), None, "2 dimensions and items 3"),
        (np.ones((2, 2)), np.ones((1, 2)), None, "no right item"),
        (np.ones((1, 2)), np.ones((2, 2)), [0], "one label for each item"),
        (np.ones((1, 2)), np.full((1, 2), np.nan), None, "not finite"),
    ],
)
def test_what_does_not_fit_says_so(queries: object, items: object, labels: list[int] | None, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        retrieval(queries, items, item_labels=labels)  # type: ignore[arg-type]
