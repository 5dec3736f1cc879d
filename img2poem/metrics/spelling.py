"""Share of words that do not exist."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence
from functools import cache
from typing import NamedTuple

from .words import share, words

# Most words of one or two letters in the list are abbreviations; real ones occur this often in its subtitle corpus.
_SHORT, _COMMON = 2, 100_000


class UnknownWords(NamedTuple):
    """Unknown words of poems."""

    share: float  # of all words, counting repetitions
    words: tuple[str, ...]  # distinct, the most frequent first


def unknown_words(poems: Sequence[str], known: Container[str]) -> UnknownWords:
    """Return the words of ``poems`` that are not in ``known``, a container of lower-case words.

    With ``training.words | english_words()``, an unknown word is one that the system invented. A hyphenated word is
    known if all its parts are; a word that ends in ``'s`` is known if it is known without.

    Raises:
        ValueError: no poem has a word.
    """
    found = [word for poem in poems for word in words(poem)]
    unknown = Counter(word for word in found if not _known(word, known))
    return UnknownWords(share(unknown.total(), found, "words"), tuple(word for word, _ in unknown.most_common()))


@cache
def english_words() -> frozenset[str]:
    """Return some 160,000 English words in lower case, from the package ``pyspellchecker`` (MIT)."""
    from spellchecker import SpellChecker

    counts = SpellChecker(language="en").word_frequency.dictionary
    return frozenset(word for word, count in counts.items() if len(word) > _SHORT or count >= _COMMON)


def _known(word: str, known: Container[str]) -> bool:
    return word in known or all(part in known or part.removesuffix("'s") in known for part in word.split("-"))
