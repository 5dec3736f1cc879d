"""The form of a poem: number of lines, acrostic, rhyme scheme and required words."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import TypeVar

from ..decoding.registry import OPTIONS
from ..decoding.strategies import LINE_ENDING, AnyStrategy, BestOf
from ..errors import InvalidOption
from ..text.orthography import Orthography
from ..text.vocabulary import is_word
from ..validation.numbers import whole

A = TypeVar("A", bound=AnyStrategy)

#: Fewest tokens in a line, without its newline.
SHORTEST_LINE = 3
#: Most required words of a form.
MAX_INCLUDED = 8


@dataclass(frozen=True, kw_only=True)
class Form:
    """Requirements on a poem. The server decodes ``lines``; with any other field the client runs the search.

    Args:
        lines: exact number of lines.
        acrostic: first letters of the lines, from top to bottom; one line per letter.
        rhyme: a scheme such as ``AABB``, one letter per line: lines with the same letter rhyme by the CMU Pronouncing
            Dictionary (perfect rhymes of different words). Without ``lines`` and ``acrostic`` the poem has one line
            per letter; lines beyond the scheme are free.
        include: words that must each occur at least once.
        first_words: words that begin the poem.

    Raises:
        InvalidOption: a field is malformed, or fields contradict each other.
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
        """Number of lines; None if the strategy's limits apply."""
        return self.lines if self.lines is not None else len(self.acrostic) or len(self.rhyme) or None

    @property
    def only_lines(self) -> bool:
        """Whether the form sets nothing but ``lines``, so that the served decoders can search for it."""
        return not (self.acrostic or self.rhyme or self.include or self.first_words)

    def limit(self, strategy: A) -> A:
        """Return ``strategy`` with ``min_lines`` and ``max_lines`` set to this form's number of lines, if any."""
        if isinstance(strategy, BestOf):
            return replace(strategy, sampling=self.limit(strategy.sampling))
        return replace(strategy, min_lines=self.count, max_lines=self.count) if self.count else strategy

    def check(self, strategy: AnyStrategy, orthography: Orthography) -> None:
        """Check that a poem in this vocabulary can have this form.

        Raises:
            InvalidOption: no word begins with a letter of the acrostic; a required word is forbidden or not in the
                vocabulary; the form needs more than ``max_tokens``; or ``first_words`` exceed ``max_line_tokens``.
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
    """Whether ``piece`` is a word that begins with ``letter`` and can begin a line."""
    return is_word(piece) and piece[0] == letter and (len(piece) > 1 or piece in ("a", "i", "o"))
