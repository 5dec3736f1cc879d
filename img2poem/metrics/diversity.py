"""How varied poems are in themselves."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from .words import lines, ngrams, share


def distinct(poems: Sequence[str], n: int, first: int | None = None) -> float:
    """Return distinct-``n``: different n-grams over all n-grams (Li et al. 2016, A Diversity-Promoting Objective).

    It falls as text grows, so systems compare only over the same number of n-grams: ``first`` of them in the
    order of ``poems``, or all there are where they are fewer.

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


def line_counts(poems: Sequence[str]) -> NDArray[np.int64]:
    """Return the lines of each poem ``[N]``, empty lines not counted.

    Raises:
        ValueError: there is no poem.
    """
    if not poems:
        raise ValueError("there are no poems to measure: pass at least one")
    return np.array([len(lines(poem)) for poem in poems], np.int64)
