"""Warmup requests: they run at the server's start, so that no caller waits for a library, kernel or memory.

Triton's own ``zero_data`` suits tensors, but not options: with a beam width or token limit of 0 no step is decoded.
Option values are files, one per option, in the folder ``warmup`` of a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tritonclient.grpc import model_config_pb2 as pb

from img2poem.decoding.registry import REGISTRY

from .served import TensorSpec

#: Folder where Triton looks for the files.
FOLDER = "warmup"
#: Default options by the name of their tensors.
VALUES = {name: value for one in REGISTRY.values() for name, value in one.kind().tensors().items()}


def batches(inputs: Sequence[TensorSpec], largest: int) -> list[int]:
    """Return the batch sizes for the warmup of a GPU, largest first: smaller batches reuse its memory.

    A convolution chooses its algorithm for each size, so image models are warmed up at every size up to 32 and at
    powers of two above; matrix products need only powers of two.
    """
    powers = {2**power for power in range(largest.bit_length())}
    pictures = any(spec.dtype is np.uint8 for spec in inputs)
    return sorted({largest, *powers, *(range(1, min(largest, 32) + 1) if pictures else ())}, reverse=True)


def write(folder: Path, config: pb.ModelConfig) -> None:
    """Write the files that a config names into the model's ``folder``."""
    for name in {t.input_data_file for warm in config.model_warmup for t in warm.inputs.values() if t.input_data_file}:
        (folder / FOLDER).mkdir(exist_ok=True)
        (folder / FOLDER / name).write_bytes(VALUES[name].tobytes())
