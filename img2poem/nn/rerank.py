"""Best of n: the aligner reads the candidates and keeps the one that is nearest to the photograph."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..text import BOS, PAD
from .poem_encoder import PoemEncoder


class Choice(NamedTuple):
    """The best of each row's candidates."""

    tokens: Tensor  # int64 [B, T]
    scores: Tensor  # float32 [B], the candidate's own
    lengths: Tensor  # int64 [B]
    relevance: Tensor  # float32 [B], cosine of poem and photograph in the poetic space


class Rerank(nn.Module):
    """Scores candidates by the aligner, on the decoder's own token ids, and chooses."""

    def __init__(self, poem_encoder: PoemEncoder) -> None:
        super().__init__()
        self.poem_encoder = poem_encoder

    def forward(self, candidates: Tensor, scores: Tensor, lengths: Tensor, embedding: Tensor) -> Choice:
        """Choose among ``n`` candidates a row.

        Args:
            candidates: int64 ``[B, n, T]``, each with its end token, then padding.
            scores: float32 ``[B, n]``.
            lengths: int64 ``[B, n]``.
            embedding: float32 ``[B, embedding_dim]``, of the photographs.
        """
        rows = candidates.flatten(0, 1)
        ids = torch.cat([torch.full_like(rows[:, :1], BOS), rows], dim=1)
        # What is padding in every row is not read.
        longest = int(lengths.max().item()) + 1
        torch._check(longest >= 2)
        torch._check(longest <= ids.shape[1])
        ids = ids.narrow(1, 0, longest)
        points = self.poem_encoder(ids, (ids != PAD).to(torch.int64))
        relevance = points.view(-1, candidates.shape[1], points.shape[-1]) @ embedding.unsqueeze(-1)
        best = relevance.squeeze(-1).max(dim=1, keepdim=True)
        tokens = candidates.gather(1, best.indices.unsqueeze(-1).expand(-1, -1, candidates.shape[-1]))
        return Choice(
            tokens.squeeze(1),
            scores.gather(1, best.indices).squeeze(1),
            lengths.gather(1, best.indices).squeeze(1),
            best.values.squeeze(1),
        )
