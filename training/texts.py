"""What the decoder reads: poems and, behind a begin token of their own, captions, as token rows in batches.

Few poems come with a photograph here, and captions teach the decoder which words a photograph calls for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from img2poem.datasets.poems import plain
from img2poem.nn.poem_encoder import pad
from img2poem.text import BOS, EOS, PAD, UNK

from .alignment import AlignmentData
from .conditions import Conditions, Mixture, conditions_of
from .corpus import photo_rows
from .parts import Parts

#: Begins a caption, as ``BOS`` begins a poem. No text holds the unknown token.
CAPTION_BOS = UNK

_POOL = 16  # batches that are drawn together and sorted by length, so that padding is little


@dataclass(frozen=True)
class Texts:
    """Token rows of poems and captions, their conditions, and which of them are learned."""

    rows: list[list[int]]  # begin token, pieces, end token
    conditions: Conditions
    modern: list[int]  # training poems of MultiM and UniM
    classic: list[int]  # training poems of the public domain
    captions: list[int]  # captions of training photographs
    held_out: Tensor  # int64, validation poems, those with captions first

    @classmethod
    def load(cls, parts: Parts, data: AlignmentData) -> Texts:
        """Tokenize the corpus.

        Raises:
            ValueError: there is nothing to train on or to validate by.
        """
        corpus, config = parts.corpus, parts.model.config.decoder
        tokenizer, limit = parts.tokenizer.limited(config.vocabulary_size), config.max_tokens - 1
        photos = photo_rows(data.photo_names, "train")
        captions = [plain(caption) for i in photos for caption in data.photo_captions[i]]
        rows = [[BOS, *ids[:limit], EOS] for ids in tokenizer.encode_batch(corpus.poem_texts())]
        rows += [[CAPTION_BOS, *ids[:limit], EOS] for ids in tokenizer.encode_batch(captions)]
        learned, held_out = corpus.rows("train"), corpus.rows("validation")
        if not learned or not held_out or not captions:
            raise ValueError("too few poems or photographs: none are left to train on or to validate by")
        held_out.sort(key=lambda i: corpus.records[i].caption is None)
        classic = [i for i in learned if corpus.records[i].key.startswith("public_domain/")]
        return cls(
            rows=rows,
            conditions=conditions_of(parts, data),
            modern=sorted(set(learned) - set(classic)),
            classic=classic,
            captions=list(range(len(corpus.records), len(rows))),
            held_out=torch.tensor(held_out),
        )

    def padded(self, rows: Tensor) -> Tensor:
        """Return token ids ``int64 [B, T]`` of texts, padded at the end."""
        return pad([self.rows[i] for i in rows.tolist()], PAD)[0]


class TextBatches(IterableDataset[tuple[Tensor, Tensor]]):
    """``count`` batches of ``ids int64 [B, T]`` and ``conditions float32 [B, D]``, decided by ``seed`` alone.

    ``modern`` is the share of the modern collections among the poems, ``captions`` that of captions among all.
    """

    def __init__(
        self, texts: Texts, mixture: Mixture, count: int, batch: int, modern: float, captions: float, seed: int
    ) -> None:
        self._texts, self._mixture, self._count, self._batch, self._seed = texts, mixture, count, batch, seed
        shares = [(texts.modern, (1 - captions) * modern), (texts.classic, (1 - captions) * (1 - modern))]
        self._groups = [(rows, share) for rows, share in [*shares, (texts.captions, captions)] if rows]

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        state = torch.Generator().manual_seed(self._seed).get_state()
        left = self._count
        while left > 0:
            # Apart from the random numbers of the model, which Lightning draws at times of its own.
            with torch.random.fork_rng(devices=[]):
                torch.set_rng_state(state)
                drawn = [
                    (self._texts.padded(rows), self._texts.conditions.draw(rows, self._mixture))
                    for rows in self._pool(min(left, _POOL))
                ]
                state = torch.get_rng_state()
            yield from drawn
            left -= _POOL

    def _pool(self, batches: int) -> Iterator[Tensor]:
        """Yield batches of rows of similar length, in random order, drawn from the groups by their shares."""
        shares = torch.tensor([share for _, share in self._groups])
        groups = torch.multinomial(shares, batches * self._batch, replacement=True).tolist()
        places = torch.rand(len(groups)).tolist()
        drawn = [self._groups[g][0][int(u * len(self._groups[g][0]))] for g, u in zip(groups, places, strict=True)]
        drawn.sort(key=lambda i: len(self._texts.rows[i]))
        parts = torch.tensor(drawn).split(self._batch)
        for i in torch.randperm(len(parts)).tolist():
            yield parts[i]
