"""Options of an export."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from img2poem.artifacts.installed import EXPORTED, EXPORTED_FOR_GPUS
from img2poem.datasets.contents import contents_of
from img2poem.errors import InvalidOption

Device = Literal["cpu", "gpu"]
Precision = Literal["fp32", "fp16", "int8"]
Profile = Literal["all", "serving"]

FORMATS = ("onnx", "torchscript")
#: Repository that an export writes by default.
DEFAULT_OUT: dict[Device, Path] = {"cpu": EXPORTED, "gpu": EXPORTED_FOR_GPUS}
#: Oldest supported Triton releases. For CPUs, the first whose ONNX Runtime (1.19) reads the files; for GPUs, the first
#: whose ONNX Runtime (1.21) has a CUDA kernel for every operator in them. ArgMax was the last to get one.
OLDEST_TARGET: dict[Device, str] = {"cpu": "24.10", "gpu": "25.03"}
#: Supported opsets, the default first. ONNX Runtime 1.19 reads up to 21. From 19 on, Equal, Pad, ReduceMax and
#: others have no CUDA kernel before ONNX Runtime 1.27 (Triton 26.07): onnxruntime#26393, #27728, #27729, and
#: ``placement``, which checks every GPU export.
OPSETS: dict[Device, tuple[int, ...]] = {"cpu": (20, 21), "gpu": (18,)}
#: Largest IR version that ONNX Runtime 1.19 reads.
IR_VERSION = 10


@dataclass(frozen=True)
class Settings:
    """Options of an export.

    Args:
        device: device that Triton runs the models on.
        precision: ``fp32``; ``fp16`` for GPUs; ``int8`` for CPUs.
        formats: ``onnx``, ``torchscript`` or both; the TorchScript models are named ``<model>_torchscript``.
        models: names of the models to export, all if empty; an ensemble includes its parts.
        profile: ``serving`` exports the models that write whole poems, and their parts. It leaves out the single
            encoders and the decoder's steps, which only clients that decode or compare themselves need.
        opset: of the ONNX files; 0 for the default of ``device``.
        max_batch: largest batch of a served model, 1 to 256. For models with several candidates per row it is a
            quarter of this, but 8 if this is from 8 to 32.
        target: Triton release that serves the repository, as ``24.10``; refused if it is too old, otherwise without
            effect. The oldest for ``device`` if empty.
        data: folder of the training data, for photographs that calibrate and measure.
        instances: instances of each model that most poems need, 1 to 16; the other models have one.
        photo_processes: processes that decode photographs, 1 to 64; each decodes one photograph at a time.
        streams: poems that ``img2poem_stream`` writes concurrently, 1 to 1024.
        gpu_memory: MiB of GPU memory that one instance of a model may use for its tensors; 0 for no limit.
        forbidden_words: words, in the letters a to z, that no poem may contain; None for the package's list.

    Raises:
        InvalidOption: a value is unknown or conflicts with another.
    """

    device: Device = "cpu"
    precision: Precision = "fp32"
    formats: tuple[str, ...] = ("onnx",)
    models: tuple[str, ...] = ()
    profile: Profile = "all"
    opset: int = 0
    max_batch: int = 32
    target: str = ""
    data: Path | None = None
    instances: int = 2
    photo_processes: int = 2
    streams: int = 16
    gpu_memory: int = 0
    forbidden_words: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not self.formats or set(self.formats) - {*FORMATS}:
            raise InvalidOption(f"formats are {' and '.join(FORMATS)}, not {', '.join(self.formats) or 'none'}")
        opsets, oldest = OPSETS[self.device], OLDEST_TARGET[self.device]
        object.__setattr__(self, "opset", self.opset or opsets[0])
        object.__setattr__(self, "target", self.target or oldest)
        if self.opset not in opsets:
            raise InvalidOption(
                f"opset must be {' or '.join(map(str, opsets))} for --device {self.device}, not {self.opset}"
            )
        if not 1 <= self.max_batch <= 256:
            raise InvalidOption(f"max-batch must be from 1 to 256, not {self.max_batch}")
        if not re.fullmatch(r"\d\d\.\d\d", self.target) or self.target < oldest:
            raise InvalidOption(
                f"target must be a Triton release from {oldest} on for --device {self.device}, not {self.target}"
            )
        for name, value, most in (
            ("instances", self.instances, 16),
            ("photo-processes", self.photo_processes, 64),
            ("streams", self.streams, 1024),
        ):
            if not 1 <= value <= most:
                raise InvalidOption(f"{name} must be from 1 to {most}, not {value}")
        if self.gpu_memory < 0 or (self.gpu_memory and self.device == "cpu"):
            raise InvalidOption("gpu-memory must be 0 or more MiB, and needs --device gpu")
        if self.models and self.profile != "all":
            raise InvalidOption("profile and models both select models: give one of them")
        if self.precision == "fp16" and self.device == "cpu":
            raise InvalidOption("fp16 is for --device gpu: CPUs compute in float32")
        if self.precision == "int8" and self.device == "gpu":
            raise InvalidOption("int8 is for --device cpu: on GPUs use fp16")
        if wrong := [word for word in self.forbidden_words or () if not re.fullmatch("[a-z]+", word)]:
            raise InvalidOption(f"forbidden words may only have the letters a to z, not {', '.join(wrong[:3])}")
        if self.precision != "fp32" and "torchscript" in self.formats:
            raise InvalidOption("torchscript is written in fp32 only")

    @property
    def cpu_opset(self) -> int:
        """Opset of the files that always run on the CPU; the text graphs need 20 for StringConcat."""
        return self.opset if self.device == "cpu" else OPSETS["cpu"][0]

    def largest_batch(self, usual: int) -> int:
        """Return the largest batch of a model whose default is ``usual``."""
        grown = usual * self.max_batch // Settings.max_batch
        return min(usual, self.max_batch) if self.max_batch <= Settings.max_batch else grown

    def instances_of(self, usual: int) -> int:
        """Return the number of instances of a model whose default is ``usual``."""
        return self.instances if usual > 1 else 1

    @property
    def photographs(self) -> str | None:
        """Hash of the data that calibrates and measures a lower precision; None if no data is used."""
        return None if self.data is None or self.precision == "fp32" else contents_of(self.data)

    def to_json(self) -> dict[str, Any]:
        """Return the options that affect the exported files, as JSON values; of ``data`` its hash."""
        words = None if self.forbidden_words is None else [*self.forbidden_words]
        lists = {"formats": [*self.formats], "models": [*self.models], "forbidden_words": words}
        found = {**asdict(self), **lists, "data": self.photographs}
        del found["target"]
        return found
