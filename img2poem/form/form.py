"""The form of a poem: how many lines, their first letters, their rhymes, words that it must have."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import TypeVar

from ..decoding.strategies import LINE_ENDING, OPTIONS, AnyStrategy, BestOf
from ..errors import InvalidOption
from ..text.orthography import Orthography
from ..text.vocabulary import is_word
from ..validation.numbers import whole

A = TypeVar("A", bound=AnyStrategy)

#: Tokens of a line at least, so that a line can be one.
SHORTEST_LINE = 3
#: Words that a poem can be made to have.
MAX_INCLUDED = 8


@dataclass(frozen=True, kw_only=True)
class Form:
    """What a poem must look like. Everything but ``lines`` is decoded by the client, over the served steps.

    Args:
        lines: exactly so many.
        acrostic: the first letters of the lines, from top to bottom; as many lines as letters.
        rhyme: a scheme such as ``AABB``, one letter a line: lines with the same letter rhyme by the CMU dictionary
            (perfect rhyme, different words). As many lines as letters when neither ``lines`` nor ``acrostic`` says
            more; lines beyond the scheme are free.
        include: words that must come, one at least once each.
        first_words: how the poem begins.

    Raises:
        InvalidOption: the demands are malformed or contradict each other.
    """

    lines: int | None = None
    acrostic: str = ""
    rhyme: str = ""
    include: tuple[str, ...] = ()
    first_words: str = ""

    def __post_init__(self) -> None:
        limits = OPTIONS["max_lines"]
        for name in ("acrostic", "rhyme", "first_words"):
            if not isinstance(getattr(self, name), str):
                raise InvalidOption(f"{name} must be a text, not {getattr(self, name)!r}")
        object.__setattr__(self, "acrostic", self.acrostic.replace(" ", "").lower())
        object.__setattr__(self, "rhyme", self.rhyme.replace(" ", "").upper())
        if not isinstance(self.include, tuple | list) or not all(isinstance(word, str) for word in self.include):
            raise InvalidOption(f"include must be a tuple of words, not {self.include!r}")
        object.__setattr__(self, "include", tuple(word.lower() for word in self.include))
        object.__setattr__(self, "first_words", " ".join(self.first_words.lower().split()))
        if self.lines is not None:
            object.__setattr__(self, "lines", whole("lines", self.lines))
        if not re.fullmatch("[a-z]*", self.acrostic):
            raise InvalidOption(f"acrostic must be letters from A to Z, not {self.acrostic!r}")
        if not re.fullmatch("[A-Z]*", self.rhyme):
            raise InvalidOption(f"rhyme must be a scheme like AABB, not {self.rhyme!r}")
        if len(self.include) > MAX_INCLUDED:
            raise InvalidOption(f"include may have {MAX_INCLUDED} words, not {len(self.include)}")
        for word in (*self.include, *self.first_words.split()):
            if not re.fullmatch("[a-z]+", word):
                raise InvalidOption(f"{word!r} is not a word in the letters a to z")
        if (count := self.count) is not None:
            self._check_count(count, int(limits.lowest), int(limits.highest))
        if self.acrostic and self.first_words and self.acrostic[0] != self.first_words[0]:
            raise InvalidOption(
                f"first_words {self.first_words!r} do not begin with the acrostic's {self.acrostic[0]!r}"
            )

    @property
    def count(self) -> int | None:
        """How many lines the poem must have; None where the strategy's limits hold."""
        return self.lines if self.lines is not None else len(self.acrostic) or len(self.rhyme) or None

    @property
    def only_lines(self) -> bool:
        """Whether the served decoders can do it."""
        return not (self.acrostic or self.rhyme or self.include or self.first_words)

    def limit(self, strategy: A) -> A:
        """Return ``strategy`` with the number of lines of this form."""
        if isinstance(strategy, BestOf):
            return replace(strategy, sampling=self.limit(strategy.sampling))
        return replace(strategy, min_lines=self.count, max_lines=self.count) if self.count else strategy

    def check(self, strategy: AnyStrategy, orthography: Orthography) -> None:
        """Refuse what no poem in this vocabulary can have.

        Raises:
            InvalidOption: an acrostic letter that begins no word, a word that the vocabulary lacks or that is
                forbidden, or more lines than the strategy's ``max_tokens`` have room for.
        """
        for letter in self.acrostic:
            if not any(begins_with(letter, piece) for piece in orthography.pieces):
                raise InvalidOption(f"no word of the vocabulary begins with {letter!r}")
        words = (*self.include, *self.first_words.split())
        for word in words:
            orthography.token_of(word)
        if both := set(words) & {*orthography.forbidden, *strategy.forbidden}:
            raise InvalidOption(f"{', '.join(sorted(both))} cannot be both demanded and forbidden")
        rules = strategy.sampling if isinstance(strategy, BestOf) else strategy
        least = (self.count or rules.min_lines) * (SHORTEST_LINE + LINE_ENDING) + len(words)
        if least > rules.max_tokens:
            raise InvalidOption(f"the form needs at least {least} tokens, max_tokens is {rules.max_tokens}")
        if len(self.first_words.split()) > rules.max_line_tokens:
            raise InvalidOption(f"first_words are longer than max_line_tokens ({rules.max_line_tokens})")

    def _check_count(self, count: int, lowest: int, highest: int) -> None:
        if not lowest <= count <= highest:
            raise InvalidOption(f"a poem has from {lowest} to {highest} lines, not {count}")
        if self.acrostic and len(self.acrostic) != count:
            raise InvalidOption(f"the acrostic has {len(self.acrostic)} letters, the poem {count} lines")
        if len(self.rhyme) > count:
            raise InvalidOption(f"the rhyme scheme has {len(self.rhyme)} letters, the poem only {count} lines")
        most = Counter(self.rhyme).most_common(1)
        if most and most[0][1] > 8:
            raise InvalidOption("no more than 8 lines can rhyme with each other")


def begins_with(letter: str, piece: str) -> bool:
    """Whether ``piece`` begins a word with ``letter`` that can stand at the head of a line."""
    return is_word(piece) and piece[0] == letter and (len(piece) > 1 or piece in ("a", "i", "o"))
