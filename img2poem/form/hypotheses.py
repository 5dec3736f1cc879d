"""Poems under way, as the search for a form keeps them."""

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
    """A poem up to some token.

    ``start`` is where its last line begins, ``score`` the sum of log-probabilities, ``key`` what it is preferred by
    within the line, ``pending`` the tokens that must come next, ``missing`` the demanded words that have not come,
    ``ends`` the last words of the lines before, ``ending`` whether its line must end now, ``poem`` which of the poems
    under way it belongs to.
    """

    tokens: tuple[int, ...]
    hidden: Floats  # [S], before the last token
    score: float = 0.0
    key: float = 0.0
    start: int = 0
    pending: tuple[int, ...] = ()
    missing: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()
    ending: bool = False
    poem: int = 0

    @classmethod
    def first(cls, hidden: Floats, pending: tuple[int, ...], missing: tuple[int, ...], poem: int) -> Partial:
        """Return a poem without a token."""
        return cls((), hidden, pending=pending, missing=missing, poem=poem)

    def at_line(self, poem: int) -> Partial:
        """Return the poem at the beginning of a line, as the one that others of that line are compared with."""
        ends = (*self.ends, self.last_word) if self.tokens else ()
        return replace(self, start=len(self.tokens), ends=ends, ending=False, poem=poem)

    def grown(self, token: int, chance: float, preference: float, hidden: Floats) -> Partial:
        """Return the poem with one more token of log-probability ``chance``."""
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
        """The tokens of the last line without its end and a mark before that."""
        line = self.line
        while line and line[-1] in _NO_WORDS:
            line = line[:-1]
        return line

    @property
    def last_word(self) -> int:
        """The last word of the last line, or the last part of it; padding where there is none."""
        return (self.unmarked or (PAD,))[-1]


def best_of_each(
    partials: Sequence[Partial],
    count: int,
    value: Callable[[Partial], float],
    apart: Callable[[Partial], Hashable] = lambda partial: None,
) -> list[Partial]:
    """Return of each poem under way the ``count`` best partials, and of each group of ``apart`` at most as many.

    With groups, those of one poem share its places evenly, but each has one at least.
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
    """Return token rows of any lengths as int64 ``[N, longest]``, padded in front."""
    longest = max(map(len, rows))
    return np.array([[PAD] * (longest - len(row)) + list(row) for row in rows], np.int64).reshape(len(rows), longest)
