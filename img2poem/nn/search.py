"""Greedy search, beam search and sampling as torch modules whose whole loop exports to one ONNX ``Loop``.

Each chooses among the candidates of a :class:`DecoderStep`, by the :class:`Rules`; options are tensors with
one value a row. :mod:`img2poem.searches` has the same searches in numpy, over served steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..decoding import TOP_TOKENS
from ..text import BOS, EOS, NEWLINE, PAD
from ..vocabulary import is_word
from .poem_decoder import PoemDecoder
from .rules import NEVER, RowOptions, Rules

State = tuple[Tensor, ...]


class Hypotheses(NamedTuple):
    """What a search returns for each row."""

    tokens: Tensor  # int64 [B, T], end token included, then padding
    scores: Tensor  # float32 [B], log-probability over length (to the length penalty in beam search)
    lengths: Tensor  # int64 [B], end token included


class GreedySearch(nn.Module):
    """The likeliest allowed token at each step."""

    def __init__(self, decoder: PoemDecoder, pieces: Sequence[str]) -> None:
        super().__init__()
        self.step = DecoderStep(decoder, pieces)
        self.rules = Rules(pieces[: decoder.config.vocabulary_size])

    def forward(self, embedding: Tensor, options: RowOptions) -> Hypotheses:
        """``float32 [B, embedding_dim]`` to :class:`Hypotheses`; stops when every row has ended."""

        def choose(allowed: Tensor, step: Tensor) -> Tensor:
            return allowed.argmax(-1, keepdim=True)

        return _one_path(self.step, self.rules, embedding, options, choose)


class BeamSearch(nn.Module):
    """Beam search that keeps the best ended hypothesis apart from the beams still growing.

    A row ends when ``beam_width`` hypotheses have ended; an ended one counts when it is among the
    ``beam_width`` best candidates of its step. ``width`` is the widest beam; rows may ask for less.
    """

    def __init__(self, decoder: PoemDecoder, pieces: Sequence[str], width: int) -> None:
        super().__init__()
        self.step = DecoderStep(decoder, pieces)
        self.rules = Rules(pieces[: decoder.config.vocabulary_size])
        self.width = width

    def forward(self, embedding: Tensor, options: RowOptions, beam_width: Tensor, length_penalty: Tensor) -> Hypotheses:
        """As :class:`GreedySearch`, with ``beam_width`` int64 ``[B]`` and ``length_penalty`` float32 ``[B]``."""
        decoder, width = self.step.decoder, self.width
        rows, limit = embedding.shape[0], decoder.config.max_tokens
        device = embedding.device
        rank = torch.arange(2 * width, device=device)
        in_width = rank.unsqueeze(0) < beam_width.unsqueeze(1)
        beam_options = options.repeated(width)
        hidden = decoder.init(embedding)
        state = (
            torch.zeros((), dtype=torch.int64, device=device),
            torch.full((rows, width, limit), PAD, dtype=torch.int64, device=device),
            hidden.unsqueeze(1).repeat(1, width, 1),
            torch.where(rank[:width] == 0, 0.0, NEVER).repeat(rows, 1),
            torch.full((rows, limit), PAD, dtype=torch.int64, device=device),
            torch.full((rows,), NEVER, device=device),
            torch.zeros(rows, dtype=torch.int64, device=device),
        )

        def going(
            step: Tensor,
            tokens: Tensor,
            hidden: Tensor,
            scores: Tensor,
            best: Tensor,
            best_score: Tensor,
            ended: Tensor,
        ) -> Tensor:
            return (step < limit) & (ended < beam_width).any()

        def body(
            step: Tensor,
            tokens: Tensor,
            hidden: Tensor,
            scores: Tensor,
            best: Tensor,
            best_score: Tensor,
            ended: Tensor,
        ) -> State:
            flat = tokens.flatten(0, 1)
            log_probs, candidates, after = self.step(previous(flat, step), hidden.flatten(0, 1))
            allowed = self.rules(log_probs, candidates, flat, step, beam_options)
            total = scores.unsqueeze(-1) + allowed.view(-1, width, allowed.shape[-1])
            likeliest = total.flatten(1).topk(2 * width, dim=-1)
            parent = likeliest.indices // allowed.shape[-1]
            token = candidates.view(-1, width * allowed.shape[-1]).gather(1, likeliest.indices)
            grown = written(_rows_of(tokens, parent).flatten(0, 1), step, token.flatten()).view(-1, 2 * width, limit)

            ends = (token == EOS) & in_width & (likeliest.values > NEVER)
            length = (step + 1).to(scores.dtype)
            final = torch.where(ends, likeliest.values, NEVER) / length ** length_penalty.unsqueeze(1)
            top = final.max(dim=-1)
            better = (top.values > best_score) & (ended < beam_width)
            ended_tokens = _rows_of(grown, top.indices.unsqueeze(1)).squeeze(1)
            best = torch.where(better.unsqueeze(1), ended_tokens, best)
            best_score = torch.where(better, top.values, best_score)

            alive = torch.where(token == EOS, NEVER, likeliest.values).topk(width, dim=-1)
            scores = torch.where(in_width[:, :width], alive.values, NEVER)
            hidden = _rows_of(after.view(-1, width, after.shape[-1]), parent.gather(1, alive.indices))
            return step + 1, _rows_of(grown, alive.indices), hidden, scores, best, best_score, ended + ends.sum(1)

        *_, best, best_score, _ = loop(going, body, state)
        return Hypotheses(best, best_score, (best != PAD).sum(1))


class Sampling(nn.Module):
    """Draws each token from the allowed candidates of its step, by noise that the caller gives.

    The draw is a Gumbel-max (Gumbel 1954): with ``noise`` uniform in (0, 1), the largest of
    ``log_prob / temperature - log(-log(noise))`` falls on each token by its probability. The noise of a
    step belongs to ranks, the likeliest token's first, so that the same noise gives the same poem everywhere.
    """

    def __init__(self, decoder: PoemDecoder, pieces: Sequence[str]) -> None:
        super().__init__()
        self.step = DecoderStep(decoder, pieces)
        self.rules = Rules(pieces[: decoder.config.vocabulary_size])

    def forward(
        self, embedding: Tensor, options: RowOptions, temperature: Tensor, top_k: Tensor, top_p: Tensor, noise: Tensor
    ) -> Hypotheses:
        """As :class:`GreedySearch`.

        Args:
            embedding: float32 ``[B, embedding_dim]``.
            options: of the rules.
            temperature: float32 ``[B]``, above 0.
            top_k: int64 ``[B]``: only so many of the likeliest tokens (Fan et al. 2018).
            top_p: float32 ``[B]``: only the likeliest that together reach this probability (nucleus
                sampling, Holtzman et al. 2020), at least one.
            noise: float32 ``[B, max_tokens, TOP_TOKENS]``, uniform in (0, 1).
        """

        def choose(allowed: Tensor, step: Tensor) -> Tensor:
            return draw(allowed, temperature, top_k, top_p, noise.index_select(1, step.view(1)).squeeze(1))

        return _one_path(self.step, self.rules, embedding, options, choose)


def draw(allowed: Tensor, temperature: Tensor, top_k: Tensor, top_p: Tensor, noise: Tensor) -> Tensor:
    """Return the drawn candidates, ``[N, 1]``.

    Args:
        allowed: float32 ``[N, C]``, log-probabilities.
        temperature: float32 ``[N]``.
        top_k: int64 ``[N]``.
        top_p: float32 ``[N]``.
        noise: float32 ``[N, TOP_TOKENS]``.
    """
    width = allowed.shape[1]
    rank = torch.arange(width, device=allowed.device)
    top = allowed.topk(width, dim=-1)
    cooled = top.values / temperature.unsqueeze(1)
    probabilities = cooled.softmax(-1)
    before = probabilities.cumsum(-1) - probabilities
    kept = (rank < top_k.unsqueeze(1)) & ((before < top_p.unsqueeze(1)) | (rank == 0))
    pick = torch.where(kept, cooled - (-noise[:, :width].log()).log(), NEVER).argmax(-1, keepdim=True)
    return top.indices.gather(1, pick)


class DecoderStep(nn.Module):
    """One decoder step that returns only candidates, the likeliest tokens, never the whole vocabulary."""

    no_word: Tensor
    breaks: Tensor

    def __init__(self, decoder: PoemDecoder, pieces: Sequence[str]) -> None:
        super().__init__()
        self.decoder = decoder
        size = decoder.config.vocabulary_size
        self.register_buffer("no_word", torch.tensor([not is_word(piece) for piece in pieces[:size]]), persistent=False)
        # No tensor is made in a loop's body: it would not export.
        self.register_buffer("breaks", torch.tensor([NEWLINE, EOS]), persistent=False)
        #: How many candidates there are, ``TOP_TOKENS`` unless the vocabulary is smaller.
        self.width = min(TOP_TOKENS, size + 2)

    def forward(self, token: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``int64 [B]``, ``float32 [B, S]`` to ``top_logprobs``, ``top_tokens`` ``[B, 64]`` and the next ``hidden``.

        The 62 likeliest words by falling log-probability come first, then newline and end: those two
        are always there, since rules may force them where they are unlikely. Tokens that no poem may
        hold are never among them.
        """
        logits, hidden = self.decoder.step(token, hidden)
        log_probs = logits.log_softmax(-1)
        words = torch.where(self.no_word, NEVER, log_probs).topk(self.width - 2, dim=-1)
        top_logprobs = torch.cat([words.values, log_probs[:, self.breaks]], dim=-1)
        top_tokens = torch.cat([words.indices, self.breaks.expand(log_probs.shape[0], -1)], dim=-1)
        return top_logprobs, top_tokens, hidden


def _one_path(
    decoder_step: DecoderStep,
    rules: Rules,
    embedding: Tensor,
    options: RowOptions,
    choose: Callable[[Tensor, Tensor], Tensor],
) -> Hypotheses:
    """Grow one poem a row by the candidate ``[N, 1]`` that ``choose(allowed, step)`` picks."""
    decoder = decoder_step.decoder
    rows, limit = embedding.shape[0], decoder.config.max_tokens
    device = embedding.device
    state = (
        torch.zeros((), dtype=torch.int64, device=device),
        torch.full((rows, limit), PAD, dtype=torch.int64, device=device),
        decoder.init(embedding),
        torch.zeros(rows, device=device),
        torch.zeros(rows, dtype=torch.bool, device=device),
    )

    def going(step: Tensor, tokens: Tensor, hidden: Tensor, score: Tensor, ended: Tensor) -> Tensor:
        return (step < limit) & ~ended.all()

    def body(step: Tensor, tokens: Tensor, hidden: Tensor, score: Tensor, ended: Tensor) -> State:
        log_probs, candidates, hidden = decoder_step(previous(tokens, step), hidden)
        allowed = rules(log_probs, candidates, tokens, step, options)
        chosen = choose(allowed, step)
        token = torch.where(ended, PAD, candidates.gather(1, chosen).squeeze(1))
        score = torch.where(ended, score, score + allowed.gather(1, chosen).squeeze(1))
        return step + 1, written(tokens, step, token), hidden, score, ended | (token == EOS)

    _, tokens, _, score, _ = loop(going, body, state)
    lengths = (tokens != PAD).sum(1)
    return Hypotheses(tokens, score / lengths, lengths)


def previous(tokens: Tensor, step: Tensor) -> Tensor:
    """The token before ``step``, one for all rows or ``[N]``, in each row; the begin token at step 0."""
    before = (step - 1).clamp(min=0).reshape(-1, 1).expand(tokens.shape[0], 1)
    return torch.where(step == 0, BOS, tokens.gather(1, before).squeeze(1))


def written(tokens: Tensor, step: Tensor, token: Tensor) -> Tensor:
    """Return ``tokens [N, T]`` with ``token [N]`` at place ``step``, one for all rows or ``[N]``."""
    position = torch.arange(tokens.shape[1], device=tokens.device)
    return torch.where(position == step.reshape(-1, 1), token.unsqueeze(1), tokens)


def _rows_of(values: Tensor, index: Tensor) -> Tensor:
    """Gather ``values [B, K, D]`` along the beams by ``index [B, J]``."""
    return values.gather(1, index.unsqueeze(-1).expand(-1, -1, values.shape[-1]))


def loop(condition: Callable[..., Tensor], body: Callable[..., State], state: State) -> State:
    """``torch.while_loop`` when exporting, a plain loop otherwise (eagerly it would compile)."""
    if torch.compiler.is_exporting():
        return torch.while_loop(condition, body, state)
    while bool(condition(*state)):
        state = body(*state)
    return state
