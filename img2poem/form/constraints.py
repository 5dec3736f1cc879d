"""Compiles a Form into per-step token constraints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from ..decoding.search import Bools
from ..errors import InvalidOption
from ..text.orthography import Orthography
from ..text.vocabulary import FINAL_MARKS, GLUE, HYPHEN, MARKS, PERIOD
from .form import Form, begins_with
from .hypotheses import Partial
from .rhymes import NO_ENDS, Rhymes

#: Words proposed in addition to a step's candidates: the most frequent ones that satisfy the constraint.
_PROPOSED = 12
#: Fewest words in a line.
_FEWEST_WORDS = 2


class Constraints:
    """Token constraints of a form, for a poem of ``count`` lines.

    Args:
        form: form that :meth:`Form.check` has accepted for this vocabulary.
        count: number of lines.
        orthography: of the decoder's vocabulary.

    Raises:
        InvalidOption: the rhyme scheme needs more words that rhyme with each other than the vocabulary has.
        MissingDependency: the form has a rhyme scheme and the dictionary is not installed.
    """

    def __init__(self, form: Form, count: int, orthography: Orthography) -> None:
        self._pieces, self._count, self._form = orthography.pieces, count, form
        self.first = tuple(orthography.token_of(word) for word in form.first_words.split())
        self.include = tuple(orthography.token_of(word) for word in form.include)
        self._due = [int((i + 0.5) * count / len(self.include)) for i in range(len(self.include))]
        self._no_ends = {i for i, piece in enumerate(self._pieces) if piece in NO_ENDS}
        self._whole = ~orthography.unfinished
        #: Tokens joined to the previous word without a space, bool ``[vocabulary]``.
        self.glue = np.isin(np.arange(len(self._pieces)), [*GLUE])
        self._rhymes = _rhymes(tuple(self._pieces)) if form.rhyme else None
        self._lines_of = Counter(form.rhyme)
        if self._rhymes is not None and max(self._lines_of.values()) > self._rhymes.most():
            raise InvalidOption(f"no {max(self._lines_of.values())} words of the vocabulary rhyme with each other")

    def next_tokens(self, line: int, place: int, partial: Partial, known: Collection[int]) -> list[int] | None:
        """Return the tokens of which one must come next, those in ``known`` first; None if any token may come."""
        if partial.pending:
            return [partial.pending[0]]
        if place == 0 and self._form.acrostic:
            letter = self._form.acrostic[line]
            fitting = [i for i, piece in enumerate(self._pieces) if begins_with(letter, piece)]
            others = [i for i in fitting if i not in known]
            return [*(i for i in fitting if i in known), *others[:_PROPOSED]]
        return None

    def insertions(self, line: int, place: int, partial: Partial) -> list[int]:
        """Return the required words that are due in this line and still missing."""
        return self._due_of(line, partial) if place > 0 else []

    def endings(self, line: int, partial: Partial, known: Collection[int]) -> list[int]:
        """Return words that may end a rhyming line: those of the candidates ``known``, then the most frequent."""
        mask = self._ends(line, partial)
        if mask is None:
            return []
        if due := self._due_of(line, partial):
            # The line still lacks a required word, so only that word can end it.
            return due if len(due) == 1 and mask[due[0]] else []
        found = [token for token in known if mask[token]]
        return [*found, *np.flatnonzero(mask)[:_PROPOSED].tolist()]

    def closings(self, line: int, partial: Partial, known: Collection[int]) -> list[int]:
        """Return the marks in ``known`` that can close a complete line; the last line needs a final mark."""
        if partial.tokens[-1] in MARKS or not self._complete(line, partial):
            return []
        last = line == self._count - 1
        found = [token for token in known if token in (FINAL_MARKS if last else MARKS)]
        return found or [PERIOD] * last

    def may_end(self, line: int, partial: Partial) -> bool:
        """Whether the line may end after the last token of ``partial``."""
        final = line == self._count - 1
        return self._complete(line, partial) and (not final or partial.tokens[-1] in FINAL_MARKS)

    def _complete(self, line: int, partial: Partial) -> bool:
        """Whether the line meets all constraints, except for a final mark at its end."""
        said, last = partial.unmarked, partial.last_word
        if partial.pending or self._due_of(line, partial) or last in self._no_ends:
            return False
        if self._words(said) < _FEWEST_WORDS:
            return False
        mask = self._ends(line, partial)
        # The mask would judge "sea-green" by its last part alone.
        alone = len(said) < 2 or said[-2] != HYPHEN
        return mask is None or bool(mask[last] and alone)

    def keeps_whole(self, partial: Partial) -> bool:
        """Whether nothing may be joined to the last word because it is required: "sea", not "sea's"."""
        return partial.tokens == self.first or partial.tokens[-1:] in [(word,) for word in self.include]

    def noted(self, partial: Partial) -> Partial:
        """Return ``partial`` with its last token removed from the missing words."""
        last = partial.tokens[-1]
        if last not in partial.missing or partial.tokens[-2:-1] == (HYPHEN,):
            return partial
        return replace(partial, missing=tuple(other for other in partial.missing if other != last))

    def _words(self, line: Sequence[int]) -> int:
        """Return the number of words in ``line``; "sea-green" counts as one."""
        joined = [False, *(token == HYPHEN for token in line)]
        nothing = GLUE | MARKS
        return sum(not (token in nothing or after) for token, after in zip(line, joined, strict=False))

    def _due_of(self, line: int, partial: Partial) -> list[int]:
        due = {word for word, at in zip(self.include, self._due, strict=True) if at <= line}
        return [word for word in partial.missing if word in due]

    def _ends(self, line: int, partial: Partial) -> Bools | None:
        """Return which words may end the line, bool ``[vocabulary]``; None if any may."""
        scheme = self._form.rhyme
        if self._rhymes is None or line >= len(scheme) or self._lines_of[scheme[line]] == 1:
            return None
        earlier = [partial.ends[i] for i in range(line) if scheme[i] == scheme[line]]
        if earlier:
            ends: Bools = self._rhymes.with_all(earlier) & self._whole
            return ends
        # A new rhyme must differ from earlier ones: otherwise AABB could become AAAA.
        beginning: Bools = self._rhymes.beginning(self._lines_of[scheme[line]]) & self._whole
        beginning &= self._rhymes.unlike(partial.ends)
        return beginning


@lru_cache(maxsize=4)
def _rhymes(pieces: tuple[str, ...]) -> Rhymes:
    """Return the rhymes of a vocabulary, from a cache: looking up all its words takes half a second."""
    return Rhymes(pieces)
