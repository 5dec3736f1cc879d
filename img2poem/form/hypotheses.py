"""Partial poems in the search for a form."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..decoding.search import Floats, Ints
from ..text.vocabulary import EOS, MARKS, NEWLINE, PAD

_NO_WORDS = {NEWLINE, EOS, *MARKS}


@dataclass(frozen=True)
class Partial:
    """An unfinished poem."""

    tokens: tuple[int, ...]
    hidden: Floats  # [S], decoder state before it reads the last token
    score: float = 0.0  # sum of log-probabilities
    key: float = 0.0  # rank within the line
    start: int = 0  # index of the last line's first token
    pending: tuple[int, ...] = ()  # tokens that must come next
    missing: tuple[int, ...] = ()  # required words that have not occurred
    ends: tuple[int, ...] = ()  # last words of the previous lines
    ending: bool = False  # whether the line has its last word: only a mark or the line's end may follow
    poem: int = 0  # partials with the same number compete with each other

    @classmethod
    def first(cls, hidden: Floats, pending: tuple[int, ...], missing: tuple[int, ...], poem: int) -> Partial:
        """Return a poem without tokens."""
        return cls((), hidden, pending=pending, missing=missing, poem=poem)

    def at_line(self, poem: int) -> Partial:
        """Return the poem at the beginning of a new line, with ``poem`` as its number in that line."""
        ends = (*self.ends, self.last_word) if self.tokens else ()
        return replace(self, start=len(self.tokens), ends=ends, ending=False, poem=poem)

    def grown(self, token: int, chance: float, preference: float, hidden: Floats) -> Partial:
        """Return the poem with one more token; ``chance`` is the token's log-probability, ``preference`` its key."""
        return replace(
            self,
            tokens=(*self.tokens, token),
            hidden=hidden,
            score=self.score + chance,
            key=self.score + preference,
            pending=self.pending[1:],
        )

    @property
    def line(self) -> tuple[int, ...]:
        """The tokens of the last line."""
        return self.tokens[self.start :]

    @property
    def unmarked(self) -> tuple[int, ...]:
        """The tokens of the last line without trailing marks, newline and end token."""
        line = self.line
        while line and line[-1] in _NO_WORDS:
            line = line[:-1]
        return line

    @property
    def last_word(self) -> int:
        """The last word of the last line, or the last token of that word; PAD if there is none."""
        return (self.unmarked or (PAD,))[-1]


def best_of_each(
    partials: Sequence[Partial],
    count: int,
    value: Callable[[Partial], float],
    apart: Callable[[Partial], Hashable] = lambda partial: None,
) -> list[Partial]:
    """Return the best partials of each poem, ``count`` per poem.

    The groups of ``apart`` share these places evenly, rounded up: each group keeps at least one partial.
    """
    poems: defaultdict[int, defaultdict[Hashable, list[Partial]]] = defaultdict(lambda: defaultdict(list))
    for partial in sorted(partials, key=value, reverse=True):
        poems[partial.poem][apart(partial)].append(partial)
    chosen = []
    for groups in poems.values():
        share = max(1, -(-count // len(groups)))
        chosen += [partial for group in groups.values() for partial in group[:share]]
    return chosen


def right_aligned(rows: Sequence[Sequence[int]]) -> Ints:
    """Return token rows of any lengths as int64 ``[N, longest]``, padded on the left."""
    longest = max(map(len, rows))
    return np.array([[PAD] * (longest - len(row)) + list(row) for row in rows], np.int64).reshape(len(rows), longest)
