"""Sentiment stage: the sentiment encoder learns mean valence and arousal, 1 to 7, of OASIS's raters.

    python -m training.sentiment --data folder [--epochs N --dropout X ...]

``--labels polarity`` learns from CrowdFlower's polarity labels instead, as the paper does: highly negative to highly
positive as valence from 1 to 7. Nothing is known of arousal then, whose output stays in the middle. Fetch the
photographs first by ``img2poem.datasets.ImagePolarity.download(folder)``, into the folder of the other data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .encoder import EncoderSettings, EncoderTask, train_encoder
from .features import PhotoSource
from .fitting import Result
from .parts import Parts
from .run import Run, main

_FOLDS = 5


@dataclass(frozen=True)
class SentimentSettings(EncoderSettings):
    """Hyper-parameters of the sentiment encoder's training."""

    # Chosen by cross-validation on OASIS over widths, epochs and rates.
    epochs: int = 60
    batch: int = 64
    weight_decay: float = 0.5
    dropout: float = 0.5
    # The validation split is some thirty photographs: too few to choose an epoch by.
    patience: int | None = None
    labels: Literal["affect", "polarity"] = "affect"
    """What it learns from: OASIS's ratings of valence and arousal, or CrowdFlower's polarity."""


def _loss(predicted: Tensor, ratings: Tensor) -> Tensor:
    known = ~ratings.isnan()
    return F.smooth_l1_loss(predicted[known], ratings[known])


def _correlations(predicted: Tensor, ratings: Tensor) -> dict[str, float]:
    """Pearson's r of valence and, where it is known, of arousal."""
    pairs = zip(("valence_r", "arousal_r"), predicted.T.cpu(), ratings.T.cpu(), strict=True)
    return {name: float(np.corrcoef(p, r)[0, 1]) for name, p, r in pairs if not r.isnan().any()}


def train(run: Run, settings: SentimentSettings) -> Result:
    """Train the sentiment encoder; r is measured by cross-validation over all photographs: the test split has thirty.

    Of an encoder with a trunk of its own, which would have to be tuned once a fold, r is that of the test split.
    """
    source: PhotoSource = "oasis" if settings.labels == "affect" else "polarity"
    task = EncoderTask("sentiment", source, None, torch.float32, _loss, _correlations, "valence_r", _FOLDS)
    return train_encoder(Parts.after(run), task, settings)


if __name__ == "__main__":
    main(SentimentSettings, train, __doc__)
