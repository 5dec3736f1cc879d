"""Every operator in a GPU export has a CUDA kernel, by the provider's published list."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from export import onnx as exporting
from export import placement
from export.placement import Operator, PlacementError
from export.served import ServedModel
from export.settings import OLDEST_TARGET, Settings

#: The models whose graphs hold those of all others: the export of each takes half a minute.
WHOLE = {
    "image_encoder": ("object_encoder", "scene_encoder", "sentiment_encoder"),
    "rerank": ("poem_encoder",),
    "poem_decoder_greedy": ("decoder_init", "decoder_step"),
    "poem_decoder_beam": (),
    "poem_decoder_line": (),
    "poem_decoder_candidates": ("poem_decoder_sample",),
}


def graph(
    operator: str, opset: int, kind: int = TensorProto.FLOAT, inputs: int = 1, **attributes: int
) -> onnx.ModelProto:
    """A model of one node."""
    names = [f"x{place}" for place in range(inputs)]
    taken = [helper.make_tensor_value_info(name, kind, ["n"]) for name in names]
    node = helper.make_node(operator, names, ["y"], **attributes)
    made = helper.make_graph([node], "one", taken, [helper.make_empty_tensor_value_info("y")])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)])


def in_a_loop(operator: str, opset: int, inputs: int = 1) -> onnx.ModelProto:
    """A model with a loop of one node, which reads a tensor from outside the loop."""
    scalar = {name: helper.make_tensor_value_info(name, kind, []) for name, kind in (("i", 7), ("go", 9), ("on", 9))}
    steps = helper.make_tensor_value_info("steps", TensorProto.INT64, [])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])
    same = helper.make_node("Identity", ["go"], ["on"])
    node = helper.make_node(operator, ["x"] * inputs, ["y"])
    each = helper.make_empty_tensor_value_info("y")
    body = helper.make_graph([same, node], "body", [scalar["i"], scalar["go"]], [scalar["on"], each])
    loop = helper.make_node("Loop", ["steps", ""], ["all"], body=body)
    made = helper.make_graph([loop], "loop", [steps, x], [helper.make_empty_tensor_value_info("all")])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)])


@pytest.mark.parametrize("name", WHOLE)
def test_every_operator_of_every_exported_model_has_a_kernel(served: dict[str, ServedModel], name: str) -> None:
    assert {*WHOLE, *chain.from_iterable(WHOLE.values())} == set(served)
    model = exporting.export_module(served[name], Settings(device="gpu").opset)
    oldest = placement.runtime_of(OLDEST_TARGET["gpu"])
    known = placement.runtimes()
    for runtime in known[known.index(oldest) :]:
        assert not placement.on_cpu(model, runtime), runtime


def test_what_a_search_would_leave_to_the_cpu_in_the_opset_of_cpus(repository: Path) -> None:
    """Shows that the check can fail: a step of beam search had 14 such nodes."""
    model = onnx.load(repository / "poem_decoder_beam" / "1" / "model.onnx")
    with pytest.raises(PlacementError, match=r"no CUDA kernel for .*Equal-19 in a loop"):
        placement.check("poem_decoder_beam", model, "26.06")
    assert {"Equal", "ReduceMax", "Pad"} <= {one.name for one in placement.on_cpu(model, "1.24") if one.in_loop}


def test_an_open_ended_kernel_serves_the_version_alone_that_it_begins_with() -> None:
    assert not placement.on_cpu(graph("Equal", 18, inputs=2), "1.24")
    assert placement.on_cpu(graph("Equal", 19, inputs=2), "1.24") == Counter({Operator("Equal", 19, False): 1})
    assert not placement.on_cpu(graph("Sigmoid", 21), "1.19")  # unchanged since version 13


def test_a_kernel_that_came_later_is_not_there_before() -> None:
    assert placement.on_cpu(graph("ArgMax", 18), "1.20") == Counter({Operator("ArgMax", 13, False): 1})
    assert not placement.on_cpu(graph("ArgMax", 18), "1.21")


def test_a_kernel_for_other_element_types_does_not_count() -> None:
    assert not placement.on_cpu(graph("Add", 18, TensorProto.FLOAT, 2), "1.20")
    assert placement.on_cpu(graph("Add", 18, TensorProto.INT16, 2), "1.20") == Counter({Operator("Add", 14, False): 1})
    assert placement.on_cpu(graph("StringNormalizer", 18, TensorProto.STRING), "1.24").total() == 1


def test_nodes_in_a_loop_are_found_and_said_to_be_there() -> None:
    assert placement.on_cpu(in_a_loop("Equal", 19, 2), "1.24") == Counter({Operator("Equal", 19, True): 1})
    assert not placement.on_cpu(in_a_loop("Equal", 18, 2), "1.24")
    # The loop itself: tensors from its scope are copied at every step.
    assert Operator("Loop", 21, False) in placement.on_cpu(in_a_loop("Sigmoid", 21), "1.24")


def test_a_release_of_triton_has_the_runtime_of_the_newest_known_one_that_is_not_younger() -> None:
    found = {target: placement.runtime_of(target) for target in ("24.10", "24.11", "25.03", "25.04", "26.06", "27.01")}
    assert [*found.values()] == ["1.19", "1.19", "1.21", "1.21", "1.24", "1.24"]


def test_products_in_half_precision_have_a_kernel_too() -> None:
    assert not placement.on_cpu(graph("MatMul", 18, TensorProto.FLOAT16, 2), "1.21")
