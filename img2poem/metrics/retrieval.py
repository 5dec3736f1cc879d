"""Recall and median rank of retrieval between two sets of embeddings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Scores this close count as ties: a matrix product may round equal rows differently.
_TIE = 1e-9
_ROWS_AT_A_TIME = 1024


@dataclass(frozen=True)
class Retrieval:
    """Shares of queries, from 0 to 1, whose best right item is among the first 1, 5 and 10; and its median rank."""

    recall_at_1: float
    recall_at_5: float
    recall_at_10: float
    median_rank: float


def retrieval(
    queries: ArrayLike, items: ArrayLike, query_labels: ArrayLike | None = None, item_labels: ArrayLike | None = None
) -> Retrieval:
    """Return how well ``queries [N, D]`` retrieve their ``items [M, D]`` by dot product (cosine of unit vectors).

    An item is right for a query with the same label: ``query_labels [N]`` and ``item_labels [M]``, each 0, 1, 2, ... by
    default. To retrieve five captions for each of photographs 0 to N-1, pass only ``item_labels``; for the opposite
    direction pass only ``query_labels``. In ties, wrong items rank before the right one.

    Raises:
        ValueError: shapes do not match, a value is not finite, or a query has no right item.
    """
    ranks = first_ranks(queries, items, query_labels, item_labels)
    recall_at_1, recall_at_5, recall_at_10 = (float(np.mean(ranks <= k)) for k in (1, 5, 10))
    return Retrieval(recall_at_1, recall_at_5, recall_at_10, float(np.median(ranks)))


def first_ranks(
    queries: ArrayLike, items: ArrayLike, query_labels: ArrayLike | None = None, item_labels: ArrayLike | None = None
) -> NDArray[np.int64]:
    """Return the rank, from 1, of each query's best right item, int64 ``[N]``; arguments and errors as `retrieval`."""
    left, right = _matrix(queries, "queries"), _matrix(items, "items")
    if left.shape[1] != right.shape[1]:
        raise ValueError(f"queries have {left.shape[1]} dimensions and items {right.shape[1]}: use one space")
    wanted, labels = _labels(query_labels, len(left), "query"), _labels(item_labels, len(right), "item")
    if not np.isin(wanted, labels).all():
        raise ValueError("some queries have no right item: give every query's label to at least one item")
    ranks = [
        _ranks(left[start : start + _ROWS_AT_A_TIME] @ right.T, wanted[start : start + _ROWS_AT_A_TIME], labels)
        for start in range(0, len(left), _ROWS_AT_A_TIME)
    ]
    return np.concatenate(ranks)


def _ranks(scores: NDArray[np.float64], wanted: NDArray[np.generic], labels: NDArray[np.generic]) -> NDArray[np.int64]:
    is_right = wanted[:, None] == labels[None, :]
    best = np.where(is_right, scores, -np.inf).max(1, keepdims=True)
    ahead: NDArray[np.int64] = ((scores >= best - _TIE) & ~is_right).sum(1, dtype=np.int64)
    return 1 + ahead


def _matrix(values: ArrayLike, name: str) -> NDArray[np.float64]:
    matrix = np.asarray(values, np.float64)
    if matrix.ndim != 2 or not len(matrix):
        raise ValueError(f"{name} must be a matrix with at least one row, not of shape {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError(f"{name} hold values that are not finite: look for a division by zero in the encoder")
    return matrix


def _labels(labels: ArrayLike | None, count: int, name: str) -> NDArray[np.generic]:
    array: NDArray[np.generic] = np.arange(count) if labels is None else np.asarray(labels)
    if array.shape != (count,):
        raise ValueError(f"pass one label for each {name}: {count} rows, labels of shape {array.shape}")
    return array
