"""Rhyme and metre, by the CMU Pronouncing Dictionary (American English)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np

from ..text.pronunciations import dictionary
from .words import lines, share

# The silent e of "love", "lovely", "loved", "loves". Without it, a word has as many groups of vowels as syllables in
# 90 % of the rare words of the public-domain poems that the dictionary has.
_SILENT = re.compile(r"(?<=[^aeiouyl])e(?=$|ness|ful|less|ly|ment)|(?<=[^aeiouytd])ed$|(?<=[^aeiouyscgzxhl])es$")


@dataclass(frozen=True)
class Prosody:
    """Rhyme and metre of poems; compare the figures with those of human poems.

    ``rhyming_pairs`` is the share of rhyming pairs among all pairs of lines that are adjacent or one line apart, and
    whose last words the dictionary has; NaN if there is no such pair. Both AABB and ABAB have 2 of 5.
    ``syllables_per_line`` is the mean over all lines. ``syllable_spread`` is the mean over poems of the standard
    deviation within the poem: 0 is strict metre. ``known_words`` is the share of words that the dictionary has.
    """

    rhyming_pairs: float
    syllables_per_line: float
    syllable_spread: float
    known_words: float


def prosody(poems: Sequence[str]) -> Prosody:
    """Measure rhyme and metre of ``poems``.

    Two words rhyme if they differ and have pronunciations that are equal from the last stressed vowel on (perfect
    rhyme). Syllables are counted in the first pronunciation; for an unknown word they are estimated from its spelling.

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
    """Return whether two lower-case words rhyme, as :func:`prosody` defines it; None if one is unknown."""
    rhyming_part = dictionary().rhyming_part
    parts = [{rhyming_part(phones) for phones in _pronunciations(word)} for word in (left, right)]
    if not all(parts):
        return None
    return left != right and not parts[0].isdisjoint(parts[1])


def syllables(word: str) -> int:
    """Return the number of syllables of a lower-case word, estimated from the spelling if the word is unknown."""
    known = _pronunciations(word)
    if known:
        return sum(phone[-1].isdigit() for phone in known[0].split())
    return max(1, len(re.findall("[aeiouy]+", _SILENT.sub("", word))))


def _neighbours(words: list[str]) -> list[tuple[str, str]]:
    return [*pairwise(words), *zip(words, words[2:], strict=False)]


def _pronunciations(word: str) -> list[str]:
    """Return the pronunciations of ``word`` in phones.

    For a hyphenated word that the dictionary lacks, all parts but the last have their first pronunciation.
    """
    whole: list[str] = dictionary().phones_for_word(word)
    if whole or "-" not in word:
        return whole
    first, rest = word.split("-", 1)
    heads, tails = _pronunciations(first), _pronunciations(rest)
    return [f"{heads[0]} {tail}" for tail in tails] if heads else []
