"""Compiles a form into constraints of tokens: which may, or must, come at each place."""

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

#: How many words are proposed where a step's candidates have none that is demanded: the most frequent ones.
_PROPOSED = 12
_FEWEST_WORDS = 2


class Constraints:
    """What a form asks of a poem with ``count`` lines.

    Args:
        form: already checked against the vocabulary.
        count: how many lines.
        orthography: of the decoder's vocabulary.

    Raises:
        InvalidOption: more lines shall rhyme with each other than words do.
        MissingDependency: a rhyme is asked for and the dictionary is not installed.
    """

    def __init__(self, form: Form, count: int, orthography: Orthography) -> None:
        self._pieces, self._count, self._form = orthography.pieces, count, form
        self.first = tuple(orthography.token_of(word) for word in form.first_words.split())
        self.include = tuple(orthography.token_of(word) for word in form.include)
        self._due = [int((i + 0.5) * count / len(self.include)) for i in range(len(self.include))]
        self._no_ends = {i for i, piece in enumerate(self._pieces) if piece in NO_ENDS}
        self._whole = ~orthography.unfinished
        #: Tokens that are joined to the word before them, bool ``[vocabulary]``.
        self.glue = np.isin(np.arange(len(self._pieces)), [*GLUE])
        self._rhymes = _rhymes(tuple(self._pieces)) if form.rhyme else None
        self._lines_of = Counter(form.rhyme)
        if self._rhymes is not None and max(self._lines_of.values()) > self._rhymes.most():
            raise InvalidOption(f"no {max(self._lines_of.values())} words of the vocabulary rhyme with each other")

    def next_tokens(self, line: int, place: int, partial: Partial, known: Collection[int]) -> list[int] | None:
        """Return tokens of which one must come next: candidates ``known``, then frequent ones; None where any may."""
        if partial.pending:
            return [partial.pending[0]]
        if place == 0 and self._form.acrostic:
            letter = self._form.acrostic[line]
            fitting = [i for i, piece in enumerate(self._pieces) if begins_with(letter, piece)]
            others = [i for i in fitting if i not in known]
            return [*(i for i in fitting if i in known), *others[:_PROPOSED]]
        return None

    def insertions(self, line: int, place: int, partial: Partial) -> list[int]:
        """Return the demanded words that are due in this line."""
        return self._due_of(line, partial) if place > 0 else []

    def endings(self, line: int, partial: Partial, known: Collection[int]) -> list[int]:
        """Return words to end a rhyming line with: those of the candidates ``known``, then the most frequent."""
        mask = self._ends(line, partial)
        if mask is None:
            return []
        if due := self._due_of(line, partial):
            # The line can end only with the word that it still lacks.
            return due if len(due) == 1 and mask[due[0]] else []
        found = [token for token in known if mask[token]]
        return [*found, *np.flatnonzero(mask)[:_PROPOSED].tolist()]

    def closings(self, line: int, partial: Partial, known: Collection[int]) -> list[int]:
        """Return marks to close a line that may end, of the candidates ``known``; the last must have a final one."""
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
        """Whether the line has all that is demanded of it, but for a mark at its end."""
        said, last = partial.unmarked, partial.last_word
        if partial.pending or self._due_of(line, partial) or last in self._no_ends:
            return False
        if self._words(said) < _FEWEST_WORDS:
            return False
        mask = self._ends(line, partial)
        # Of "sea-green" the dictionary would hear the last part alone.
        alone = len(said) < 2 or said[-2] != HYPHEN
        return mask is None or bool(mask[last] and alone)

    def keeps_whole(self, partial: Partial) -> bool:
        """Whether nothing may be joined to the last word: it is a demanded one, "sea" and not "sea's"."""
        return partial.tokens == self.first or partial.tokens[-1:] in [(word,) for word in self.include]

    def noted(self, partial: Partial) -> Partial:
        """Return ``partial`` knowing of the demanded word that its last token is."""
        last = partial.tokens[-1]
        if last not in partial.missing or partial.tokens[-2:-1] == (HYPHEN,):
            return partial
        return replace(partial, missing=tuple(other for other in partial.missing if other != last))

    def _words(self, line: Sequence[int]) -> int:
        """Return how many words ``line`` has; "sea-green" is one."""
        joined = [False, *(token == HYPHEN for token in line)]
        nothing = GLUE | MARKS
        return sum(not (token in nothing or after) for token, after in zip(line, joined, strict=False))

    def _due_of(self, line: int, partial: Partial) -> list[int]:
        due = {word for word, at in zip(self.include, self._due, strict=True) if at <= line}
        return [word for word in partial.missing if word in due]

    def _ends(self, line: int, partial: Partial) -> Bools | None:
        """Return which words may end the line, bool ``[vocabulary]``; None where any may."""
        scheme = self._form.rhyme
        if self._rhymes is None or line >= len(scheme) or self._lines_of[scheme[line]] == 1:
            return None
        earlier = [partial.ends[i] for i in range(line) if scheme[i] == scheme[line]]
        if earlier:
            ends: Bools = self._rhymes.with_all(earlier) & self._whole
            return ends
        # Otherwise AABB could come out as AAAA.
        beginning: Bools = self._rhymes.beginning(self._lines_of[scheme[line]]) & self._whole
        beginning &= self._rhymes.unlike(partial.ends)
        return beginning


@lru_cache(maxsize=4)
def _rhymes(pieces: tuple[str, ...]) -> Rhymes:
    """Return the rhymes of a vocabulary; looking all of its words up takes half a second."""
    return Rhymes(pieces)
