"""Greedy and beam search as torch modules whose whole loop exports to one ONNX ``Loop``.

Rules act on log-probabilities of the full vocabulary and do not renormalise them, so that a client
that sees only the likeliest tokens of a step (:class:`DecoderStep`) can apply the same rules.
Options are tensors with one value a row; rows of one batch may differ in all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..text import BOS, EOS, NEWLINE, PAD
from .poem_decoder import PoemDecoder

TOP_TOKENS = 64
MAX_NGRAM = 4
_NEVER = float("-inf")

State = tuple[Tensor, ...]


class RowOptions(NamedTuple):
    """Options of the rules, each ``[B]``: int64 but for ``repetition_penalty``, float32."""

    min_lines: Tensor
    max_lines: Tensor
    max_tokens: Tensor
    max_line_tokens: Tensor
    no_repeat_ngram: Tensor
    repetition_penalty: Tensor

    def repeated(self, times: int) -> RowOptions:
        """Return the options of ``B * times`` rows, each row's copies side by side."""
        return RowOptions(*(option.repeat_interleave(times, dim=0) for option in self))


class Hypotheses(NamedTuple):
    """What a search returns for each row."""

    tokens: Tensor  # int64 [B, T], end token included, then padding
    scores: Tensor  # float32 [B], log-probability over length (to the length penalty in beam search)
    lengths: Tensor  # int64 [B], end token included


class Rules(nn.Module):
    """What makes a token sequence a poem: which tokens may come next, whatever the decoder thinks."""

    never: Tensor
    not_first: Tensor

    def __init__(self, pieces: Sequence[str]) -> None:
        super().__init__()
        word = re.compile(r"(##)?[a-z]+|['-]")
        never = [not word.fullmatch(piece) for piece in pieces]
        never[EOS] = never[NEWLINE] = False
        not_first = [not re.fullmatch(r"[a-z]+", piece) for piece in pieces]
        self.register_buffer("never", torch.tensor(never), persistent=False)
        self.register_buffer("not_first", torch.tensor(not_first), persistent=False)

    def forward(self, log_probs: Tensor, tokens: Tensor, step: Tensor, options: RowOptions) -> Tensor:
        """Mask and reweight ``log_probs [N, V]`` given the tokens so far, ``int64 [N, T]`` up to ``step``."""
        position = torch.arange(tokens.shape[1], device=tokens.device)
        newline = tokens == NEWLINE
        lines = newline.sum(1) + 1
        last_newline = torch.where(newline, position, -1).amax(1)
        line_tokens = step - 1 - last_newline
        started = line_tokens > 0
        final = step >= options.max_tokens - 1

        log_probs = self._without_repeats(log_probs, tokens, step, options)
        words_end = (line_tokens >= options.max_line_tokens) | final
        banned = self.never | (~started).unsqueeze(1) & self.not_first | words_end.unsqueeze(1)
        may_break = started & (lines < options.max_lines) & ~final
        may_end = started & (lines >= options.min_lines) | final
        token = torch.arange(log_probs.shape[1], device=tokens.device)
        # Logic instead of torch.where on booleans, which ONNX Runtime does not implement.
        word = (token != NEWLINE) & (token != EOS) & ~banned
        allowed = word | (token == NEWLINE) & may_break.unsqueeze(1) | (token == EOS) & may_end.unsqueeze(1)
        masked = torch.where(allowed, log_probs, _NEVER)
        # With every word banned, which takes a tiny vocabulary, the poem ends where it is.
        stuck = masked.amax(1, keepdim=True) == _NEVER
        return torch.where(stuck & (token == EOS), log_probs, masked)

    def _without_repeats(self, log_probs: Tensor, tokens: Tensor, step: Tensor, options: RowOptions) -> Tensor:
        """Apply the repetition penalty (Keskar et al. 2019, on log-probabilities) and ban seen n-grams."""
        nothing = torch.zeros_like(log_probs, dtype=torch.bool)
        seen = nothing.scatter(1, tokens, torch.ones_like(tokens, dtype=torch.bool))
        seen = seen & (torch.arange(log_probs.shape[1], device=tokens.device) > NEWLINE)
        log_probs = torch.where(seen, log_probs * options.repetition_penalty.unsqueeze(1), log_probs)

        # repeats[i]: the k tokens before place i are the last k tokens, for k = 1, 2, ... in turn.
        count = tokens.shape[1]
        position = torch.arange(count, device=tokens.device)
        repeats = torch.zeros_like(tokens, dtype=torch.bool)
        same = position < step
        for k in range(1, MAX_NGRAM):
            last = tokens.gather(1, (step - k).clamp(min=0).expand(tokens.shape[0], 1))
            before = tokens.gather(1, (position - k).clamp(min=0).expand(tokens.shape[0], count))
            same = same & (before == last) & (position >= k)
            repeats = repeats | (same & (options.no_repeat_ngram == k + 1).unsqueeze(1))
        # Places that repeat nothing point at PAD, which is never allowed anyway. Newline and end are
        # never banned: a line that has reached its limit must be able to break.
        repeats = repeats & (tokens > NEWLINE)
        ban = nothing.scatter(1, torch.where(repeats, tokens, PAD), torch.ones_like(tokens, dtype=torch.bool))
        return torch.where(ban, _NEVER, log_probs)


class GreedySearch(nn.Module):
    """The likeliest allowed token at each step."""

    def __init__(self, decoder: PoemDecoder, pieces: Sequence[str]) -> None:
        super().__init__()
        self.decoder = decoder
        self.rules = Rules(pieces[: decoder.config.vocabulary_size])

    def forward(self, embedding: Tensor, options: RowOptions) -> Hypotheses:
        """``float32 [B, embedding_dim]`` to :class:`Hypotheses`; stops when every row has ended."""
        rows, limit = embedding.shape[0], self.decoder.config.max_tokens
        device = embedding.device
        state = (
            torch.zeros((), dtype=torch.int64, device=device),
            torch.full((rows, limit), PAD, dtype=torch.int64, device=device),
            self.decoder.init(embedding),
            torch.zeros(rows, device=device),
            torch.zeros(rows, dtype=torch.bool, device=device),
        )

        def going(step: Tensor, tokens: Tensor, hidden: Tensor, score: Tensor, ended: Tensor) -> Tensor:
            return (step < limit) & ~ended.all()

        def body(step: Tensor, tokens: Tensor, hidden: Tensor, score: Tensor, ended: Tensor) -> State:
            logits, hidden = self.decoder.step(_previous(tokens, step), hidden)
            allowed = self.rules(logits.log_softmax(-1), tokens, step, options)
            best = allowed.max(dim=-1)
            token = torch.where(ended, PAD, best.indices)
            score = torch.where(ended, score, score + best.values)
            return step + 1, _written(tokens, step, token), hidden, score, ended | (token == EOS)

        _, tokens, _, score, _ = _loop(going, body, state)
        lengths = (tokens != PAD).sum(1)
        return Hypotheses(tokens, score / lengths, lengths)


class BeamSearch(nn.Module):
    """Beam search that keeps the best ended hypothesis apart from the beams still growing.

    A row ends when ``beam_width`` hypotheses have ended; an ended one counts when it is among the
    ``beam_width`` best candidates of its step. ``width`` is the widest beam; rows may ask for less.
    """

    def __init__(self, decoder: PoemDecoder, pieces: Sequence[str], width: int) -> None:
        super().__init__()
        self.decoder = decoder
        self.rules = Rules(pieces[: decoder.config.vocabulary_size])
        self.width = width

    def forward(self, embedding: Tensor, options: RowOptions, beam_width: Tensor, length_penalty: Tensor) -> Hypotheses:
        """As :class:`GreedySearch`, with ``beam_width`` int64 ``[B]`` and ``length_penalty`` float32 ``[B]``."""
        rows, limit, width = embedding.shape[0], self.decoder.config.max_tokens, self.width
        device = embedding.device
        rank = torch.arange(2 * width, device=device)
        in_width = rank.unsqueeze(0) < beam_width.unsqueeze(1)
        beam_options = options.repeated(width)
        hidden = self.decoder.init(embedding)
        state = (
            torch.zeros((), dtype=torch.int64, device=device),
            torch.full((rows, width, limit), PAD, dtype=torch.int64, device=device),
            hidden.unsqueeze(1).repeat(1, width, 1),
            torch.where(rank[:width] == 0, 0.0, _NEVER).repeat(rows, 1),
            torch.full((rows, limit), PAD, dtype=torch.int64, device=device),
            torch.full((rows,), _NEVER, device=device),
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
            logits, after = self.decoder.step(_previous(flat, step), hidden.flatten(0, 1))
            allowed = self.rules(logits.log_softmax(-1), flat, step, beam_options)
            total = scores.unsqueeze(-1) + allowed.view(-1, width, allowed.shape[-1])
            candidates = total.flatten(1).topk(2 * width, dim=-1)
            parent = candidates.indices // allowed.shape[-1]
            token = candidates.indices % allowed.shape[-1]
            grown = _written(_rows_of(tokens, parent).flatten(0, 1), step, token.flatten()).view(-1, 2 * width, limit)

            ends = (token == EOS) & in_width & (candidates.values > _NEVER)
            length = (step + 1).to(scores.dtype)
            final = torch.where(ends, candidates.values, _NEVER) / length ** length_penalty.unsqueeze(1)
            top = final.max(dim=-1)
            better = (top.values > best_score) & (ended < beam_width)
            ended_tokens = _rows_of(grown, top.indices.unsqueeze(1)).squeeze(1)
            best = torch.where(better.unsqueeze(1), ended_tokens, best)
            best_score = torch.where(better, top.values, best_score)

            alive = torch.where(token == EOS, _NEVER, candidates.values).topk(width, dim=-1)
            scores = torch.where(in_width[:, :width], alive.values, _NEVER)
            hidden = _rows_of(after.view(-1, width, after.shape[-1]), parent.gather(1, alive.indices))
            return step + 1, _rows_of(grown, alive.indices), hidden, scores, best, best_score, ended + ends.sum(1)

        *_, best, best_score, _ = _loop(going, body, state)
        return Hypotheses(best, best_score, (best != PAD).sum(1))


class DecoderStep(nn.Module):
    """One decoder step that returns only the likeliest tokens, never the whole vocabulary."""

    def __init__(self, decoder: PoemDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, token: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``int64 [B]``, ``float32 [B, S]`` to ``top_logprobs``, ``top_tokens`` ``[B, 64]`` and the next ``hidden``.

        The 62 likeliest words by falling log-probability come first, then newline and end: those two
        are always there, since rules may force them where they are unlikely.
        """
        logits, hidden = self.decoder.step(token, hidden)
        log_probs = logits.log_softmax(-1)
        breaks = torch.tensor([NEWLINE, EOS], device=token.device)
        place = torch.arange(log_probs.shape[1], device=token.device)
        words = torch.where((place == NEWLINE) | (place == EOS), _NEVER, log_probs).topk(TOP_TOKENS - 2, dim=-1)
        top_logprobs = torch.cat([words.values, log_probs[:, breaks]], dim=-1)
        top_tokens = torch.cat([words.indices, breaks.expand(log_probs.shape[0], -1)], dim=-1)
        return top_logprobs, top_tokens, hidden


def _previous(tokens: Tensor, step: Tensor) -> Tensor:
    """The token before ``step`` in each row; the begin token at step 0."""
    previous = tokens.gather(1, (step - 1).clamp(min=0).expand(tokens.shape[0], 1)).squeeze(1)
    return torch.where(step == 0, BOS, previous)


def _written(tokens: Tensor, step: Tensor, token: Tensor) -> Tensor:
    """Return ``tokens [N, T]`` with ``token [N]`` at place ``step``."""
    position = torch.arange(tokens.shape[1], device=tokens.device)
    return torch.where(position == step, token.unsqueeze(1), tokens)


def _rows_of(values: Tensor, index: Tensor) -> Tensor:
    """Gather ``values [B, K, D]`` along the beams by ``index [B, J]``."""
    return values.gather(1, index.unsqueeze(-1).expand(-1, -1, values.shape[-1]))


def _loop(condition: Callable[..., Tensor], body: Callable[..., State], state: State) -> State:
    """``torch.while_loop`` when exporting, a plain loop otherwise (eagerly it would compile)."""
    if torch.compiler.is_exporting():
        return torch.while_loop(condition, body, state)
    while bool(condition(*state)):
        state = body(*state)
    return state
