"""Where the decoder's condition comes from in training: points of the poetic space, for each text.

At inference the condition is a photograph's embedding, which text-side embeddings only approximate. So each
text is learned under several conditions: its own embedding with noise, its photograph's caption, photographs,
and none at all, which is what guided decoding compares with.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from img2poem.datasets.photographs import CAPTIONS

from .alignment import AlignmentData, embed_photos, project
from .corpus import photo_rows
from .parts import Parts


@dataclass(frozen=True)
class Mixture:
    """How often a text is learned under which condition; the rest is the text's own embedding with noise."""

    no_condition: float = 0.1
    """Share of texts that are learned under no condition, whatever else was drawn."""
    photo_conditions: float = 0.45
    """Share learned under a photograph, of texts that photographs depict."""
    caption_conditions: float = 0.15
    """Share learned under the caption of the poem's photograph, of poems that have one."""
    condition_noise: float = 0.6
    """Length of the Gaussian noise on a text's own embedding, which has length 1."""


@dataclass(frozen=True)
class Conditions:
    """Where a text's condition can come from; all in the poetic space. Poems first, then captions."""

    texts: Tensor  # [N, D]
    captions: Tensor  # [N, D]; zero where there is none
    photos: Tensor  # [P, D], the training photographs
    near_photos: Tensor  # int64 [N, K] into photos
    depicted: Tensor  # bool [N]: whether near_photos show what the text is about

    def draw(self, rows: Tensor, mixture: Mixture) -> Tensor:
        """Return a condition ``[B, D]`` for each of ``rows``; zero is none."""
        text = self.texts[rows]
        noise = torch.randn_like(text) * mixture.condition_noise / text.shape[-1] ** 0.5
        chosen = F.normalize(text + noise, dim=-1)
        kind = torch.rand(len(rows), 1)
        caption = self.captions[rows]
        use_caption = (kind < mixture.caption_conditions) & (caption.norm(dim=-1, keepdim=True) > 0)
        chosen = torch.where(use_caption, caption, chosen)
        photo = self.draw_photo(rows)
        use_photo = (kind > 1 - mixture.photo_conditions) & self.depicted[rows].unsqueeze(1)
        chosen = torch.where(use_photo, photo, chosen)
        return torch.where(torch.rand(len(rows), 1) < mixture.no_condition, 0.0, chosen)

    def draw_photo(self, rows: Tensor) -> Tensor:
        """Return one of the photographs ``[B, D]`` that are near to each of ``rows``."""
        near = self.near_photos[rows]
        return self.photos[near.gather(1, torch.randint(near.shape[1], (len(rows), 1))).squeeze(1)]


def conditions_of(parts: Parts, data: AlignmentData) -> Conditions:
    """Return the conditions of all poems, and of the training photographs' captions, in that order."""
    encoder = parts.model.poem_encoder
    rows = torch.tensor(photo_rows(data.photo_names, "train"))
    poems = project(encoder, data.poems)
    captions = torch.zeros_like(poems)
    captioned = [i for i, record in enumerate(parts.corpus.records) if record.caption]
    captions[captioned] = project(encoder, data.poem_captions)[captioned]
    photos = embed_photos(parts.model.image_encoder, data.photo_features(rows))
    return near_conditions(poems, captions, photos, project(encoder, data.captions[rows].flatten(0, 1)))


def near_conditions(
    poems: Tensor, poem_captions: Tensor, photos: Tensor, photo_captions: Tensor, neighbours: int = 4
) -> Conditions:
    """Find each poem's nearest photographs, by its caption and itself, or by itself alone.

    Args:
        poems: ``[N, D]``.
        poem_captions: ``[N, D]``, zero where a poem has none.
        photos: ``[P, D]``.
        photo_captions: ``[P * 5, D]``, five in turn for each photograph.
        neighbours: how many photographs a poem has, K.
    """
    query = F.normalize(poems * 0.5 + poem_captions, dim=-1)
    found = [(part @ photos.T).topk(min(neighbours, len(photos))) for part in query.split(4096)]
    near = torch.cat([part.indices for part in found])
    similarity = torch.cat([part.values.mean(1) for part in found])
    # Most poems depict nothing that the photographs show; learning these from photographs teaches only
    # to ignore the photograph. Half of them are kept, the nearest.
    depicted = similarity >= similarity.median()
    own = torch.arange(len(photos)).repeat_interleave(CAPTIONS).unsqueeze(1).expand(-1, near.shape[1])
    return Conditions(
        texts=torch.cat([poems, photo_captions]),
        captions=torch.cat([poem_captions, torch.zeros_like(photo_captions)]),
        photos=photos,
        near_photos=torch.cat([near, own]),
        depicted=torch.cat([depicted, torch.ones(len(photo_captions), dtype=torch.bool)]),
    )
