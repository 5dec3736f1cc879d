"""Novelty of poems: n-grams and lines that are not in the training text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from .words import NGram, lines, ngrams, share


class TrainingText:
    """The poems that a system was trained on; lines and n-grams are counted at first use and cached.

    Raises:
        ValueError: there is no poem.
    """

    def __init__(self, poems: Iterable[str]) -> None:
        self._poems = tuple(poems)
        if not self._poems:
            raise ValueError("the training text is empty: pass the poems that the system was trained on")
        self._lines: frozenset[str] = frozenset()
        self._ngrams: dict[int, Counter[NGram]] = {}

    @property
    def lines(self) -> frozenset[str]:
        """The distinct lines."""
        if not self._lines:
            self._lines = frozenset(line for poem in self._poems for line in lines(poem))
        return self._lines

    @property
    def words(self) -> frozenset[str]:
        """The distinct words."""
        return frozenset(word for (word,) in self.ngrams(1))

    def ngrams(self, n: int) -> Counter[NGram]:
        """Return how often each ``n``-gram occurs."""
        if n not in self._ngrams:
            self._ngrams[n] = Counter(ngrams(self._poems, n))
        return self._ngrams[n]


def novelty(poems: Sequence[str], training: TrainingText, n: int, frequent: int = 2000) -> float:
    """Return Novelty-``n`` of Liu et al. 2018 (Beyond Narrative Description), as a share from 0 to 1.

    It is the share of the n-grams of ``poems``, counting repetitions, that are not among the ``frequent`` most frequent
    n-grams of the training poems (ties: the first to occur). An n-gram that never occurs in training thus counts as
    novel. The paper reports n of 2 and 3, in per cent, against MultiM-Poem.

    Raises:
        ValueError: no poem has ``n`` words, or ``n`` or ``frequent`` is less than 1.
    """
    if frequent < 1:
        raise ValueError(f"frequent must be 1 or more, not {frequent}")
    common = {ngram for ngram, _ in training.ngrams(n).most_common(frequent)}
    found = list(ngrams(poems, n))
    return share(sum(ngram not in common for ngram in found), found, f"{n}-grams")


def new_ngrams(poems: Sequence[str], training: TrainingText, n: int = 3) -> float:
    """Return the share of the ``n``-grams of ``poems``, counting repetitions, that never occur in the training text.

    Raises:
        ValueError: no poem has ``n`` words, or ``n`` is less than 1.
    """
    known = training.ngrams(n)
    found = list(ngrams(poems, n))
    return share(sum(ngram not in known for ngram in found), found, f"{n}-grams")


def copied_lines(poems: Sequence[str], training: TrainingText) -> float:
    """Return the share of lines that equal a whole line of a training poem, word for word.

    Raises:
        ValueError: there is no line.
    """
    found = [line for poem in poems for line in lines(poem)]
    return share(sum(line in training.lines for line in found), found, "lines")
