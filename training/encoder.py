"""Scene and sentiment stage: train one encoder's adapter and output layer, and its own backbone if it has one.

An encoder that shares the object encoder's trunk learns from the trunk's cached features. One with its own trunk learns
from randomly mirrored photographs and fine-tunes the trunk's last blocks.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sized
from dataclasses import dataclass
from typing import Any, cast

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, TensorDataset

from img2poem.datasets.splits import split_of
from img2poem.images.decode import decode
from img2poem.nn.image_encoder import EncoderHead, ImageEncoder

from .features import PhotoSource, photos_of, trunk_features
from .fitting import Result, Stage, precision, schedule
from .parts import Parts, parts_of, trained
from .pretrained import load_backbone
from .run import Run, fingerprint

_MIDDLE = 4.0  # of ratings from 1 to 7

# The folds of cross-validation train without validation.
warnings.filterwarnings("ignore", ".*have no `val_dataloader`.*")


@dataclass(frozen=True)
class EncoderSettings:
    """Hyper-parameters of an encoder's training; the defaults are those of the scene encoder."""

    epochs: int = 12
    """Maximum number of epochs."""
    batch: int = 256
    """Photographs per batch."""
    learning_rate: float = 1e-3
    """Peak learning rate of the one-cycle schedule, for adapter and output layer."""
    trunk_learning_rate: float = 1e-4
    """Peak learning rate for the encoder's own backbone."""
    tuned_layers: int = 20
    """Parameter tensors at the end of the encoder's own backbone that are fine-tuned; 0 freezes it."""
    weight_decay: float = 0.02
    """AdamW's weight decay."""
    dropout: float = 0.3
    """Dropout before adapter and output layer."""
    patience: int | None = 4
    """Early stopping after this many epochs without improvement; none: train all epochs and keep the last."""


@dataclass(frozen=True)
class EncoderTask:
    """An encoder's task: sources, loss, metrics, and the metric that selects the best epoch."""

    name: str
    train: PhotoSource
    test: PhotoSource | None  # None: the test split of ``train``
    dtype: torch.dtype
    loss: Callable[[Tensor, Tensor], Tensor]
    metrics: Callable[[Tensor, Tensor], dict[str, float]]
    monitor: str
    # Folds of cross-validation over all photographs, for small sets and a frozen trunk; 0: measure on the test split.
    folds: int = 0


class EncoderTraining(L.LightningModule):
    """An encoder's head on top of its trunk or of cached features."""

    def __init__(self, task: EncoderTask, settings: EncoderSettings, trunk: nn.Module, head: EncoderHead) -> None:
        super().__init__()
        self.task, self.settings, self.trunk, self.head = task, settings, trunk, head
        self._outputs: list[tuple[Tensor, Tensor]] = []

    def train(self, mode: bool = True) -> EncoderTraining:
        super().train(mode)
        if not any(parameter.requires_grad for parameter in self.trunk.parameters()):
            self.trunk.eval()  # keeps its batch statistics
        return self

    def forward(self, x: Tensor) -> Tensor:
        dropout = self.settings.dropout
        features, _ = self.head(F.dropout(self.trunk(x), dropout, self.training))
        logits: Tensor = self.head.output(F.dropout(features, dropout, self.training))
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        loss = self.task.loss(self(batch[0]).float(), batch[1])
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        self._outputs.append((self(batch[0]).float(), batch[1]))

    def on_validation_epoch_end(self) -> None:
        predicted, wanted = (torch.cat(parts) for parts in zip(*self._outputs, strict=True))
        self._outputs.clear()
        self.log_dict({f"validation/{name}": value for name, value in self.task.metrics(predicted, wanted).items()})

    def configure_optimizers(self) -> Any:
        tuned = [p for p in self.trunk.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [{"params": list(self.head.parameters()), "lr": self.settings.learning_rate}]
        if tuned:
            groups.append({"params": tuned, "lr": self.settings.trunk_learning_rate})
        optimizer = torch.optim.AdamW(groups, weight_decay=self.settings.weight_decay)
        return schedule(self, optimizer, [group["lr"] for group in groups])


class PhotoDataset(Dataset[tuple[Tensor, Tensor]]):
    """Photographs as normalised pixels, decoded on access; in training, half of them are mirrored."""

    def __init__(self, encoder: ImageEncoder, photos: list[tuple[str, bytes, Any]], dtype: torch.dtype, mirror: bool):
        self._encoder, self._photos, self._dtype, self._mirror = encoder, photos, dtype, mirror

    def __len__(self) -> int:
        return len(self._photos)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        _, data, label = self._photos[index]
        pixels = decode(data, self._encoder.preprocessing.size)
        x = self._encoder.normalise(torch.tensor(pixels)[None])[0]
        if self._mirror and torch.rand(()) < 0.5:
            x = x.flip(-1)
        return x, torch.as_tensor(label).to(self._dtype)


def train_encoder(parts: Parts, task: EncoderTask, settings: EncoderSettings) -> Result:
    """Train one encoder of the model in place, or return an earlier run's result."""
    run, config = parts.run, parts.model.image_encoder.encoders[task.name]
    stage = Stage(run, task.name, fingerprint(parts.sources(), settings, task.train, config), parts.made_from())
    if (found := stage.finished()) is not None:
        return found
    pieces = parts_of(parts.model, task.name)
    head, trunk, own_trunk = cast(EncoderHead, pieces["head"]), pieces.get("trunk", nn.Identity()), "trunk" in pieces
    if own_trunk:
        _start_trunk(run, task, trunk, settings.tuned_layers)
    train, validation, test = _splits(parts, task, own_trunk)
    fresh = copy.deepcopy(head)
    module, loader = _started(task, settings, trunk, head, train)
    monitor = f"validation/{task.monitor}" if settings.patience else None
    checked = DataLoader(validation, loader.batch_size)
    stage.fit(module, loader, checked, settings.epochs, monitor, "max", settings.patience)
    if task.folds and not own_trunk:
        everything: ConcatDataset[Any] = ConcatDataset([train, validation, test])
        measured = cross_validated(run, task, settings, fresh, everything)
    else:
        measured = _measured(task, *_predicted(module, test))
    return stage.finish(trained(parts.model, task.name), measured)


def _started(
    task: EncoderTask, settings: EncoderSettings, trunk: nn.Module, head: EncoderHead, train: Dataset[Any]
) -> tuple[EncoderTraining, DataLoader[Any]]:
    """Return the module that trains ``head`` in place, and its training batches."""
    examples = len(cast(Sized, train))
    if task.dtype.is_floating_point:
        # Start from the mean rating: rated photographs are few.
        nn.init.zeros_(head.output.weight)
        head.output.bias.data.copy_(torch.stack([train[i][1] for i in range(examples)]).nanmean(0).nan_to_num(_MIDDLE))
    batch = min(settings.batch, max(2, examples // 4))
    return EncoderTraining(task, settings, trunk, head), DataLoader(train, batch, shuffle=True, drop_last=True)


def cross_validated(
    run: Run, task: EncoderTask, settings: EncoderSettings, fresh: EncoderHead, everything: Dataset[Any]
) -> dict[str, float]:
    """Return the metrics over all photographs, each predicted by a head trained only on the other folds.

    Args:
        run: sets accelerator, precision and folds.
        task: the task and its number of folds.
        settings: those of the final head; but each head trains all epochs.
        fresh: the untrained head; not modified.
        everything: features and labels of all photographs.
    """
    order = np.random.default_rng(run.seed).permutation(len(cast(Sized, everything)))
    outputs = []
    for held_out in np.array_split(order, task.folds):
        learned = Subset(everything, np.setdiff1d(order, held_out).tolist())
        module, loader = _started(task, settings, nn.Identity(), copy.deepcopy(fresh), learned)
        L.seed_everything(run.seed, verbose=False)
        trainer = L.Trainer(
            accelerator=run.accelerator,
            devices=1,
            precision=precision(run),
            max_epochs=settings.epochs,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
        )
        try:
            trainer.fit(module.train(), loader)
        except SystemExit:  # raised by Lightning for Ctrl-C
            raise KeyboardInterrupt from None
        outputs.append(_predicted(module.cpu(), Subset(everything, held_out.tolist())))
    predicted, wanted = (torch.cat(parts) for parts in zip(*outputs, strict=True))
    return {f"{name}_{task.folds}_fold": value for name, value in _measured(task, predicted, wanted).items()}


def _start_trunk(run: Run, task: EncoderTask, trunk: nn.Module, tuned_layers: int) -> None:
    source = str(run.places365) if task.name == "scene" and run.places365 else run.backbones
    load_backbone(trunk, source)
    parameters = list(trunk.parameters())
    trunk.requires_grad_(False)
    for parameter in parameters[max(0, len(parameters) - tuned_layers) :]:
        parameter.requires_grad_(True)


def _splits(parts: Parts, task: EncoderTask, pixels: bool) -> tuple[Any, Any, Any]:
    """Return training, validation and test sets; a source with a separate test part also trains on its test split."""

    def of(source: PhotoSource, wanted: tuple[str, ...], mirror: bool = False) -> Dataset[Any]:
        if pixels:
            photos = [photo for photo in photos_of(source, parts.run, parts.corpus) if split_of(photo[0]) in wanted]
            return PhotoDataset(parts.model.image_encoder, photos, task.dtype, mirror)
        arrays = trunk_features(parts, source, "object")
        rows = np.array([i for i, name in enumerate(arrays["names"]) if split_of(str(name)) in wanted])
        return TensorDataset(
            torch.from_numpy(arrays["features"][rows]).float(), torch.from_numpy(arrays["labels"][rows]).to(task.dtype)
        )

    if task.test is None:
        return of(task.train, ("train",), True), of(task.train, ("validation",)), of(task.train, ("test",))
    everything = ("train", "validation", "test")
    return of(task.train, ("train", "test"), True), of(task.train, ("validation",)), of(task.test, everything)


@torch.inference_mode()
def _predicted(module: EncoderTraining, photos: Dataset[Any]) -> tuple[Tensor, Tensor]:
    """Return the predictions of ``module`` for photographs, and the labels."""
    module.eval()
    outputs = [(module(x), y) for x, y in DataLoader(photos, 64)]
    predicted, wanted = (torch.cat(parts) for parts in zip(*outputs, strict=True))
    return predicted, wanted


def _measured(task: EncoderTask, predicted: Tensor, wanted: Tensor) -> dict[str, float]:
    return {f"{task.name}_{name}": round(value, 4) for name, value in task.metrics(predicted, wanted).items()}
