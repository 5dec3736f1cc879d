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
from torch.nn import functional as F

from ..decoding import Strategy
from ..text import BOS, EOS, NEWLINE, PAD
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
    forbidden_tokens: Tensor  # int64 [B, FORBIDDEN], padded; see img2poem.vocabulary.forbidden_tokens

    @classmethod
    def of(cls, strategy: Strategy, rows: int) -> RowOptions:
        """Return the options of ``strategy``, which forbids no words, for so many rows."""
        tensors = strategy.tensors()
        columns = (torch.from_numpy(tensors[name]).expand(rows, -1) for name in cls._fields)
        return cls(*(column.squeeze(1) for column in columns))

    def repeated(self, times: int) -> RowOptions:
        """Return the options of ``B * times`` rows, each row's copies side by side."""
        return RowOptions(*(option.repeat_interleave(times, dim=0) for option in self))


class Candidates(NamedTuple):
    """What may come next: the likeliest words, and always newline and end."""

    words: Tensor  # int64 [N, C - 2]
    tokens: Tensor  # int64 [N, C]: the words, newline, end
    log_probs: Tensor  # float32 [N, C]


class Limits(NamedTuple):
    """The options as the rules read them, prepared once for all steps.

    A poem has ``P`` places: those of its tokens, and behind them two for each forbidden token: that which must come
    before it, if any, and the token itself. So what keeps n-grams from coming twice keeps forbidden words out.
    """

    reach: Tensor  # float32 [N, 5]: the last place, a word in the line, its most tokens, the most and the fewest lines
    log_penalty: Tensor  # float32 [N, P]: 0 where a token has not been used but is forbidden
    penalises: Tensor  # bool [N, 1]
    repeated: Tensor  # int64 [N, P]: with so many equal tokens before a place its token may not be used again
    places: Tensor  # float32 [1, P]: 0, 1, 2, ...
    breaks: Tensor  # int64 [N, 2]: newline and end
    free: Tensor  # float32 [N, V]: zeros, what tokens cost before any is used
    word_counts: Tensor  # float32 [1, 5]: 1 for the counts that go up with a word
    line_counts: Tensor  # float32 [1, 5]: 1 for those that go up with a newline, which sets back the others

    @classmethod
    def of(cls, options: RowOptions, steps: int, size: int) -> Limits:
        """Return the limits of poems of at most ``steps`` tokens in a vocabulary of ``size``."""
        column = RowOptions(*(option.unsqueeze(1) for option in options))
        forbidden, device = options.forbidden_tokens, options.forbidden_tokens.device
        places = torch.arange(steps + 2 * forbidden.shape[1], device=device).unsqueeze(0)
        never = torch.full_like(forbidden, 2 * steps)
        ngram = torch.where(column.no_repeat_ngram > 1, column.no_repeat_ngram - 1, steps + 1)
        # None before a token that never comes, one before the second of two that do not come together.
        pairs = torch.stack([never, (forbidden >= size).long()], dim=2).flatten(1)
        last_place, one = column.max_tokens.clamp(max=steps) - 1, torch.ones_like(column.max_tokens)
        reach = [last_place, one, column.max_line_tokens, column.max_lines, column.min_lines]
        log_penalty = column.repetition_penalty.log()
        return cls(
            torch.cat(reach, dim=1).float(),
            log_penalty * (places < steps),
            log_penalty > 0,
            torch.cat([ngram.expand(-1, steps), pairs], dim=1),
            places.float(),
            torch.tensor([NEWLINE, EOS], device=device).repeat(forbidden.shape[0], 1),
            torch.zeros(forbidden.shape[0], size, device=device),
            torch.tensor([[1.0, 1.0, 1.0, 0.0, 0.0]], device=device),
            torch.tensor([[1.0, 0.0, 0.0, 1.0, 1.0]], device=device),
        )


class History(NamedTuple):
    """What the rules know of a poem, kept up to date token by token; ``P`` places as in :class:`Limits`."""

    tokens: Tensor  # int64 [N, P]: the poem so far, padding, forbidden pairs
    equal: Tensor  # int64 [N, P]: how many tokens before a place equal the last ones of the poem, in their order
    counts: Tensor  # float32 [N, 5], as Limits.reach: tokens, twice those of the line, twice the lines with that one
    previous: Tensor  # int64 [N, 1]: the last token; the begin token at first
    word: Tensor  # int64 [N, 1]: the last token that is no newline

    @classmethod
    def begin(cls, options: RowOptions, steps: int, size: int) -> History:
        """Return poems without a token, of a vocabulary of ``size``."""
        forbidden = options.forbidden_tokens
        nothing = torch.zeros_like(forbidden[:, :1])
        # Larger numbers than pairs have stand for nothing; their tokens are looked up all the same.
        pairs = torch.stack([(forbidden // size).clamp(max=size - 1), forbidden % size], dim=2).flatten(1)
        tokens = torch.cat([nothing.expand(-1, steps), pairs], dim=1)
        # Each a tensor of its own: a loop cannot take one twice.
        counts = _counts(nothing, nothing, nothing + 1)
        return cls(tokens, torch.zeros_like(tokens), counts, nothing + BOS, nothing + PAD)

    @classmethod
    def of(cls, tokens: Tensor, options: RowOptions, size: int) -> History:
        """Return poems ``int64 [N, T]``, followed by padding, that somebody began, of a vocabulary of ``size``."""
        position = torch.arange(tokens.shape[1], device=tokens.device)
        length = (tokens != PAD).sum(1, keepdim=True)
        newline = tokens == NEWLINE
        begin = torch.where(newline, position + 1, 0).amax(1, keepdim=True)
        word = torch.where(newline | (tokens == PAD), 0, position).amax(1, keepdim=True)
        steps = tokens.shape[1]
        history = cls.begin(options, steps, size)
        previous = torch.where(length == 0, BOS, tokens.gather(1, (length - 1).clamp(min=0)))
        equal, same = torch.zeros_like(tokens), torch.ones_like(tokens)
        for k in range(1, MAX_NGRAM):
            before = tokens.gather(1, (position - k).clamp(min=0).expand(tokens.shape[0], -1))
            end = tokens.gather(1, (length - k).clamp(min=0))
            same = same * ((before == end) & (position >= k) & (length >= k))
            equal = equal + same
        return cls(
            torch.cat([tokens, history.tokens[:, steps:]], dim=1),
            torch.cat([equal, (history.tokens[:, steps - 1 : -1] == previous).long()], dim=1),
            _counts(length, length - begin, newline.sum(1, keepdim=True) + 1),
            previous,
            tokens.gather(1, word),
        )

    def then(self, token: Tensor, limits: Limits) -> History:
        """Return the poems with one token more, ``int64 [N, 1]``."""
        newline = token == NEWLINE
        tokens = torch.where(limits.places == self.counts[:, :1], token, self.tokens)
        equal = torch.where(tokens == token, self.equal + 1, 0)
        return History(
            tokens,
            # Not `pad`, which ONNX Runtime has no kernel for on a GPU, for integers.
            torch.cat([self.equal[:, :1], equal[:, :-1]], dim=1),
            torch.where(newline, (self.counts + 1) * limits.line_counts, self.counts + limits.word_counts),
            token,
            torch.where(newline, self.word, token),
        )

    def rows(self, index: Tensor) -> History:
        """Return the poems ``index``, int64 ``[M]``."""
        return History(*(part.index_select(0, index) for part in self))

    def poems(self, steps: int) -> Tensor:
        """Return the tokens alone, ``[N, steps]``."""
        return self.tokens[:, :steps]

    @property
    def length(self) -> Tensor:
        """How many tokens each poem has, int64 ``[N, 1]``."""
        return self.counts[:, :1].long()


def _counts(length: Tensor, line_tokens: Tensor, lines: Tensor) -> Tensor:
    """Return what :class:`History` counts, each as often as :class:`Limits` has a limit for it."""
    return torch.cat([length, line_tokens, line_tokens, lines, lines], dim=1).float()


# What may come, by kind: a kind is banned where the limits that are reached (the last place, a word in the line, its
# most tokens, the most and the fewest lines) add up to more than its bound, weighted as in its row.
_KINDS = (
    ((1, 0, 1, 0, 0), 0),  # a word: not in the last place, nor in a full line
    ((1, -1, 1, 0, 0), -1),  # the rest of a word: nor at the beginning of a line
    ((1, -1, 0, 1, 0), -1),  # newline: not in the last place, nor without a word before it, nor behind the last line
    ((-2, -1, 0, 0, -1), -2),  # end: in the last place, else only behind a word, with lines enough
)
_WORD, _REST, _NEWLINE, _END = range(4)


class Rules(nn.Module):
    """What makes a token sequence a poem: which tokens may come next, whatever the decoder thinks."""

    kind: Tensor
    penalised: Tensor
    stutters: Tensor
    weights: Tensor
    bounds: Tensor

    def __init__(self, pieces: Sequence[str]) -> None:
        super().__init__()
        #: How many tokens the vocabulary has.
        self.size = len(pieces)
        kinds = [_WORD if begins_line(piece) else _REST for piece in pieces]
        kinds[NEWLINE], kinds[EOS] = _NEWLINE, _END
        penalised = torch.tensor([is_penalised(piece) for piece in pieces])
        weights, bounds = zip(*_KINDS, strict=True)
        self.register_buffer("kind", torch.tensor(kinds), persistent=False)
        self.register_buffer("penalised", penalised.float(), persistent=False)
        # What may not follow a token: itself, or nothing.
        self.register_buffer("stutters", torch.where(penalised, torch.arange(self.size), -1), persistent=False)
        self.register_buffer("weights", torch.tensor(weights).float().t().contiguous(), persistent=False)
        self.register_buffer("bounds", torch.tensor([bounds]).float(), persistent=False)

    def forward(self, candidates: Candidates, history: History, limits: Limits) -> Tensor:
        """Mask and reweight the log-probabilities of what may come next, float32 ``[N, C]``.

        Newline and end are never banned by a repetition: a line that has reached its limit must be able to break.
        """
        tokens = candidates.tokens
        # The probability of a word is divided by the penalty for each use.
        penalties = self.penalised[history.tokens] * limits.log_penalty
        costs = torch.where(history.equal >= limits.repeated, -NEVER, penalties)
        cost = limits.free.scatter_add(1, history.tokens, costs).gather(1, candidates.words)
        log_probs = candidates.log_probs - F.pad(cost, (0, 2))

        reached = (history.counts >= limits.reach).float()
        banned = (reached @ self.weights > self.bounds).gather(1, self.kind[tokens])
        # No word follows itself, over a line break either: a decoder stutters the photograph's first noun.
        stutter = (tokens == self.stutters[history.word]) & limits.penalises
        allowed = torch.where(banned | stutter, NEVER, log_probs)

        # With every candidate banned the poem ends where it is.
        stuck = allowed.amax(1, keepdim=True) == NEVER
        return torch.where(stuck & (tokens == EOS), candidates.log_probs, allowed)
