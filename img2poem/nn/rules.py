"""What makes a token sequence a poem: the rules that every search applies at each step.

Rules act on the candidates of a step (:class:`img2poem.nn.search.DecoderStep`) and do not renormalise
their log-probabilities: :mod:`img2poem.decoding.search` applies the same rules in numpy to what a served step
returns. Options are tensors with one value a row; rows of one batch may differ in all of them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..decoding.strategies import Strategy
from ..text.orthography import FINAL, LINE_END, OPEN, POEM_END, WORD, Orthography
from ..text.vocabulary import ALWAYS, BOS, EOS, MAX_NGRAM, NEWLINE, PAD

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


class Candidates(NamedTuple):
    """What may come next: the likeliest tokens, and always those of ``ALWAYS``."""

    words: Tensor  # int64 [N, C - 4]
    tokens: Tensor  # int64 [N, C]: the words, newline, end, comma, period
    log_probs: Tensor  # float32 [N, C]


class Limits(NamedTuple):
    """The options as the rules read them, prepared once for all steps of poems of at most ``T`` tokens."""

    reach: Tensor  # float32 [N, 8]: the last three places, a token in the line, its last two, most and fewest lines
    log_penalty: Tensor  # float32 [N, 1]
    penalises: Tensor  # bool [N, 1]
    repeated: Tensor  # int64 [N, 1]: with so many equal tokens before a place its token may not be used again
    places: Tensor  # float32 [1, T]: 0, 1, 2, ...
    always: Tensor  # int64 [N, 4]: what is always among the candidates
    costs: Tensor  # float32 [N, V]: what tokens cost before any is used, nothing or, where they are forbidden, all
    token_counts: Tensor  # float32 [1, 8]: 1 for the counts that go up with a token
    line_counts: Tensor  # float32 [1, 8]: 1 for those that go up with a newline, which sets back the others

    @classmethod
    def of(cls, options: RowOptions, steps: int, size: int) -> Limits:
        """Return the limits of poems of at most ``steps`` tokens in a vocabulary of ``size``."""
        column = RowOptions(*(option.unsqueeze(1) for option in options))
        forbidden, device = options.forbidden_tokens, options.forbidden_tokens.device
        last, one = column.max_tokens.clamp(max=steps) - 1, torch.ones_like(column.max_tokens)
        line = column.max_line_tokens
        reach = [last - 2, last - 1, last, one, line - 1, line, column.max_lines, column.min_lines]
        log_penalty = column.repetition_penalty.log()
        # A number that is no token forbids nothing.
        tokens = torch.where(forbidden < size, forbidden, PAD)
        costs = torch.zeros(forbidden.shape[0], size, device=device)
        return cls(
            torch.cat(reach, dim=1).float(),
            log_penalty,
            log_penalty > 0,
            torch.where(column.no_repeat_ngram > 1, column.no_repeat_ngram - 1, steps + 1),
            torch.arange(steps, device=device).unsqueeze(0).float(),
            torch.tensor(ALWAYS, device=device).repeat(forbidden.shape[0], 1),
            costs.scatter(1, tokens, -NEVER),
            torch.tensor([[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]], device=device),
            torch.tensor([[1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0]], device=device),
        )


class History(NamedTuple):
    """What the rules know of a poem, kept up to date token by token."""

    tokens: Tensor  # int64 [N, T]: the poem so far, padding
    equal: Tensor  # int64 [N, T]: how many tokens before a place equal the last ones of the poem, in their order
    counts: Tensor  # float32 [N, 8], as Limits.reach: tokens, those of the line, lines with that one
    previous: Tensor  # int64 [N, 1]: the last token; the begin token at first
    last: Tensor  # int64 [N, 1]: the last token that is no newline

    @classmethod
    def begin(cls, options: RowOptions, steps: int) -> History:
        """Return poems without a token."""
        nothing = torch.zeros_like(options.forbidden_tokens[:, :1])
        tokens = nothing.repeat(1, steps)
        # Each a tensor of its own: a loop cannot take one twice.
        return cls(
            tokens, torch.zeros_like(tokens), _counts(nothing, nothing, nothing + 1), nothing + BOS, nothing + PAD
        )

    @classmethod
    def of(cls, tokens: Tensor) -> History:
        """Return poems ``int64 [N, T]``, followed by padding, that somebody began."""
        position = torch.arange(tokens.shape[1], device=tokens.device)
        length = (tokens != PAD).sum(1, keepdim=True)
        newline = tokens == NEWLINE
        begin = torch.where(newline, position + 1, 0).amax(1, keepdim=True)
        last = torch.where(newline | (tokens == PAD), 0, position).amax(1, keepdim=True)
        equal, same = torch.zeros_like(tokens), torch.ones_like(tokens)
        for k in range(1, MAX_NGRAM):
            before = tokens.gather(1, (position - k).clamp(min=0).expand(tokens.shape[0], -1))
            end = tokens.gather(1, (length - k).clamp(min=0))
            same = same * ((before == end) & (position >= k) & (length >= k))
            equal = equal + same
        return cls(
            tokens,
            equal,
            _counts(length, length - begin, newline.sum(1, keepdim=True) + 1),
            torch.where(length == 0, BOS, tokens.gather(1, (length - 1).clamp(min=0))),
            tokens.gather(1, last),
        )

    def then(self, token: Tensor, limits: Limits) -> History:
        """Return the poems with one token more, ``int64 [N, 1]``."""
        newline = token == NEWLINE
        equal = torch.where(self.tokens == token, self.equal + 1, 0)
        return History(
            torch.where(limits.places == self.counts[:, :1], token, self.tokens),
            # Not `pad`, which ONNX Runtime has no kernel for on a GPU, for integers.
            torch.cat([self.equal[:, :1], equal[:, :-1]], dim=1),
            torch.where(newline, (self.counts + 1) * limits.line_counts, self.counts + limits.token_counts),
            token,
            torch.where(newline, self.last, token),
        )

    def rows(self, index: Tensor) -> History:
        """Return the poems ``index``, int64 ``[M]``."""
        return History(*(part.index_select(0, index) for part in self))

    @property
    def length(self) -> Tensor:
        """How many tokens each poem has, int64 ``[N, 1]``."""
        return self.counts[:, :1].long()


def _counts(length: Tensor, line_tokens: Tensor, lines: Tensor) -> Tensor:
    """Return what :class:`History` counts, each as often as :class:`Limits` has a limit for it."""
    return torch.cat([*[length] * 3, *[line_tokens] * 3, *[lines] * 2], dim=1).float()


class _Kind(NamedTuple):
    """When tokens of a kind are banned: where the limits that are reached add up to more than ``bound``.

    ``reached`` are weights of Limits.reach: the third last, second last and last place, a token in the line, its last
    but one and last, the most and the fewest lines; then of what stands before: what is unfinished, a final mark.
    """

    reached: tuple[float, ...]
    unfinished: float
    final: float
    bound: float


# Behind a token must be room for what follows it: so many tokens of the line and, with the end token, of the poem.
# A final mark may come behind a full line.
_KINDS = {
    WORD: _Kind((0, 1, 0, 0, 0, 1, 0, 0), 0, 0, 0),
    OPEN: _Kind((1, 0, 0, 0, 1, 0, 0, 0), 1, 0, 0),
    FINAL: _Kind((0, 0, 1, 0, 0, 0, 0, 0), 0, 0, 0),
    # Not in an empty line, nor in the last one.
    LINE_END: _Kind((1, 0, 0, -1, 0, 0, 1, 0), 1, 0, -1),
    # In the last place, else only behind a final mark, with lines enough.
    POEM_END: _Kind((0, 0, -2, 0, 0, 0, 0, -1), 0, -1, -2),
}


class Rules(nn.Module):
    """What makes a token sequence a poem: which tokens may come next, whatever the decoder thinks."""

    kind: Tensor
    spared: Tensor
    penalised: Tensor
    stutters: Tensor
    weights: Tensor
    before: Tensor

    def __init__(self, orthography: Orthography) -> None:
        super().__init__()
        #: How many tokens the vocabulary has.
        self.size = len(orthography.pieces)
        words, penalised, unfinished, final = (
            torch.from_numpy(of)
            for of in (orthography.words, orthography.penalised, orthography.unfinished, orthography.final)
        )
        kinds = [_KINDS[kind] for kind in sorted(_KINDS)]
        weights = torch.tensor([kind.reached for kind in kinds]).t().contiguous()
        behind, ends, bounds = (
            torch.tensor([[getattr(kind, name) for kind in kinds]]) for name in ("unfinished", "final", "bound")
        )
        tables = {
            "kind": torch.from_numpy(orthography.kind),
            # What no repetition keeps from coming: a poem cannot do without marks, and "don" cannot without "'t".
            "spared": ~words,
            "penalised": penalised.float(),
            # What may not follow a token: itself, or nothing.
            "stutters": torch.where(words, torch.arange(self.size), -1),
            "weights": weights.float(),
            # What a token before adds to that sum.
            "before": unfinished.unsqueeze(1) * behind + final.unsqueeze(1) * ends - bounds,
        }
        for name, table in tables.items():
            self.register_buffer(name, table, persistent=False)

    def forward(self, candidates: Candidates, history: History, limits: Limits) -> Tensor:
        """Mask and reweight the log-probabilities of what may come next, float32 ``[N, C]``.

        Marks, suffixes, newline and end are never banned by a repetition: a line that has reached its limit must be
        able to break, a word to be completed.
        """
        tokens = candidates.tokens
        # The probability of a word is divided by the penalty for each use.
        penalties = self.penalised[history.tokens] * limits.log_penalty
        costs = torch.where(history.equal >= limits.repeated, -NEVER, penalties)
        cost = limits.costs.scatter_add(1, history.tokens, costs).gather(1, candidates.words)
        cost = torch.where(self.spared[candidates.words], 0.0, cost)
        log_probs = candidates.log_probs - F.pad(cost, (0, len(ALWAYS)))

        reached = (history.counts >= limits.reach).float()
        banned = (reached @ self.weights + self.before[history.previous.squeeze(1)] > 0).gather(1, self.kind[tokens])
        # No word follows itself, over a line break either: a decoder stutters the photograph's first noun.
        stutter = (tokens == self.stutters[history.last]) & limits.penalises
        allowed = torch.where(banned | stutter, NEVER, log_probs)

        # With every candidate banned the poem ends where it is.
        stuck = allowed.amax(1, keepdim=True) == NEVER
        return torch.where(stuck & (tokens == EOS), candidates.log_probs, allowed)
