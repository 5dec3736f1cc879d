"""What makes a token sequence a poem: the rules that every search applies at each step.

Rules act on log-probabilities of the full vocabulary and do not renormalise them, so that a client
that sees only the likeliest tokens of a step (:class:`img2poem.nn.search.DecoderStep`) can apply the
same rules. Options are tensors with one value a row; rows of one batch may differ in all of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..text import EOS, NEWLINE, PAD

MAX_NGRAM = 4
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

    def repeated(self, times: int) -> RowOptions:
        """Return the options of ``B * times`` rows, each row's copies side by side."""
        return RowOptions(*(option.repeat_interleave(times, dim=0) for option in self))


class Rules(nn.Module):
    """What makes a token sequence a poem: which tokens may come next, whatever the decoder thinks."""

    never: Tensor
    not_first: Tensor
    penalised: Tensor

    def __init__(self, pieces: Sequence[str]) -> None:
        super().__init__()
        word = re.compile(r"(##)?[a-z]+|['-]")
        never = [not word.fullmatch(piece) for piece in pieces]
        never[EOS] = never[NEWLINE] = False
        not_first = [not re.fullmatch(r"[a-z]+", piece) for piece in pieces]
        self.register_buffer("never", torch.tensor(never), persistent=False)
        self.register_buffer("not_first", torch.tensor(not_first), persistent=False)
        # Not "i", "a", "of" or the parts of "don't", which no poem can do without.
        penalised = [float(bool(re.fullmatch(r"[a-z]{3,}", piece))) for piece in pieces]
        self.register_buffer("penalised", torch.tensor(penalised), persistent=False)

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
        masked = torch.where(allowed, log_probs, NEVER)
        # With every word banned, which takes a tiny vocabulary, the poem ends where it is.
        stuck = masked.amax(1, keepdim=True) == NEVER
        return torch.where(stuck & (token == EOS), log_probs, masked)

    def _without_repeats(self, log_probs: Tensor, tokens: Tensor, step: Tensor, options: RowOptions) -> Tensor:
        """Divide the probability of words by the repetition penalty for each use; ban stutters and seen n-grams."""
        nothing = torch.zeros_like(log_probs)
        ones = torch.ones_like(tokens, dtype=log_probs.dtype)
        uses = nothing.scatter_add(1, tokens, ones)
        log_probs = log_probs - uses * self.penalised * options.repetition_penalty.log().unsqueeze(1)
        # No word follows itself, over a line break either: a guided decoder stutters the photograph's first noun.
        previous, earlier = (tokens.gather(1, (step - k).clamp(min=0).expand(tokens.shape[0], 1)) for k in (1, 2))
        last = torch.where(previous == NEWLINE, earlier, previous)
        stutter = nothing.scatter(1, last, ones[:, :1]) * self.penalised > 0
        log_probs = torch.where(stutter & (options.repetition_penalty != 1).unsqueeze(1), NEVER, log_probs)

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
        ban = nothing.scatter(1, torch.where(repeats, tokens, PAD), ones)
        return torch.where(ban > 0, NEVER, log_probs)
