"""Diversity of poems: distinct n-grams, repeated lines and words, line counts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from .words import lines, ngrams, share, words


def distinct(poems: Sequence[str], n: int, first: int | None = None) -> float:
    """Return distinct-``n``: different n-grams / all n-grams (Li et al. 2016, A Diversity-Promoting Objective).

    The figure falls as the text grows, so compare systems over the same number of n-grams: only the ``first`` n-grams
    count, in the order of ``poems``, or all of them if there are fewer.

    Raises:
        ValueError: no poem has ``n`` words, or ``n`` or ``first`` is less than 1.
    """
    if first is not None and first < 1:
        raise ValueError(f"first must be 1 or more, not {first}")
    found = list(islice(ngrams(poems, n), first))
    return share(len(set(found)), found, f"{n}-grams")


def repeated_lines(poems: Sequence[str]) -> float:
    """Return the share of lines that repeat an earlier line of their poem.

    Raises:
        ValueError: there is no line.
    """
    by_poem = [lines(poem) for poem in poems]
    every = [line for poem in by_poem for line in poem]
    return share(sum(len(poem) - len(set(poem)) for poem in by_poem), every, "lines")


def repeated_words(poems: Sequence[str], letters: int = 4) -> float:
    """Return the share of words of ``letters`` letters or more that repeat an earlier word of their poem.

    What follows an apostrophe is ignored: ``they`` and ``they've`` are the same word. Poems repeat some words on
    purpose, so compare the figure with that of human poems. It is 0 for poems without words of this length.

    Raises:
        ValueError: there is no poem.
    """
    stems = ([word.split("'")[0] for word in words(poem)] for poem in poems)
    by_poem = [[stem for stem in row if len(stem) >= letters] for row in stems]
    _check_poems(by_poem)
    return sum(len(row) - len(set(row)) for row in by_poem) / max(1, sum(map(len, by_poem)))


def line_counts(poems: Sequence[str]) -> NDArray[np.int64]:
    """Return the number of lines of each poem ``[N]``, without empty lines.

    Raises:
        ValueError: there is no poem.
    """
    _check_poems(poems)
    return np.array([len(lines(poem)) for poem in poems], np.int64)


def _check_poems(poems: Sequence[object]) -> None:
    if not poems:
        raise ValueError("there are no poems to measure: pass at least one")
