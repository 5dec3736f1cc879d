"""Rhyme and metre, by the CMU Pronouncing Dictionary (of American English)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np

from ..text.pronunciations import dictionary
from .words import lines, share

# The e of "love", "lovely", "loved", "loves"; without it, groups of vowels are as many as syllables in 90 % of the
# rare words of the public-domain poems that the dictionary has.
_SILENT = re.compile(r"(?<=[^aeiouyl])e(?=$|ness|ful|less|ly|ment)|(?<=[^aeiouytd])ed$|(?<=[^aeiouyscgzxhl])es$")


@dataclass(frozen=True)
class Prosody:
    """Rhyme and metre of poems; read the figures beside those of human poems.

    ``rhyming_pairs`` is the share, among the pairs of lines next to each other or one line apart in a poem
    whose last words the dictionary knows, of those that rhyme (couplets AABB have 2 of 5, so has ABAB); NaN
    where there is no such pair. ``syllables_per_line`` is the mean over all lines, ``syllable_spread`` the mean
    over poems of the standard deviation within the poem: 0 is strict metre. ``known_words`` is the share of
    words that the dictionary knows.
    """

    rhyming_pairs: float
    syllables_per_line: float
    syllable_spread: float
    known_words: float


def prosody(poems: Sequence[str]) -> Prosody:
    """Measure rhyme and metre of ``poems``.

    Two words rhyme when they differ and, in some pronunciation of each, are the same from the last stressed vowel
    on (perfect rhyme). Syllables are those of the first pronunciation, and of an unknown word its groups of vowels.

    Raises:
        ValueError: there is no line.
    """
    by_poem = [rows for rows in map(lines, poems) if rows]
    tokens = [word for rows in by_poem for row in rows for word in row.split()]
    known = share(sum(bool(_pronunciations(word)) for word in tokens), tokens, "words")
    pairs = [rhymes(*pair) for rows in by_poem for pair in _neighbours([row.split()[-1] for row in rows])]
    judged = [pair for pair in pairs if pair is not None]
    counts = [[sum(map(syllables, row.split())) for row in rows] for rows in by_poem]
    return Prosody(
        rhyming_pairs=float(np.mean(judged)) if judged else float("nan"),
        syllables_per_line=float(np.mean(list(chain.from_iterable(counts)))),
        syllable_spread=float(np.mean([np.std(rows) for rows in counts])),
        known_words=known,
    )


def rhymes(left: str, right: str) -> bool | None:
    """Return whether two words in lower case rhyme, as :func:`prosody` has it; None where one is unknown."""
    rhyming_part = dictionary().rhyming_part
    parts = [{rhyming_part(phones) for phones in _pronunciations(word)} for word in (left, right)]
    if not all(parts):
        return None
    return left != right and not parts[0].isdisjoint(parts[1])


def syllables(word: str) -> int:
    """Return the syllables of ``word`` in lower case: at least 1, estimated from the spelling where it is unknown."""
    known = _pronunciations(word)
    if known:
        return sum(phone[-1].isdigit() for phone in known[0].split())
    return max(1, len(re.findall("[aeiouy]+", _SILENT.sub("", word))))


def _neighbours(words: list[str]) -> list[tuple[str, str]]:
    return [*pairwise(words), *zip(words, words[2:], strict=False)]


def _pronunciations(word: str) -> list[str]:
    """Return the pronunciations of ``word`` in phones; a compound's are its parts' first, then its last part's."""
    whole: list[str] = dictionary().phones_for_word(word)
    if whole or "-" not in word:
        return whole
    first, rest = word.split("-", 1)
    heads, tails = _pronunciations(first), _pronunciations(rest)
    return [f"{heads[0]} {tail}" for tail in tails] if heads else []
