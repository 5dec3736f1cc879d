"""A line at a time: what a stream of lines calls instead of a whole search, as one ONNX ``Loop`` too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..text.orthography import Orthography
from ..text.vocabulary import EOS, NEWLINE, PAD
from .poem_decoder import PoemDecoder
from .rules import History, Limits, RowOptions, Rules
from .search import DecoderStep, State, draw, gumbel_of, loop


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
        orthography = Orthography.of(decoder.config, pieces)
        self.step = DecoderStep(decoder, orthography)
        self.rules = Rules(orthography)

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
        """As :meth:`Sampling.forward`, from a :class:`Prefix`; one that has ended already is returned as it is.

        Only a poem without tokens looks at its ``embedding``, and none such at its ``hidden``.
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
            # Of a row that is done, only tokens, state and score still matter.
            token = torch.where(done, PAD, candidates.tokens.gather(1, chosen))
            state = torch.where(done, state, after)
            score = torch.where(done, score, score + allowed.gather(1, chosen))
            history = history.then(token, limits)
            ended = (token == NEWLINE) | (token == EOS) | (history.length == steps)
            return *history, state, score, done | ended

        # Copies: what a loop is given may not be what it returns, if it never runs.
        carried = (*(part.clone() for part in history), state.clone(), prefix.score.unsqueeze(1).clone(), done)
        *found, state, score, _ = loop(going, body, carried)
        return Prefix(History(*found).tokens, decoder.joined(state, context), score.squeeze(1))
