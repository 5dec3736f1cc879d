"""Options and command line that all stages share."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import torch
import tyro
from safetensors import SafetensorError

from img2poem.datasets.contents import contents_of
from img2poem.errors import Img2PoemError

S = TypeVar("S")

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Run:
    """Data, working folder and hardware of a run."""

    data: Path
    """Folder of the training data."""
    work: Path = Path("runs")
    """Folder of checkpoints, logs and cached features; a rerun resumes from there."""
    model: Literal["lite", "resnet50"] = "lite"
    """Architecture: one EfficientNet-lite0 for all encoders, or three ResNet-50 as in the paper."""
    backbones: str = "pretrained"
    """ImageNet weights of the backbone: "pretrained", "none", or a file with torchvision's state dict."""
    places365: Path | None = None
    """File of the Places365 checkpoint that initialises the scene encoder of resnet50."""
    limit: int | None = None
    """Use only this many photographs and poems of each collection, for a run of minutes."""
    seed: int = 0
    """Seed of all random numbers."""
    accelerator: str = "auto"
    """Lightning's accelerator: auto, cpu, gpu, ...; the run uses one device."""
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    """Lightning's precision; auto is bf16-mixed if the hardware supports it."""
    poems_from: Path | None = None
    """Folder with photo_poems in the place of the one in --data; a clone's is data."""

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 100:
            raise ValueError(f"--limit must be 100 or more, not {self.limit}: a twentieth of it is the test split")
        if self.places365 is not None and self.model == "lite":
            raise ValueError("--places365 goes with --model resnet50: lite has one backbone for all encoders")
        if self.work.resolve().is_relative_to(self.data.resolve()):
            raise ValueError(f"--work {self.work} lies within --data, so every stage would change the data")

    @property
    def root(self) -> Path:
        """Folder of this architecture's stages; a limited run has its own."""
        name = self.model if self.limit is None else f"{self.model}-limit-{self.limit}"
        return self.work / name

    @property
    def features(self) -> Path:
        """Folder of cached features of this data."""
        name = "-".join(map(contents_of, filter(None, (self.data, self.poems_from))))
        return (self.work if self.limit is None else self.root) / "features" / name

    def sources(self) -> dict[str, Any]:
        """Return the options that the run's results depend on."""
        given = {"data": self.data, "poems": self.poems_from, "places365": self.places365}
        files = {name: contents_of(path) for name, path in given.items() if path}
        named = self.backbones in ("pretrained", "none")
        backbones = self.backbones if named else contents_of(Path(self.backbones))
        return {"model": self.model, "backbones": backbones, "limit": self.limit, "seed": self.seed, **files}


def fingerprint(*parts: Any) -> str:
    """Return a short hash of JSON-like values and dataclasses, which identifies a finished stage."""
    plain = [dataclasses.asdict(part) if dataclasses.is_dataclass(part) else part for part in parts]  # type: ignore[arg-type]
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Arguments(Generic[S]):
    """Command line of a stage: the run's options and the stage's own."""

    run: Run
    stage: S


def main(stage: type[S], work: Callable[[Run, S], Any], description: str | None) -> None:
    """Run a stage from the command line; every field of its settings is an option."""
    with reporting():
        options = tyro.cli(Arguments[stage], config=(tyro.conf.OmitArgPrefixes,), description=description)  # type: ignore[valid-type]
        work(options.run, options.stage)


@contextlib.contextmanager
def reporting() -> Iterator[None]:
    """Turn errors into one line that says what to do, with exit status 1; Ctrl-C into 130."""
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(_say("interrupted; run again to go on from the last checkpoint", 130)) from None
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise SystemExit(_say(f"out of memory: {error}; choose a smaller --batch", 1)) from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):  # on the CPU, torch raises no specific type
            raise
        raise SystemExit(_say(f"out of memory: {error}; choose a smaller --batch", 1)) from error
    except (OSError, SafetensorError) as error:
        # The errors of a full disk do not name the file.
        full = getattr(error, "errno", None) in _NO_ROOM or os.strerror(errno.ENOSPC) in str(error)
        advice = "; no file could be written: make room, then run again to go on from the last checkpoint"
        raise SystemExit(_say(f"{error}{advice if full else ''}", 1)) from error
    except (Img2PoemError, ValueError) as error:
        raise SystemExit(_say(str(error), 1)) from error


def _say(message: str, status: int) -> int:
    print(f"training: {message}", file=sys.stderr, flush=True)
    return status
