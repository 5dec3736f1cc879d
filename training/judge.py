"""The reward of adversarial training: both discriminators, their training data, and the reward that they give."""

from __future__ import annotations

import random
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from img2poem.nn.discriminators import (
    DISORDERED,
    GENERATED,
    PAIRED,
    POETIC,
    PROSE,
    STYLE_GENERATED,
    UNPAIRED,
    MultiModalDiscriminator,
    StyleDiscriminator,
)
from img2poem.nn.poem_encoder import PoemEncoder, pad
from img2poem.text.vocabulary import BOS, EOS, NEWLINE, PAD

from .texts import Points


class Weights(NamedTuple):
    """Weights of the reward's terms."""

    multi_modal: float
    style: float
    alignment: float


class Human(NamedTuple):
    """Human texts for the discriminators; token ids without begin tokens, padded."""

    photos: Tensor  # float32 [B, D]
    poems: Tensor  # int64 [B, T], about the photographs
    disordered: Tensor  # int64 [B, T]
    prose: Tensor  # int64 [B, T]


class Judge(nn.Module):
    """Both discriminators, with the frozen aligner that embeds poems for the multi-modal one."""

    def __init__(self, aligner: PoemEncoder, vocabulary_size: int, embedding_dim: int) -> None:
        super().__init__()
        self.multi_modal = MultiModalDiscriminator(vocabulary_size, embedding_dim)
        self.style = StyleDiscriminator(vocabulary_size)
        # In a list, so that the frozen aligner stays out of parameters and checkpoints.
        self._aligner = [aligner]

    @torch.no_grad()
    def embed(self, tokens: Tensor) -> Tensor:
        """Return the aligner's embeddings ``float32 [B, D]`` of poems ``int64 [B, T]`` without begin tokens."""
        ids = torch.cat([torch.full_like(tokens[:, :1], BOS), tokens], dim=1)
        aligner = self._aligner[0].to(tokens.device)
        with torch.autocast(tokens.device.type, torch.bfloat16):
            return aligner(ids, (ids != PAD).long()).float()

    @torch.no_grad()
    def reward(self, photos: Tensor, tokens: Tensor, points: Tensor, weights: Weights) -> Tensor:
        """Return the reward of poems, ``float32 [B]``: the probabilities of "paired" and "poetic", and the cosine.

        ``points`` are the poems' embeddings by :meth:`embed`.
        """
        self.eval()
        paired = self.multi_modal(photos, points, tokens).float().softmax(-1)[:, PAIRED]
        poetic = self.style(tokens).float().softmax(-1)[:, POETIC]
        cosine = (photos * points).sum(-1)
        return weights.multi_modal * paired + weights.style * poetic + weights.alignment * cosine

    def loss(self, human: Human, human_points: Tensor, photos: Tensor, generated: Tensor, points: Tensor) -> Tensor:
        """Return the cross-entropy of both discriminators on human texts and poems generated about ``photos``.

        ``human_points`` and ``points`` are the poems' embeddings by :meth:`embed`.
        """
        self.train()
        multi_modal = [
            (PAIRED, self.multi_modal(human.photos, human_points, human.poems)),
            (UNPAIRED, self.multi_modal(human.photos.roll(1, 0), human_points, human.poems)),
            (GENERATED, self.multi_modal(photos, points, generated)),
        ]
        style = [
            (POETIC, self.style(human.poems)),
            (DISORDERED, self.style(human.disordered)),
            (PROSE, self.style(human.prose)),
            (STYLE_GENERATED, self.style(generated)),
        ]
        return _cross_entropy(multi_modal) + _cross_entropy(style)


def human_texts(
    poems: list[tuple[int, list[int]]], captions: list[list[tuple[int, list[int]]]], points: Points, count: int
) -> Human:
    """Draw ``count`` written poems with their photographs, and captions of as many photographs as prose.

    Args:
        poems: photograph (with pixels) and token ids of each poem.
        captions: photograph and token ids of each caption, grouped by photograph.
        points: the photographs' embeddings.
        count: number of poems.
    """
    drawn = [poems[i] for i in torch.randint(len(poems), (count,)).tolist()]
    prose = [captions[i] for i in torch.randint(len(captions), (count,)).tolist()]
    shuffle = random.Random(int(torch.randint(2**31, ())))
    return Human(
        points.photos[torch.tensor([photo for photo, _ in drawn])],
        _padded([ids for _, ids in drawn]),
        _padded([_disordered(ids, shuffle) for _, ids in drawn]),
        _padded([_joined([ids for _, ids in own]) for own in prose]),
    )


def _cross_entropy(parts: list[tuple[int, Tensor]]) -> Tensor:
    labels = [torch.full((len(logits),), label, device=logits.device) for label, logits in parts]
    return F.cross_entropy(torch.cat([logits for _, logits in parts]).float(), torch.cat(labels))


def _disordered(tokens: list[int], shuffle: random.Random) -> list[int]:
    """Return the lines of a poem in a different order."""
    lines: list[list[int]] = [[]]
    for token in tokens:
        if token == NEWLINE:
            lines.append([])
        else:
            lines[-1].append(token)
    shuffled = lines.copy()
    while shuffled == lines and len(set(map(tuple, lines))) > 1:
        shuffle.shuffle(shuffled)
    return _joined(shuffled)


def _joined(lines: list[list[int]]) -> list[int]:
    joined = [token for line in lines for token in (*line, NEWLINE)]
    return joined[:-1]


def _padded(rows: list[list[int]]) -> Tensor:
    return pad([[*row, EOS] for row in rows], PAD)[0]
