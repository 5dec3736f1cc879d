"""Losses of the aligner."""

from __future__ import annotations

import torch
from torch import Tensor


def ranking_loss(left: Tensor, right: Tensor, margin: float = 0.2, hardest: bool = False) -> Tensor:
    """Bidirectional ranking loss over in-batch negatives, on unit vectors ``[B, D]`` whose rows are pairs.

    It sums over all negatives as in Kiros et al. 2014 (Unifying Visual-Semantic Embeddings), or uses only the
    ``hardest`` as in Faghri et al. 2018 (VSE++). The margin of 0.2 is that of Liu et al. 2018.
    """
    scores = left @ right.T
    paired = scores.diagonal()
    same = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    over_rows = (margin + scores - paired.unsqueeze(1)).clamp(min=0).masked_fill(same, 0)
    over_columns = (margin + scores - paired.unsqueeze(0)).clamp(min=0).masked_fill(same, 0)
    if hardest:
        return over_rows.amax(1).mean() + over_columns.amax(0).mean()
    return (over_rows.sum(1) + over_columns.sum(0)).mean()
