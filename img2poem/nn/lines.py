"""Decodes one line at a time, for streaming; exports to one ONNX ``Loop``."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..text.vocabulary import EOS, NEWLINE, PAD
from .rules import History, Limits, RowOptions
from .search import Search, State, draw, gumbel_of, loop


class Prefix(NamedTuple):
    """Unfinished poems and the state to continue them; rows may have different lengths."""

    tokens: Tensor  # int64 [B, T], then padding
    hidden: Tensor  # float32 [B, S]
    score: Tensor  # float32 [B], sum of log-probabilities


class LineDecoder(Search):
    """Continues each poem by one line.

    Called line by line, it gives the tokens of :class:`img2poem.nn.search.Sampling`, or, if the temperature is 0, of
    :class:`img2poem.nn.search.GreedySearch`.
    """

    def forward(
        self,
        embedding: Tensor,
        prefix: Prefix,
        options: RowOptions,
        temperature: Tensor,
        top_k: Tensor,
        top_p: Tensor,
        noise: Tensor,
    ) -> Prefix:
        """Continue ``prefix`` by one line; other arguments as in :meth:`img2poem.nn.search.Sampling.forward`.

        Poems that have ended are returned unchanged. Rows without tokens use ``embedding`` and ignore ``hidden``; the
        other rows use ``hidden`` and ignore ``embedding``.
        """
        greedy = temperature == 0
        temperature, top_k = torch.where(greedy, 1.0, temperature), torch.where(greedy, 1, top_k)
        gumbel, decoder, steps = gumbel_of(noise), self.step.decoder, prefix.tokens.shape[1]
        fresh = prefix.tokens[:, :1] == PAD
        state, context = decoder.parted(torch.where(fresh, decoder.init(embedding), prefix.hidden))
        condition, limits = decoder.condition(context), Limits.of(options, steps, self.rules.size)
        history = History.of(prefix.tokens)
        done = (prefix.tokens == EOS).any(1, keepdim=True) | (history.length == steps)

        def going(*carried: Tensor) -> Tensor:
            return ~carried[-1].all()

        def body(*carried: Tensor) -> State:
            history, (state, score, done) = History(*carried[:-3]), carried[-3:]
            candidates, after = self.step(history.previous, state, condition, limits.always)
            allowed = self.rules(candidates, history, limits)
            place = history.length.clamp(max=steps - 1).unsqueeze(2).expand(-1, 1, gumbel.shape[2])
            chosen = draw(allowed, temperature, top_k, top_p, gumbel.gather(1, place).squeeze(1))
            # Of a finished row, only tokens, state and score are read afterwards.
            token = torch.where(done, PAD, candidates.tokens.gather(1, chosen))
            state = torch.where(done, state, after)
            score = torch.where(done, score, score + allowed.gather(1, chosen))
            history = history.then(token, limits)
            ended = (token == NEWLINE) | (token == EOS) | (history.length == steps)
            return *history, state, score, done | ended

        # Clones: an exported loop may not return its own inputs, as it would with zero iterations.
        carried = (*(part.clone() for part in history), state.clone(), prefix.score.unsqueeze(1).clone(), done)
        *found, state, score, _ = loop(going, body, carried)
        return Prefix(History(*found).tokens, decoder.joined(state, context), score.squeeze(1))
