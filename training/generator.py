"""Generator stage: the GRU decoder learns poems by likelihood, conditioned on points of the poetic space.

    python -m training.generator --data folder [--epochs N --learning-rate X ...]

Targets are the inputs shifted by one. An epoch is a fixed number of batches, so that there are checkpoints
and validation every minute or so; the modern collections' share grows from the first epoch to the last.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

from img2poem.nn.poem_decoder import PoemDecoder
from img2poem.text import PAD

from .alignment import AlignmentData
from .conditions import Mixture
from .fitting import Result, Stage, once, rounded, schedule
from .parts import Parts, trained
from .run import Run, fingerprint, main
from .texts import TextBatches, Texts

_HELD_OUT = 256  # validation poems at most
_MONITOR = "validation/nats"


@dataclass(frozen=True)
class GeneratorSettings:
    """Hyper-parameters of the decoder's training by likelihood."""

    epochs: int = 26
    """Epochs at most."""
    epoch_batches: int = 200
    """Batches an epoch; fewer where the texts are fewer."""
    batch: int = 128
    """Texts a batch."""
    learning_rate: float = 2e-3
    """Peak of the one-cycle schedule."""
    weight_decay: float = 0.02
    """AdamW's weight decay."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient."""
    captions: float = 0.25
    """Share of captions among the texts."""
    modern_start: float = 0.25
    """Share of the modern collections (MultiM, UniM) among the poems in the first epoch."""
    modern_end: float = 0.8
    """The same in the last epoch."""
    conditions: Mixture = field(default_factory=Mixture)
    """How often a text is learned under which condition."""
    patience: int | None = None
    """Epochs without gain on validation poems before it stops; none: never, the best epoch is kept anyway."""


class GeneratorTraining(L.LightningModule):
    """The decoder under teacher forcing."""

    def __init__(self, decoder: PoemDecoder, texts: Texts, settings: GeneratorSettings) -> None:
        super().__init__()
        self.decoder, self.texts, self.settings = decoder, texts, settings

    def on_train_batch_start(self, batch: Any, index: int) -> None:
        torch.manual_seed(step_seed(self, index))

    def train_dataloader(self) -> DataLoader[Any]:
        s = self.settings
        progress = self.current_epoch / max(1, s.epochs - 1)
        share = s.modern_start + (s.modern_end - s.modern_start) * progress
        texts = self.texts
        everything = len(texts.modern) + len(texts.classic) + len(texts.captions)
        count = min(s.epoch_batches, -(-everything // s.batch))
        batches = TextBatches(texts, s.conditions, count, s.batch, share, s.captions, step_seed(self))
        return DataLoader(batches, batch_size=None)

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        loss = likelihood_loss(self.decoder, *batch)
        self.log("train/nats", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Tensor, index: int) -> None:
        nats = held_out_nats(self.decoder, self.texts)
        self.log_dict({f"validation/{name}": value for name, value in nats.items()})
        self.log(_MONITOR, sum(nats.values()) / len(nats), prog_bar=True)

    def configure_optimizers(self) -> Any:
        s = self.settings
        optimizer = torch.optim.AdamW(
            self.decoder.parameters(), lr=s.learning_rate, weight_decay=s.weight_decay, betas=(0.9, 0.98)
        )
        return schedule(self, optimizer, s.learning_rate, warmup=0.05)


def train(run: Run, settings: GeneratorSettings) -> Result:
    """Train the decoder in the space that the alignment stage left in the run's folder."""
    parts = Parts.after(run, "scene", "sentiment", "alignment")
    stage = Stage(run, "generator", fingerprint(parts.sources(), settings, parts.model.config.decoder))
    if (found := stage.finished()) is not None:
        return found
    texts = Texts.load(parts, AlignmentData.load(parts))
    decoder = parts.model.poem_decoder
    module = GeneratorTraining(decoder, texts, settings)
    stage.fit(
        module, None, once(), settings.epochs, _MONITOR, "min", settings.patience, gradient_clip=settings.gradient_clip
    )
    return stage.finish(trained(parts.model, "generator"), rounded(held_out_nats(decoder, texts)))


def likelihood_loss(decoder: PoemDecoder, ids: Tensor, condition: Tensor) -> Tensor:
    """Mean cross-entropy, in nats, of each next token of ``ids int64 [B, T]``."""
    features = decoder.features(ids[:, :-1], condition).flatten(0, 1)
    real = ids[:, 1:].flatten() != PAD
    # Without the padding, and in the dtype of the features: the output layer is most of the work.
    weight, bias = (p.to(features.dtype) for p in (decoder.token_embedding.weight, decoder.output_bias))
    with torch.autocast(features.device.type, enabled=False):  # which would widen the logits again
        return F.linear_cross_entropy(features[real], weight, ids[:, 1:].flatten()[real], linear_bias=bias).float()


@torch.inference_mode()
def held_out_nats(decoder: PoemDecoder, texts: Texts) -> dict[str, float]:
    """Nats a token on validation poems, conditioned on themselves, on their nearest photograph, on nothing."""
    training, device = decoder.training, decoder.output_bias.device
    decoder.eval()
    chosen = texts.held_out[:_HELD_OUT]
    conditions = texts.conditions
    by_photo = conditions.photos[conditions.near_photos[chosen, 0]]
    kinds = {"by_poem": conditions.texts[chosen], "by_photo": by_photo, "by_nothing": torch.zeros_like(by_photo)}
    ids = texts.padded(chosen)
    found = {}
    with torch.autocast(device.type, enabled=False):  # bfloat16 rounds a loss of 4 nats to 1/32
        for name, condition in kinds.items():
            parts = list(zip(ids.to(device).split(128), condition.to(device).split(128), strict=True))
            counts = [int((i[:, 1:] != PAD).sum()) for i, _ in parts]
            losses = [float(likelihood_loss(decoder, *part)) for part in parts]
            found[f"nats_a_token_{name}"] = sum(map(math.prod, zip(losses, counts, strict=True))) / sum(counts)
    decoder.train(training)
    return found


def step_seed(module: L.LightningModule, index: int = 0) -> int:
    """Return a seed of epoch, device and step: a resumed run draws what an uninterrupted one would have drawn."""
    return int(fingerprint(module.current_epoch, module.global_rank, index), 16) % 2**31


if __name__ == "__main__":
    main(GeneratorSettings, train, __doc__)
