"""Rhyming words of a vocabulary, by the CMU Pronouncing Dictionary (American English)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..text.pronunciations import dictionary
from ..text.vocabulary import is_word

#: Words that may not end a line.
NO_ENDS = frozenset(
    "a an the of and or but to in on at by for from with as is was are his her my your their its our that this these"
    " those i if than who whom which when where while into upon not has had have were very every".split()
)


class Rhymes:
    """Perfect rhymes among the words of a vocabulary: equal from the last stressed vowel on, different before it.

    Args:
        pieces: the decoder's vocabulary by id.

    Raises:
        MissingDependency: ``pronouncing`` is not installed.
    """

    def __init__(self, pieces: Sequence[str]) -> None:
        pronouncing = dictionary()
        self._part: dict[int, str] = {}
        self._sound: dict[int, str] = {}
        words: defaultdict[str, list[int]] = defaultdict(list)
        for i, piece in enumerate(pieces):
            if not is_word(piece) or len(piece) < 2 or piece in NO_ENDS:
                continue
            # Only the first pronunciation, which is the usual one.
            if phones := pronouncing.phones_for_word(piece)[:1]:
                self._part[i], self._sound[i] = pronouncing.rhyming_part(phones[0]), phones[0]
                words[self._part[i]].append(i)
        self._words = dict(words)
        self._size = len(pieces)
        self._sizes = {part: len({self._sound[i] for i in ids}) for part, ids in words.items()}
        # A search repeats the same look-ups about a thousand times.
        self._beginning = lru_cache(maxsize=16)(self._find_beginning)
        self._with_all = lru_cache(maxsize=1024)(self._find_with_all)
        self._like = lru_cache(maxsize=1024)(self._find_like)

    def beginning(self, count: int) -> NDArray[np.bool_]:
        """Return bool ``[vocabulary]``: words of rhyme groups of at least ``count`` words (homophones count once)."""
        return self._beginning(count)

    def with_all(self, words: Sequence[int]) -> NDArray[np.bool_]:
        """Return bool ``[vocabulary]``: words that rhyme with ``words`` and are homophones of none of them."""
        return self._with_all(tuple(words))

    def unlike(self, words: Sequence[int]) -> NDArray[np.bool_]:
        """Return bool ``[vocabulary]``: tokens that rhyme with none of ``words``."""
        return ~self._like(frozenset(words))

    def most(self) -> int:
        """Return the size of the largest rhyme group (homophones count once)."""
        return max(self._sizes.values())

    def _find_with_all(self, words: tuple[int, ...]) -> NDArray[np.bool_]:
        sounds = {self._sound[word] for word in words}
        return self._mask([i for i in self._words[self._part[words[0]]] if self._sound[i] not in sounds])

    def _find_like(self, words: frozenset[int]) -> NDArray[np.bool_]:
        parts = {self._part[word] for word in words if word in self._part}
        return self._mask([i for part in parts for i in self._words[part]])

    def _find_beginning(self, count: int) -> NDArray[np.bool_]:
        return self._mask([i for i, part in self._part.items() if self._sizes[part] >= count])

    def _mask(self, ids: Sequence[int]) -> NDArray[np.bool_]:
        mask = np.zeros(self._size, bool)
        mask[ids] = True
        return mask
