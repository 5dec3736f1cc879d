"""Search for a poem of a given form, line by line, over the served decoder steps.

Within a line, the search extends the best (or sampled) beginnings of each poem one token at a time. A line may end only
where the form allows it, so rhyming words are tried as endings at every position, with or without a closing mark. The
next line starts from the best complete lines. A step returns only the 64 most likely tokens. A required word that is
not among them gets an estimated log-probability below the least likely of them, which also counts in the score.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from ..decoding.search import NEVER, Floats, Hypotheses, Ints, Searches
from ..decoding.strategies import LINE_ENDING, MAX_TOKENS, AnyStrategy, BeamSearch, BestOf, Sampling, Strategy
from ..errors import NoPoem
from ..requests import Flow
from ..text.vocabulary import BOS, EOS, NEWLINE, PAD, forbidden_tokens
from .constraints import Constraints
from .form import SHORTEST_LINE, Form
from .hypotheses import Partial, best_of_each, right_aligned

#: Estimated log-probability of a required token that is not a candidate: that of the least likely candidate, minus
#: ``_SURPRISE``, minus ``_FURTHER`` times log(1 + rank) of the token among the words that satisfy the constraint.
_SURPRISE, _FURTHER = 1.0, 0.3
#: Beginnings of a line that are extended together: over all poems, and at least per poem.
_ROWS, _FEWEST = 48, 4
#: Line endings kept per poem and position.
_ENDINGS = 3


class FormSearch:
    """Searches for poems of one form with one strategy.

    After each line, greedy search keeps one poem and beam search keeps ``width``; sampling keeps its poem and best of n
    its ``n`` poems. Best of n returns the likelier half of them for reranking by the aligner.

    Args:
        searches: searches of the decoder, whose orthography and rules apply.
        form: required form of the poem.
        strategy: strategy, limited to the form's number of lines (:meth:`Form.limit`).
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
        """Return the best poem for ``embedding [1, embedding_dim]``; for best of n, the likelier half of its poems.

        Raises:
            NoPoem: the search found no poem of this form.
        """
        [hidden] = yield from self._searches.init(embedding)
        begun = [
            Partial.first(hidden, self._constraints.first, self._constraints.include, i) for i in range(self._poems)
        ]
        for line in range(self._count):
            ended = yield from self._line(line, begun)
            begun = self._chosen(ended)
            if not begun:
                raise NoPoem(f"no line {line + 1} of this form was found; relax the form or allow longer lines")
        kept = sorted(begun, key=self._value, reverse=True)[: -(-self._poems // 2)]
        tokens = np.full((len(kept), MAX_TOKENS), PAD, np.int64)
        for row, poem in zip(tokens, kept, strict=True):
            row[: len(poem.tokens)] = poem.tokens
        scores = np.array([self._value(poem) for poem in kept], np.float32)
        return Hypotheses(tokens, scores, np.array([len(poem.tokens) for poem in kept]))

    def _line(self, line: int, begun: Sequence[Partial]) -> Flow[list[Partial]]:
        """Extend each of ``begun`` by one line; return all complete lines, with their newline or end token."""
        ended: list[Partial] = []
        growing = [begin.at_line(i) for i, begin in enumerate(begun)]
        each = max(_FEWEST, _ROWS // len(begun))
        longest = max(len(partial.tokens) for partial in begun)
        # This line's share of the remaining tokens.
        room = (self._rules_of.max_tokens - longest) // (self._count - line) - LINE_ENDING
        most = min(self._rules_of.line_tokens, room)
        for place in range(most + 2):
            if not growing:
                break
            tokens = right_aligned([partial.tokens for partial in growing])
            last = tokens[:, -1:] if tokens.shape[1] else np.full((len(growing), 1), BOS)
            hidden = np.stack([partial.hidden for partial in growing])
            log_probs, candidates, after = yield from self._searches.advance(last, hidden)
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
        """Return the partials of the next step: for each poem, the ``each`` best beginnings and the best endings.

        A line that is ``full``, or has its last word, may still be closed with a mark.
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
        """Return the log-probability of a required token, and its search key."""
        if token in known:
            found = float(allowed[known[token]])
            return found, max(float(drawn[known[token]]), found)
        guess = least - _SURPRISE - _FURTHER * float(np.log1p(rank))
        return guess, guess

    def _drawn(self, allowed: Floats) -> Floats:
        """Return the search keys of candidates: log-probabilities, with Gumbel noise added when sampling."""
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
        """Return the poems that the next line starts from; the ``n`` poems of best of n do not compete."""
        if self._poems > 1:
            return best_of_each(ended, 1, self._value)
        best = best_of_each(ended, self._width, self._value, apart=lambda poem: poem.last_word)
        return sorted(best, key=self._value, reverse=True)[: self._width]

    def _value(self, poem: Partial) -> float:
        return float(poem.score / len(poem.tokens) ** self._penalty)
