"""The decoder: a GRU over WordPiece ids that sees the embedding at every step.

Decoding is guided: beside the poem about the photograph runs the same decoder without one, and what the
photograph makes likelier is made likelier still (classifier-free guidance, Ho and Salimans 2022; for
language models Sanchez et al. 2023). Without it a small decoder writes the same poem about everything.

The recurrent state that is served as ``hidden`` holds, for both runs, the hidden states of all layers
followed by the context (a projection of the embedding), so that a step needs nothing but ``token`` and
``hidden``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..package import DecoderConfig

# Only tokens within this many nats of the likeliest may gain by guidance (after Li et al. 2023,
# Contrastive Decoding): far below, the ratio of two small probabilities is noise.
_PLAUSIBLE = 4.0


class Condition(NamedTuple):
    """What the context adds at every step: products that need to be computed only once for a poem."""

    gates: Tensor  # float32 [..., 3 * hidden_dim], to those of the first layer
    features: Tensor  # float32 [..., token_dim], to what the output layer reads


class PoemDecoder(nn.Module):
    """GRU language model conditioned on a point of the poetic space; input and output layers are tied."""

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
        return 2 * (self.config.layers * self.config.hidden_dim + self.config.context_dim)

    def init(self, embedding: Tensor) -> Tensor:
        """``float32 [B, embedding_dim]`` to the first ``hidden``, ``float32 [B, state_dim]``."""
        # A zero embedding stands for no photograph, in training too.
        return torch.cat([self.first(embedding), self.first(torch.zeros_like(embedding))], dim=-1)

    def parted(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return of ``hidden [B, state_dim]`` what changes, ``[B, 2, layers * hidden_dim]``, and the context.

        Of each row the first run is that with the photograph, the second that without.
        """
        runs = hidden.view(-1, 2, self.state_dim // 2)
        state, context = runs.split([self.config.layers * self.config.hidden_dim, self.config.context_dim], dim=-1)
        # In one piece, as what a step returns: else no loop of steps would export.
        return state.contiguous(), context

    def joined(self, state: Tensor, context: Tensor) -> Tensor:
        """Return the ``hidden`` that :meth:`parted` has taken apart."""
        return torch.cat([state, context], dim=-1).flatten(1)

    def condition(self, context: Tensor) -> Condition:
        """``float32 [..., context_dim]`` to what it adds at every step."""
        w_ih, _, b_ih, _ = self.gru.all_weights[0]
        output = self.bottleneck
        return Condition(
            F.linear(context, w_ih[:, self.config.token_dim :], b_ih),
            F.linear(context, output.weight[:, self.config.hidden_dim :], output.bias),
        )

    def logits(self, features: Tensor, added: Tensor | float = 0.0) -> Tensor:
        """What the output layer reads, ``[..., token_dim]``, to ``logits [..., V]``, with ``added [V]`` in its bias."""
        return F.linear(features, self.token_embedding.weight, self.output_bias + added)

    def guided(self, features: Tensor, tokens: Tensor) -> Tensor:
        """Guided log-probabilities of some ``tokens`` among each other.

        Not of the whole vocabulary, whose output layer both runs would have to read, twice at every step.

        Args:
            features: float32 ``[B, 2, token_dim]`` of the runs with and without the photograph.
            tokens: int64 ``[B, C]``.

        Returns:
            float32 ``[B, C]``, of which each row's probabilities add up to 1.
        """
        weight, bias = self.token_embedding(tokens), self.output_bias[tokens].unsqueeze(1)
        runs = (features @ weight.transpose(1, 2) + bias).log_softmax(-1)
        given, alone = runs.select(1, 0), runs.select(1, 1)
        # Fading over the last nat: a hard edge would turn rounding into other tokens.
        plausible = (given + (_PLAUSIBLE - given.amax(-1, keepdim=True))).clamp(0, 1)
        gain = self.config.guidance * (given - alone)
        # The smaller of the two: a loss counts in full, plausible or not.
        return (given + torch.minimum(gain, gain * plausible)).log_softmax(-1)

    def first(self, embedding: Tensor) -> Tensor:
        """``float32 [B, embedding_dim]`` to the first state of one run, half of ``hidden``."""
        return torch.cat([torch.tanh(self.initial(embedding)), torch.tanh(self.context(embedding))], dim=-1)

    def advance(self, token: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """One step of one run, unguided: ``int64 [B]`` and its state to ``logits [B, V]`` and the next state."""
        state, context = hidden.split([hidden.shape[-1] - self.config.context_dim, self.config.context_dim], dim=-1)
        features, state = self.cell(token, state, self.condition(context))
        return self.logits(features), torch.cat([state, context], dim=-1)

    def cell(self, token: Tensor, state: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        """One step: ``int64 [B]``, ``float32 [B, layers * hidden_dim]`` to what the output layer reads, and next state.

        Of both runs at once, which read the same token: ``[B, 1]``, ``[B, 2, layers * hidden_dim]``.

        The GRU cell is written out, in PyTorch's order of gates (reset, update, new; the reset gate
        applied after the hidden-to-hidden product), so that its export does not depend on how an
        exporter maps ``nn.GRU`` onto ONNX's GRU operator.
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
        """Teacher forcing, unguided: ``int64 [B, T]``, ``float32 [B, embedding_dim]`` to ``logits [B, T, V]``.

        Rows of zeros in ``embedding`` stand for no photograph.
        """
        return self.logits(self.features(tokens, embedding))

    def features(self, tokens: Tensor, embedding: Tensor) -> Tensor:
        """What the output layer reads, ``[B, T, token_dim]``; arguments as in :meth:`forward`."""
        hidden = self.first(embedding)
        layers, context = hidden[:, : -self.config.context_dim], hidden[:, -self.config.context_dim :]
        context = context.unsqueeze(1).expand(-1, tokens.shape[1], -1)
        x = torch.cat([self._dropped(self.token_embedding(tokens)), context], dim=-1)
        first = layers.view(-1, self.config.layers, self.config.hidden_dim).transpose(0, 1).contiguous()
        output, _ = self.gru(x, first)
        return self._features(self._dropped(output), context)

    def _features(self, output: Tensor, context: Tensor) -> Tensor:
        return self._dropped(self.bottleneck(torch.cat([output, context], dim=-1)))

    def _dropped(self, x: Tensor) -> Tensor:
        """Dropout with one mask for all steps of a row (Gal and Ghahramani 2016): better for a GRU, and far cheaper."""
        if not self.training:
            return x
        return x * F.dropout(torch.ones_like(x[:, :1]), self.config.dropout)
