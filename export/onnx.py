"""Torch modules to ONNX files that Triton's ONNX Runtime can read, stamped with their origin."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import inspect
import io
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from img2poem.package import PackageConfig
from img2poem.text import BOS, EOS, NEWLINE, PAD, UNK, PoemTokenizer

from . import poem_text
from .modules import ServedModel

#: What ONNX Runtime 1.19, the one in Triton 2.51, reads at the most.
OPSET = 20
IR_VERSION = 10
_EXAMPLE_BATCH = 2


def export_module(served: ServedModel) -> onnx.ModelProto:
    """Export a served model with a free batch axis."""
    sample = served.sample(_EXAMPLE_BATCH, np.random.default_rng(0))
    inputs = tuple(torch.from_numpy(sample[spec.name]) for spec in served.inputs)
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            served.module.eval(),
            inputs,
            dynamo=True,
            dynamic_shapes=_free_batch(served.module, len(inputs)),
            input_names=[spec.name for spec in served.inputs],
            output_names=[spec.name for spec in served.outputs],
            opset_version=OPSET,
        )
    assert program is not None
    return program.model_proto


def export_poem_text(tokenizer: PoemTokenizer, config: PackageConfig) -> onnx.ModelProto:
    """Return ``poem_text`` for the package's vocabulary."""
    return poem_text.build(tokenizer.pieces[: config.decoder.vocabulary_size], config.decoder.max_tokens, OPSET)


def write(proto: onnx.ModelProto, path: Path, stamps: dict[str, str]) -> None:
    """Stamp, check (``onnx.checker``) and write a model.

    Raises:
        onnx.checker.ValidationError: the graph is not valid.
    """
    proto.ir_version = IR_VERSION
    del proto.metadata_props[:]
    for key, value in stamps.items():
        proto.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(proto, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(proto.SerializeToString())


def stamps_of(config: PackageConfig, pieces: Sequence[str], contract: str, model: str) -> dict[str, str]:
    """Return what is stamped into every file of the repository: what a caller must know to use it."""
    vocabulary = pieces[: config.decoder.vocabulary_size]
    return {
        "img2poem.contract": contract,
        "img2poem.package": config.name,
        "img2poem.model": model,
        "img2poem.preprocessing": json.dumps(dataclasses.asdict(config.preprocessing)),
        "img2poem.special_ids": json.dumps({"pad": PAD, "bos": BOS, "eos": EOS, "unk": UNK, "newline": NEWLINE}),
        "img2poem.vocabulary": hashlib.sha256(json.dumps(vocabulary).encode()).hexdigest(),
        "img2poem.vocabulary_size": str(len(vocabulary)),
    }


def _free_batch(module: nn.Module, inputs: int) -> dict[str, Any]:
    """Say of each argument of ``forward`` that its first axis is free; ``*options`` take all that remain."""
    free = {0: torch.export.Dim("batch", min=1, max=4096)}
    arguments = list(inspect.signature(module.forward).parameters.values())
    shapes: dict[str, Any] = {argument.name: free for argument in arguments}
    if arguments[-1].kind is inspect.Parameter.VAR_POSITIONAL:
        shapes[arguments[-1].name] = (free,) * (inputs - len(arguments) + 1)
    return shapes


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's progress chatter and deprecation warnings; errors still raise."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        yield
