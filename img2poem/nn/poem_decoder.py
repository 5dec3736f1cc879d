"""The decoder: a GRU over token ids, conditioned on the embedding at every step.

The served state ``hidden`` is the hidden states of all layers, followed by the context (a projection of the embedding).
A step thus needs only ``token`` and ``hidden``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..artifacts.package import DecoderConfig
from .recurrence import recurrence


class Condition(NamedTuple):
    """Contribution of the context to every step, computed once per poem."""

    gates: Tensor  # float32 [..., 3 * hidden_dim], added to the first layer's gates
    features: Tensor  # float32 [..., token_dim], added to the output layer's input


class PoemDecoder(nn.Module):
    """GRU language model conditioned on a point of the poetic space; input and output embeddings are tied."""

    def __init__(self, config: DecoderConfig, embedding_dim: int) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocabulary_size, config.token_dim)
        self.context = nn.Linear(embedding_dim, config.context_dim)
        self.initial = nn.Linear(embedding_dim, config.layers * config.hidden_dim)
        self.gru = nn.GRU(
            config.token_dim + config.context_dim,
            config.hidden_dim,
            config.layers,
            batch_first=True,
            dropout=config.dropout if config.layers > 1 else 0.0,
        )
        self.bottleneck = nn.Linear(config.hidden_dim + config.context_dim, config.token_dim)
        self.output_bias = nn.Parameter(torch.zeros(config.vocabulary_size))
        nn.init.normal_(self.token_embedding.weight, std=config.token_dim**-0.5)

    @property
    def state_dim(self) -> int:
        """Width of ``hidden``."""
        return self.config.layers * self.config.hidden_dim + self.config.context_dim

    def init(self, embedding: Tensor) -> Tensor:
        """Embeddings ``float32 [B, embedding_dim]`` to the initial ``hidden``, ``float32 [B, state_dim]``.

        A row of zeros means no photograph, as in training.
        """
        return torch.cat([torch.tanh(self.initial(embedding)), torch.tanh(self.context(embedding))], dim=-1)

    def parted(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Split ``hidden [B, state_dim]`` into the state ``[B, layers * hidden_dim]`` and the constant context."""
        state, context = hidden.split([self.config.layers * self.config.hidden_dim, self.config.context_dim], dim=-1)
        # Contiguous, as the state that a step returns: otherwise a loop of steps does not export.
        return state.contiguous(), context

    def joined(self, state: Tensor, context: Tensor) -> Tensor:
        """Join state and context to ``hidden``: the inverse of :meth:`parted`."""
        return torch.cat([state, context], dim=-1)

    def condition(self, context: Tensor) -> Condition:
        """Context ``float32 [..., context_dim]`` to its contribution to every step."""
        w_ih, _, b_ih, _ = self.gru.all_weights[0]
        output = self.bottleneck
        return Condition(
            F.linear(context, w_ih[:, self.config.token_dim :], b_ih),
            F.linear(context, output.weight[:, self.config.hidden_dim :], output.bias),
        )

    def logits(self, features: Tensor) -> Tensor:
        """Output layer: features ``[..., token_dim]`` to ``logits [..., V]``."""
        return F.linear(features, self.token_embedding.weight, self.output_bias)

    def advance(self, token: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """One step: ``token int64 [B]`` and ``hidden`` to ``logits [B, V]`` and the next ``hidden``."""
        state, context = self.parted(hidden)
        features, state = self.cell(token, state, self.condition(context))
        return self.logits(features), self.joined(state, context)

    def cell(self, token: Tensor, state: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        """One step: ``token int64 [B]``, ``state float32 [B, layers * hidden_dim]`` to features and next state.

        Features are the output layer's input, ``[B, token_dim]``. The GRU cell is written out, in PyTorch's gate order
        (reset, update, new; the reset gate is applied after the hidden-to-hidden product). The export thus does not
        depend on how an exporter maps ``nn.GRU`` to ONNX's GRU operator.
        """
        x, after = self.token_embedding(token), []
        layers = state.split(self.config.hidden_dim, dim=-1) if self.config.layers > 1 else (state,)
        for layer, h in enumerate(layers):
            w_ih, w_hh, b_ih, b_hh = self.gru.all_weights[layer]
            if layer == 0:
                gates = F.linear(x, w_ih[:, : self.config.token_dim]) + condition.gates
            else:
                gates = F.linear(x, w_ih, b_ih)
            sizes = [2 * self.config.hidden_dim, self.config.hidden_dim]
            both_x, new_x = gates.split(sizes, dim=-1)
            both_h, new_h = F.linear(h, w_hh, b_hh).split(sizes, dim=-1)
            reset, update = torch.sigmoid(both_x + both_h).chunk(2, dim=-1)
            new = torch.tanh(new_x + reset * new_h)
            x = new + update * (h - new)
            after.append(x)
        features = F.linear(x, self.bottleneck.weight[:, : self.config.hidden_dim]) + condition.features
        return features, torch.cat(after, dim=-1) if len(after) > 1 else x

    def forward(self, tokens: Tensor, embedding: Tensor) -> Tensor:
        """Teacher forcing: ``int64 [B, T]``, ``float32 [B, embedding_dim]`` to ``logits [B, T, V]``.

        Rows of zeros in ``embedding`` mean no photograph.
        """
        return self.logits(self.features(tokens, embedding))

    def features(self, tokens: Tensor, embedding: Tensor) -> Tensor:
        """Return the output layer's input, ``[B, T, token_dim]``; arguments as in :meth:`forward`."""
        layers, context = self.parted(self.init(embedding))
        condition = self.condition(context)
        x = self.token_embedding(tokens)
        for layer, first in enumerate(layers.split(self.config.hidden_dim, dim=-1)):
            w_ih, w_hh, b_ih, b_hh = self.gru.all_weights[layer]
            x = self._dropped(x)
            if layer == 0:
                gates = F.linear(x, w_ih[:, : self.config.token_dim]) + condition.gates.unsqueeze(1)
            else:
                gates = F.linear(x, w_ih, b_ih)
            x = recurrence(gates.transpose(0, 1), w_hh, b_hh, first).transpose(0, 1)
        output = F.linear(self._dropped(x), self.bottleneck.weight[:, : self.config.hidden_dim])
        return self._dropped(output + condition.features.unsqueeze(1))

    def _dropped(self, x: Tensor) -> Tensor:
        """Dropout with one mask for all steps of a row (Gal and Ghahramani 2016): better for a GRU and much cheaper."""
        if not self.training:
            return x
        return x * F.dropout(torch.ones_like(x[:, :1]), self.config.dropout)
