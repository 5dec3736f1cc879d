"""The lower bound of a graph's time: only its convolutions and matrix products, with the same shapes and precision.

For an encoder, all operators are removed that neither multiply nor change a shape; each product reads the output of
the one before. For a decoding loop, the products of its body run as often as the body.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession

from export import rewrite
from export.quantise import FUSED
from export.settings import IR_VERSION
from img2poem.artifacts.sessions import session_options

#: Operators that keep the shape: each is replaced by its first input.
_LEFT_OUT = {"Add", "Clip", "Div", "Gelu", "Identity", "LayerNormalization", "Mul", "Relu", "Sigmoid", "Sub"}
#: Operators that convert pixels to floats.
_FIRST = {"Cast", "DequantizeLinear"}
_INT8 = "MatMulIntegerToFloat"
_PRODUCTS = {"Gemm", "MatMul", _INT8}


class Floor:
    """The reduced model, ready to run."""

    def __init__(self, model: onnx.ModelProto, inputs: dict[str, NDArray[np.generic]]) -> None:
        model.ir_version = IR_VERSION
        #: Types of its operators.
        self.operators = {node.op_type for node in model.graph.node}
        self._session = InferenceSession(model.SerializeToString(), session_options())
        self._inputs = inputs

    def __call__(self) -> None:
        """Run the model once."""
        self._session.run(None, self._inputs)


def of_encoder(path: Path, batch: int, size: int = 224) -> Floor:
    """Return the lower bound of an image encoder."""
    model = onnx.load(path)
    graph, renamed = model.graph, dict[str, str]()
    kept: list[onnx.NodeProto] = []
    [first] = [node for node in graph.node if node.op_type in _FIRST and _reads_pixels(graph, node)]
    # int8 convolutions read the uint8 pixels directly.
    start, dtype = (first.input[0], np.uint8) if first.op_type == "DequantizeLinear" else (first.output[0], np.float32)
    for node in graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = renamed.get(name, name)
        if node.op_type in _LEFT_OUT:
            renamed[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    outputs = {node.output[0] for node in kept if node.op_type in _PRODUCTS}
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend(_needed(kept, outputs, start))
    shape = [batch, 3, size, size]
    graph.input.append(helper.make_tensor_value_info(start, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape))
    graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in sorted(outputs))
    return Floor(model, {start: np.random.default_rng(0).uniform(0, 255, shape).astype(dtype)})


def of_loop(path: Path, rows: int, steps: int) -> Floor:
    """Return the lower bound of a decoding loop with ``steps`` steps and ``rows`` rows."""
    model = onnx.load(path)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    body, state, inputs = list[onnx.NodeProto](), list[str](), dict[str, NDArray[np.generic]]()
    used, rng = dict[str, TensorProto](), np.random.default_rng(0)
    for node, inner in _products_of_loop(model.graph):
        name, right = f"product_{len(body)}", weights.get(node.input[1])
        if right is None:
            inputs[f"{name}_y"] = right = rng.normal(size=(rows, *inner[node.input[1]])).astype(np.float32)
        transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
        # The left operand has the product's axes, except the first and the last.
        shape = (rows, *inner[node.output[0]][:-1], right.shape[-1 if transposed else -2])
        dtype = np.uint8 if node.op_type == _INT8 else np.float32
        inputs[f"{name}_x"] = (rng.normal(size=shape) * 20 + 100).astype(dtype)
        others = node.input[1 : None if node.op_type == _INT8 else 2]
        read = [f"{name}_x", *(other if other in weights else f"{name}_y" for other in others)]
        body.append(helper.make_node(node.op_type, read, [name], domain=node.domain, **_attributes(node)))
        for constant in weights.keys() & others:
            used[constant] = numpy_helper.from_array(weights[constant], constant)
        state.append(name)
    return Floor(_looped(body, state, inputs, list(used.values()), steps), inputs)


def bytes_of_loop(path: Path) -> int:
    """Return the bytes of weights that one step of a decoding loop reads."""
    model = onnx.load(path)
    sizes = {tensor.name: numpy_helper.to_array(tensor).nbytes for tensor in model.graph.initializer}
    return sum(sizes.get(name, 0) for name in {node.input[1] for node, _ in _products_of_loop(model.graph)})


def _reads_pixels(graph: onnx.GraphProto, first: onnx.NodeProto) -> bool:
    """Whether a node reads the transposed pixels, where the float computation begins."""
    return any(node.op_type == "Transpose" and node.output[0] == first.input[0] for node in graph.node)


def _needed(nodes: list[onnx.NodeProto], outputs: set[str], start: str) -> list[onnx.NodeProto]:
    """Return the nodes between the tensor ``start`` and ``outputs``, in order."""
    wanted, found = {*outputs}, list[onnx.NodeProto]()
    for node in reversed(nodes):
        if node.output[0] in wanted and node.output[0] != start:
            wanted |= {*node.input}
            found.insert(0, node)
    return found


def _products_of_loop(graph: onnx.GraphProto) -> Iterator[tuple[onnx.NodeProto, dict[str, list[int]]]]:
    """Yield the products, with the sizes of the tensors in the loop without the first axis, the rows."""
    for body in (body for node in graph.node for body in rewrite.bodies(node)):
        inner = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim][1:] for v in body.value_info}
        yield from ((node, inner) for node in body.node if node.op_type in _PRODUCTS)


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _looped(
    body: list[onnx.NodeProto],
    state: list[str],
    inputs: dict[str, NDArray[np.generic]],
    constants: list[TensorProto],
    steps: int,
) -> onnx.ModelProto:
    """Return a graph that runs ``body`` for ``steps`` steps; the loop carries each product to the next step."""

    def value(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)

    going = helper.make_node("Identity", ["going"], ["goes_on"])
    inner = helper.make_graph(
        [*body, going],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            *(value(f"{name}_before") for name in state),
        ],
        [helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []), *map(value, state)],
    )
    first = [
        helper.make_node(
            "Constant", [], [f"{name}_first"], value=helper.make_tensor(name, TensorProto.FLOAT, [1, 1], [0])
        )
        for name in state
    ]
    counts = numpy_helper.from_array(np.array(steps), "count"), numpy_helper.from_array(np.array(True), "begins")
    outer = helper.make_node(
        "Loop",
        ["count", "begins", *(f"{name}_first" for name in state)],
        [f"{name}_last" for name in state],
        body=inner,
    )
    graph = helper.make_graph(
        [*first, outer],
        "floor",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in inputs.items()
        ],
        [value(f"{name}_last") for name in state],
        [*constants, *counts],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid(FUSED, 1)])
