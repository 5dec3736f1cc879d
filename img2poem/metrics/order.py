"""Dependence of a text on the order of its words, which distinguishes English lines from lists of words."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from .words import lines

#: Function that returns the bits of each text under a language model, such as
#: ``training.language_model.LanguageModel.bits``.
Bits = Callable[[Sequence[str]], Sequence[float]]


def order_gain(poems: Sequence[str], bits: Bits, seed: int = 0) -> float:
    """Return how many more bits per word a language model needs when the words of each line are shuffled.

    Poems are converted to the plain style (lower case, no punctuation) before shuffling. So capitals in mid-line and
    commas at the beginning of a line do not add to the gain, and poems with and without punctuation are comparable. The
    shuffling depends only on ``seed`` and the poem. Lines of one word do not change.

    Raises:
        ValueError: no poem has a word.
    """
    plain = [poem for poem in ("\n".join(lines(poem)) for poem in poems) if poem]
    if not plain:
        raise ValueError("there are no words to measure: pass at least one poem that has some")
    found = bits([*plain, *(_shuffled(poem, seed) for poem in plain)])
    gain = sum(found[len(plain) :]) - sum(found[: len(plain)])
    return float(gain) / sum(len(poem.split()) for poem in plain)


def _shuffled(poem: str, seed: int) -> str:
    draw = random.Random(f"{seed} {poem}")
    rows = [line.split() for line in poem.split("\n")]
    for row in rows:
        draw.shuffle(row)
    return "\n".join(map(" ".join, rows))
