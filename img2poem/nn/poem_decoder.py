"""The decoder: a GRU over WordPiece ids that sees the embedding at every step.

Decoding is guided: beside the poem about the photograph runs the same decoder without one, and what the
photograph makes likelier is made likelier still (classifier-free guidance, Ho and Salimans 2022; for
language models Sanchez et al. 2023). Without it a small decoder writes the same poem about everything.

The recurrent state that is served as ``hidden`` holds, for both runs, the hidden states of all layers
followed by the context (a projection of the embedding), so that a step needs nothing but ``token`` and
``hidden``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..package import DecoderConfig

# Only tokens within this many nats of the likeliest may gain by guidance (after Li et al. 2023,
# Contrastive Decoding): far below, the ratio of two small probabilities is noise.
_PLAUSIBLE = 4.0


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

    def step(self, token: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """One token: ``int64 [B]``, ``float32 [B, state_dim]`` to guided ``logits [B, V]``, next ``hidden``."""
        # The two runs of a row side by side, as rows of one batch.
        both, width = token.unsqueeze(1).expand(-1, 2).flatten(), self.state_dim // 2
        logits, after = self.advance(both, hidden.reshape(-1, width))
        given, alone = logits.log_softmax(-1).view(-1, 2, logits.shape[-1]).unbind(1)
        gain = self.config.guidance * (given - alone)
        # Fading over the last nat: a hard edge would turn rounding into other tokens.
        plausible = (given - given.amax(-1, keepdim=True) + _PLAUSIBLE).clamp(0, 1)
        guided = given + gain.clamp(max=0) + gain.clamp(min=0) * plausible
        return guided, after.reshape(-1, self.state_dim)

    def first(self, embedding: Tensor) -> Tensor:
        """``float32 [B, embedding_dim]`` to the first state of one run, half of ``hidden``."""
        return torch.cat([torch.tanh(self.initial(embedding)), torch.tanh(self.context(embedding))], dim=-1)

    def advance(self, token: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """One step of one run, unguided: ``int64 [B]`` and its state to ``logits [B, V]`` and the next state.

        The GRU cell is written out, in PyTorch's order of gates (reset, update, new; the reset gate
        applied after the hidden-to-hidden product), so that its export does not depend on how an
        exporter maps ``nn.GRU`` onto ONNX's GRU operator.
        """
        sizes = [self.config.hidden_dim] * self.config.layers + [self.config.context_dim]
        *layers, context = hidden.split(sizes, dim=-1)
        x = torch.cat([self.token_embedding(token), context], dim=-1)
        after = []
        for layer, h in enumerate(layers):
            w_ih, w_hh, b_ih, b_hh = self.gru.all_weights[layer]
            reset_x, update_x, new_x = F.linear(x, w_ih, b_ih).chunk(3, dim=-1)
            reset_h, update_h, new_h = F.linear(h, w_hh, b_hh).chunk(3, dim=-1)
            reset, update = torch.sigmoid(reset_x + reset_h), torch.sigmoid(update_x + update_h)
            new = torch.tanh(new_x + reset * new_h)
            x = new + update * (h - new)
            after.append(x)
        logits = F.linear(self._features(x, context), self.token_embedding.weight, self.output_bias)
        return logits, torch.cat([*after, context], dim=-1)

    def forward(self, tokens: Tensor, embedding: Tensor) -> Tensor:
        """Teacher forcing, unguided: ``int64 [B, T]``, ``float32 [B, embedding_dim]`` to ``logits [B, T, V]``.

        Rows of zeros in ``embedding`` stand for no photograph.
        """
        return F.linear(self.features(tokens, embedding), self.token_embedding.weight, self.output_bias)

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
