"""Packed models give the same results as separate ones, and each weight is stored once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from img2poem.artifacts import manifest
from img2poem.artifacts.compact import WEIGHTS
from img2poem.artifacts.inspection import inspect
from img2poem.errors import BadRepository
from img2poem.requests import Call, Deadline, Infer
from img2poem.transports.local import LocalEndpoint
from tools.compact import compact

SHARED = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)


def _model(path: Path, own: float) -> None:
    """Write a model that adds a large constant of its own in a loop's body and multiplies by the shared weights."""
    bias = numpy_helper.from_array(np.full((1, 64), own, np.float32).repeat(64, 0), "bias")
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Add", ["state", "bias"], ["next"])],
        "body",
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in _BODY_INPUTS],
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in _BODY_OUTPUTS],
        [bias],
    )
    once = numpy_helper.from_array(np.array(1), "once")
    nodes = [
        helper.make_node("MatMul", ["x", f"weight_{own}"], ["product"]),
        helper.make_node("Loop", ["once", "", "product"], ["y"], body=body),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [64, 64]) for name in "xy"]
    shared = numpy_helper.from_array(SHARED, f"weight_{own}")
    graph = helper.make_graph(nodes, "graph", ends[:1], ends[1:], [once, shared])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    model.metadata_props.add(key="img2poem.contract", value="c" * 64)
    onnx.checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True)
    onnx.save(model, path)


_BODY_INPUTS = [("i", TensorProto.INT64, []), ("go", TensorProto.BOOL, []), ("state", TensorProto.FLOAT, [64, 64])]
_BODY_OUTPUTS = [("on", TensorProto.BOOL, []), ("next", TensorProto.FLOAT, [64, 64])]


def _call() -> Call:
    return Call(Deadline(60.0))


@pytest.fixture
def apart(tmp_path: Path) -> Path:
    folder = tmp_path / "apart"
    for name, own in (("one", 1.0), ("two", 2.0)):
        _model(folder / name / "1" / "model.onnx", own)
    manifest.write(folder, {"contract": "c" * 64, "made_from": {}})
    return folder


@pytest.fixture
def together(apart: Path, tmp_path: Path) -> Path:
    folder, card = tmp_path / "together", tmp_path / "MODEL_CARD.md"
    folder.mkdir()
    card.write_text("# card\n")
    compact(apart, ["one", "two"], folder, [card])
    return folder


def test_they_compute_the_same_from_fewer_bytes(apart: Path, together: Path) -> None:
    x = np.random.default_rng(1).normal(size=(64, 64)).astype(np.float32)
    for model in ("one", "two"):
        request = Infer(model, {"x": x}, ("y",))
        found = [LocalEndpoint(folder).infer(request, _call()).tensors["y"] for folder in (apart, together)]
        assert np.array_equal(*found)
    assert (together / WEIGHTS).stat().st_size == 3 * SHARED.nbytes  # the shared weights, and one constant of each
    report = inspect(together)
    assert not report.problems and [model.name for model in report.models] == ["one", "two"]
    assert report.shared == 3 * SHARED.nbytes and (together / "MODEL_CARD.md").is_file()


def test_weights_that_were_changed_are_refused(together: Path) -> None:
    request = Infer("one", {"x": SHARED}, ("y",))
    data = bytearray((together / WEIGHTS).read_bytes())
    data[5] ^= 1
    (together / WEIGHTS).write_bytes(data)
    with pytest.raises(BadRepository, match=r"weights\.bin has changed since it was exported"):
        LocalEndpoint(together).infer(request, _call())
    assert any("weights.bin is not as it was written" in problem for problem in inspect(together).problems)
    (together / WEIGHTS).unlink()
    with pytest.raises(BadRepository, match=r"weights\.bin is missing"):
        LocalEndpoint(together).infer(request, _call())


def test_what_is_missing_or_changed_is_not_packed(apart: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(BadRepository, match=r"three.* is missing or has changed"):
        compact(apart, ["one", "three"], out)
    with (apart / "one" / "1" / "model.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(BadRepository, match=r"one.* is missing or has changed"):
        compact(apart, ["one"], out)
    with pytest.raises(BadRepository, match="is no exported repository"):
        compact(tmp_path / "none", ["one"], out)
