"""Alignment: photographs, captions and poems into one space by the ranking loss.

Photographs meet captions (Flickr8k), captions meet poems (MultiM-Poem); captions and poems share the
projection of the text side, so photographs and poems meet through it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor

from img2poem.datasets.poems import PoemRecord
from img2poem.datasets.splits import split_of
from img2poem.nn.image_encoder import ImageEncoder
from img2poem.nn.losses import ranking_loss
from img2poem.nn.poem_encoder import PoemEncoder

from .features import Arrays


@dataclass(frozen=True)
class AlignmentTraining:
    """Hyper-parameters of the alignment."""

    epochs: int = 40
    batch: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    margin: float = 0.2
    poem_weight: float = 0.2


def train_alignment(
    image_encoder: ImageEncoder,
    poem_encoder: PoemEncoder,
    features: dict[str, Arrays],
    records: list[PoemRecord],
    settings: AlignmentTraining = AlignmentTraining(),
) -> dict[str, float]:
    """Train both projections in place; everything before them is frozen. Returns metrics on the test split."""
    photos = torch.from_numpy(features["flickr8k"]["features"]).float()
    photo_train = rows_of(features["flickr8k"]["names"], "train")
    captions = torch.from_numpy(features["flickr8k_captions"]["features"]).float().view(len(photos), 5, -1)
    poems = torch.from_numpy(features["poems"]["features"]).float()
    poem_captions = torch.from_numpy(features["multim_captions"]["features"]).float()
    pairs = [i for i in range(len(poem_captions)) if records[i].caption and split_of(records[i].key) == "train"]
    paired_poems = torch.tensor(pairs)

    image_encoder.trunks.requires_grad_(False)
    image_encoder.heads.requires_grad_(False)
    poem_encoder.bert.requires_grad_(False)
    parameters = [*image_encoder.projection.parameters(), *poem_encoder.projection.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    steps = settings.epochs * (len(photo_train) // settings.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, total_steps=steps)
    image_encoder.train()
    for epoch in track(range(settings.epochs), "alignment"):
        order = photo_train[torch.randperm(len(photo_train))]
        for rows in order.split(settings.batch):
            if len(rows) < settings.batch:
                continue
            image = embed_photos(image_encoder, photos[rows])
            caption = poem_encoder.project(captions[rows, torch.randint(5, (len(rows),))])
            some = paired_poems[torch.randint(len(paired_poems), (settings.batch,))]
            poem, poem_caption = poem_encoder.project(poems[some]), poem_encoder.project(poem_captions[some])
            # All negatives for the first epochs: from scratch the hardest alone collapse (VSE++, section 3).
            hardest = epoch >= settings.epochs // 4
            loss = ranking_loss(image, caption, settings.margin, hardest)
            loss = loss + settings.poem_weight * ranking_loss(poem_caption, poem, settings.margin)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    image_encoder.eval()
    return _evaluate(image_encoder, poem_encoder, features, records)


def embed_photos(image_encoder: ImageEncoder, features: Tensor) -> Tensor:
    """Backbone features of the one shared trunk to embeddings ``[N, embedding_dim]``."""
    return image_encoder.encode_features(dict.fromkeys(image_encoder.trunks, features)).embedding


def rows_of(names: NDArray[Any], split: str) -> Tensor:
    """Return the indices of the names in ``split``."""
    return torch.tensor([i for i, name in enumerate(names) if split_of(str(name)) == split])


@torch.inference_mode()
def _evaluate(
    image_encoder: ImageEncoder, poem_encoder: PoemEncoder, features: dict[str, Arrays], records: list[PoemRecord]
) -> dict[str, float]:
    rows = rows_of(features["flickr8k"]["names"], "test")
    image = embed_photos(image_encoder, torch.from_numpy(features["flickr8k"]["features"]).float()[rows])
    captions = torch.from_numpy(features["flickr8k_captions"]["features"]).float().view(-1, 5, 384)[rows, 0]
    caption = poem_encoder.project(captions)
    multim = len(features["multim_captions"]["features"])
    test = [i for i in range(multim) if records[i].caption and split_of(records[i].key) == "test"]
    poem = poem_encoder.project(torch.from_numpy(features["poems"]["features"][test]).float())
    poem_caption = poem_encoder.project(torch.from_numpy(features["multim_captions"]["features"][test]).float())
    return {
        "test_photos": len(rows),
        "photo_to_caption_r10": recall(image, caption, 10),
        "test_poems": len(test),
        "caption_to_poem_r10": recall(poem_caption, poem, 10),
    }


def recall(left: Tensor, right: Tensor, k: int) -> float:
    """Share of rows of ``left`` whose own row of ``right`` is among its ``k`` nearest."""
    scores = left @ right.T
    rank = (scores > scores.diagonal().unsqueeze(1)).sum(1)
    return round(float(np.mean((rank < k).numpy())), 4)
