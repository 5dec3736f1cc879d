"""Alignment stage: photographs, captions and poems into one space by the ranking loss.

    python -m training.alignment --data folder [--negatives all|hardest|both]

Photographs meet captions (Flickr8k), captions meet poems (MultiM-Poem); captions and poems share the
projection of the text side, so photographs and poems meet through it. Where MultiM's own photographs have been
downloaded they are of no use to it yet: captions stand for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from img2poem import metrics
from img2poem.datasets.photographs import CAPTIONS
from img2poem.nn.image_encoder import ImageEncoder
from img2poem.nn.losses import ranking_loss
from img2poem.nn.poem_encoder import PoemEncoder

from .corpus import photo_rows
from .features import text_features, trunk_features
from .fitting import Result, Stage, once, schedule
from .parts import Parts, trained
from .run import Run, fingerprint, main

_MONITOR = "photo_to_caption_r10"


@dataclass(frozen=True)
class AlignmentSettings:
    """Hyper-parameters of the alignment."""

    epochs: int = 40
    """Epochs at most."""
    batch: int = 256
    """Photographs a batch, and caption-poem pairs beside them."""
    learning_rate: float = 1e-3
    """Peak of the one-cycle schedule."""
    weight_decay: float = 0.05
    """AdamW's weight decay."""
    margin: float = 0.1
    """Margin of the ranking loss; Liu et al. 2018 have 0.2, which aligns worse here (docs/results.md)."""
    negatives: Literal["all", "hardest", "both"] = "both"
    """In-batch negatives; both: all for the first quarter, then the hardest (which collapse from scratch)."""
    poem_weight: float = 0.2
    """Weight of the caption-poem loss beside the photograph-caption loss."""
    dropout: float = 0.0
    """Dropout inside the photographs' projection."""
    patience: int | None = None
    """Epochs without gain on the validation split before it stops; none: never, the best epoch is kept anyway."""


@dataclass(frozen=True)
class AlignmentData:
    """Features of frozen parts: what both projections read."""

    photos: dict[str, Tensor]  # by trunk, [P, F]
    photo_names: list[str]
    photo_captions: list[list[str]]  # five texts of each photograph
    captions: Tensor  # [P, 5, hidden]
    poems: Tensor  # [N, hidden]
    poem_captions: Tensor  # [M, hidden], of the first M poems

    @classmethod
    def load(cls, parts: Parts) -> AlignmentData:
        """Compute the features, or read them where they are cached."""
        found = {name: trunk_features(parts, "flickr8k", name) for name in parts.model.image_encoder.trunks}
        labels = next(iter(found.values()))
        texts = [[str(caption) for caption in five] for five in labels["labels"]]

        def through(source: str, lines: list[str]) -> Tensor:
            return torch.from_numpy(text_features(parts, source, lines)).float()

        multim = [r.caption or "" for r in parts.corpus.records if r.key.startswith("multim/")]
        return cls(
            photos={name: torch.from_numpy(arrays["features"]).float() for name, arrays in found.items()},
            photo_names=[str(name) for name in labels["names"]],
            photo_captions=texts,
            captions=through("flickr8k_captions", [c for five in texts for c in five]).view(len(texts), CAPTIONS, -1),
            poems=through("poems", parts.corpus.poem_texts()),
            poem_captions=through("multim_captions", multim),
        )

    def photo_features(self, rows: Tensor) -> dict[str, Tensor]:
        """Return the features of photographs ``rows`` by trunk."""
        return {name: features[rows] for name, features in self.photos.items()}


class AlignmentTraining(L.LightningModule):
    """Both projections; everything before them is frozen."""

    def __init__(self, parts: Parts, data: AlignmentData, settings: AlignmentSettings) -> None:
        super().__init__()
        self.settings, self.data = settings, data
        self.image, self.poem = parts.model.image_encoder, parts.model.poem_encoder
        for frozen in (self.image.trunks, self.image.heads, self.poem.bert):
            frozen.requires_grad_(False)
        for layer in self.image.projection:
            if isinstance(layer, nn.Dropout):
                layer.p = settings.dropout
        self._pairs = torch.tensor(_paired(parts, "train"))
        self._held_out = torch.tensor(photo_rows(data.photo_names, "validation"))

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        rows, some = batch[0], self._pairs[torch.randint(len(self._pairs), (len(batch[0]),))]
        image = self.image.encode_features(self._on_device(self.data.photo_features(rows.cpu()))).embedding
        caption = self._text(self.data.captions[rows.cpu(), torch.randint(CAPTIONS, (len(rows),))])
        hardest = self._hardest()
        loss = ranking_loss(image, caption, self.settings.margin, hardest)
        poem, poem_caption = self._text(self.data.poems[some]), self._text(self.data.poem_captions[some])
        loss = loss + self.settings.poem_weight * ranking_loss(poem_caption, poem, self.settings.margin)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: list[Tensor], index: int) -> None:
        rows = self._held_out
        image = self.image.encode_features(self._on_device(self.data.photo_features(rows))).embedding
        found = retrieval(image, self._text(self.data.captions[rows].flatten(0, 1)))
        self.log(f"validation/{_MONITOR}", found[_MONITOR], prog_bar=True)

    def configure_optimizers(self) -> Any:
        learned = [*self.image.projection.parameters(), *self.poem.projection.parameters()]
        optimizer = torch.optim.AdamW(learned, lr=self.settings.learning_rate, weight_decay=self.settings.weight_decay)
        return schedule(self, optimizer, self.settings.learning_rate, warmup=0.3)

    def _hardest(self) -> bool:
        # From scratch the hardest alone collapse (VSE++, section 3).
        warm = self.current_epoch >= self.settings.epochs // 4
        return self.settings.negatives == "hardest" or (self.settings.negatives == "both" and warm)

    def _text(self, pooled: Tensor) -> Tensor:
        return self.poem.project(pooled.to(self.device))

    def _on_device(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor.to(self.device) for name, tensor in features.items()}


def train(run: Run, settings: AlignmentSettings) -> Result:
    """Train both projections on what the scene and sentiment stages left in the run's folder."""
    parts = Parts.after(run, "scene", "sentiment")
    stage = Stage(run, "alignment", fingerprint(parts.sources(), settings))
    if (found := stage.finished()) is not None:
        return found
    data = AlignmentData.load(parts)
    module = AlignmentTraining(parts, data, settings)
    rows = torch.tensor(photo_rows(data.photo_names, "train"))
    loader = DataLoader(TensorDataset(rows), min(settings.batch, len(rows)), shuffle=True, drop_last=True)
    stage.fit(module, loader, once(), settings.epochs, f"validation/{_MONITOR}", "max", settings.patience)
    return stage.finish(trained(parts.model, "alignment"), measured(parts, data))


@torch.inference_mode()
def embed_photos(encoder: ImageEncoder, features: dict[str, Tensor]) -> Tensor:
    """Features by trunk to embeddings ``[N, embedding_dim]``."""
    return encoder.eval().encode_features(features).embedding


@torch.inference_mode()
def project(encoder: PoemEncoder, pooled: Tensor) -> Tensor:
    """Pooled features of texts to embeddings ``[N, embedding_dim]``."""
    return encoder.eval().project(pooled)


def measured(parts: Parts, data: AlignmentData) -> dict[str, float]:
    """Return retrieval on the test split: photographs and their captions, captions and their poems."""
    rows = torch.tensor(photo_rows(data.photo_names, "test"))
    encoder = parts.model.poem_encoder
    image = embed_photos(parts.model.image_encoder, data.photo_features(rows))
    found = retrieval(image, project(encoder, data.captions[rows].flatten(0, 1)))
    pairs = _paired(parts, "test")
    caption, poem = project(encoder, data.poem_captions[pairs]), project(encoder, data.poems[pairs])
    poems = metrics.retrieval(caption.numpy(), poem.numpy())
    return {"test_photos": len(rows), **found, "test_poems": len(pairs), "caption_to_poem_r10": poems.recall_at_10}


def retrieval(image: Tensor, captions: Tensor) -> dict[str, float]:
    """Return R@1, 5, 10 and median rank of photographs' captions, five in turn for each photograph."""
    labels = torch.arange(len(image)).repeat_interleave(CAPTIONS).numpy()
    found = metrics.retrieval(image.float().cpu().numpy(), captions.float().cpu().numpy(), item_labels=labels)
    named = (f"photo_to_caption_r{k}" for k in (1, 5, 10))
    recalls = (found.recall_at_1, found.recall_at_5, found.recall_at_10)
    return {**dict(zip(named, recalls, strict=True)), "photo_to_caption_median_rank": found.median_rank}


def _paired(parts: Parts, split: str) -> list[int]:
    """Return the poems of a split that have a caption; they come first of all poems."""
    corpus = parts.corpus
    return [i for i, r in enumerate(corpus.records) if r.caption and corpus.splits[i] == split]


if __name__ == "__main__":
    main(AlignmentSettings, train, __doc__)
