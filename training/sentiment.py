"""Sentiment stage: the sentiment encoder learns mean valence and arousal, 1 to 7, of OASIS's raters.

python -m training.sentiment --data ../shared/data [--epochs N --dropout X ...]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .encoder import EncoderSettings, EncoderTask, train_encoder
from .fitting import Result
from .parts import Parts
from .run import Run, main


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


def _correlations(predicted: Tensor, ratings: Tensor) -> dict[str, float]:
    """Pearson's r of valence and of arousal."""
    pairs = zip(("valence_r", "arousal_r"), predicted.T.cpu(), ratings.T.cpu(), strict=True)
    return {name: float(np.corrcoef(p, r)[0, 1]) for name, p, r in pairs}


def train(run: Run, settings: SentimentSettings) -> Result:
    """Train the sentiment encoder; r is measured on the test split, some thirty photographs."""
    task = EncoderTask("sentiment", "oasis", None, torch.float32, F.smooth_l1_loss, _correlations, "valence_r")
    return train_encoder(Parts.after(run), task, settings)


if __name__ == "__main__":
    main(SentimentSettings, train, __doc__)
