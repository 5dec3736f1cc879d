"""Whether poems speak of what their photographs' captions name, by words alone: nothing here is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .retrieval import Retrieval, retrieval
from .words import words


def caption_retrieval(poems: Sequence[str], captions: Sequence[Sequence[str]]) -> Retrieval:
    """Return how well each poem finds its photograph's captions among those of all, by TF-IDF cosine.

    ``captions[i]`` holds the captions of the photograph of ``poems[i]``, read as one text; their words are the
    vocabulary. Poems that share no word with any caption rank last.

    Raises:
        ValueError: there is no poem, the lengths differ, or no caption has a word.
    """
    if not poems or len(poems) != len(captions):
        raise ValueError(f"pass one list of captions a poem: {len(poems)} poems, {len(captions)} lists")
    items, queries = tf_idf([" ".join(texts) for texts in captions], poems)
    return retrieval(queries, items)


def tf_idf(documents: Sequence[str], queries: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return TF-IDF vectors of ``documents`` f32 [N, V] and ``queries`` f32 [M, V], of length 1, or 0 without words.

    The weight of a word is (1 + ln tf) ln(N / df), that is ``ltc`` in Manning, Raghavan and Schütze 2008
    (Introduction to Information Retrieval, 6.4), with df over ``documents``; other words do not count.

    Raises:
        ValueError: no document has a word.
    """
    rows = [Counter(words(text)) for text in documents]
    df = Counter(word for row in rows for word in row)
    if not df:
        raise ValueError("no document has a word: pass captions with text")
    columns = {word: column for column, word in enumerate(sorted(df))}
    idf = np.log(len(rows) / np.array([df[word] for word in columns]))
    return _weights(rows, columns, idf), _weights([Counter(words(text)) for text in queries], columns, idf)


def _weights(rows: list[Counter[str]], columns: dict[str, int], idf: NDArray[np.float64]) -> NDArray[np.float32]:
    weights = np.zeros((len(rows), len(columns)), np.float32)
    for weight, row in zip(weights, rows, strict=True):
        known = [(columns[word], 1 + np.log(count)) for word, count in row.items() if word in columns]
        if known:
            places, tf = zip(*known, strict=True)
            weight[list(places)] = np.array(tf) * idf[list(places)]
    lengths = np.linalg.norm(weights, axis=1, keepdims=True)
    return np.divide(weights, lengths, out=weights, where=lengths > 0)
