"""Rewrite matrix products with constant weights to another precision, throughout a graph, loops included."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator, Mapping, Set

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxscript.optimizer import remove_unused_nodes

Constants = dict[str, TensorProto]
#: Returns the nodes that replace a product, from the node, its weight's name, the weight ``[in, out]``, and the
#: collection that new constants are added to.
Replacement = Callable[[onnx.NodeProto, str, NDArray[np.float32], Constants], list[onnx.NodeProto]]

_SMALLEST = 64 * 1024


def products(model: onnx.ModelProto, replacement: Replacement) -> onnx.ModelProto:
    """Replace each product with a large constant weight, including the bias that is added to it."""
    made: Constants = {}
    rows = {t.name for t in model.graph.initializer if len(t.dims) == 1}
    _rewrite(model.graph, large_weights(model.graph), rows, made, replacement)
    model.graph.initializer.extend(made.values())
    remove_unused_nodes(model)
    return model


def large_weights(graph: onnx.GraphProto) -> Constants:
    """Return the weights, by name, that are large enough for another precision."""
    matrices = (t for t in graph.initializer if len(t.dims) == 2)
    return {t.name: t for t in matrices if int(np.prod(t.dims)) >= _SMALLEST}


def is_product(node: onnx.NodeProto, weights: Mapping[str, TensorProto]) -> bool:
    """Whether ``node`` multiplies by one of ``weights``."""
    return node.op_type in ("MatMul", "Gemm") and node.input[1] in weights


def bodies(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """Return the graphs inside a node, such as a loop's body."""
    return [attribute.g for attribute in node.attribute if attribute.type == onnx.AttributeProto.GRAPH]


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield ``graph`` and all nested graphs."""
    yield graph
    for node in graph.node:
        for body in bodies(node):
            yield from graphs(body)


def store(made: Constants, **values: NDArray[np.generic]) -> None:
    """Add constants to a graph by name."""
    for name, value in values.items():
        made.setdefault(name, numpy_helper.from_array(np.ascontiguousarray(value), name))


def bias_of(node: onnx.NodeProto) -> str | None:
    """Return the name of a product's bias, if it has one."""
    return node.input[2] if len(node.input) > 2 else None


def _rewrite(
    graph: onnx.GraphProto, weights: Constants, rows: Set[str], made: Constants, replacement: Replacement
) -> None:
    nodes: list[onnx.NodeProto] = []
    for node in _with_bias(graph, weights, rows):
        for body in bodies(node):
            _rewrite(body, weights, rows, made, replacement)
        if is_product(node, weights):
            transposed = any(a.name == "transB" and a.i for a in node.attribute)
            values = numpy_helper.to_array(weights[node.input[1]])
            name = f"{node.input[1]}_{'t' if transposed else 'n'}"
            nodes += replacement(node, name, values.T if transposed else values, made)
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _with_bias(graph: onnx.GraphProto, weights: Constants, rows: Set[str]) -> list[onnx.NodeProto]:
    """Return the nodes, with the addition of a constant row fused into its product where nothing else reads it."""
    readers = collections.Counter(name for node in graph.node for name in node.input)
    readers.update(output.name for output in graph.output)
    plain = {n.output[0]: n for n in graph.node if n.op_type == "MatMul" and is_product(n, weights)}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        product = next((plain[name] for name in node.input if name in plain), None)
        row = next((name for name in node.input if name in rows), None)
        if node.op_type == "Add" and product and row and readers[product.output[0]] == 1:
            nodes.remove(product)
            node = helper.make_node("MatMul", [*product.input, row], [node.output[0]], name=product.name)
        nodes.append(node)
    return nodes
