"""Greedy search, beam search and sampling as torch modules; each search exports to one ONNX ``Loop``.

Each search chooses among the candidates of a :class:`DecoderStep` that the :class:`Rules` allow. Options are tensors
with one value per row. :mod:`img2poem.decoding.search` has the same searches in numpy, over served steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..decoding import strategies
from ..decoding.strategies import MAX_BEAM_WIDTH, TOP_TOKENS
from ..text.orthography import Orthography
from ..text.vocabulary import ALWAYS, EOS, PAD, PERIOD
from .poem_decoder import Condition, PoemDecoder
from .rules import NEVER, Candidates, History, Limits, RowOptions, Rules

State = tuple[Tensor, ...]


class Hypotheses(NamedTuple):
    """Result of a search, one poem per row."""

    tokens: Tensor  # int64 [B, T], with the end token, then padding
    scores: Tensor  # float32 [B], log-probability / length; beam search divides by length ** length_penalty
    lengths: Tensor  # int64 [B], with the end token


class Search(nn.Module):
    """Base of the searches: the decoder step and the rules."""

    def __init__(self, decoder: PoemDecoder, pieces: Sequence[str]) -> None:
        super().__init__()
        orthography = Orthography.of(decoder.config, pieces)
        self.step = DecoderStep(decoder, orthography)
        self.rules = Rules(orthography)


class GreedySearch(Search):
    """Greedy search: the most likely allowed token at each step."""

    def forward(self, embedding: Tensor, options: RowOptions) -> Hypotheses:
        """Embeddings ``float32 [B, embedding_dim]`` to :class:`Hypotheses`; stops when every poem has ended."""
        return _one_path(self, embedding, options, lambda allowed, step: allowed.argmax(-1, keepdim=True))


class BeamSearch(Search):
    """Beam search that keeps the best finished hypothesis apart from the active beams.

    A row is done when ``beam_width`` hypotheses have finished. A finished hypothesis counts if it is among the
    ``beam_width`` best continuations of its step. ``width`` is the largest beam width; rows may use less.
    """

    beam: Tensor  # int64 [width * C], the beam of each candidate

    def __init__(self, decoder: PoemDecoder, pieces: Sequence[str], width: int = MAX_BEAM_WIDTH) -> None:
        super().__init__(decoder, pieces)
        self.width = width
        # A look-up table exports as one operator, an integer division as seven.
        beams = torch.arange(width).repeat_interleave(self.step.width)
        self.register_buffer("beam", beams, persistent=False)

    def forward(self, embedding: Tensor, options: RowOptions, beam_width: Tensor, length_penalty: Tensor) -> Hypotheses:
        """As :meth:`GreedySearch.forward`, with ``beam_width`` int64 ``[B]`` and ``length_penalty`` float32 ``[B]``."""
        decoder, width = self.step.decoder, self.width
        rows, steps = embedding.shape[0], decoder.config.max_tokens
        device = embedding.device
        rank = torch.arange(2 * width, device=device)
        in_width = rank < beam_width.unsqueeze(1)
        beyond = torch.where(in_width[:, :width], 0.0, NEVER)
        state, context = decoder.parted(decoder.init(embedding).repeat_interleave(width, dim=0))
        condition, beam_options = decoder.condition(context), options.repeated(width)
        limits, history = Limits.of(beam_options, steps, self.rules.size), History.begin(beam_options, steps)
        first_beam = torch.arange(rows, device=device).unsqueeze(1) * width
        places, penalty = torch.arange(steps, device=device), length_penalty.unsqueeze(1)
        carried = (
            torch.zeros((), dtype=torch.int64, device=device),
            *history,
            state,
            torch.where(rank[:width] == 0, 0.0, NEVER).repeat(rows, 1),
            torch.full((rows, steps), PAD, dtype=torch.int64, device=device),
            torch.full((rows,), NEVER, device=device),
            torch.zeros(rows, dtype=torch.int64, device=device),
        )

        def going(step: Tensor, *carried: Tensor) -> Tensor:
            return (step < steps) & (carried[-1] < beam_width).any()

        def body(step: Tensor, *carried: Tensor) -> State:
            history, (state, scores, best, best_score, ended) = History(*carried[:-5]), carried[-5:]
            candidates, after = self.step(history.previous, state, condition, limits.always)
            allowed = self.rules(candidates, history, limits)
            count = allowed.shape[1]
            likeliest = (scores.view(-1, 1) + allowed).view(-1, width * count).topk(2 * width, dim=-1)
            token = candidates.tokens.view(-1, width * count).gather(1, likeliest.indices)
            parent = self.beam[likeliest.indices] + first_beam

            length = (step + 1).to(scores.dtype)
            ended_scores = torch.where((token == EOS) & in_width, likeliest.values, NEVER) / length**penalty
            top = ended_scores.max(dim=-1)
            better = (top.values > best_score) & (ended < beam_width)
            ended_tokens = history.tokens.index_select(0, parent.gather(1, top.indices.unsqueeze(1)).squeeze(1))
            ended_tokens = torch.where(places == step, EOS, ended_tokens)
            best = torch.where(better.unsqueeze(1), ended_tokens, best)
            best_score = torch.where(better, top.values, best_score)

            alive = torch.where(token == EOS, NEVER, likeliest.values).topk(width, dim=-1)
            scores = alive.values + beyond
            index = parent.gather(1, alive.indices).flatten()
            history = history.rows(index).then(token.gather(1, alive.indices).view(-1, 1), limits)
            ended = ended + (ended_scores > NEVER).sum(1)
            return step + 1, *history, after.index_select(0, index), scores, best, best_score, ended

        *_, best, best_score, _ = loop(going, body, carried)
        return Hypotheses(best, best_score, (best != PAD).sum(1))


class Sampling(Search):
    """Samples each token from the allowed candidates of its step, with noise from the caller.

    It uses the Gumbel-max trick (Gumbel 1954): with ``noise`` uniform in (0, 1), the argmax of
    ``log_prob / temperature - log(-log(noise))`` is a sample from the softmax. The noise of a step is assigned by rank,
    to the most likely candidate first, so the same noise gives the same poem on every engine.
    """

    def forward(
        self, embedding: Tensor, options: RowOptions, temperature: Tensor, top_k: Tensor, top_p: Tensor, noise: Tensor
    ) -> Hypotheses:
        """As :meth:`GreedySearch.forward`.

        Args:
            embedding: float32 ``[B, embedding_dim]``.
            options: options of the rules.
            temperature: float32 ``[B]``, above 0.
            top_k: int64 ``[B]``: sample only from this many most likely candidates (Fan et al. 2018).
            top_p: float32 ``[B]``: sample only from the most likely candidates that together reach this probability,
                at least one (nucleus sampling, Holtzman et al. 2020).
            noise: float32 ``[B, max_tokens, TOP_TOKENS]``, uniform in (0, 1).
        """
        gumbel = gumbel_of(noise)

        def choose(allowed: Tensor, step: Tensor) -> Tensor:
            return draw(allowed, temperature, top_k, top_p, gumbel.index_select(1, step.view(1)).squeeze(1))

        return _one_path(self, embedding, options, choose)


#: The search of each strategy, by its name; takes the decoder and its vocabulary.
SEARCHES: dict[str, Callable[[PoemDecoder, Sequence[str]], GreedySearch | BeamSearch | Sampling]] = {
    strategies.Greedy.name: GreedySearch,
    strategies.BeamSearch.name: BeamSearch,
    strategies.Sampling.name: Sampling,
}


def gumbel_of(noise: Tensor) -> Tensor:
    """Transform uniform noise in (0, 1) to Gumbel noise."""
    return -(-noise.log()).log()


def draw(allowed: Tensor, temperature: Tensor, top_k: Tensor, top_p: Tensor, gumbel: Tensor) -> Tensor:
    """Sample one candidate per row; return their indices, int64 ``[N, 1]``.

    Args:
        allowed: float32 ``[N, C]``, log-probabilities of the candidates.
        temperature: float32 ``[N]``.
        top_k: int64 ``[N]``.
        top_p: float32 ``[N]``.
        gumbel: float32 ``[N, TOP_TOKENS]``, from :func:`gumbel_of`.
    """
    width = allowed.shape[1]
    rank = torch.arange(width, device=allowed.device)
    top = allowed.topk(width, dim=-1)
    cooled = top.values / temperature.unsqueeze(1)
    probabilities = cooled.softmax(-1)
    before = probabilities.cumsum(-1) - probabilities
    kept = (rank < top_k.unsqueeze(1)) & ((before < top_p.unsqueeze(1)) | (rank == 0))
    pick = torch.where(kept, cooled + gumbel[:, :width], NEVER).argmax(-1, keepdim=True)
    return top.indices.gather(1, pick)


class DecoderStep(nn.Module):
    """One decoder step that returns the most likely tokens as candidates, never the whole vocabulary."""

    row: Tensor
    follows: Tensor

    def __init__(self, decoder: PoemDecoder, orthography: Orthography) -> None:
        super().__init__()
        self.decoder = decoder
        self.register_buffer("row", torch.from_numpy(orthography.row), persistent=False)
        follows = torch.where(torch.from_numpy(orthography.allowed), 0.0, NEVER)
        self.register_buffer("follows", follows, persistent=False)
        #: Candidates per step: ``TOP_TOKENS``, or fewer if the vocabulary is smaller.
        self.width = min(TOP_TOKENS, len(orthography.pieces) - PERIOD - 1 + len(ALWAYS))

    def forward(self, token: Tensor, state: Tensor, condition: Condition, always: Tensor) -> tuple[Candidates, Tensor]:
        """``token int64 [B, 1]`` and ``state float32 [B, S]`` to the candidates and the next state.

        Candidates are the most likely tokens that may follow ``token``, by falling probability, then ``always [B, 4]``,
        the tokens of ``ALWAYS``, which the rules may force although they are unlikely. Log-probabilities are normalised
        over all tokens that may follow, with newline and end token. If fewer tokens may follow than there are
        candidates, the others have log-probability ``-inf``.
        """
        last, first = token.squeeze(1), PERIOD + 1
        features, state = self.decoder.cell(last, state, condition)
        logits = self.decoder.logits(features) + self.follows[self.row[last]]
        words = logits[:, first:].topk(self.width - len(ALWAYS), dim=-1).indices + first
        tokens = torch.cat([words, always], dim=1)
        # Not `logsumexp`: in ONNX Runtime it takes five times as long and is less exact.
        return Candidates(words, tokens, logits.log_softmax(-1).gather(1, tokens)), state


def _one_path(
    search: Search, embedding: Tensor, options: RowOptions, choose: Callable[[Tensor, Tensor], Tensor]
) -> Hypotheses:
    """Decode one poem per row; ``choose(allowed, step)`` returns the index ``[N, 1]`` of the next candidate."""
    decoder = search.step.decoder
    rows, steps, device = embedding.shape[0], decoder.config.max_tokens, embedding.device
    state, context = decoder.parted(decoder.init(embedding))
    condition, limits = decoder.condition(context), Limits.of(options, steps, search.rules.size)
    carried = (
        torch.zeros((), dtype=torch.int64, device=device),
        *History.begin(options, steps),
        state,
        torch.zeros(rows, 1, device=device),
        torch.zeros(rows, 1, dtype=torch.bool, device=device),
    )

    def going(step: Tensor, *carried: Tensor) -> Tensor:
        return (step < steps) & ~carried[-1].all()

    def body(step: Tensor, *carried: Tensor) -> State:
        history, (state, score, ended) = History(*carried[:-3]), carried[-3:]
        candidates, state = search.step(history.previous, state, condition, limits.always)
        allowed = search.rules(candidates, history, limits)
        chosen = choose(allowed, step)
        token = torch.where(ended, PAD, candidates.tokens.gather(1, chosen))
        score = torch.where(ended, score, score + allowed.gather(1, chosen))
        return step + 1, *history.then(token, limits), state, score, ended | (token == EOS)

    _, *found, _, score, _ = loop(going, body, carried)
    tokens = History(*found).tokens
    lengths = (tokens != PAD).sum(1)
    return Hypotheses(tokens, score.squeeze(1) / lengths, lengths)


def loop(condition: Callable[..., Tensor], body: Callable[..., State], state: State) -> State:
    """Run ``torch.while_loop`` when exporting, a Python loop otherwise (an eager ``while_loop`` would compile)."""
    if torch.compiler.is_exporting():
        return torch.while_loop(condition, body, state)
    while bool(condition(*state)):
        state = body(*state)
    return state
