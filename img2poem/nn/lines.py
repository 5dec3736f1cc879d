"""A line at a time: what a stream of lines calls instead of a whole search, as one ONNX ``Loop`` too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..text import EOS, NEWLINE, PAD
from .poem_decoder import PoemDecoder
from .rules import RowOptions, Rules
from .search import DecoderStep, State, draw, loop, previous, written


class Prefix(NamedTuple):
    """Poems so far, and all that it takes to go on with them; rows may be of different lengths."""

    tokens: Tensor  # int64 [B, T], then padding
    hidden: Tensor  # float32 [B, S]
    score: Tensor  # float32 [B], sum of log-probabilities


class LineDecoder(nn.Module):
    """Goes on with each poem until it has one line more or has ended.

    Line by line it gives the tokens of :class:`img2poem.nn.search.Sampling`, or, where the temperature is 0,
    of :class:`img2poem.nn.search.GreedySearch`.
    """

    def __init__(self, decoder: PoemDecoder, pieces: Sequence[str]) -> None:
        super().__init__()
        self.step = DecoderStep(decoder, pieces)
        self.rules = Rules(pieces[: decoder.config.vocabulary_size])

    def forward(
        self, prefix: Prefix, options: RowOptions, temperature: Tensor, top_k: Tensor, top_p: Tensor, noise: Tensor
    ) -> Prefix:
        """As :meth:`Sampling.forward`, from a :class:`Prefix`; one that has ended already is returned as it is."""
        greedy = temperature == 0
        temperature, top_k = torch.where(greedy, 1.0, temperature), torch.where(greedy, 1, top_k)
        limit, length = prefix.tokens.shape[1], (prefix.tokens != PAD).sum(1)
        done = (prefix.tokens == EOS).any(1) | (length == limit)

        def going(tokens: Tensor, hidden: Tensor, score: Tensor, length: Tensor, done: Tensor) -> Tensor:
            return ~done.all()

        def body(tokens: Tensor, hidden: Tensor, score: Tensor, length: Tensor, done: Tensor) -> State:
            log_probs, candidates, after = self.step(previous(tokens, length), hidden)
            allowed = self.rules(log_probs, candidates, tokens, length, options)
            place = length.clamp(max=limit - 1).reshape(-1, 1, 1).expand(-1, 1, noise.shape[2])
            chosen = draw(allowed, temperature, top_k, top_p, noise.gather(1, place).squeeze(1))
            token = candidates.gather(1, chosen).squeeze(1)
            tokens = torch.where(done.unsqueeze(1), tokens, written(tokens, length, token))
            hidden = torch.where(done.unsqueeze(1), hidden, after)
            score = torch.where(done, score, score + allowed.gather(1, chosen).squeeze(1))
            length = torch.where(done, length, length + 1)
            return tokens, hidden, score, length, done | (token == NEWLINE) | (token == EOS) | (length == limit)

        # Copies: what a loop is given may not be what it returns, if it never runs.
        state = (prefix.tokens.clone(), prefix.hidden.clone(), prefix.score.clone(), length, done)
        tokens, hidden, score, _, _ = loop(going, body, state)
        return Prefix(tokens, hidden, score)
