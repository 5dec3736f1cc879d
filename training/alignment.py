"""Alignment stage: embed photographs, captions and poems in one space with a ranking loss, and name what is seen.

    python -m training.alignment --data folder [--negatives all|hardest|both]

Photographs are aligned with their captions and poems (Flickr8k, MiniPlaces, OASIS), and captions with poems (the same
sets and COCO's). Captions and poems share the projection of the text encoder. A linear layer, used in training only,
predicts the captions' words from the photograph's embedding: a ranking loss alone keeps only what tells photographs
apart, and a decoder needs what they show.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from img2poem import metrics
from img2poem.nn.image_encoder import ImageEncoder
from img2poem.nn.losses import ranking_loss
from img2poem.nn.poem_encoder import PoemEncoder

from .corpus import PICTURED, Photo
from .features import PhotoSource, text_features, trunk_features
from .fitting import Result, Stage, once, rounded, schedule
from .parts import Parts, trained
from .run import Run, fingerprint, main

_MONITOR = "photo_to_caption_r10"
# Only MiniPlaces' training part has poems.
_SOURCES: dict[str, PhotoSource] = {"flickr8k": "flickr8k", "miniplaces": "miniplaces_train", "oasis": "oasis"}
_STOP_WORDS = frozenset(
    "a an and are as at by for from her his in into is it its of on one that the their there three to two who while"
    " with".split()
)
# The embedding has length 1; logits of words need a wider range.
_WORD_SCALE = 22.0


@dataclass(frozen=True)
class AlignmentSettings:
    """Hyper-parameters of the alignment."""

    epochs: int = 40
    """Maximum number of epochs."""
    batch: int = 256
    """Photographs per batch, and as many caption-poem pairs."""
    learning_rate: float = 1e-3
    """Peak learning rate of the one-cycle schedule."""
    weight_decay: float = 0.05
    """AdamW's weight decay."""
    margin: float = 0.1
    """Margin of the ranking loss; Liu et al. 2018 use 0.2, which aligns worse here (docs/results.md)."""
    negatives: Literal["all", "hardest", "both"] = "both"
    """In-batch negatives; both: all for the first quarter, then the hardest, which alone collapse from scratch."""
    photo_poem_weight: float = 0.5
    """Weight of the photograph-poem loss, relative to the photograph-caption loss."""
    caption_poem_weight: float = 0.2
    """Weight of the caption-poem loss, relative to the photograph-caption loss."""
    words: int = 800
    """Number of the captions' most frequent words that are predicted from a photograph's embedding."""
    words_weight: float = 8.0
    """Weight of the loss of those words, a binary cross-entropy averaged over the words; 0: they are not predicted."""
    dropout: float = 0.0
    """Dropout in the photographs' projection."""
    patience: int | None = None
    """Early stopping after this many epochs without improvement; none: never. The best epoch is kept anyway."""


@dataclass(frozen=True)
class Texts:
    """Pooled features of the texts about photographs, sorted by photograph."""

    features: Tensor  # float32 [N, hidden]
    owners: Tensor  # int64 [N], each text's photograph
    starts: Tensor  # int64 [P], each photograph's first text
    counts: Tensor  # int64 [P]

    def draw(self, photos: Tensor) -> Tensor:
        """Return a random text's features for each of ``photos int64 [B]``; each must have a text."""
        return self.features[self.starts[photos] + (torch.rand(len(photos)) * self.counts[photos]).long()]

    def of(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features of all texts about ``photos``, and each text's index in ``photos``."""
        place = torch.full((len(self.counts),), -1)
        place[photos] = torch.arange(len(photos))
        found = torch.nonzero(place[self.owners] >= 0).flatten()
        return self.features[found], place[self.owners[found]]


@dataclass(frozen=True)
class AlignmentData:
    """Features of frozen parts, the inputs of both projections. Photographs with pixels come first."""

    photos: list[Photo]
    pictured: int  # number of photographs with pixels
    pixels: dict[str, Tensor]  # by trunk, float32 [pictured, F]
    captions: Texts
    poems: Texts

    @classmethod
    def load(cls, parts: Parts) -> AlignmentData:
        """Compute the features, or read them from the cache."""
        photos: list[Photo] = []
        pixels: dict[str, list[Tensor]] = {name: [] for name in parts.model.image_encoder.trunks}
        for collection in PICTURED:
            named = parts.corpus.named(collection)
            for trunk, found in pixels.items():
                arrays = trunk_features(parts, _SOURCES[collection], trunk)
                names = [str(name) for name in arrays["names"]]
                rows = [i for i, name in enumerate(names) if name in named]
                found.append(torch.from_numpy(arrays["features"][rows]).float())
            photos += [named[names[i]] for i in rows]
        pictured = len(photos)
        photos += [photo for photo in parts.corpus.photos if photo.set not in PICTURED]
        return cls(
            photos,
            pictured,
            {trunk: torch.cat(found) for trunk, found in pixels.items()},
            _texts(parts, "captions", [list(photo.captions) for photo in photos]),
            _texts(parts, "poems", [[poem.text for poem in photo.poems] for photo in photos]),
        )

    def rows(self, *splits: str, pictured: bool = True, sets: tuple[str, ...] = ()) -> Tensor:
        """Return the indices, int64 ``[M]``, of the photographs in ``splits`` with a caption and a poem."""
        chosen = [
            i
            for i, photo in enumerate(self.photos[: self.pictured if pictured else None])
            if photo.split in splits and photo.captions and photo.poems and (not sets or photo.set in sets)
        ]
        return torch.tensor(chosen, dtype=torch.int64)

    def index(self) -> dict[tuple[str, str], int]:
        """Return the place in ``photos`` of each photograph by its collection and name."""
        return {(photo.set, photo.name): i for i, photo in enumerate(self.photos)}

    def photo_features(self, rows: Tensor) -> dict[str, Tensor]:
        """Return the features of photographs ``rows`` by trunk."""
        return {name: features[rows] for name, features in self.pixels.items()}


def _texts(parts: Parts, source: str, texts: list[list[str]]) -> Texts:
    counts = torch.tensor([len(own) for own in texts])
    features = text_features(parts, source, [text for own in texts for text in own])
    return Texts(
        torch.from_numpy(features).float(),
        torch.arange(len(texts)).repeat_interleave(counts),
        counts.cumsum(0) - counts,
        counts,
    )


def frequent_words(photos: Sequence[Photo], count: int) -> list[str]:
    """Return the ``count`` words that occur in the captions of the most photographs, stop words excluded."""
    occurrences = Counter(word for photo in photos for word in _caption_words(photo))
    return [word for word, _ in occurrences.most_common(count)]


def word_targets(photos: Sequence[Photo], words: Sequence[str]) -> Tensor:
    """Return which of ``words`` occur in each photograph's captions, bool ``[P, len(words)]``."""
    columns = {word: column for column, word in enumerate(words)}
    targets = torch.zeros(len(photos), len(words), dtype=torch.bool)
    for row, photo in enumerate(photos):
        targets[row, [columns[word] for word in _caption_words(photo) if word in columns]] = True
    return targets


def _caption_words(photo: Photo) -> set[str]:
    found = {word for caption in photo.captions for word in re.findall("[a-z]+", caption.lower())}
    return found - _STOP_WORDS


class AlignmentTraining(L.LightningModule):
    """Both projections, and a layer that predicts words; the encoders are frozen."""

    def __init__(self, parts: Parts, data: AlignmentData, settings: AlignmentSettings) -> None:
        super().__init__()
        self.settings, self.data = settings, data
        self.image, self.poem = parts.model.image_encoder, parts.model.poem_encoder
        for frozen in (self.image.trunks, self.image.heads, self.poem.bert):
            frozen.requires_grad_(False)
        for layer in self.image.projection:
            if isinstance(layer, nn.Dropout):
                layer.p = settings.dropout
        train = data.rows("train").tolist()
        words = frequent_words([data.photos[i] for i in train], settings.words)
        self._words = word_targets(data.photos[: data.pictured], words)
        self.namer = nn.Linear(parts.model.config.embedding_dim, len(words))
        self._any = data.rows("train", pictured=False)
        self._held_out = data.rows("validation", sets=("flickr8k",))

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        rows = batch[0].cpu()
        settings, hardest = self.settings, self._hardest()
        image = self.image.encode_features(self._on_device(self.data.photo_features(rows))).embedding
        caption, poem = self._text(self.data.captions.draw(rows)), self._text(self.data.poems.draw(rows))
        loss = ranking_loss(image, caption, settings.margin, hardest)
        loss = loss + settings.photo_poem_weight * ranking_loss(image, poem, settings.margin, hardest)
        some = self._any[torch.randint(len(self._any), (len(rows),))]
        caption, poem = self._text(self.data.captions.draw(some)), self._text(self.data.poems.draw(some))
        loss = loss + settings.caption_poem_weight * ranking_loss(caption, poem, settings.margin)
        if settings.words_weight:
            named = self.namer(image * _WORD_SCALE).float()
            words = F.binary_cross_entropy_with_logits(named, self._words[rows].to(named))
            self.log("train/words", words)
            loss = loss + settings.words_weight * words
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: list[Tensor], index: int) -> None:
        found = retrieval(self.image, self.poem, self.data, self._held_out)
        self.log_dict({f"validation/{name}": value for name, value in found.items()})

    def configure_optimizers(self) -> Any:
        layers = (self.image.projection, self.poem.projection, self.namer)
        learned = [parameter for layer in layers for parameter in layer.parameters()]
        optimizer = torch.optim.AdamW(learned, lr=self.settings.learning_rate, weight_decay=self.settings.weight_decay)
        return schedule(self, optimizer, self.settings.learning_rate, warmup=0.3)

    def _hardest(self) -> bool:
        # Training from scratch with only the hardest negatives collapses (VSE++, section 3).
        warm = self.current_epoch >= self.settings.epochs // 4
        return self.settings.negatives == "hardest" or (self.settings.negatives == "both" and warm)

    def _text(self, pooled: Tensor) -> Tensor:
        return self.poem.project(pooled.to(self.device))

    def _on_device(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor.to(self.device) for name, tensor in features.items()}


def train(run: Run, settings: AlignmentSettings) -> Result:
    """Train both projections on the results of the scene and sentiment stages."""
    parts = Parts.after(run, "scene", "sentiment")
    stage = Stage(
        run, "alignment", fingerprint(parts.sources(), settings, list(parts.tokenizer.pieces)), parts.made_from()
    )
    if (found := stage.finished()) is not None:
        return found
    data = AlignmentData.load(parts)
    module = AlignmentTraining(parts, data, settings)
    rows = data.rows("train")
    loader = DataLoader(TensorDataset(rows), min(settings.batch, len(rows)), shuffle=True, drop_last=True)
    stage.fit(module, loader, once(), settings.epochs, f"validation/{_MONITOR}", "max", settings.patience)
    model, test = parts.model, data.rows("test", sets=("flickr8k",))
    measured = {"test_photos": len(test), **retrieval(model.image_encoder, model.poem_encoder, data, test)}
    return stage.finish(trained(model, "alignment"), rounded(measured))


@torch.inference_mode()
def embed_photos(encoder: ImageEncoder, features: dict[str, Tensor]) -> Tensor:
    """Map features by trunk to embeddings ``[N, embedding_dim]``."""
    return encoder.eval().encode_features(features).embedding


@torch.inference_mode()
def project(encoder: PoemEncoder, pooled: Tensor) -> Tensor:
    """Map pooled text features to embeddings ``[N, embedding_dim]``."""
    return encoder.eval().project(pooled)


def retrieval(image: ImageEncoder, text: PoemEncoder, data: AlignmentData, rows: Tensor) -> dict[str, float]:
    """Return R@1, 5, 10 and the median rank of captions and of poems, retrieved by the photographs ``rows``."""
    device = text.projection.weight.device
    photos = embed_photos(image, {name: part.to(device) for name, part in data.photo_features(rows).items()})
    measured = {}
    for name, texts in (("caption", data.captions), ("poem", data.poems)):
        features, owners = texts.of(rows)
        points = project(text, features.to(device)).float().cpu().numpy()
        found = metrics.retrieval(photos.float().cpu().numpy(), points, item_labels=owners.numpy())
        for k, recall in ((1, found.recall_at_1), (5, found.recall_at_5), (10, found.recall_at_10)):
            measured[f"photo_to_{name}_r{k}"] = recall
        measured[f"photo_to_{name}_median_rank"] = found.median_rank
    return measured


if __name__ == "__main__":
    main(AlignmentSettings, train, __doc__)
