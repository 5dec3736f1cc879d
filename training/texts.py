"""What decoders read: poems and captions as token rows, in batches, with the points of the poetic space they follow.

At inference a decoder follows a photograph's point. So a text about a photograph is mostly learned under that
photograph, else under a caption of it with noise, and now and then under no point at all, which is what tells how
much a decoder heeds its photograph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import IterableDataset

from img2poem.text.tokenizer import PoemTokenizer
from img2poem.text.vocabulary import EOS

from .alignment import AlignmentData, Texts, embed_photos, project
from .batches import padded
from .parts import Parts
from .soft_targets import SoftTargets

_POOL = 16  # batches that are drawn together and sorted by length, so that padding is little


@dataclass(frozen=True)
class Mixture:
    """How often a text is learned under which point; the rest is a caption of its photograph with noise."""

    nothing: float = 0.1
    """Share of texts that are learned under no point."""
    photo: float = 0.75
    """Share learned under the photograph, of texts about photographs with pixels."""
    noise: float = 0.4
    """Length of the Gaussian noise on a caption's point, which has length 1."""
    photo_noise: float = 0.5
    """The same on a photograph's: the aligner knows those of the training better than it will know others."""


@dataclass(frozen=True)
class Points:
    """Points of the poetic space: of photographs with pixels, which come first, and of all captions."""

    photos: Tensor  # float32 [pictured, D]
    captions: Texts  # their points in the place of features

    @classmethod
    def of(cls, parts: Parts, data: AlignmentData) -> Points:
        """Embed what the alignment read."""
        model, texts = parts.model, data.captions
        everything = torch.arange(data.pictured)
        photos = embed_photos(model.image_encoder, data.photo_features(everything))
        captions = project(model.poem_encoder, texts.features)
        return cls(photos, Texts(captions, texts.owners, texts.starts, texts.counts))

    def draw(self, photos: Tensor, mixture: Mixture) -> Tensor:
        """Return a point ``float32 [B, D]`` for a text about each of ``photos int64 [B]``; zeros are none."""
        chosen = _noisy(self.captions.draw(photos), mixture.noise)
        pictured = photos < len(self.photos)
        own = _noisy(self.photos[torch.where(pictured, photos, 0)], mixture.photo_noise)
        use_photo = pictured & (torch.rand(len(photos)) < mixture.photo)
        chosen = torch.where(use_photo.unsqueeze(1), own, chosen)
        return torch.where(torch.rand(len(photos), 1) < mixture.nothing, 0.0, chosen)


def _noisy(points: Tensor, noise: float) -> Tensor:
    """Return ``points [B, D]`` with Gaussian noise of length ``noise``, on the sphere."""
    return F.normalize(points + torch.randn_like(points) * noise / points.shape[-1] ** 0.5, dim=-1)


class Text(NamedTuple):
    """Token ids with begin and end token, and the photograph that they are about."""

    ids: list[int]
    photo: int
    poem: int | None = None
    """Its place among the soft targets."""


class Batch(NamedTuple):
    """Texts of similar length with their points."""

    ids: Tensor  # int64 [B, T], padded at the end
    points: Tensor  # float32 [B, D]
    soft: tuple[Tensor, Tensor] | None = None
    """Soft targets: tokens int64 and chances float32 ``[B, T - 1, TOP]``, zeros where a text has none."""


class TextBatches(IterableDataset[Batch]):
    """``count`` batches of texts, decided by ``seed`` alone.

    Args:
        draw: returns so many texts, by torch's random numbers.
        points: where their points come from, by ``mixture``.
        count: how many batches.
        batch: texts a batch.
        seed: of all that is drawn.
        multiple: of which the padded length is.
        soft: soft targets of the texts that have some.
    """

    def __init__(
        self,
        draw: Callable[[int], list[Text]],
        points: Points,
        mixture: Mixture,
        count: int,
        batch: int,
        seed: int,
        multiple: int = 1,
        soft: SoftTargets | None = None,
    ) -> None:
        self._draw, self._points, self._mixture = draw, points, mixture
        self._count, self._batch, self._seed, self._multiple = count, batch, seed, multiple
        self._soft = soft

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Batch]:
        state = torch.Generator().manual_seed(self._seed).get_state()
        left = self._count
        while left > 0:
            # Apart from the random numbers of the model, which Lightning draws at times of its own.
            with torch.random.fork_rng(devices=[]):
                torch.set_rng_state(state)
                drawn = list(self._pool(min(left, _POOL)))
                state = torch.get_rng_state()
            yield from drawn
            left -= _POOL

    def _pool(self, batches: int) -> Iterator[Batch]:
        texts = sorted(self._draw(batches * self._batch), key=lambda text: len(text.ids))
        for i in torch.randperm(batches).tolist():
            yield self.batch(texts[i * self._batch : (i + 1) * self._batch])

    def batch(self, texts: Sequence[Text]) -> Batch:
        """Return ``texts`` as one batch, each with a point of its own."""
        points = self._points.draw(torch.tensor([text.photo for text in texts]), self._mixture)
        ids = padded([text.ids for text in texts], self._multiple)
        soft = self._soft.batch([text.poem for text in texts], ids.shape[1] - 1) if self._soft is not None else None
        return Batch(ids, points, soft)


def chosen(items: Sequence[int], count: int) -> list[int]:
    """Return ``count`` of ``items``, drawn with replacement by torch's random numbers."""
    return [items[i] for i in torch.randint(len(items), (count,)).tolist()]


def encoded(tokenizer: PoemTokenizer, texts: list[str], longest: int) -> list[list[int]]:
    """Return the ids of texts, cut at ``longest``, without begin and end tokens."""
    return [ids[:longest] for ids in tokenizer.encode_batch(texts)]


def closed(begin: int, ids: Sequence[int]) -> list[int]:
    """Return ``ids`` between a begin token and the end token."""
    return [begin, *ids, EOS]
