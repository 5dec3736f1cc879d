"""A thin layer over ``onnx.helper`` for graphs that are built by hand, not exported from torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from .served import FREE, TensorSpec

_TYPES = {np.float32: TensorProto.FLOAT, np.int64: TensorProto.INT64, np.object_: TensorProto.STRING}


class Graph:
    """An ONNX graph that grows node by node; every method returns the name of a value."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def node(self, operator: str, inputs: Sequence[str], name: str = "", **attributes: Any) -> str:
        """Add a node; ONNX Runtime's error messages contain its ``name``."""
        output = name or f"{operator.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Add a constant unless it exists."""
        self._constants.setdefault(name, numpy_helper.from_array(value, name))
        return name

    def model(
        self,
        name: str,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        sources: Mapping[str, str],
        opset: int,
    ) -> onnx.ModelProto:
        """Return the model with a free batch axis; ``sources`` maps output names to the graph's values."""
        for output, source in sources.items():
            self._nodes.append(helper.make_node("Identity", [source], [output], name=output))
        taken, given = ([_value_info(spec) for spec in specs] for specs in (inputs, outputs))
        graph = helper.make_graph(self._nodes, name, taken, given, list(self._constants.values()))
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def _value_info(spec: TensorSpec) -> onnx.ValueInfoProto:
    shape = ["batch", *("free" if size == FREE else size for size in spec.dims)]
    return helper.make_tensor_value_info(spec.name, _TYPES[spec.dtype], shape)
