"""The two discriminators of Liu et al. 2018: does the poem match the photograph, and does it read as a poem?

They are used in training only and are not part of a model package.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..text.vocabulary import PAD

#: Classes of :class:`MultiModalDiscriminator`, in the order of its logits.
PAIRED, UNPAIRED, GENERATED = range(3)
#: Classes of :class:`StyleDiscriminator`, in the order of its logits.
POETIC, DISORDERED, PROSE, STYLE_GENERATED = range(4)


class TextReader(nn.Module):
    """Encodes token ids as one vector: embeddings, a bidirectional GRU, and max pooling over time."""

    def __init__(self, vocabulary_size: int, token_dim: int = 128, hidden_dim: int = 128, dropout: float = 0.3) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary_size, token_dim, padding_idx=PAD)
        self.gru = nn.GRU(token_dim, hidden_dim, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(dropout)
        self.features = 2 * hidden_dim

    def forward(self, tokens: Tensor) -> Tensor:
        """Token ids ``int64 [B, T]``, padded at the end, to ``float32 [B, features]``."""
        output, _ = self.gru(self.dropout(self.token_embedding(tokens)))
        output = output.masked_fill((tokens == PAD).unsqueeze(-1), float("-inf"))
        return self.dropout(output.amax(1))


class MultiModalDiscriminator(nn.Module):
    """Classifies poems as paired with the photograph, unpaired, or generated.

    Its inputs are the photograph's embedding, the aligner's embedding of the poem, and the poem's token ids.
    """

    def __init__(self, vocabulary_size: int, embedding_dim: int, hidden_dim: int = 256) -> None:
        super().__init__()
        self.reader = TextReader(vocabulary_size)
        self.image = nn.Linear(embedding_dim, hidden_dim)
        self.poem = nn.Linear(embedding_dim + self.reader.features, hidden_dim)
        # The cosine is an input of its own: learned projections would need more pairs than there are to find it.
        self.classify = nn.Sequential(nn.Linear(hidden_dim + 1, hidden_dim), nn.GELU(), nn.Linear(hidden_dim, 3))

    def forward(self, image: Tensor, poem: Tensor, tokens: Tensor) -> Tensor:
        """Unit vectors ``float32 [B, D]`` of photograph and poem, and ids ``int64 [B, T]``, to logits ``[B, 3]``."""
        fused = torch.tanh(self.image(image)) * torch.tanh(self.poem(torch.cat([poem, self.reader(tokens)], dim=-1)))
        cosine = (image * poem).sum(-1, keepdim=True)
        return self.classify(torch.cat([fused, cosine], dim=-1))


class StyleDiscriminator(nn.Module):
    """Classifies texts as poems, poems with their lines shuffled, prose, or generated poems."""

    def __init__(self, vocabulary_size: int) -> None:
        super().__init__()
        self.reader = TextReader(vocabulary_size)
        self.classify = nn.Linear(self.reader.features, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        """Token ids ``int64 [B, T]`` to logits ``[B, 4]``."""
        return self.classify(self.reader(tokens))
