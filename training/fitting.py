"""The training loop of every stage: Lightning with checkpoints, resuming, early stopping and TensorBoard.

A stage's folder contains ``last.ckpt`` (to resume from), ``best.ckpt`` and TensorBoard's logs. A finished stage adds
``curves.json``, the logged values, and ``result.safetensors``: the trained tensors with their metrics and the
fingerprint of everything that they depend on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import shutil
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from img2poem.datasets.errors import MissingData

from .curves import write_curves
from .run import Run, fingerprint

for name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(name).setLevel(logging.WARNING)
warnings.filterwarnings("ignore", ".*does not have many workers.*")
warnings.filterwarnings("ignore", ".*exists and is not empty.*")
warnings.filterwarnings("ignore", ".*`IterableDataset` has `__len__` defined.*")
warnings.filterwarnings("ignore", ".*LeafSpec.*")
warnings.filterwarnings("ignore", ".*smaller than the logging interval.*")


@dataclass(frozen=True)
class Result:
    """The result of a finished stage.

    Args:
        fingerprint: hash of everything that it depends on.
        sources: fingerprint of the run's data and options.
        made_from: fingerprints of the earlier results that it was made from, by stage.
        metrics: measured values by name.
        tensors: trained tensors by name.
    """

    fingerprint: str
    sources: str
    made_from: dict[str, str]
    metrics: dict[str, float]
    tensors: dict[str, Tensor]


class Stage:
    """The folder of one stage.

    Args:
        run: the stage's run.
        name: the stage's name.
        fingerprint: hash of the settings and everything else that the result depends on.
        made_from: fingerprints of the earlier results that it depends on, by stage.
    """

    def __init__(self, run: Run, name: str, fingerprint: str, made_from: dict[str, str]) -> None:
        self.run, self.name, self.fingerprint, self._made_from = run, name, fingerprint, made_from
        self.folder = run.root / name
        self._path = result_path(run, name)

    def finished(self) -> Result | None:
        """Return the result of an earlier run with the same fingerprint, or None."""
        found = read_result(self._path) if self._path.exists() else None
        return found if found and found.fingerprint == self.fingerprint else None

    def finish(self, tensors: dict[str, Tensor], metrics: dict[str, float]) -> Result:
        """Write the result atomically."""
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        sources = fingerprint(self.run.sources())
        metadata = {
            "fingerprint": self.fingerprint,
            "sources": sources,
            "made_from": json.dumps(self._made_from),
            "metrics": json.dumps(metrics),
        }
        write_tensors(self._path, tensors, metadata)
        print(f"{self.name}: {metrics}", flush=True)
        return Result(self.fingerprint, sources, self._made_from, metrics, tensors)

    def fit(
        self,
        module: L.LightningModule,
        train: Any,
        validation: Any,
        epochs: int,
        monitor: str | None,
        mode: Literal["min", "max"] = "min",
        patience: int | None = None,
        gradient_clip: float | None = None,
    ) -> None:
        """Train ``module`` in place to its best epoch; resume from ``last.ckpt`` if it exists.

        Args:
            module: the module to train.
            train: data loader; None if the module makes a new one each epoch.
            validation: data loader that ``monitor`` is measured on.
            epochs: maximum number of epochs.
            monitor: logged value that selects the best epoch; None keeps the last.
            mode: whether to minimise or maximise it.
            patience: epochs without improvement before early stopping; None: never.
            gradient_clip: largest norm of the gradient.
        """
        L.seed_everything(self.run.seed, verbose=False)
        folder = self.folder / "checkpoints" / self.fingerprint
        # Not save_last: it saves only together with the best checkpoint, so a resumed run would lose later epochs.
        best = ModelCheckpoint(folder, "best", monitor=monitor, mode=mode, enable_version_counter=False)
        latest = ModelCheckpoint(folder, "last", enable_version_counter=False)
        progress = RichProgressBar() if sys.stdout.isatty() else _EpochLines(self.name)
        callbacks: list[Callback] = [progress, best, latest]
        if monitor is not None and patience is not None:
            callbacks.append(EarlyStopping(monitor, mode=mode, patience=patience))
        logger = TensorBoardLogger(self.folder, name="tensorboard", version=self.fingerprint)
        trainer = L.Trainer(
            accelerator=self.run.accelerator,
            devices=1,  # drawing and validation assume one process
            precision=precision(self.run),
            max_epochs=epochs,
            callbacks=callbacks,
            logger=logger,
            log_every_n_steps=20,
            gradient_clip_val=gradient_clip,
            reload_dataloaders_every_n_epochs=1 if train is None else 0,
            enable_model_summary=False,
            enable_progress_bar=sys.stdout.isatty(),
            num_sanity_val_steps=0,
        )
        module.train()  # Lightning does not set the mode
        last = folder / "last.ckpt"
        resume = str(last) if last.exists() else None
        if resume:
            print(f"{self.name}: going on from {last}", flush=True)
        try:
            trainer.fit(module, train, validation, ckpt_path=resume, weights_only=True)
        except SystemExit:  # raised by Lightning for Ctrl-C
            raise KeyboardInterrupt from None
        if trainer.is_global_zero:
            write_curves(Path(logger.log_dir), self.folder)
        state = torch.load(folder / "best.ckpt", map_location="cpu", weights_only=True)["state_dict"]
        module.load_state_dict(state)
        module.cpu().eval()


class _EpochLines(Callback):
    """Prints one line per epoch, for logs, where a progress bar would be noise."""

    def __init__(self, name: str) -> None:
        self._name, self._started = name, time.monotonic()

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        values = ", ".join(f"{key} {float(value):.4g}" for key, value in trainer.logged_metrics.items())
        elapsed = time.monotonic() - self._started
        print(
            f"{self._name}: epoch {trainer.current_epoch + 1}/{trainer.max_epochs}, {elapsed:.0f} s, {values}",
            flush=True,
        )


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a file of tensors, whole or not at all."""
    staging = path.with_suffix(".tmp")
    save_file(tensors, staging, metadata)
    staging.replace(path)


def precision(run: Run) -> Any:
    """Return Lightning's precision for the run: bfloat16 if the hardware supports it."""
    if run.precision != "auto":
        return run.precision
    if run.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    return "bf16-mixed" if torch.cpu._is_avx512_bf16_supported() else "32-true"


def compiles(wanted: bool) -> bool:
    """Return whether to compile: if it is wanted and there is a C++ compiler, which ``torch.compile`` calls on CPUs."""
    if wanted and not any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "g++", "clang++")):
        print("training: no C++ compiler (g++) was found, so nothing is compiled: training is slower", file=sys.stderr)
        return False
    return wanted


def once() -> DataLoader[Any]:
    """Return a loader of one batch, for modules whose validation step measures everything at once."""
    return DataLoader(TensorDataset(torch.zeros(1)))


def schedule(
    module: L.LightningModule, optimizer: torch.optim.Optimizer, peak: float | list[float], warmup: float = 0.1
) -> Any:
    """Return Lightning's configuration of a one-cycle learning rate over all steps of the training."""
    steps = max(2, int(module.trainer.estimated_stepping_batches))
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, total_steps=steps + 1, pct_start=warmup)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}


def step_seed(module: L.LightningModule, index: int = 0) -> int:
    """Return a seed from epoch, device and step: a resumed run draws the same numbers as an uninterrupted one."""
    return int(fingerprint(module.current_epoch, module.global_rank, index), 16) % 2**31


def rounded(metrics: dict[str, float]) -> dict[str, float]:
    """Return metrics rounded to four decimals."""
    return {name: round(float(value), 4) for name, value in metrics.items()}


def load_prefixed(module: torch.nn.Module, tensors: dict[str, Tensor], prefix: str) -> None:
    """Load into ``module`` the tensors whose names begin with ``prefix.``"""
    start = f"{prefix}."
    module.load_state_dict({n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)})


class Starting(Protocol):
    """Settings (a dataclass) of a stage that may start from an earlier result of its own."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def start(self) -> Path | None:
        """File of the earlier result, or None."""


def start_of(settings: Starting) -> tuple[Result | None, dict[str, Any]]:
    """Return the earlier result to start from, and the parts of ``settings`` that the new result depends on.

    The earlier result is identified by its fingerprint, not by its path.

    Raises:
        MissingData: the file is damaged, or not the result of a stage.
    """
    earlier = read_result(settings.start) if settings.start else None
    decisive = {**dataclasses.asdict(settings), "start": earlier.fingerprint if earlier else None}
    return earlier, decisive


def result_path(run: Run, stage: str) -> Path:
    """Return the path of a finished stage's result."""
    return run.root / stage / "result.safetensors"


def read_result(path: Path) -> Result:
    """Read the result of a finished stage.

    Raises:
        MissingData: the file is damaged, or not the result of a stage.
    """
    with _result_errors(path):
        found, tensors = _metadata(path), load_file(path)
        made_from, metrics = json.loads(found["made_from"]), json.loads(found["metrics"])
        return Result(found["fingerprint"], found["sources"], made_from, metrics, tensors)


def read_fingerprint(path: Path) -> str:
    """Return the fingerprint of a finished stage without reading its tensors.

    Raises:
        MissingData: the file is missing, damaged, or not the result of a stage.
    """
    with _result_errors(path):
        return _metadata(path)["fingerprint"]


def _metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        found: dict[str, str] = file.metadata()
        return found


@contextlib.contextmanager
def _result_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise MissingData(
            f"{path} is missing, damaged or no stage's result: {error!r}; delete it and run the stage again"
        ) from error
