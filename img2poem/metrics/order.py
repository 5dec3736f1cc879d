"""How much a text depends on the order of its words: what tells lines of English from lists of words."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from .words import lines

#: Returns the bits of each text under a language model, as ``training.language_model.LanguageModel.bits`` does.
Bits = Callable[[Sequence[str]], Sequence[float]]


def order_gain(poems: Sequence[str], bits: Bits, seed: int = 0) -> float:
    """Return how many bits a word a language model needs more when the words of each line are shuffled.

    Poems are read in the plain style, in lower case and without punctuation, before and after: neither a capital
    in mid-line nor a comma at a line's start adds to the gain, and poems with punctuation compare with poems without.
    ``seed`` and the poem alone decide how a poem is shuffled. A line of one word stays as it is.

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
