"""The two discriminators of Liu et al. 2018: does the poem belong to the photograph, and does it read as a poem?

They serve training alone and are no part of a model package.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..text.vocabulary import PAD

#: Classes of :class:`MultiModalDiscriminator`, in the order of its logits.
PAIRED, UNPAIRED, GENERATED = range(3)
#: Classes of :class:`StyleDiscriminator`; the last is ``STYLE_GENERATED``.
POETIC, DISORDERED, PROSE, STYLE_GENERATED = range(4)


class TextReader(nn.Module):
    """Token ids to one vector: word vectors, a GRU both ways, and the largest value of each unit."""

    def __init__(self, vocabulary_size: int, token_dim: int = 128, hidden_dim: int = 128, dropout: float = 0.3) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary_size, token_dim, padding_idx=PAD)
        self.gru = nn.GRU(token_dim, hidden_dim, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(dropout)
        self.features = 2 * hidden_dim

    def forward(self, tokens: Tensor) -> Tensor:
        """``int64 [B, T]``, padded at the end, to ``float32 [B, features]``."""
        output, _ = self.gru(self.dropout(self.token_embedding(tokens)))
        output = output.masked_fill((tokens == PAD).unsqueeze(-1), float("-inf"))
        return self.dropout(output.amax(1))


class MultiModalDiscriminator(nn.Module):
    """Tells poems that belong to the photograph from those that do not and from generated ones.

    It sees the photograph's embedding, the poem's embedding by the aligner, and the poem itself.
    """

    def __init__(self, vocabulary_size: int, embedding_dim: int, hidden_dim: int = 256) -> None:
        super().__init__()
        self.reader = TextReader(vocabulary_size)
        self.image = nn.Linear(embedding_dim, hidden_dim)
        self.poem = nn.Linear(embedding_dim + self.reader.features, hidden_dim)
        # The cosine itself as well: products of learned projections find it only with more pairs than there are.
        self.classify = nn.Sequential(nn.Linear(hidden_dim + 1, hidden_dim), nn.GELU(), nn.Linear(hidden_dim, 3))

    def forward(self, image: Tensor, poem: Tensor, tokens: Tensor) -> Tensor:
        """Unit vectors ``float32 [B, D]`` of photographs and poems and ``int64 [B, T]`` to logits ``[B, 3]``."""
        fused = torch.tanh(self.image(image)) * torch.tanh(self.poem(torch.cat([poem, self.reader(tokens)], dim=-1)))
        cosine = (image * poem).sum(-1, keepdim=True)
        return self.classify(torch.cat([fused, cosine], dim=-1))


class StyleDiscriminator(nn.Module):
    """Tells poems from poems with their lines in disorder, from prose and from generated poems."""

    def __init__(self, vocabulary_size: int) -> None:
        super().__init__()
        self.reader = TextReader(vocabulary_size)
        self.classify = nn.Linear(self.reader.features, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        """``int64 [B, T]`` to logits ``[B, 4]``."""
        return self.classify(self.reader(tokens))
