"""Small random models, for tests of mechanics that need no trained weights."""

from __future__ import annotations

import torch
from torch import Tensor

from img2poem.artifacts.package import DecoderConfig
from img2poem.decoding.strategies import MAX_FORBIDDEN
from img2poem.nn.poem_decoder import PoemDecoder
from img2poem.nn.rules import RowOptions
from img2poem.text.orthography import Orthography
from img2poem.text.vocabulary import PAD, PUNCTUATION, SPECIAL_TOKENS, SUFFIXES

EMBEDDING_DIM = 12
STEPS = 24
WORDS = (
    "the sea is wide and blue old sun on a hill where birds sing low of love or loss in rain by night we go don isn can"
)
PIECES = [*SPECIAL_TOKENS, *PUNCTUATION, *SUFFIXES, "7", "##ly", *WORDS.split()]
CONTRACTIONS = ["can't", "don't", "isn't", "we'd", "we'll", "we're", "we've"]
STEMS = ["don", "isn"]
ORTHOGRAPHY = Orthography(PIECES, CONTRACTIONS, STEMS)


def small_decoder(seed: int = 0, layers: int = 1, vocabulary_size: int = len(PIECES)) -> PoemDecoder:
    torch.manual_seed(seed)
    config = DecoderConfig(
        vocabulary_size=vocabulary_size,
        token_dim=8,
        context_dim=6,
        hidden_dim=10,
        layers=layers,
        dropout=0.2,
        max_tokens=STEPS,
        contractions=CONTRACTIONS,
        stems=STEMS,
    )
    decoder = PoemDecoder(config, EMBEDDING_DIM)
    # Fresh layers give nearly equal probabilities; larger weights separate the tokens.
    for parameter in decoder.parameters():
        parameter.data.mul_(3)
    return decoder.eval().requires_grad_(False)


def embeddings(rows: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(rows, EMBEDDING_DIM, generator=generator), dim=-1)


def options(rows: int, **changed: float) -> RowOptions:
    values: dict[str, float] = {
        "min_lines": 2,
        "max_lines": 4,
        "max_tokens": STEPS,
        "max_line_tokens": 6,
        "no_repeat_ngram": 3,
        "repetition_penalty": 1.2,
        **changed,
    }
    return RowOptions(
        *(torch.full((rows,), value) for value in values.values()), torch.full((rows, MAX_FORBIDDEN), PAD)
    )


def step(decoder: PoemDecoder, token: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """One step: from ``int64 [B]`` and ``hidden`` to the log-probabilities of all tokens and the next ``hidden``."""
    logits, after = decoder.advance(token, hidden)
    return logits.log_softmax(-1), after
