"""What an export is asked for."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from img2poem.errors import InvalidOption

Device = Literal["cpu", "gpu"]
Precision = Literal["fp32", "fp16", "int8"]

FORMATS = ("onnx", "torchscript")
#: Oldest Triton release whose ONNX Runtime, 1.19, reads what we write, and what that one reads at the most.
OLDEST_TARGET = "24.10"
OPSETS = range(20, 22)
IR_VERSION = 10


@dataclass(frozen=True)
class Settings:
    """Options of an export.

    Args:
        device: where Triton is to run the models.
        precision: ``fp32``; ``fp16`` for GPUs; ``int8`` for CPUs.
        formats: ``onnx``, ``torchscript`` or both; the TorchScript models are named ``<model>_torchscript``.
        models: names of models to export, all when empty; an ensemble brings what it is made of.
        opset: of the ONNX files.
        max_batch: largest batch that a served model takes, 1 to 256; of one whose rows are several candidates each, a
            quarter of it, but 8 where it is from 8 to 32.
        target: Triton release that is to read the repository, as ``24.10``; refused if it is too old, else written the
            same.
        data: folder of the training data, for photographs that calibrate and measure.
        forbidden_words: that no poem holds, in the letters a to z; None for those of the package.

    Raises:
        InvalidOption: a value is unknown or does not go with another.
    """

    device: Device = "cpu"
    precision: Precision = "fp32"
    formats: tuple[str, ...] = ("onnx",)
    models: tuple[str, ...] = ()
    opset: int = OPSETS[0]
    max_batch: int = 32
    target: str = OLDEST_TARGET
    data: Path | None = None
    forbidden_words: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not self.formats or set(self.formats) - {*FORMATS}:
            raise InvalidOption(f"formats are {' and '.join(FORMATS)}, not {', '.join(self.formats) or 'none'}")
        if self.opset not in OPSETS:
            raise InvalidOption(f"opset must be {OPSETS[0]} to {OPSETS[-1]}, which ONNX Runtime 1.19 reads")
        if not 1 <= self.max_batch <= 256:
            raise InvalidOption(f"max-batch must be from 1 to 256, not {self.max_batch}")
        if not re.fullmatch(r"\d\d\.\d\d", self.target) or self.target < OLDEST_TARGET:
            raise InvalidOption(f"target must be a Triton release from {OLDEST_TARGET} on, not {self.target}")
        if self.precision == "fp16" and self.device == "cpu":
            raise InvalidOption("fp16 is for --device gpu: CPUs compute in float32")
        if self.precision == "int8" and self.device == "gpu":
            raise InvalidOption("int8 is for --device cpu: on GPUs use fp16")
        if wrong := [word for word in self.forbidden_words or () if not re.fullmatch("[a-z]+", word)]:
            raise InvalidOption(f"forbidden words have the letters a to z, unlike {', '.join(wrong[:3])}")
        if self.precision != "fp32" and "torchscript" in self.formats:
            raise InvalidOption("torchscript is written in fp32 only")

    def largest_batch(self, usual: int) -> int:
        """Return the largest batch of a model that usually takes ``usual``."""
        grown = usual * self.max_batch // Settings.max_batch
        return min(usual, self.max_batch) if self.max_batch <= Settings.max_batch else grown

    def to_json(self) -> dict[str, Any]:
        """Return the options that decide what is written, as JSON values."""
        words = None if self.forbidden_words is None else [*self.forbidden_words]
        lists = {"formats": [*self.formats], "models": [*self.models], "forbidden_words": words}
        found = {**asdict(self), **lists, "data": str(self.data)}
        del found["target"]
        return found
