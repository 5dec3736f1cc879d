"""What the models are asked at a server's start, so that the first callers wait for no library, kernel or memory.

Triton's own ``zero_data`` will do for tensors, but not for options: with a beam width or a number of tokens of 0 no
step is decoded. Those are files, one an option, in the folder ``warmup`` of a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tritonclient.grpc import model_config_pb2 as pb

from img2poem.decoding.strategies import BeamSearch, Greedy, Sampling

from .served import TensorSpec

#: Where Triton looks for the files.
FOLDER = "warmup"
#: The usual options by the name of their tensors.
VALUES = {
    name: value for strategy in (Sampling(), BeamSearch(), Greedy()) for name, value in strategy.tensors().items()
}


def batches(inputs: Sequence[TensorSpec], largest: int) -> list[int]:
    """Return the batch sizes that a GPU is warmed for, the largest first: what it takes, the smaller ones use again.

    A convolution chooses its algorithm for each size, so that models of pictures are warmed for every one (up to 32,
    and then as the others); matrix products need powers of two alone.
    """
    powers = {2**power for power in range(largest.bit_length())}
    pictures = any(spec.dtype is np.uint8 for spec in inputs)
    return sorted({largest, *powers, *(range(1, min(largest, 32) + 1) if pictures else ())}, reverse=True)


def write(folder: Path, config: pb.ModelConfig) -> None:
    """Write the files that a config names into the ``folder`` of its model."""
    for name in {t.input_data_file for warm in config.model_warmup for t in warm.inputs.values() if t.input_data_file}:
        (folder / FOLDER).mkdir(exist_ok=True)
        (folder / FOLDER / name).write_bytes(VALUES[name].tobytes())
