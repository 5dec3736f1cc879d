"""Samples of the decoder, and rollouts that complete a poem after any of its lines."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from img2poem.nn.poem_decoder import PoemDecoder
from img2poem.text.vocabulary import BOS, CAPTION, EOS, FREE, NEWLINE, PAD, RHYMED, UNK

#: Tokens that are never sampled: padding, the unknown token and begin tokens.
_NEVER = (PAD, BOS, UNK, CAPTION, FREE, RHYMED)


class Samples(NamedTuple):
    """Sampled poems and the decoder's state before each token."""

    tokens: Tensor  # int64 [B, T], end token included, then padding
    states: Tensor  # float32 [B, T, state]


@torch.no_grad()
def sample(decoder: PoemDecoder, condition: Tensor, max_tokens: int) -> Samples:
    """Sample a poem for each condition ``float32 [B, D]``, token by token."""
    begin = torch.full((len(condition),), BOS, device=condition.device)
    return _draw(decoder, begin, decoder.init(condition), max_tokens)


@torch.no_grad()
def finish(decoder: PoemDecoder, samples: Samples, rows: Tensor, places: Tensor, max_tokens: int) -> Tensor:
    """Sample new endings: sample ``rows[i]`` keeps its tokens up to and including ``places[i]``.

    Args:
        decoder: the decoder to sample from.
        samples: the poems to continue.
        rows: int64 ``[N]``.
        places: int64 ``[N]``; never a sample's last place.
        max_tokens: length limit of a poem.

    Returns:
        Token ids ``int64 [N, max_tokens]``.
    """
    kept = samples.tokens[rows, places]
    drawn = _draw(decoder, kept, samples.states[rows, places + 1], max_tokens - 1).tokens
    before, after = (F.pad(t, (0, max_tokens - t.shape[1]), value=PAD) for t in (samples.tokens[rows], drawn))
    offset = torch.arange(max_tokens, device=rows.device) - places.unsqueeze(1) - 1
    return torch.where(offset < 0, before, after.gather(1, offset.clamp(min=0)))


def line_ends(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows and places, ``int64 [N]`` each, of the newlines in ``tokens int64 [B, T]``."""
    rows, places = torch.nonzero(tokens == NEWLINE, as_tuple=True)
    return rows, places


def _draw(decoder: PoemDecoder, token: Tensor, state: Tensor, max_tokens: int) -> Samples:
    never = torch.tensor(_NEVER, device=token.device)
    tokens, states = [], []
    ended = torch.zeros(len(token), dtype=torch.bool, device=token.device)
    for _ in range(max_tokens):
        states.append(state)
        with torch.autocast(token.device.type, torch.bfloat16):
            logits, state = decoder.advance(token, state)
        logits = logits.float().index_fill(1, never, float("-inf"))
        # Gumbel-max: one pass instead of softmax and multinomial over the vocabulary.
        noise = torch.empty_like(logits).exponential_().log()
        token = torch.where(ended, PAD, (logits - noise).argmax(-1))
        state = state.float()
        tokens.append(token)
        ended = ended | (token == EOS)
        if ended.all():
            break
    return Samples(torch.stack(tokens, 1), torch.stack(states, 1))
