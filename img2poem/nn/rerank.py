"""Reranking for best of n: the aligner scores the candidate poems."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..text.vocabulary import BOS, PAD
from .poem_encoder import PoemEncoder


class Choice(NamedTuple):
    """The best candidate of each row."""

    tokens: Tensor  # int64 [B, T]
    scores: Tensor  # float32 [B], the candidate's log-probability per token
    lengths: Tensor  # int64 [B]
    relevance: Tensor  # float32 [B], cosine of poem and photograph in the poetic space


class Rerank(nn.Module):
    """Chooses the candidate with the highest cosine to the photograph plus weighted log-probability per token.

    The aligner reads the decoder's token ids without conversion.

    Args:
        poem_encoder: the aligner's text side.
        likelihood_weight: weight of the decoder's log-probability per token, in nats; the cosine's weight is 1.
    """

    def __init__(self, poem_encoder: PoemEncoder, likelihood_weight: float = 0.0) -> None:
        super().__init__()
        self.poem_encoder = poem_encoder
        self.likelihood_weight = likelihood_weight

    def forward(self, candidates: Tensor, scores: Tensor, lengths: Tensor, embedding: Tensor) -> Choice:
        """Choose among ``n`` candidates per row.

        Args:
            candidates: int64 ``[B, n, T]``, each with its end token, then padding.
            scores: float32 ``[B, n]``, log-probabilities per token.
            lengths: int64 ``[B, n]``, with the end token.
            embedding: float32 ``[B, embedding_dim]``, of the photographs.
        """
        rows = candidates.flatten(0, 1)
        ids = torch.cat([torch.full_like(rows[:, :1], BOS), rows], dim=1)
        # Columns that are padding in every row are cut off.
        longest = int(lengths.max().item()) + 1
        torch._check(longest >= 2)
        torch._check(longest <= ids.shape[1])
        ids = ids.narrow(1, 0, longest)
        points = self.poem_encoder(ids, (ids != PAD).to(torch.int64))
        points = points.view(-1, candidates.shape[1], points.shape[-1])
        relevance = (points @ embedding.unsqueeze(-1)).squeeze(-1)
        best = (relevance + self.likelihood_weight * scores).argmax(dim=1, keepdim=True)
        tokens = candidates.gather(1, best.unsqueeze(-1).expand(-1, -1, candidates.shape[-1]))
        return Choice(tokens.squeeze(1), *(of.gather(1, best).squeeze(1) for of in (scores, lengths, relevance)))
