"""BLEU-1, -2 and -3, computed by sacrebleu."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import NamedTuple

from .words import words


class Bleu(NamedTuple):
    """BLEU up to 1-, 2- and 3-grams, each from 0 to 100."""

    bleu_1: float
    bleu_2: float
    bleu_3: float


def bleu(poems: Sequence[str], references: Sequence[Sequence[str]]) -> Bleu:
    """Return corpus BLEU (Papineni et al. 2002), without smoothing, with the brevity penalty.

    Texts are converted to the plain style of the data sets and split at spaces and line breaks; sacrebleu's own
    tokenizer is off. ``references[i]`` has one or more references of ``poems[i]``.

    Raises:
        ValueError: there is no poem, the lengths differ, or a poem has no reference.
    """
    if not poems or len(poems) != len(references):
        raise ValueError(f"pass one list of references a poem: {len(poems)} poems, {len(references)} lists")
    if not all(references):
        raise ValueError("every poem needs at least one reference")
    from sacrebleu.metrics.bleu import BLEU

    hypotheses = [" ".join(words(poem)) for poem in poems]
    plain = [[" ".join(words(text)) for text in texts] for texts in references]
    # sacrebleu takes the first references of all poems, then the second ones, with None for missing ones.
    streams = list(zip_longest(*plain))
    scores = (
        BLEU(tokenize="none", smooth_method="none", max_ngram_order=n).corpus_score(hypotheses, streams).score
        for n in (1, 2, 3)
    )
    return Bleu(*scores)
