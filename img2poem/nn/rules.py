"""What makes a token sequence a poem: the rules that every search applies at each step.

Rules act on the candidates of a step (:class:`img2poem.nn.search.DecoderStep`) and do not renormalise
their log-probabilities: :mod:`img2poem.searches` applies the same rules in numpy to what a served step
returns. Options are tensors with one value a row; rows of one batch may differ in all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..decoding import Strategy
from ..text import EOS, NEWLINE
from ..vocabulary import MAX_NGRAM, begins_line, is_penalised

#: Log-probability of what may not come.
NEVER = float("-inf")


class RowOptions(NamedTuple):
    """Options of the rules, each ``[B]``: int64 but for ``repetition_penalty``, float32."""

    min_lines: Tensor
    max_lines: Tensor
    max_tokens: Tensor
    max_line_tokens: Tensor
    no_repeat_ngram: Tensor
    repetition_penalty: Tensor
    forbidden_tokens: Tensor  # int64 [B, FORBIDDEN], padded

    @classmethod
    def of(cls, strategy: Strategy, rows: int) -> RowOptions:
        """Return the options of ``strategy``, which forbids no words, for so many rows."""
        tensors = strategy.tensors()
        columns = (torch.from_numpy(tensors[name]).expand(rows, -1) for name in cls._fields)
        return cls(*(column.squeeze(1) for column in columns))

    def repeated(self, times: int) -> RowOptions:
        """Return the options of ``B * times`` rows, each row's copies side by side."""
        return RowOptions(*(option.repeat_interleave(times, dim=0) for option in self))


class Rules(nn.Module):
    """What makes a token sequence a poem: which tokens may come next, whatever the decoder thinks."""

    not_first: Tensor
    penalised: Tensor

    def __init__(self, pieces: Sequence[str]) -> None:
        super().__init__()
        self.register_buffer("not_first", torch.tensor([not begins_line(p) for p in pieces]), persistent=False)
        self.register_buffer("penalised", torch.tensor([is_penalised(p) for p in pieces]), persistent=False)

    def forward(
        self, log_probs: Tensor, candidates: Tensor, tokens: Tensor, step: Tensor, options: RowOptions
    ) -> Tensor:
        """Mask and reweight the log-probabilities of what may come next.

        Args:
            log_probs: float32 ``[N, C]``.
            candidates: int64 ``[N, C]``, newline and end among them.
            tokens: int64 ``[N, T]``, the poem up to ``step``, then padding.
            step: int64, how many tokens there are, in all rows or ``[N]``.
            options: of ``N`` rows.
        """
        step = step.reshape(-1, 1)
        position = torch.arange(tokens.shape[1], device=tokens.device)
        newlines = tokens == NEWLINE
        lines = newlines.sum(1) + 1
        line_tokens = step.squeeze(1) - 1 - torch.where(newlines, position, -1).amax(1)
        started = line_tokens > 0
        final = step.squeeze(1) >= options.max_tokens - 1

        log_probs = self._without_repeats(log_probs, candidates, tokens, step, options)
        newline, end = candidates == NEWLINE, candidates == EOS
        words_end = (line_tokens >= options.max_line_tokens) | final
        out_of_place = (~started).unsqueeze(1) & self.not_first[candidates]
        forbidden = (candidates.unsqueeze(2) == options.forbidden_tokens.unsqueeze(1)).any(2)
        may_break = started & (lines < options.max_lines) & ~final
        may_end = started & (lines >= options.min_lines) | final
        # Logic instead of torch.where on booleans, which ONNX Runtime does not implement.
        word = ~(newline | end | out_of_place | forbidden | words_end.unsqueeze(1))
        allowed = word | newline & may_break.unsqueeze(1) | end & may_end.unsqueeze(1)
        masked = torch.where(allowed, log_probs, NEVER)
        # With every candidate banned the poem ends where it is.
        stuck = masked.amax(1, keepdim=True) == NEVER
        return torch.where(stuck & end, log_probs, masked)

    def _without_repeats(
        self, log_probs: Tensor, candidates: Tensor, tokens: Tensor, step: Tensor, options: RowOptions
    ) -> Tensor:
        """Divide the probability of words by the repetition penalty for each use; ban stutters and seen n-grams."""
        used = candidates.unsqueeze(2) == tokens.unsqueeze(1)
        penalised = self.penalised[candidates]
        uses = used.to(log_probs.dtype).sum(2) * penalised
        log_probs = log_probs - uses * options.repetition_penalty.log().unsqueeze(1)
        # No word follows itself, over a line break either: a guided decoder stutters the photograph's first noun.
        previous, earlier = (_last(tokens, step, k) for k in (1, 2))
        last = torch.where(previous == NEWLINE, earlier, previous)
        stutter = (candidates == last) & penalised & (options.repetition_penalty != 1).unsqueeze(1)
        repeats = _repeating(tokens, step, options.no_repeat_ngram)
        # Newline and end are never banned: a line that has reached its limit must be able to break.
        seen = (used & repeats.unsqueeze(1)).any(2) & (candidates > NEWLINE)
        return torch.where(stutter | seen, NEVER, log_probs)


def _repeating(tokens: Tensor, step: Tensor, no_repeat_ngram: Tensor) -> Tensor:
    """Return bool ``[N, T]``: the places whose token would, coming next, complete an n-gram for the second time."""
    count = tokens.shape[1]
    position = torch.arange(count, device=tokens.device)
    repeats = torch.zeros_like(tokens, dtype=torch.bool)
    # same[i]: the k tokens before place i are the last k tokens, for k = 1, 2, ... in turn.
    same = position < step
    for k in range(1, MAX_NGRAM):
        before = tokens.gather(1, (position - k).clamp(min=0).expand(tokens.shape[0], count))
        same = same & (before == _last(tokens, step, k)) & (position >= k)
        repeats = repeats | (same & (no_repeat_ngram == k + 1).unsqueeze(1))
    return repeats


def _last(tokens: Tensor, step: Tensor, k: int) -> Tensor:
    """Return the ``k``-th last token of each row, ``[N, 1]``; padding where there are fewer."""
    return tokens.gather(1, (step - k).clamp(min=0).expand(tokens.shape[0], 1))
