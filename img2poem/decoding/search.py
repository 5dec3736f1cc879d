"""Greedy search, beam search and sampling in numpy, over the served decoder steps.

The same searches as :mod:`img2poem.nn.search`, written as flows over the served models ``decoder_init`` and
``decoder_step``: the same options give the same tokens. Options are the tensors of
:meth:`img2poem.decoding.strategies.Strategy.tensors`, with noise instead of the seed
(:func:`img2poem.decoding.noise.drawn`). Each poem is one row; rows may differ in every option.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..requests import Flow, Line, ModelInfo, infer_rows
from ..text.orthography import FINAL, LINE_END, OPEN, POEM_END, WORD, Orthography
from ..text.presentation import text_of
from ..text.vocabulary import BOS, EOS, MAX_NGRAM, NEWLINE, PAD
from .registry import RULE_OPTIONS
from .strategies import MAX_TOKENS, BeamSearch, Greedy, Sampling, Strategy

Array = NDArray[Any]
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: Log-probability of a banned token.
NEVER = np.float32(-np.inf)


class Hypotheses(NamedTuple):
    """Result of a search, one poem per row."""

    tokens: Ints  # [B, T], with the end token, then padding
    scores: Floats  # [B], log-probability / length; beam search divides by length ** length_penalty
    lengths: Ints  # [B], with the end token


class Searches:
    """Greedy search, beam search and sampling over the served steps of one decoder.

    Greedy search and sampling of a single poem yield each :class:`img2poem.requests.Line` as soon as it is complete.

    Args:
        orthography: of the decoder's vocabulary.
        most_rows: largest batch of the decoder's served steps.
    """

    def __init__(self, orthography: Orthography, most_rows: int = ModelInfo.max_batch) -> None:
        self.orthography = orthography
        self._most_rows = most_rows

    def init(self, embedding: Floats) -> Flow[Floats]:
        """Run ``decoder_init``: embeddings ``[B, embedding_dim]`` to the initial ``hidden [B, S]``."""
        [hidden] = yield from infer_rows("decoder_init", {"embedding": embedding}, ["hidden"], self._most_rows)
        return hidden

    def advance(self, token: Ints, hidden: Floats) -> Flow[tuple[Floats, Ints, Floats]]:
        """Run ``decoder_step``: ``token [N, 1]``, ``hidden [N, S]`` to log-probabilities, candidates, next ``hidden``.

        Log-probabilities and candidate tokens are ``[N, C]``.
        """
        outputs = ("top_logprobs", "top_tokens", "next_hidden")
        found = yield from infer_rows("decoder_step", {"token": token, "hidden": hidden}, outputs, self._most_rows)
        log_probs, tokens, after = found
        return log_probs, tokens, after

    def of(self, strategy: Strategy) -> Callable[[Floats, Mapping[str, Array]], Flow[Hypotheses]]:
        """Return the search of a strategy."""
        return {Greedy: self.greedy, BeamSearch: self.beam, Sampling: self.sample}[type(strategy)]

    def greedy(self, embedding: Floats, options: Mapping[str, Array]) -> Flow[Hypotheses]:
        """Choose the most likely allowed candidate at each step, for ``embedding [B, embedding_dim]``."""
        return self._one_path(embedding, options, lambda allowed, step: allowed.argmax(1)[:, None])

    def sample(self, embedding: Floats, options: Mapping[str, Array]) -> Flow[Hypotheses]:
        """Sample from each step's candidates with ``noise [B, T, C]``; see :class:`img2poem.nn.search.Sampling`."""
        temperature, top_k, top_p, noise = (options[name] for name in ("temperature", "top_k", "top_p", "noise"))

        def choose(allowed: Floats, step: int) -> Ints:
            order = np.argsort(-allowed, axis=1, kind="stable")
            rank = np.arange(order.shape[1])
            cooled = np.take_along_axis(allowed, order, 1) / temperature
            probabilities = np.exp(cooled - cooled[:, :1])
            probabilities /= probabilities.sum(1, keepdims=True)
            before = probabilities.cumsum(1) - probabilities
            kept = (rank < top_k) & ((before < top_p) | (rank == 0))
            drawn = noise[:, step, : order.shape[1]]
            pick = np.where(kept, cooled - np.log(-np.log(drawn)), NEVER).argmax(1)
            return np.take_along_axis(order, pick[:, None], 1)

        return self._one_path(embedding, options, choose)

    def beam(self, embedding: Floats, options: Mapping[str, Array]) -> Flow[Hypotheses]:
        """Beam search with ``beam_width`` and ``length_penalty``; see :class:`img2poem.nn.search.BeamSearch`."""
        beam_width, length_penalty = options["beam_width"].astype(np.int64), options["length_penalty"]
        rows, width = len(embedding), int(beam_width.max())
        rank = np.arange(2 * width)
        in_width = rank < beam_width
        rules = self.rules(options, width)
        hidden = np.repeat((yield from self.init(embedding)), width, axis=0)
        tokens = np.full((rows * width, MAX_TOKENS), PAD, np.int64)
        scores = np.where(rank[:width] == 0, np.float32(0), NEVER) * np.ones((rows, 1), np.float32)
        best, best_score = np.full((rows, MAX_TOKENS), PAD, np.int64), np.full(rows, NEVER)
        ended = np.zeros(rows, np.int64)
        for step in range(MAX_TOKENS):
            if (ended >= beam_width[:, 0]).all():
                break
            log_probs, candidates, after = yield from self.advance(_previous(tokens, step), hidden)
            allowed = rules(log_probs, candidates, tokens, step)
            count = allowed.shape[1]
            total = (scores.reshape(-1, 1) + allowed).reshape(rows, width * count)
            likeliest = np.argsort(-total, axis=1, kind="stable")[:, : 2 * width]
            values = np.take_along_axis(total, likeliest, 1)
            token = np.take_along_axis(candidates.reshape(rows, -1), likeliest, 1)
            parent = likeliest // count + width * np.arange(rows)[:, None]
            grown = tokens[parent]
            grown[:, :, step] = token

            ends = (token == EOS) & in_width & (values > NEVER)
            final = np.where(ends, values, NEVER) / np.float32(step + 1) ** length_penalty
            top = final.argmax(1)
            top_score = final[np.arange(rows), top]
            better = (top_score > best_score) & (ended < beam_width[:, 0])
            best[better] = grown[np.arange(rows), top][better]
            best_score[better] = top_score[better]
            ended += ends.sum(1)

            growing = np.where(token == EOS, NEVER, values)
            alive = np.argsort(-growing, axis=1, kind="stable")[:, :width]
            scores = np.where(in_width[:, :width], np.take_along_axis(growing, alive, 1), NEVER)
            hidden = after[np.take_along_axis(parent, alive, 1).reshape(-1)]
            tokens = np.take_along_axis(grown, alive[:, :, None], 1).reshape(rows * width, -1)
        return Hypotheses(best, best_score, (best != PAD).sum(1))

    def rules(self, options: Mapping[str, Array], times: int = 1) -> Rules:
        """Return the rules for ``options``, each row repeated ``times`` times."""
        return Rules(self.orthography, options, times)

    def _last_line(self, tokens: Ints) -> Line:
        # Render the whole poem: the previous line decides whether this one begins with a capital.
        index = int((tokens[:-1] == NEWLINE).sum())
        lines = text_of(tokens.tolist(), self.orthography.pieces).split("\n")
        return Line(index, "".join(lines[index : index + 1]))

    def _one_path(
        self, embedding: Floats, options: Mapping[str, Array], choose: Callable[[Floats, int], Ints]
    ) -> Flow[Hypotheses]:
        """Decode one poem per row; ``choose(allowed, step)`` returns the index ``[B, 1]`` of the next candidate."""
        rules, rows = self.rules(options), len(embedding)
        hidden = yield from self.init(embedding)
        tokens = np.full((rows, MAX_TOKENS), PAD, np.int64)
        score, ended = np.zeros(rows, np.float32), np.zeros(rows, bool)
        for step in range(MAX_TOKENS):
            if ended.all():
                break
            log_probs, candidates, hidden = yield from self.advance(_previous(tokens, step), hidden)
            allowed = rules(log_probs, candidates, tokens, step)
            chosen = choose(allowed, step)
            tokens[:, step] = np.where(ended, PAD, np.take_along_axis(candidates, chosen, 1)[:, 0])
            score = np.where(ended, score, score + np.take_along_axis(allowed, chosen, 1)[:, 0])
            ended |= tokens[:, step] == EOS
            if rows == 1 and tokens[0, step] in (NEWLINE, EOS):
                yield self._last_line(tokens[0, : step + 1])
        lengths = (tokens != PAD).sum(1)
        return Hypotheses(tokens, score / lengths.astype(np.float32), lengths)


class Rules:
    """The rules of :class:`img2poem.nn.rules.Rules` in numpy, for one batch of options.

    Args:
        orthography: of the decoder's vocabulary.
        options: option tensors, one row per poem.
        times: hypotheses per poem, in adjacent rows.
    """

    def __init__(self, orthography: Orthography, options: Mapping[str, Array], times: int = 1) -> None:
        self._orthography = orthography
        rows = {name: np.repeat(options[name], times, axis=0) for name in RULE_OPTIONS}
        self._forbidden = rows.pop("forbidden_tokens")
        self._penalty = rows["repetition_penalty"].astype(np.float32)
        self._limits = {name: value.astype(np.int64) for name, value in rows.items() if name != "repetition_penalty"}

    def __call__(self, log_probs: Floats, candidates: Ints, tokens: Ints, step: int) -> Floats:
        """Mask and reweight ``log_probs [N, C]`` of ``candidates``, given the tokens before ``step`` of ``[N, T]``."""
        log_probs_of_end = np.where(candidates == EOS, log_probs, NEVER)
        log_probs = self._without_repeats(log_probs, candidates, tokens[:, :step])
        banned = np.take_along_axis(self._banned(tokens, step), self._orthography.kind[candidates], 1)
        masked = np.where(banned, NEVER, log_probs)
        stuck = masked.max(1, keepdims=True) == NEVER
        return np.where(stuck, log_probs_of_end, masked)

    def _banned(self, tokens: Ints, step: int) -> Bools:
        """Return the banned kinds of tokens, bool ``[N, 5]``; a token needs room for the tokens that must follow it."""
        limits = self._limits
        newlines = tokens[:, :step] == NEWLINE
        lines = newlines.sum(1, keepdims=True) + 1
        line_tokens = step - 1 - np.where(newlines, np.arange(step), -1).max(1, keepdims=True, initial=-1)
        previous = _previous(tokens, step)
        unfinished, final = self._orthography.unfinished[previous], self._orthography.final[previous]
        room = limits["max_tokens"] - 1 - step
        line_room = limits["max_line_tokens"] - line_tokens
        kinds = {
            WORD: (room <= 1) | (line_room <= 0),
            OPEN: (room <= 2) | (line_room <= 1) | unfinished,
            FINAL: room <= 0,
            LINE_END: (room <= 2) | (line_tokens == 0) | (lines >= limits["max_lines"]) | unfinished,
            POEM_END: (room > 0) & ~((lines >= limits["min_lines"]) & final),
        }
        return np.concatenate([kinds[kind] for kind in sorted(kinds)], axis=1)

    def _without_repeats(self, log_probs: Floats, candidates: Ints, said: Ints) -> Floats:
        words = self._orthography.words[candidates]
        used = candidates[:, :, None] == said[:, None]
        penalised = self._orthography.penalised[candidates]
        log_probs = log_probs - used.sum(2).astype(np.float32) * penalised * np.log(self._penalty)
        padded = np.pad(said, ((0, 0), (2, 0)), constant_values=PAD)
        last = np.where(padded[:, -1:] == NEWLINE, padded[:, -2:-1], padded[:, -1:])
        stutter = (candidates == last) & (self._penalty != 1)
        seen = (used & self._repeating(said)[:, None]).any(2)
        forbidden = (candidates[:, :, None] == self._forbidden[:, None]).any(2)
        return np.where(words & (stutter | seen | forbidden), NEVER, log_probs)

    def _repeating(self, said: Ints) -> Bools:
        """Return bool ``[N, step]``: positions whose token, if it came next, would repeat an n-gram."""
        rows, step = said.shape
        repeats, same = np.zeros((rows, step), bool), np.ones((rows, step), bool)
        for k in range(1, min(MAX_NGRAM, step)):
            same[:, :k] = False
            same[:, k:] &= said[:, :-k] == said[:, -k, None]
            repeats |= same & (self._limits["no_repeat_ngram"] == k + 1)
        return repeats


def _previous(tokens: Ints, step: int) -> Ints:
    """Return the token before ``step`` in each row, ``[N, 1]``; BOS at step 0."""
    return tokens[:, step - 1 : step] if step else np.full((len(tokens), 1), BOS)
