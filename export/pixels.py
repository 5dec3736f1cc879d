"""Replace the normalisation of pixels by one operator, ``DequantizeLinear``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxscript.optimizer import remove_unused_nodes


def normalised(model: onnx.ModelProto) -> onnx.ModelProto:
    """Compute ``(pixels - mean) / std`` of uint8 by ``DequantizeLinear``; no change if the channels' values differ.

    int8 convolutions then read the uint8 pixels themselves, which need no second quantisation.
    """
    graph = model.graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    made = {node.output[0]: node for node in graph.node}
    for node in list(graph.node):
        chain = [node, *_before(node, made, ("Sub", "Cast"))]
        if node.op_type != "Div" or len(chain) < 3:
            continue
        mean, std = (_one_number(constants.get(part.input[1])) for part in (chain[1], node))
        if mean is None or std is None or mean != np.uint8(mean):
            continue
        graph.initializer.extend(
            [
                numpy_helper.from_array(np.array(1 / std, np.float32), "pixel_scale"),
                numpy_helper.from_array(np.array(mean, np.uint8), "pixel_zero"),
            ]
        )
        pixels = [chain[2].input[0], "pixel_scale", "pixel_zero"]
        place = list(graph.node).index(node)
        graph.node.insert(place, helper.make_node("DequantizeLinear", pixels, ["normalised_pixels"]))
        same = {node.output[0], *_quantised_again(graph, node.output[0])}
        for reader in graph.node:
            for i, name in enumerate(reader.input):
                if name in same:
                    reader.input[i] = "normalised_pixels"
    remove_unused_nodes(model)
    return model


def _before(
    node: onnx.NodeProto, made: Mapping[str, onnx.NodeProto], operators: tuple[str, ...]
) -> Iterator[onnx.NodeProto]:
    """Yield the chain of nodes that feeds ``node``, as long as they are these ``operators``."""
    for operator in operators:
        before = made.get(node.input[0])
        if before is None or before.op_type != operator:
            return
        node = before
        yield node


def _one_number(values: NDArray[np.float32] | None) -> float | None:
    """Return the common value of ``values``, or None if they differ."""
    return float(values.flat[0]) if values is not None and np.ptp(values) == 0 else None


def _quantised_again(graph: onnx.GraphProto, name: str) -> Iterator[str]:
    """Yield the tensors that are ``name`` quantised and dequantised again."""
    for node in graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] == name:
            [quantised] = node.output
            yield from (n.output[0] for n in graph.node if n.op_type == "DequantizeLinear" and n.input[0] == quantised)
