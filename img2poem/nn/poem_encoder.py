"""The aligner's text side: BERT, mean pooling and a projection into the poetic space."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..artifacts.package import PoemEncoderConfig


class PoemEncoder(nn.Module):
    """Encodes WordPiece ids, such as the decoder's output, as unit vectors of the poetic space, with BERT."""

    def __init__(self, config: PoemEncoderConfig, embedding_dim: int) -> None:
        super().__init__()
        from transformers import BertConfig, BertModel

        bert = BertConfig(**{**config.bert, "attn_implementation": "eager"})
        self.bert = BertModel(bert, add_pooling_layer=False)
        self.projection = nn.Linear(bert.hidden_size, embedding_dim)

    def pooled(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the L2-normalised mean of the last hidden states, without padding, ``float32 [B, hidden]``."""
        # A mask of our own: export would fix transformers' mask to the device that it traces on.
        hidden_from = (1.0 - attention_mask[:, None, None, :].float()) * torch.finfo(torch.float32).min
        hidden = self.bert(input_ids=input_ids, attention_mask=hidden_from).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        return F.normalize((hidden * mask).sum(1) / mask.sum(1).clamp(min=1), dim=-1)

    def project(self, pooled: Tensor) -> Tensor:
        """``float32 [B, hidden]`` to unit vectors ``float32 [B, embedding_dim]``."""
        return F.normalize(self.projection(pooled), dim=-1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Ids and mask, ``int64 [B, T]`` each, to ``float32 [B, embedding_dim]``; rows begin with BOS, end with EOS."""
        return self.project(self.pooled(input_ids, attention_mask))


def pad(rows: list[list[int]], pad_id: int = 0) -> tuple[Tensor, Tensor]:
    """Return ``input_ids`` and ``attention_mask``, ``int64 [B, T]``, of token rows of any lengths, right-padded."""
    width = max(map(len, rows))
    ids = torch.tensor([row + [pad_id] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return ids, mask
