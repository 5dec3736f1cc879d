"""Sentiment stage: the sentiment encoder learns the mean valence and arousal, 1 to 7, of OASIS's ratings.

    python -m training.sentiment --data folder [--epochs N --dropout X ...]

``--labels polarity`` learns from CrowdFlower's polarity labels instead, as in the paper: highly negative to highly
positive become valence 1 to 7. Arousal is then unknown, and its output stays at the middle. Download the photographs
first with ``img2poem.datasets.ImagePolarity.download(folder)``, into the folder of the other data.
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

    # Widths, epochs and rates were chosen by cross-validation on OASIS.
    epochs: int = 60
    batch: int = 64
    weight_decay: float = 0.5
    dropout: float = 0.5
    # The validation split has about thirty photographs, too few to select an epoch.
    patience: int | None = None
    labels: Literal["affect", "polarity"] = "affect"
    """Training labels: OASIS's ratings of valence and arousal, or CrowdFlower's polarity."""


def _loss(predicted: Tensor, ratings: Tensor) -> Tensor:
    known = ~ratings.isnan()
    return F.smooth_l1_loss(predicted[known], ratings[known])


def _correlations(predicted: Tensor, ratings: Tensor) -> dict[str, float]:
    """Pearson's r of valence and, if known, of arousal."""
    pairs = zip(("valence_r", "arousal_r"), predicted.T.cpu(), ratings.T.cpu(), strict=True)
    return {name: float(np.corrcoef(p, r)[0, 1]) for name, p, r in pairs if not r.isnan().any()}


def train(run: Run, settings: SentimentSettings) -> Result:
    """Train the sentiment encoder; r is cross-validated over all photographs, since the test split has only thirty.

    An encoder with its own trunk would need a fine-tuned trunk per fold; its r is measured on the test split.
    """
    source: PhotoSource = "oasis" if settings.labels == "affect" else "polarity"
    task = EncoderTask("sentiment", source, None, torch.float32, _loss, _correlations, "valence_r", _FOLDS)
    return train_encoder(Parts.after(run), task, settings)


if __name__ == "__main__":
    main(SentimentSettings, train, __doc__)
