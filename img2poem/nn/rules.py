"""Decoding rules: the bans and penalties that every search applies at each step.

The rules act on the candidates of a step (:class:`img2poem.nn.search.DecoderStep`) and do not renormalise their
log-probabilities. :mod:`img2poem.decoding.search` applies the same rules in numpy to the candidates of a served step.
Options are tensors with one value per row; rows of a batch may differ in every option.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..decoding.strategies import Strategy
from ..text.orthography import FINAL, LINE_END, OPEN, POEM_END, WORD, Orthography
from ..text.vocabulary import ALWAYS, BOS, EOS, MAX_NGRAM, NEWLINE, PAD

#: Log-probability of a banned token.
NEVER = float("-inf")


class RowOptions(NamedTuple):
    """Options of the rules. Each is ``[B]`` unless noted, int64 except ``repetition_penalty``, which is float32."""

    min_lines: Tensor
    max_lines: Tensor
    max_tokens: Tensor
    max_line_tokens: Tensor
    no_repeat_ngram: Tensor
    repetition_penalty: Tensor
    forbidden_tokens: Tensor  # int64 [B, FORBIDDEN], padded

    @classmethod
    def of(cls, strategy: Strategy, rows: int) -> RowOptions:
        """Return the options of ``strategy`` for ``rows`` rows; its forbidden words are ignored."""
        tensors = strategy.tensors()
        columns = (torch.from_numpy(tensors[name]).expand(rows, -1) for name in cls._fields)
        return cls(*(column.squeeze(1) for column in columns))

    def repeated(self, times: int) -> RowOptions:
        """Return the options of ``B * times`` rows, with the copies of a row adjacent."""
        return RowOptions(*(option.repeat_interleave(times, dim=0) for option in self))


class Candidates(NamedTuple):
    """Candidates for the next token: the most likely ones, and always those of ``ALWAYS``."""

    words: Tensor  # int64 [N, C - 4]: the most likely tokens with ids above PERIOD
    tokens: Tensor  # int64 [N, C]: ``words``, newline, end, comma, period
    log_probs: Tensor  # float32 [N, C]


class Limits(NamedTuple):
    """Options in the form that the rules read, computed once for all steps of poems of at most ``T`` tokens.

    ``reach`` holds thresholds for :attr:`History.counts`: three for the poem's tokens (its last three positions), three
    for the line's tokens (one token, one short of full, full), then most and fewest lines.
    """

    reach: Tensor  # float32 [N, 8]
    log_penalty: Tensor  # float32 [N, 1]
    penalises: Tensor  # bool [N, 1]: whether there is a repetition penalty
    repeated: Tensor  # int64 [N, 1]: a token is banned if History.equal reaches this at one of its positions
    places: Tensor  # float32 [1, T]: 0, 1, 2, ...
    always: Tensor  # int64 [N, 4]: the tokens of ALWAYS
    costs: Tensor  # float32 [N, V]: initial cost of each token, infinite if it is forbidden, else 0
    token_counts: Tensor  # float32 [1, 8]: 1 for counts that a token increments
    line_counts: Tensor  # float32 [1, 8]: 1 for counts that a newline increments; it resets the others

    @classmethod
    def of(cls, options: RowOptions, steps: int, size: int) -> Limits:
        """Return the limits for poems of at most ``steps`` tokens in a vocabulary of ``size`` tokens."""
        column = RowOptions(*(option.unsqueeze(1) for option in options))
        forbidden, device = options.forbidden_tokens, options.forbidden_tokens.device
        last, one = column.max_tokens.clamp(max=steps) - 1, torch.ones_like(column.max_tokens)
        line = column.max_line_tokens
        reach = [last - 2, last - 1, last, one, line - 1, line, column.max_lines, column.min_lines]
        log_penalty = column.repetition_penalty.log()
        # An id outside the vocabulary forbids nothing.
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
    """What the rules need to know of the poem so far, updated token by token."""

    tokens: Tensor  # int64 [N, T]: the poem so far, then padding
    equal: Tensor  # int64 [N, T]: how many tokens before a position equal the last tokens of the poem, in order
    counts: Tensor  # float32 [N, 8]: three times tokens, three times tokens of the line, twice lines with the current
    previous: Tensor  # int64 [N, 1]: the last token, BOS at first
    last: Tensor  # int64 [N, 1]: the last token that is not a newline

    @classmethod
    def begin(cls, options: RowOptions, steps: int) -> History:
        """Return the history of poems without tokens."""
        nothing = torch.zeros_like(options.forbidden_tokens[:, :1])
        tokens = nothing.repeat(1, steps)
        # Separate tensors: an exported loop cannot take the same tensor twice.
        return cls(
            tokens, torch.zeros_like(tokens), _counts(nothing, nothing, nothing + 1), nothing + BOS, nothing + PAD
        )

    @classmethod
    def of(cls, tokens: Tensor) -> History:
        """Return the history of unfinished poems ``int64 [N, T]``, padded at the end."""
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
        """Return the history after one more token, ``int64 [N, 1]``."""
        newline = token == NEWLINE
        equal = torch.where(self.tokens == token, self.equal + 1, 0)
        return History(
            torch.where(limits.places == self.counts[:, :1], token, self.tokens),
            # Not `pad`: ONNX Runtime has no GPU kernel for it with integers.
            torch.cat([self.equal[:, :1], equal[:, :-1]], dim=1),
            torch.where(newline, (self.counts + 1) * limits.line_counts, self.counts + limits.token_counts),
            token,
            torch.where(newline, self.last, token),
        )

    def rows(self, index: Tensor) -> History:
        """Return the history of the rows ``index``, int64 ``[M]``."""
        return History(*(part.index_select(0, index) for part in self))

    @property
    def length(self) -> Tensor:
        """Number of tokens of each poem, int64 ``[N, 1]``."""
        return self.counts[:, :1].long()


def _counts(length: Tensor, line_tokens: Tensor, lines: Tensor) -> Tensor:
    """Return :attr:`History.counts`: each count as often as :attr:`Limits.reach` has a threshold for it."""
    return torch.cat([*[length] * 3, *[line_tokens] * 3, *[lines] * 2], dim=1).float()


class _Kind(NamedTuple):
    """When tokens of a kind are banned: if the weights of all conditions that hold add up to more than ``bound``.

    ``reached`` has the weights of the thresholds of :attr:`Limits.reach`. ``unfinished`` and ``final`` are the weights
    for a previous token that is unfinished, or a final mark.
    """

    reached: tuple[float, ...]
    unfinished: float
    final: float
    bound: float


# A token needs room for the tokens that must follow it, in the line and, with the end token, in the poem. A final mark
# may follow a full line.
_KINDS = {
    WORD: _Kind((0, 1, 0, 0, 0, 1, 0, 0), 0, 0, 0),
    OPEN: _Kind((1, 0, 0, 0, 1, 0, 0, 0), 1, 0, 0),
    FINAL: _Kind((0, 0, 1, 0, 0, 0, 0, 0), 0, 0, 0),
    # Not in an empty line, nor in the last line allowed.
    LINE_END: _Kind((1, 0, 0, -1, 0, 0, 1, 0), 1, 0, -1),
    # In the last position; elsewhere only after a final mark, with at least the fewest lines.
    POEM_END: _Kind((0, 0, -2, 0, 0, 0, 0, -1), 0, -1, -2),
}


class Rules(nn.Module):
    """Bans and penalises candidates, so that every decoded token sequence is a poem."""

    kind: Tensor
    spared: Tensor
    penalised: Tensor
    stutters: Tensor
    weights: Tensor
    before: Tensor

    def __init__(self, orthography: Orthography) -> None:
        super().__init__()
        #: Size of the vocabulary.
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
            # Never banned as a repetition: a poem needs marks, and "don" needs "'t".
            "spared": ~words,
            "penalised": penalised.float(),
            # The token that may not follow each token: a word itself, else none.
            "stutters": torch.where(words, torch.arange(self.size), -1),
            "weights": weights.float(),
            # What the previous token adds to the sum of weights, minus the bound.
            "before": unfinished.unsqueeze(1) * behind + final.unsqueeze(1) * ends - bounds,
        }
        for name, table in tables.items():
            self.register_buffer(name, table, persistent=False)

    def forward(self, candidates: Candidates, history: History, limits: Limits) -> Tensor:
        """Return the masked and reweighted log-probabilities of the candidates, float32 ``[N, C]``.

        Marks, suffixes, newline and end are never banned as repetitions: a full line must be able to break, and an
        unfinished word to be completed.
        """
        tokens = candidates.tokens
        # The probability of a word is divided by the penalty once for each earlier use.
        penalties = self.penalised[history.tokens] * limits.log_penalty
        costs = torch.where(history.equal >= limits.repeated, -NEVER, penalties)
        cost = limits.costs.scatter_add(1, history.tokens, costs).gather(1, candidates.words)
        cost = torch.where(self.spared[candidates.words], 0.0, cost)
        log_probs = candidates.log_probs - F.pad(cost, (0, len(ALWAYS)))

        reached = (history.counts >= limits.reach).float()
        banned = (reached @ self.weights + self.before[history.previous.squeeze(1)] > 0).gather(1, self.kind[tokens])
        # No word may follow itself, even across a line break: decoders tend to stutter the photograph's first noun.
        stutter = (tokens == self.stutters[history.last]) & limits.penalises
        allowed = torch.where(banned | stutter, NEVER, log_probs)

        # If every candidate is banned, the poem ends here.
        stuck = allowed.amax(1, keepdim=True) == NEVER
        return torch.where(stuck & (tokens == EOS), candidates.log_probs, allowed)
