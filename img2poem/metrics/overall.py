"""One figure for many: the Overall score of the paper."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def overall(scores: ArrayLike) -> NDArray[np.float64]:
    """Return Overall f64 [S], from 0 to 100, of the systems with ``scores`` f [S, C], higher is better.

    100 times the mean over columns, each first min-max normalised over the systems, as in Liu et al. 2018
    (Beyond Narrative Description), whose six columns are Relevance, Novelty-2, Novelty-3, BLEU-1, BLEU-2 and
    BLEU-3. It ranks the systems compared: it changes when another joins. A column in which all systems are
    equal counts 0.

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
