"""Export torch modules to ONNX files that Triton's ONNX Runtime can read, and stamp their origin."""

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
from onnxscript import ir
from onnxscript.optimizer import optimize_ir

from img2poem.artifacts.package import PackageConfig
from img2poem.text.vocabulary import BOS, EOS, NEWLINE, PAD, UNK

from .rewrite import bodies
from .served import FREE, ServedModel
from .settings import IR_VERSION
from .simplify import simplified

_EXAMPLE_BATCH = 2
_ANY_SIZE = 2**31


def export_module(served: ServedModel, opset: int) -> onnx.ModelProto:
    """Export a served model with a free batch axis."""
    sample = served.sample(_EXAMPLE_BATCH, np.random.default_rng(0))
    inputs = tuple(torch.from_numpy(sample[spec.name]) for spec in served.inputs)
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            served.module.eval(),
            inputs,
            dynamo=True,
            dynamic_shapes=_free_axes(served),
            input_names=[spec.name for spec in served.inputs],
            output_names=[spec.name for spec in served.outputs],
            opset_version=opset,
        )
    assert program is not None
    # Fold slices of weights in a loop's body into weights of their own: the exporter folds only small ones.
    optimize_ir(program.model, input_size_limit=_ANY_SIZE, output_size_limit=_ANY_SIZE)
    model = simplified(program.model)
    _keep_names(model.graph, {spec.name for spec in served.outputs})
    return ir.to_proto(model)


def write(proto: onnx.ModelProto, path: Path, stamps: dict[str, str]) -> None:
    """Stamp, check (``onnx.checker``) and write a model.

    Raises:
        onnx.checker.ValidationError: the graph is not valid.
    """
    proto.ir_version = IR_VERSION
    del proto.metadata_props[:]
    _forget_sources(proto.graph)
    for key, value in stamps.items():
        proto.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(proto, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(proto.SerializeToString())


def stamps_of(
    config: PackageConfig, pieces: Sequence[str], contract: str, model: str, precision: str
) -> dict[str, str]:
    """Return the stamps of every file of the repository: the facts that a client needs."""
    vocabulary = pieces[: config.decoder.vocabulary_size]
    return {
        **(_words(config) if model == "poem_text" else {}),
        "img2poem.contract": contract,
        "img2poem.package": config.name,
        "img2poem.model": model,
        "img2poem.precision": precision,
        "img2poem.preprocessing": json.dumps(dataclasses.asdict(config.preprocessing)),
        "img2poem.special_ids": json.dumps({"pad": PAD, "bos": BOS, "eos": EOS, "unk": UNK, "newline": NEWLINE}),
        "img2poem.vocabulary": hashlib.sha256(json.dumps(vocabulary).encode()).hexdigest(),
        "img2poem.vocabulary_size": str(len(vocabulary)),
        "img2poem.aligner_vocabulary_size": str(len(pieces)),
    }


def _words(config: PackageConfig) -> dict[str, str]:
    """Return the word lists that a decoding client needs beside the vocabulary."""
    names = ("contractions", "stems", "forbidden_words")
    return {f"img2poem.{name}": _json(getattr(config.decoder, name)) for name in names}


def _json(words: Sequence[str]) -> str:
    # In config.pbtxt an apostrophe would become an escape that is not valid JSON.
    return json.dumps(words).replace("'", "\\u0027")


def _free_axes(served: ServedModel) -> dict[str, Any]:
    """Return the free axes of each argument of ``forward``; ``*options`` takes all remaining inputs."""
    batch, free = torch.export.Dim("batch", min=1, max=4096), torch.export.Dim("free", min=1, max=4096)
    axes = [{0: batch, **{i: free for i, d in enumerate(spec.dims, 1) if d == FREE}} for spec in served.inputs]
    arguments = list(inspect.signature(served.module.forward).parameters.values())
    if arguments[-1].kind is not inspect.Parameter.VAR_POSITIONAL:
        return {argument.name: axis for argument, axis in zip(arguments, axes, strict=True)}
    *single, rest = arguments
    shapes: dict[str, Any] = {argument.name: axes[i] for i, argument in enumerate(single)}
    return {**shapes, rest.name: tuple(axes[len(single) :])}


def _forget_sources(graph: onnx.GraphProto) -> None:
    """Remove the exporter's stack traces: they name folders of this machine."""
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer, graph):
        del part.metadata_props[:]
        part.doc_string = ""
    for node in graph.node:
        for body in bodies(node):
            _forget_sources(body)


def _keep_names(graph: Any, outputs: set[str]) -> None:
    """Rename inner values that share their name with an output; torch names one "embedding", for example."""
    for node in graph:
        for value in node.outputs:
            if value.name in outputs and value not in graph.outputs:
                value.name += "_inside"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's output, including attempts that fail before one succeeds; errors still raise."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
