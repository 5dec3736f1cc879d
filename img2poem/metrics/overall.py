"""The Overall score of Liu et al. 2018, which combines several metrics."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def overall(scores: ArrayLike) -> NDArray[np.float64]:
    """Return the Overall score of each system, float64 ``[S]``, from 0 to 100, for ``scores`` ``[S, C]``.

    It is 100 times the mean over columns, each min-max normalised over the systems; higher scores are better. Liu et
    al. 2018 (Beyond Narrative Description) use six columns: Relevance, Novelty-2, Novelty-3, BLEU-1, BLEU-2 and BLEU-3.
    Overall only ranks the given systems: it changes when another is added. A column in which all systems are equal
    counts as 0.

    Raises:
        ValueError: there are fewer than two systems or no column, or a score is not finite.
    """
    table = np.asarray(scores, np.float64)
    if table.ndim != 2 or table.shape[0] < 2 or not table.shape[1]:
        raise ValueError(f"pass at least two systems with the same columns, not a table of shape {table.shape}")
    if not np.isfinite(table).all():
        raise ValueError("a score is not finite: leave out the columns that not every system has")
    lowest, highest = table.min(0), table.max(0)
    spread = np.where(highest > lowest, highest - lowest, 1)
    result: NDArray[np.float64] = 100 * ((table - lowest) / spread).mean(1)
    return result
