"""Observed ranges of the inputs of matrix products, so that int8 need not measure them at every step."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnxruntime import InferenceSession

from . import rewrite
from .settings import IR_VERSION

Ranges = dict[str, float]
#: Operators that keep the range of an input: those of :mod:`export.bounds`, and those that repeat rows.
_KEEPING = ("Where", "Clip", "Min", "Max", "Unsqueeze", "Expand", "Reshape", "Flatten")


def observed(model: onnx.ModelProto, inputs: Mapping[str, NDArray[np.generic]]) -> Ranges:
    """Return the range of each input of a product with a large constant weight, by tensor name.

    The range is the smallest power of two, at least 1, that covers all values for ``inputs``; rounding up makes models
    that share a decoder agree. The graph's own inputs have no range, since callers may send any value. Nor have rows of
    a table, such as word embeddings: most are far smaller than the largest, and lose less if each is measured.
    """
    told = onnx.ModelProto()
    told.CopyFrom(model)
    told.ir_version = IR_VERSION
    weights = rewrite.large_weights(told.graph)
    given = _given(told.graph) | _looked_up(told.graph, weights)
    names = [name for name in _tell(told.graph, weights) if name not in given]
    session = InferenceSession(told.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run([_largest(name) for name in names], dict(inputs))
    most = {name: float(np.max(values, initial=0)) for name, values in zip(names, found, strict=True)}
    return {name: 2.0 ** math.ceil(math.log2(max(value, 1.0))) for name, value in most.items()}


def _given(graph: onnx.GraphProto) -> set[str]:
    """Return the names of a graph's inputs, including clamped or repeated copies."""
    given = {value.name for value in graph.input}
    for node in graph.node:
        if node.op_type in _KEEPING and given & {*node.input}:
            given |= {*node.output}
    return given


def _looked_up(graph: onnx.GraphProto, weights: rewrite.Constants) -> set[str]:
    """Return the names of tensors that are rows of a constant table, loops included."""
    found = {node.output[0] for node in graph.node if node.op_type == "Gather" and node.input[0] in weights}
    return found.union(*(_looked_up(body, weights) for node in graph.node for body in rewrite.bodies(node)))


def _tell(graph: onnx.GraphProto, weights: rewrite.Constants) -> list[str]:
    """Add outputs with the largest absolute value of each product's input, loops included; return their names."""
    own = list(dict.fromkeys(node.input[0] for node in graph.node if rewrite.is_product(node, weights)))
    inside = []
    for node in graph.node:
        for body in rewrite.bodies(node):
            names = _tell(body, weights)
            node.output.extend(_largest(name) for name in names)
            inside += names
    for name in own:
        graph.node.append(helper.make_node("Abs", [name], [f"{name}_abs"]))
        graph.node.append(helper.make_node("ReduceMax", [f"{name}_abs"], [_largest(name)], keepdims=0))
    graph.output.extend(helper.make_tensor_value_info(_largest(name), TensorProto.FLOAT, None) for name in own + inside)
    return own + inside


def _largest(name: str) -> str:
    return f"{name}_largest"
