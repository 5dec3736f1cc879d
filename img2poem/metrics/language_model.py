"""A Kneser-Ney n-gram language model, the baseline for the decoder's bits per character."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ids = NDArray[np.int64]
Reals = NDArray[np.float64]
# Discounts for counts of 1, 2, and 3 or more if a text is too small to estimate them.
_FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)


class KneserNey:
    """N-gram model with interpolated modified Kneser-Ney smoothing, by default of 5-grams.

    After Chen and Goodman 1998 (An Empirical Study of Smoothing Techniques for Language Modeling). Each order has three
    discounts, estimated from counts of counts. A lower order counts the different tokens that precede an n-gram, or the
    n-gram itself if it begins a sequence. Unigrams are interpolated with the uniform distribution over the vocabulary.

    Args:
        sequences: poems as tokens (numbers or strings), without start and end tokens, which the model adds.
        order: longest n-gram.
        vocabulary: further tokens that a held-out text may have.

    Raises:
        ValueError: there is no token, or ``order`` is less than 1.
    """

    def __init__(
        self, sequences: Iterable[Sequence[Hashable]], order: int = 5, vocabulary: Iterable[Hashable] = ()
    ) -> None:
        if order < 1:
            raise ValueError(f"order must be 1 or more, not {order}")
        sequences = list(sequences)
        tokens = dict.fromkeys(token for sequence in sequences for token in sequence)
        if not tokens:
            raise ValueError("there is no token to learn from: pass at least one sequence that is not empty")
        self._ids = {token: i for i, token in enumerate(tokens | dict.fromkeys(vocabulary))}
        self._end, self._start = len(self._ids), len(self._ids) + 1
        self._levels = self._count(*self._encode(sequences), order)

    def bits(self, sequences: Sequence[Sequence[Hashable]]) -> Reals:
        """Return the bits of each sequence, with its end token, float64 ``[N]``.

        Raises:
            ValueError: there is no sequence, or a token is neither in the training sequences nor in ``vocabulary``.
        """
        if not sequences:
            raise ValueError("there is no sequence to measure: pass at least one")
        stream, depth = self._encode(sequences)
        bits = np.where(depth > 0, self._bits(stream, depth), 0.0)
        return np.add.reduceat(bits, np.flatnonzero(depth == 0))

    def token_bits(self, sequence: Sequence[Hashable]) -> Reals:
        """Return the bits of each token and of the end token, float64 ``[T + 1]``; raises as :meth:`bits`."""
        return self._bits(*self._encode([sequence]))[1:]

    def _encode(self, sequences: Iterable[Sequence[Hashable]]) -> tuple[Ids, Ids]:
        """Return all tokens as one stream, with start and end tokens, and the position of each in its sequence."""
        try:
            rows = [[self._start, *(self._ids[token] for token in sequence), self._end] for sequence in sequences]
        except KeyError as error:
            raise ValueError(f"token {error} is unknown: pass every token that may come as vocabulary") from None
        stream = np.fromiter((token for row in rows for token in row), np.int64)
        return stream, np.concatenate([np.arange(len(row)) for row in rows])

    def _keys(self, contexts: Ids, stream: Ids) -> Ids:
        """Return the key of each n-gram, from the number of its context and its last token; -1 without a context."""
        return np.where(contexts < 0, -1, contexts * (self._start + 1) + stream)

    def _count(self, stream: Ids, depth: Ids, order: int) -> list[_Level]:
        levels: list[_Level] = []
        numbers, contexts = np.zeros_like(stream), 1
        for n in range(1, order + 1):
            named = self._keys(_contexts(numbers, depth, n), stream)
            keys, counts = np.unique(named[named >= 0], return_counts=True)
            numbers = _find(keys, named)
            if n < order:
                after = self._predecessors(numbers, stream, depth, n, len(keys))
                counts = np.where(after > 0, after, counts)
            if n == 1:
                counts[keys == self._start] = 0  # a context, but never predicted
            levels.append(_level(keys, counts, keys // (self._start + 1), contexts))
            contexts = len(keys)
        return levels

    def _predecessors(self, numbers: Ids, stream: Ids, depth: Ids, n: int, size: int) -> Ids:
        """Return how many different tokens precede each of ``size`` n-grams; 0 if it only begins sequences."""
        ends = np.flatnonzero(depth >= n)
        pairs = np.unique(numbers[ends] * (self._start + 1) + stream[ends - n])
        return np.bincount(pairs // (self._start + 1), minlength=size)

    def _bits(self, stream: Ids, depth: Ids) -> Reals:
        probability = np.full(len(stream), 1 / (self._end + 1))
        numbers = np.zeros_like(stream)
        for n, level in enumerate(self._levels, 1):
            contexts = _contexts(numbers, depth, n)
            numbers = _find(level.keys, self._keys(contexts, stream))
            # If the context is unknown, the probability of the shorter one remains.
            at = np.flatnonzero(contexts >= 0)
            at = at[level.total[contexts[at]] > 0]
            context, number = contexts[at], numbers[at]
            kept = np.where(number >= 0, level.kept[number], 0.0)
            probability[at] = (kept + level.freed[context] * probability[at]) / level.total[context]
        bits: Reals = -np.log2(probability)
        return bits


def bits_per_character(bits: ArrayLike, texts: Sequence[str]) -> float:
    """Return the sum of ``bits`` ``[N]``, divided by the number of characters of the N ``texts`` with line breaks.

    The bits may come from any model of the texts, so models with different tokenizers can be compared.

    Raises:
        ValueError: the lengths differ, or the texts have no character.
    """
    values = np.asarray(bits, np.float64)
    if values.shape != (len(texts),):
        raise ValueError(f"pass the bits of each text: {len(texts)} texts, bits of shape {values.shape}")
    characters = sum(map(len, texts))
    if not characters:
        raise ValueError("the texts have no character: pass at least one that is not empty")
    return float(values.sum()) / characters


@dataclass(frozen=True)
class _Level:
    """The n-grams of one order and the sums over their contexts."""

    keys: Ids  # sorted
    kept: Reals  # discounted count of each n-gram
    total: Reals  # sum of counts of each context
    freed: Reals  # sum of discounts of each context, distributed by the shorter context


def _level(keys: Ids, counts: Ids, parents: Ids, contexts: int) -> _Level:
    discounts = _discounts(counts)[np.minimum(counts, 3)]
    total, freed = (np.bincount(parents, each, contexts).astype(np.float64) for each in (counts, discounts))
    return _Level(keys, counts - discounts, total, freed)


def _discounts(counts: Ids) -> Reals:
    """Return the discounts of counts of 0, 1, 2, and 3 or more (Chen and Goodman 1998, equation 26)."""
    n = np.bincount(np.minimum(counts, 5), minlength=6).astype(np.float64)
    if not n[1:5].all():
        return np.array([0.0, *_FALLBACK_DISCOUNTS])
    y = n[1] / (n[1] + 2 * n[2])
    estimated = [k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3)]
    return np.array([0.0, *(estimated if min(estimated) > 0 else _FALLBACK_DISCOUNTS)])


def _contexts(numbers: Ids, depth: Ids, n: int) -> Ids:
    """Return the context's number of the n-gram that ends at each position; -1 if it would begin before the start."""
    return np.where(depth >= n - 1, np.roll(numbers, 1), -1)


def _find(keys: Ids, wanted: Ids) -> Ids:
    """Return the indices of ``wanted`` in the sorted ``keys``; -1 for missing ones."""
    places = np.searchsorted(keys, wanted)
    return np.where(np.append(keys, -2)[places] == wanted, places, -1)
