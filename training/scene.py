"""Scene stage: the scene encoder learns MiniPlaces' 100 classes.

python -m training.scene --data folder [--model resnet50 --places365 FILE]
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .encoder import EncoderSettings, EncoderTask, train_encoder
from .fitting import Result
from .parts import Parts
from .run import Run, main


def _smoothed_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, label_smoothing=0.1)


def _accuracy(logits: Tensor, labels: Tensor) -> dict[str, float]:
    hits = logits.argsort(dim=-1, descending=True) == labels.unsqueeze(1)
    return {f"top{k}": hits[:, :k].any(1).float().mean().item() for k in (1, 5)}


TASK = EncoderTask(
    "scene", "miniplaces_train", "miniplaces_val", torch.int64, _smoothed_cross_entropy, _accuracy, "top1"
)


def train(run: Run, settings: EncoderSettings) -> Result:
    """Train the scene encoder; its accuracy is measured on MiniPlaces' validation part, which no stage trains on."""
    return train_encoder(Parts.after(run), TASK, settings)


if __name__ == "__main__":
    main(EncoderSettings, train, __doc__)
