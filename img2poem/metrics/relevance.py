"""Relevance of poems to the captions of their photographs, by TF-IDF; no trained model is involved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .retrieval import Retrieval, retrieval
from .words import words


def caption_retrieval(poems: Sequence[str], captions: Sequence[Sequence[str]]) -> Retrieval:
    """Return how well poems retrieve the captions of their photographs among all captions, by TF-IDF cosine.

    ``captions[i]`` has the captions of the photograph of ``poems[i]``, which are joined to one text. The vocabulary is
    the words of all captions. The captions of a poem that shares no word with any caption rank last.

    Raises:
        ValueError: there is no poem, the lengths differ, or no caption has a word.
    """
    if not poems or len(poems) != len(captions):
        raise ValueError(f"pass one list of captions a poem: {len(poems)} poems, {len(captions)} lists")
    items, queries = tf_idf([" ".join(texts) for texts in captions], poems)
    return retrieval(queries, items)


def tf_idf(documents: Sequence[str], queries: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return L2-normalised TF-IDF vectors of ``documents``, float32 ``[N, V]``, and ``queries``, float32 ``[M, V]``.

    The weight of a word is (1 + ln tf) ln(N / df), that is ``ltc`` in Manning, Raghavan and Schütze 2008
    (Introduction to Information Retrieval, 6.4), with df over ``documents``. Words that no document has are ignored; a
    text without other words has a zero vector.

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
