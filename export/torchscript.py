"""Export torch modules to TorchScript files for Triton's PyTorch backend.

The decoding loops have no TorchScript file: tracing would freeze their number of steps. Clients decode with
``decoder_init`` and ``decoder_step`` through :mod:`img2poem.decoding.search`.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from .served import ServedModel

SUFFIX = "_torchscript"
MODELS = (
    "image_encoder",
    "object_encoder",
    "scene_encoder",
    "sentiment_encoder",
    "poem_encoder",
    "decoder_init",
    "decoder_step",
)


def write(served: ServedModel, path: Path, stamps: dict[str, str]) -> None:
    """Trace a served model, freeze it, and write it with its stamps as extra files."""
    sample = served.sample(2, np.random.default_rng(0))
    inputs = tuple(torch.from_numpy(sample[spec.name]) for spec in served.inputs)
    with _quiet(), torch.no_grad():
        traced = torch.jit.freeze(torch.jit.trace(served.module.eval(), inputs, check_trace=False))
        _save(traced, path, stamps)


def restamp(source: Path, path: Path, stamps: dict[str, str]) -> None:
    """Copy the file ``source`` with other stamps."""
    with _quiet():
        _save(torch.jit.load(str(source)), path, stamps)


def stamps_of(path: Path, names: list[str]) -> dict[str, str]:
    """Return the stamps ``names`` of a file."""
    extra: dict[str, object] = dict.fromkeys(names, "")
    with _quiet():
        torch.jit.load(str(path), _extra_files=extra)
    return {name: value.decode() if isinstance(value, bytes) else str(value) for name, value in extra.items()}


def load(path: Path, device: str = "cpu") -> torch.jit.ScriptModule:
    """Load a file onto a device for the parity gate."""
    with _quiet():
        return torch.jit.load(str(path), map_location=device)


def _save(module: torch.jit.ScriptModule, path: Path, stamps: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.jit.save(module, str(path), _extra_files=dict(stamps))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence known warnings: TorchScript is deprecated, and tracing bakes in values that are constant for us."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)  # transformers logs when a trace reads its properties
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
