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
from ..text import BOS, EOS, NEWLINE, PAD
from ..vocabulary import MAX_NGRAM, begins_line, is_penalised

#: Log-probability of what may not come.
NEVER = float("-inf")
#: More uses than a poem has tokens: those of what may not be used at all.
BANNED = 1024.0


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
    """What may come next: the likeliest words by falling log-probability, and, always, newline and end."""

    words: Tensor  # int64 [N, C - 2]
    word_logprobs: Tensor  # float32 [N, C - 2]
    break_logprobs: Tensor  # float32 [N, 2]


class Limits(NamedTuple):
    """The options as the rules read them, prepared once for all steps, ``[N, 1]`` where nothing else is said.

    A poem has ``P`` places: those of its tokens, and behind them two for each forbidden token: that which must come
    before it, if any, and the token itself. So what keeps n-grams from coming twice keeps forbidden words out.
    """

    min_lines: Tensor
    max_lines: Tensor
    last_place: Tensor
    max_line_tokens: Tensor
    log_penalty: Tensor  # float32
    repeated: Tensor  # int64 [N, 1, P]: with so many equal tokens before a place its token may not be used again
    weights: Tensor  # float32 [1, 1, P]: what another use of the token at a place counts
    places: Tensor  # int64 [1, 1, P]: 0, 1, 2, ...
    breaks: Tensor  # int64 [N, 2]: newline and end

    @classmethod
    def of(cls, options: RowOptions, steps: int, size: int) -> Limits:
        """Return the limits of poems of at most ``steps`` tokens in a vocabulary of ``size``."""
        column = RowOptions(*(option.unsqueeze(1) for option in options))
        forbidden = options.forbidden_tokens
        places = torch.arange(steps + 2 * forbidden.shape[1], device=forbidden.device).view(1, 1, -1)
        never = torch.full_like(forbidden, 2 * steps)
        ngram = torch.where(column.no_repeat_ngram > 1, column.no_repeat_ngram - 1, steps + 1)
        # None before a token that never comes, one before the second of two that do not come together.
        pairs = torch.stack([never, (forbidden >= size).long()], dim=2).flatten(1)
        return cls(
            column.min_lines,
            column.max_lines,
            column.max_tokens.clamp(max=steps) - 1,
            column.max_line_tokens,
            column.repetition_penalty.log(),
            torch.cat([ngram.expand(-1, steps), pairs], dim=1).unsqueeze(1),
            (places < steps).float(),
            places,
            torch.tensor([NEWLINE, EOS], device=places.device).repeat(forbidden.shape[0], 1),
        )

    def tokens_of(self, candidates: Candidates) -> Tensor:
        """Return the tokens in the order in which the rules return log-probabilities, int64 ``[N, C]``."""
        return torch.cat([candidates.words, self.breaks], dim=-1)


class History(NamedTuple):
    """What the rules know of a poem, kept up to date token by token; ``P`` places as in :class:`Limits`."""

    tokens: Tensor  # int64 [N, 1, P]: the poem so far, padding, forbidden pairs
    equal: Tensor  # int64 [N, 1, P]: how many tokens before a place equal the last ones of the poem, in their order
    length: Tensor  # int64 [N, 1]
    lines: Tensor  # int64 [N, 1], the one under way included
    line_tokens: Tensor  # int64 [N, 1], of the line under way
    previous: Tensor  # int64 [N, 1]: the last token; the begin token at first
    word: Tensor  # int64 [N, 1]: the last token that is no newline

    @classmethod
    def begin(cls, options: RowOptions, steps: int, size: int) -> History:
        """Return poems without a token, of a vocabulary of ``size``."""
        forbidden = options.forbidden_tokens
        nothing = torch.zeros_like(forbidden[:, :1])
        pairs = torch.stack([forbidden // size, forbidden % size], dim=2).flatten(1)
        tokens = torch.cat([nothing.expand(-1, steps), pairs], dim=1).unsqueeze(1)
        # Each a tensor of its own: a loop cannot take one twice.
        length, lines, line_tokens, previous, word = (nothing + value for value in (0, 1, 0, BOS, PAD))
        return cls(tokens, torch.zeros_like(tokens), length, lines, line_tokens, previous, word)

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
        return history._replace(
            tokens=torch.cat([tokens.unsqueeze(1), history.tokens[:, :, steps:]], dim=2),
            equal=torch.cat([equal, (history.tokens[:, 0, steps - 1 : -1] == previous).long()], dim=1).unsqueeze(1),
            length=length,
            lines=newline.sum(1, keepdim=True) + 1,
            line_tokens=length - begin,
            previous=previous,
            word=tokens.gather(1, word),
        )

    def then(self, token: Tensor, limits: Limits) -> History:
        """Return the poems with one token more, ``int64 [N, 1]``."""
        newline = token == NEWLINE
        at = token.unsqueeze(1)
        tokens = torch.where(limits.places == self.length.unsqueeze(1), at, self.tokens)
        equal = torch.where(tokens == at, self.equal + 1, 0)
        return self._replace(
            tokens=tokens,
            equal=torch.cat([self.equal[:, :, :1], equal[:, :, :-1]], dim=2),
            length=self.length + 1,
            lines=self.lines + newline,
            line_tokens=torch.where(newline, 0, self.line_tokens + 1),
            previous=token,
            word=torch.where(newline, self.word, token),
        )

    def rows(self, index: Tensor) -> History:
        """Return the poems ``index``, int64 ``[M]``."""
        return History(*(part.index_select(0, index) for part in self))

    def poems(self, steps: int) -> Tensor:
        """Return the tokens alone, ``[N, steps]``."""
        return self.tokens[:, 0, :steps]


class Rules(nn.Module):
    """What makes a token sequence a poem: which tokens may come next, whatever the decoder thinks."""

    not_first: Tensor
    penalised: Tensor

    def __init__(self, pieces: Sequence[str]) -> None:
        super().__init__()
        #: How many tokens the vocabulary has.
        self.size = len(pieces)
        self.register_buffer("not_first", torch.tensor([not begins_line(p) for p in pieces]), persistent=False)
        self.register_buffer("penalised", torch.tensor([float(is_penalised(p)) for p in pieces]), persistent=False)

    def forward(self, candidates: Candidates, history: History, limits: Limits) -> Tensor:
        """Mask and reweight the log-probabilities of what may come next.

        Returns:
            float32 ``[N, C]``: of the words, newline and end.
        """
        words = candidates.words
        used = words.unsqueeze(2) == history.tokens
        counts = torch.where(history.equal >= limits.repeated, BANNED, limits.weights)
        # A product: of all the ways to add up what was used it goes over the tokens the fewest times.
        uses = (used.float() @ counts.transpose(1, 2)).squeeze(2)
        # The probability of a word is divided by the penalty for each use.
        penalty = self.penalised[words] * limits.log_penalty
        word_logprobs = candidates.word_logprobs - uses * penalty
        # No word follows itself, over a line break either: a guided decoder stutters the photograph's first noun.
        stutter = (words == history.word) & (penalty > 0)
        starting = history.line_tokens == 0
        final = history.length >= limits.last_place
        words_end = (history.line_tokens >= limits.max_line_tokens) | final
        banned = (uses >= BANNED) | stutter | (self.not_first[words] & starting) | words_end
        word_logprobs = torch.where(banned, NEVER, word_logprobs)

        # Newline and end are never banned by a repetition: a line that has reached its limit must be able to break.
        inside = ~(starting | final)
        may_break = inside & (history.lines < limits.max_lines)
        # With every candidate banned the poem ends where it is.
        stuck = (word_logprobs.amax(1, keepdim=True) == NEVER) & ~may_break
        may_end = inside & (history.lines >= limits.min_lines) | final | stuck
        may = torch.cat([may_break, may_end], dim=1)
        return torch.cat([word_logprobs, torch.where(may, candidates.break_logprobs, NEVER)], dim=1)
