"""The search for a poem of a given form: line by line, over the served decoder steps.

Within a line, the likeliest (or drawn) beginnings of each poem are grown a token at a time; a line may end only where
the form lets it, so words that rhyme are tried as endings at every place, with a mark behind them or without. The best
ended lines are what the next line begins from. A step tells the 64 likeliest tokens alone: a demanded word that is not
among them is taken to be less likely than the last of them, which is also what it counts in the score.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from ..decoding.search import NEVER, Floats, Hypotheses, Ints, Searches, advance, init
from ..decoding.strategies import LINE_ENDING, MAX_TOKENS, AnyStrategy, BeamSearch, BestOf, Sampling, Strategy
from ..errors import NoPoem
from ..requests import Flow
from ..text.vocabulary import BOS, EOS, NEWLINE, PAD, forbidden_tokens
from .constraints import Constraints
from .form import SHORTEST_LINE, Form
from .hypotheses import Partial, best_of_each, right_aligned

#: Log-probability that a demanded token has below the least likely candidate of a step, and a further one for each
#: more frequent word that would do.
_SURPRISE, _FURTHER = 1.0, 0.3
#: Beginnings of a line that are grown together, over all poems, and at least for each.
_ROWS, _FEWEST = 48, 4
#: Endings that are tried for each poem at each place.
_ENDINGS = 3


class FormSearch:
    """Searches by one strategy for poems of one form.

    Greedy search keeps one poem after each line, beam search ``width``, sampling and best of n keep what they have
    drawn; of best of n, the likelier half goes on to the aligner.

    Args:
        searches: whose orthography and rules hold.
        form: what the poem must look like.
        strategy: how it is searched for, already limited to the form's lines.
    """

    def __init__(self, searches: Searches, form: Form, strategy: AnyStrategy) -> None:
        self._rules_of: Strategy = strategy.sampling if isinstance(strategy, BestOf) else strategy
        self._count = form.count or self._rules_of.min_lines
        self._rules_of = replace(self._rules_of, min_lines=self._count, max_lines=self._count)
        pieces = searches.orthography.pieces
        self._constraints = Constraints(form, self._count, searches.orthography)
        self._searches = searches
        self._forbidden = {*forbidden_tokens(strategy.forbidden, pieces)}
        self._options = self._rules_of.tensors(pieces)
        self._drawing = self._rules_of if isinstance(self._rules_of, Sampling) else None
        self._poems = strategy.n if isinstance(strategy, BestOf) else 1
        self._width = strategy.width if isinstance(strategy, BeamSearch) else self._poems
        self._penalty = strategy.length_penalty if isinstance(strategy, BeamSearch) else 1.0
        self._random = np.random.default_rng(self._drawing.seed if self._drawing else 0)

    def run(self, embedding: Floats) -> Flow[Hypotheses]:
        """Return the best poem for ``embedding [1, embedding_dim]``, of best of n the likelier half of them.

        Raises:
            NoPoem: the search came to none of this form.
        """
        [hidden] = yield from init(embedding)
        begun = [
            Partial.first(hidden, self._constraints.first, self._constraints.include, i) for i in range(self._poems)
        ]
        for line in range(self._count):
            ended = yield from self._line(line, begun)
            begun = self._chosen(ended)
            if not begun:
                raise NoPoem(f"no line {line + 1} of this form was found; ask for less, or for longer lines")
        kept = sorted(begun, key=self._value, reverse=True)[: -(-self._poems // 2)]
        tokens = np.full((len(kept), MAX_TOKENS), PAD, np.int64)
        for row, poem in zip(tokens, kept, strict=True):
            row[: len(poem.tokens)] = poem.tokens
        scores = np.array([self._value(poem) for poem in kept], np.float32)
        return Hypotheses(tokens, scores, np.array([len(poem.tokens) for poem in kept]))

    def _line(self, line: int, begun: Sequence[Partial]) -> Flow[list[Partial]]:
        """Grow each of ``begun`` by a line; return all lines that ended, with their newline or end token."""
        ended: list[Partial] = []
        growing = [begin.at_line(i) for i, begin in enumerate(begun)]
        each = max(_FEWEST, _ROWS // len(begun))
        longest = max(len(partial.tokens) for partial in begun)
        # Its share of the tokens that are left.
        room = (self._rules_of.max_tokens - longest) // (self._count - line) - LINE_ENDING
        most = min(self._rules_of.line_tokens, room)
        for place in range(most + 2):
            if not growing:
                break
            tokens = right_aligned([partial.tokens for partial in growing])
            last = tokens[:, -1:] if tokens.shape[1] else np.full((len(growing), 1), BOS)
            log_probs, candidates, after = yield from advance(last, np.stack([p.hidden for p in growing]))
            rules = self._searches.rules(self._options, len(growing))
            allowed = rules(log_probs, candidates, tokens, tokens.shape[1])
            ended += self._ended(line, place, growing, candidates, allowed, after)
            growing = self._grown(line, place, place >= most, each, growing, candidates, allowed, after)
        return ended

    def _ended(
        self,
        line: int,
        place: int,
        growing: Sequence[Partial],
        candidates: Ints,
        allowed: Floats,
        after: Floats,
    ) -> Iterator[Partial]:
        if place < SHORTEST_LINE:
            return
        mark = EOS if line == self._count - 1 else NEWLINE
        chances = np.where(candidates == mark, allowed, NEVER).max(1)
        for partial, chance, hidden in zip(growing, chances, after, strict=True):
            if chance > NEVER and self._constraints.may_end(line, partial):
                yield partial.grown(mark, float(chance), 0.0, hidden)

    def _grown(
        self,
        line: int,
        place: int,
        full: bool,
        each: int,
        growing: Sequence[Partial],
        candidates: Ints,
        allowed: Floats,
        after: Floats,
    ) -> list[Partial]:
        """Return what goes on: of each poem the ``each`` best beginnings, and the best endings of the line.

        A line that is ``full``, or has got its ending, may still be closed with a mark.
        """
        words = (candidates > NEWLINE) & (allowed > NEVER)
        drawn = self._drawn(np.where(words, allowed, NEVER))
        on: list[Partial] = []
        endings: list[Partial] = []
        closed: list[Partial] = []
        for i, partial in enumerate(growing):
            if self._constraints.keeps_whole(partial):
                words[i] &= ~self._constraints.glue[candidates[i]]
                drawn[i][~words[i]] = NEVER
            known = {int(candidates[i, j]): int(j) for j in np.flatnonzero(words[i])}
            least = float(allowed[i][words[i]].min(initial=0.0))
            if full or partial.ending:
                for token in self._constraints.closings(line, partial, known):
                    chance, _ = self._chance(token, 0, known, allowed[i], drawn[i], least)
                    closed.append(replace(partial.grown(token, chance, 0.0, after[i]), ending=True))
                continue
            wanted = self._constraints.next_tokens(line, place, partial, known)
            if wanted is None:
                best = np.argsort(-drawn[i], kind="stable")[:each]
                for j in best[drawn[i][best] > NEVER]:
                    on.append(partial.grown(int(candidates[i, j]), float(allowed[i, j]), float(drawn[i, j]), after[i]))
                wanted_too = [t for t in self._constraints.insertions(line, place, partial) if t not in known]
            else:
                wanted_too = wanted or []
            last = partial.tokens[-1] if partial.tokens else BOS
            for rank, token in enumerate(token for token in wanted_too if self._allow(last, token)):
                chance, key = self._chance(token, rank, known, allowed[i], drawn[i], least)
                on.append(partial.grown(token, chance, key, after[i]))
            if place + 1 >= SHORTEST_LINE and not partial.pending and wanted is None:
                ends = self._constraints.endings(line, partial, known)
                tried = enumerate(token for token in ends if self._allow(last, token))
                rated = [(self._chance(t, rank, known, allowed[i], drawn[i], least)[0], t) for rank, t in tried]
                for chance, token in heapq.nlargest(_ENDINGS, rated):
                    endings.append(replace(partial.grown(token, chance, 0.0, after[i]), ending=True))
        on = [self._constraints.noted(partial) for partial in on]
        return [
            *best_of_each(on, each, lambda partial: partial.key, apart=lambda partial: len(partial.missing)),
            *best_of_each([self._constraints.noted(p) for p in endings], _ENDINGS, lambda partial: partial.score),
            *best_of_each(closed, _ENDINGS, lambda partial: partial.score),
        ]

    def _allow(self, previous: int, token: int) -> bool:
        return token not in self._forbidden and self._searches.orthography.allow(previous, token)

    def _chance(
        self, token: int, rank: int, known: dict[int, int], allowed: Floats, drawn: Floats, least: float
    ) -> tuple[float, float]:
        """Return the log-probability of a demanded token, and what it is preferred by."""
        if token in known:
            found = float(allowed[known[token]])
            return found, max(float(drawn[known[token]]), found)
        guess = least - _SURPRISE - _FURTHER * float(np.log1p(rank))
        return guess, guess

    def _drawn(self, allowed: Floats) -> Floats:
        """Return what candidates are preferred by: their log-probability, or a perturbed one where they are drawn."""
        if self._drawing is None:
            return allowed.copy()
        order = np.argsort(-allowed, axis=1, kind="stable")
        cooled = np.take_along_axis(allowed, order, 1) / np.float32(self._drawing.temperature)
        probabilities = np.exp(cooled - np.maximum(cooled[:, :1], np.finfo(np.float32).min))
        probabilities /= np.maximum(probabilities.sum(1, keepdims=True), np.finfo(np.float32).tiny)
        before = probabilities.cumsum(1) - probabilities
        rank = np.arange(order.shape[1])
        kept = (rank < self._drawing.top_k) & ((before < self._drawing.top_p) | (rank == 0))
        noisy = np.where(kept, cooled + self._random.gumbel(size=cooled.shape), NEVER).astype(np.float32)
        drawn = np.empty_like(allowed)
        np.put_along_axis(drawn, order, noisy, 1)
        return drawn

    def _chosen(self, ended: Sequence[Partial]) -> list[Partial]:
        """Return what the next line begins from: poems that are drawn do not compete with each other."""
        if self._poems > 1:
            return best_of_each(ended, 1, self._value)
        best = best_of_each(ended, self._width, self._value, apart=lambda poem: poem.last_word)
        return sorted(best, key=self._value, reverse=True)[: self._width]

    def _value(self, poem: Partial) -> float:
        return float(poem.score / len(poem.tokens) ** self._penalty)
