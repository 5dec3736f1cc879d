"""int8 for CPUs: convolutions calibrated on photographs; matrix products with a fixed range or one per row.

ONNX Runtime's quantizer converts convolutions to QDQ per channel. Its dynamic scheme does not suit matrix products:
it uses one scale for the whole batch, so that a poem would depend on the other requests of its batch. Here every row
has its own scale; or, in a decoder, all rows share one that was observed to suffice (:mod:`export.ranges`), since
measuring rows doubles the number of operators. Weights have a scale per column, embedding tables a scale per row.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxscript.optimizer import remove_unused_nodes

from . import rewrite

_ZERO = 128
#: Largest quantised input of a product.
_LARGEST = 127
#: Largest quantised weight. uint8 by int8 is the fastest pair, but a CPU without VNNI adds two products in 16 bits:
#: 2 * 255 * 63 just fits.
_WEIGHTS = 63
#: ONNX Runtime's own domain: after the standard MatMulInteger, cast and scale would be separate passes.
FUSED = "com.microsoft"


def convolutions(model: onnx.ModelProto, pixels: NDArray[np.uint8]) -> onnx.ModelProto:
    """Quantise the convolutions of an encoder, calibrated on ``pixels`` uint8 ``[N, H, W, 3]``."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._batches: Iterator[NDArray[np.uint8]] = iter(np.array_split(pixels, max(1, len(pixels) // 8)))

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            batch = next(self._batches, None)
            return None if batch is None else {"pixels": batch}

    with tempfile.TemporaryDirectory(prefix="img2poem-int8-") as folder:
        source, ready, target = (Path(folder) / name for name in ("source.onnx", "ready.onnx", "target.onnx"))
        onnx.save(model, source)
        quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
        quantize_static(
            str(ready),
            str(target),
            Reader(),
            quant_format=QuantFormat.QDQ,
            # Includes the operators after a convolution: before its ReLU6 the range is far wider than after it.
            op_types_to_quantize=["Conv", "Clip", "Relu", "Add"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        quantised = onnx.load(target)
    domains = [entry for entry in quantised.opset_import if entry.domain == ""]
    del quantised.opset_import[:]
    quantised.opset_import.extend(domains)
    return quantised


def products(model: onnx.ModelProto, ranges: Mapping[str, float]) -> onnx.ModelProto:
    """Quantise the matrix products with constant weights.

    Args:
        model: is modified.
        ranges: ranges of the products' inputs, by tensor name; inputs without one are measured per row at run time.
    """
    model.opset_import.append(helper.make_opsetid(FUSED, 1))
    rows = {
        node.output[0]: node for graph in rewrite.graphs(model.graph) for node in graph.node if node.op_type == "Gather"
    }
    tables = {t.name: t for t in model.graph.initializer}

    def product(
        node: onnx.NodeProto, weight: str, values: NDArray[np.float32], made: rewrite.Constants
    ) -> list[onnx.NodeProto]:
        x = node.input[0]
        scale = np.maximum(np.abs(values).max(0), 1e-8) / _WEIGHTS
        rewrite.store(
            made,
            **{f"{weight}_int8": np.rint(values / scale).astype(np.int8)},
            **{f"{weight}_scale": scale.astype(np.float32)},
            int8_zero=np.array(_ZERO, np.uint8),
            int8_weight_zero=np.array(0, np.int8),
        )
        if x in rows and rows[x].input[0] in tables:
            return _of_table(node, weight, rows[x], numpy_helper.to_array(tables[rows[x].input[0]]), made)
        if x in ranges:
            return _of_range(node, weight, ranges[x], made)
        return _of_rows(node, weight, made)

    return rewrite.products(model, product)


def tables(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store large tables that only ``Gather`` reads as integers, with a scale per row.

    It makes a model smaller, not faster: gathered rows become floats again.

    Args:
        model: is modified.
    """
    made: rewrite.Constants = {}
    large = rewrite.large_weights(model.graph)
    readers = [(name, node) for graph in rewrite.graphs(model.graph) for node in graph.node for name in node.input]
    others = {name for name, node in readers if node.op_type != "Gather" or name != node.input[0]}
    looked_up = large.keys() - others
    for graph in rewrite.graphs(model.graph):
        nodes: list[onnx.NodeProto] = []
        for node in graph.node:
            whole = node.op_type == "Gather" and node.input[0] in looked_up and _axis(node) == 0
            nodes += _of_small_table(node, numpy_helper.to_array(large[node.input[0]]), made) if whole else [node]
        del graph.node[:]
        graph.node.extend(nodes)
    model.graph.initializer.extend(made.values())
    remove_unused_nodes(model)
    return model


def _axis(node: onnx.NodeProto) -> int:
    return next((a.i for a in node.attribute if a.name == "axis"), 0)


def _of_small_table(node: onnx.NodeProto, table: NDArray[np.float32], made: rewrite.Constants) -> list[onnx.NodeProto]:
    """Gather rows from a table of integers, and their scales from another table."""
    table_name, row, name = node.input[0], node.input[1], f"{node.output[0]}_int8"
    scale = np.maximum(np.abs(table).max(1, keepdims=True), 1e-8) / _LARGEST
    rewrite.store(
        made,
        **{f"{table_name}_int8": np.rint(table / scale).astype(np.int8), f"{table_name}_scale": scale},
    )
    return [
        helper.make_node("Gather", [f"{table_name}_int8", row], [f"{name}_row"]),
        helper.make_node("Cast", [f"{name}_row"], [f"{name}_float"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Gather", [f"{table_name}_scale", row], [f"{name}_scale"]),
        helper.make_node("Mul", [f"{name}_float", f"{name}_scale"], [node.output[0]]),
    ]


def _of_rows(node: onnx.NodeProto, weight: str, made: rewrite.Constants) -> list[onnx.NodeProto]:
    """Compute a product in integers; each row's scale comes from its largest value."""
    x, name, bias = node.input[0], f"{node.output[0]}_int8", rewrite.bias_of(node)
    rewrite.store(
        made,
        int8_last_axis=np.array([-1]),
        int8_least=np.array(1e-8, np.float32),
        int8_unit=np.array(1 / _LARGEST, np.float32),
    )

    def one(operator: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(operator, inputs, [f"{name}_{output}"], **attributes)

    last = f"{name}_rows" if bias else node.output[0]
    nodes = [
        one("Abs", [x], "abs"),
        one("ReduceMax", [f"{name}_abs", "int8_last_axis"], "most", keepdims=1),
        one("Max", [f"{name}_most", "int8_least"], "range"),
        one("Div", [x, f"{name}_range"], "ratio"),
        one("QuantizeLinear", [f"{name}_ratio", "int8_unit", "int8_zero"], "quantised"),
        _multiplied(f"{name}_quantised", "int8_unit", weight, f"{name}_product"),
        helper.make_node("Mul", [f"{name}_product", f"{name}_range"], [last]),
    ]
    return [*nodes, helper.make_node("Add", [last, bias], [node.output[0]])] if bias else nodes


def _of_range(node: onnx.NodeProto, weight: str, most: float, made: rewrite.Constants) -> list[onnx.NodeProto]:
    """Compute a product in integers with one scale for values up to ``most``; larger values are clipped."""
    quantised, scale = f"{node.output[0]}_int8_quantised", f"int8_scale_{most:g}"
    rewrite.store(made, **{scale: np.array(most / _LARGEST, np.float32)})
    return [
        helper.make_node("QuantizeLinear", [node.input[0], scale, "int8_zero"], [quantised]),
        _multiplied(quantised, scale, weight, node.output[0], rewrite.bias_of(node)),
    ]


def _of_table(
    node: onnx.NodeProto, weight: str, row: onnx.NodeProto, table: NDArray[np.float32], made: rewrite.Constants
) -> list[onnx.NodeProto]:
    """Compute a product whose input rows come from a table, with the table stored as integers."""
    quantised, name = f"{node.output[0]}_int8_quantised", f"{row.input[0]}_int8_rows"
    scale = np.abs(table).max() / _LARGEST
    rewrite.store(
        made,
        **{name: (np.rint(table / scale) + _ZERO).astype(np.uint8), f"{name}_scale": np.array(scale, np.float32)},
    )
    return [
        helper.make_node("Gather", [name, row.input[1]], [quantised]),
        _multiplied(quantised, f"{name}_scale", weight, node.output[0], rewrite.bias_of(node)),
    ]


def _multiplied(x: str, scale: str, weight: str, output: str, bias: str | None = None) -> onnx.NodeProto:
    factors = [x, f"{weight}_int8", scale, f"{weight}_scale", "int8_zero", "int8_weight_zero"]
    return helper.make_node("MatMulIntegerToFloat", [*factors, *([bias] if bias else [])], [output], domain=FUSED)
