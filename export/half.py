"""fp16 for GPUs: ONNX Runtime's converter for convolutions; in all other models only the matrix products.

Sums of log-probabilities stay in float32: near -100, a poem's usual value, float16 has a resolution of 0.06.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from . import rewrite


def convolutions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Convert an encoder; its inputs and outputs keep their types."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    converted: onnx.ModelProto = convert_float_to_float16(model, keep_io_types=True, op_block_list=[])
    return converted


def product(
    node: onnx.NodeProto, weight: str, values: NDArray[np.float32], made: rewrite.Constants
) -> list[onnx.NodeProto]:
    """Return the nodes that compute a matrix product in float16, with casts around it."""
    name, bias = f"{node.output[0]}_fp16", rewrite.bias_of(node)
    rewrite.store(made, **{f"{weight}_fp16": values.astype(np.float16)})
    last = f"{name}_product" if bias else node.output[0]
    nodes = [
        helper.make_node("Cast", [node.input[0]], [f"{name}_x"], to=TensorProto.FLOAT16),
        helper.make_node("MatMul", [f"{name}_x", f"{weight}_fp16"], [f"{name}_y"]),
        helper.make_node("Cast", [f"{name}_y"], [last], to=TensorProto.FLOAT),
    ]
    return [*nodes, helper.make_node("Add", [last, bias], [node.output[0]])] if bias else nodes
