"""Matrix products with constant weights in another precision, everywhere in a graph, loops included."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

Constants = dict[str, TensorProto]
#: What takes the place of a product, given the node, its weight as ``[in, out]`` under a name, and where
#: constants go.
Replacement = Callable[[onnx.NodeProto, str, NDArray[np.float32], Constants], list[onnx.NodeProto]]

_SMALLEST = 64 * 1024


def products(model: onnx.ModelProto, replacement: Replacement) -> onnx.ModelProto:
    """Replace each product with a large constant weight."""
    weights = {t.name: t for t in model.graph.initializer if len(t.dims) == 2}
    large = {name: t for name, t in weights.items() if int(np.prod(t.dims)) >= _SMALLEST}
    made: Constants = {}
    _rewrite(model.graph, large, made, replacement)
    used = {*_read(model.graph)}
    kept = [t for t in (*model.graph.initializer, *made.values()) if t.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return model


def store(made: Constants, **values: NDArray[np.generic]) -> None:
    """Add constants to a graph by name."""
    for name, value in values.items():
        made.setdefault(name, numpy_helper.from_array(np.ascontiguousarray(value), name))


def bias_of(node: onnx.NodeProto) -> str | None:
    """Return the name of a product's bias, if it has one."""
    return node.input[2] if node.op_type == "Gemm" and len(node.input) > 2 else None


def _rewrite(graph: onnx.GraphProto, weights: Constants, made: Constants, replacement: Replacement) -> None:
    nodes = []
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _rewrite(attribute.g, weights, made, replacement)
        if node.op_type in ("MatMul", "Gemm") and node.input[1] in weights:
            transposed = any(a.name == "transB" and a.i for a in node.attribute)
            values = numpy_helper.to_array(weights[node.input[1]])
            name = f"{node.input[1]}_{'t' if transposed else 'n'}"
            nodes += replacement(node, name, values.T if transposed else values, made)
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _read(graph: onnx.GraphProto) -> Iterator[str]:
    """Names that the outputs and nodes of ``graph`` read, loops included."""
    yield from (output.name for output in graph.output)
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _read(attribute.g)
