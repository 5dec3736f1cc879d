"""Wrappers that give the torch modules the tensors of the served contract.

The first axis of every tensor is the batch. A scalar per row has the shape ``[B, 1]``, which Triton's configs can
express. Inputs pass through :mod:`export.bounds`, so that no row fails a batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from img2poem.decoding.registry import SAMPLE_OPTIONS
from img2poem.nn.image_encoder import ImageEncoder
from img2poem.nn.lines import LineDecoder, Prefix
from img2poem.nn.poem_decoder import PoemDecoder
from img2poem.nn.poem_encoder import PoemEncoder
from img2poem.nn.rerank import Rerank
from img2poem.nn.rules import NEVER, RowOptions
from img2poem.nn.search import BeamSearch, DecoderStep, GreedySearch, Sampling
from img2poem.text.orthography import Orthography
from img2poem.text.vocabulary import ALWAYS, PAD

from . import bounds


class ServedImageEncoder(nn.Module):
    """The three encoders and the projection as one graph."""

    def __init__(self, encoder: ImageEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.encoder(pixels))


class ServedEncoder(nn.Module):
    """One encoder alone: its features, and its scores, which :class:`ServedImageEncoder` returns too."""

    def __init__(self, encoder: ImageEncoder, name: str) -> None:
        super().__init__()
        self.normalise = encoder.normalise
        self.trunk = encoder.trunks[encoder.encoders[name].trunk]
        self.head = encoder.heads[name]
        self.probabilities = name != "sentiment"

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        features, logits = self.head(self.trunk(self.normalise(pixels)))
        return features, logits.softmax(-1) if self.probabilities else logits


class ServedPoemEncoder(nn.Module):
    """The aligner's text encoder."""

    def __init__(self, encoder: PoemEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        size = self.encoder.bert.config.vocab_size
        return self.encoder(bounds.token_ids(input_ids, size), attention_mask.clamp(0, 1))


class ServedDecoderInit(nn.Module):
    """From the embedding to the initial recurrent state."""

    def __init__(self, decoder: PoemDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, embedding: Tensor) -> Tensor:
        return self.decoder.init(bounds.embedding(embedding))


class ServedDecoderStep(nn.Module):
    """:class:`DecoderStep` with the whole state as ``hidden``, for searches that run in the client.

    Padding replaces candidates of probability 0, which occur if fewer tokens are allowed than requested.
    """

    always: Tensor

    def __init__(self, decoder: PoemDecoder, pieces: Sequence[str]) -> None:
        super().__init__()
        self.step = DecoderStep(decoder, Orthography.of(decoder.config, pieces))
        self.register_buffer("always", torch.tensor([ALWAYS]), persistent=False)

    def forward(self, token: Tensor, hidden: Tensor) -> tuple[Tensor, ...]:
        decoder, always = self.step.decoder, self.always.expand(token.shape[0], -1)
        state, context = decoder.parted(bounds.state(hidden))
        token = bounds.token_ids(token, decoder.config.vocabulary_size)
        candidates, state = self.step(token, state, decoder.condition(context), always)
        tokens = torch.where(candidates.log_probs == NEVER, PAD, candidates.tokens)
        return candidates.log_probs, tokens, decoder.joined(state, context)


class ServedSearch(nn.Module):
    """A search with its options as ``[B, 1]`` tensors.

    ``condition`` repeats the embedding for the ensemble's outputs; see :func:`export.ensembles.ensemble_config`.

    Args:
        search: returns the hypotheses.
        names: names of its options, in order; later inputs are noise.
    """

    def __init__(self, search: GreedySearch | BeamSearch | Sampling, names: Sequence[str]) -> None:
        super().__init__()
        self.search, self.names = search, names

    def forward(self, embedding: Tensor, *options: Tensor) -> tuple[Tensor, ...]:
        rules, rest = _rows(options, self.names)
        tokens, scores, lengths = self.search(bounds.embedding(embedding), rules, *rest)
        return tokens, scores.unsqueeze(1), lengths.unsqueeze(1), embedding.clone()


class ServedLine(nn.Module):
    """:class:`LineDecoder` with its scores and options as ``[B, 1]`` tensors."""

    def __init__(self, decoder: LineDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(
        self, embedding: Tensor, tokens: Tensor, hidden: Tensor, score: Tensor, *options: Tensor
    ) -> tuple[Tensor, ...]:
        rules, rest = _rows(options, SAMPLE_OPTIONS, may_be_greedy=True)
        tokens = bounds.token_ids(tokens, self.decoder.step.decoder.config.vocabulary_size)
        prefix = Prefix(tokens, bounds.state(hidden), score.squeeze(1))
        after = self.decoder(bounds.embedding(embedding), prefix, rules, *rest)
        return after.tokens, after.hidden, after.score.unsqueeze(1)


class ServedCandidates(nn.Module):
    """Several samples per row; the noise ``[B, n, T, C]`` sets their number."""

    def __init__(self, search: Sampling) -> None:
        super().__init__()
        self.search = search

    def forward(self, embedding: Tensor, *options: Tensor) -> tuple[Tensor, ...]:
        *own, noise = options
        count = noise.shape[1]
        # Not `repeat`, which the exporter freezes at the example's batch size.
        embeddings = bounds.embedding(embedding).unsqueeze(1).expand(-1, count, -1).flatten(0, 1)
        rows = [option.unsqueeze(1).expand(-1, count, -1).flatten(0, 1) for option in own]
        rules, rest = _rows([*rows, noise.flatten(0, 1)], SAMPLE_OPTIONS)
        tokens, scores, lengths = self.search(embeddings, rules, *rest)
        return tokens.view(-1, count, tokens.shape[1]), scores.view(-1, count), lengths.view(-1, count)


class ServedRerank(nn.Module):
    """:class:`Rerank` with ``[B, 1]`` outputs; it repeats the embedding like :class:`ServedSearch`."""

    def __init__(self, rerank: Rerank) -> None:
        super().__init__()
        self.rerank = rerank

    def forward(
        self, candidates: Tensor, candidate_scores: Tensor, candidate_lengths: Tensor, embedding: Tensor
    ) -> tuple[Tensor, ...]:
        size = self.rerank.poem_encoder.bert.config.vocab_size
        tokens, *columns = self.rerank(
            bounds.token_ids(candidates, size),
            bounds.scores(candidate_scores),
            candidate_lengths.clamp(1, candidates.shape[2]),
            bounds.embedding(embedding),
        )
        return (tokens, *(column.unsqueeze(1) for column in columns), embedding.clone())


def _rows(
    options: Sequence[Tensor], names: Sequence[str], may_be_greedy: bool = False
) -> tuple[RowOptions, list[Tensor]]:
    """Return the rules' options, one value per row, and the search's; inputs after ``names`` are noise."""
    named = bounds.options(options[: len(names)], names, may_be_greedy)
    rows = [option.squeeze(1) if option.shape[1] == 1 else option for option in named]
    rules, noises = len(RowOptions._fields), options[len(names) :]
    return RowOptions(*rows[:rules]), [*rows[rules:], *(bounds.noise(noise) for noise in noises)]
