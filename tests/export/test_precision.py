"""int8 and fp16: what the conversion does to graphs, and the quality measures that accept or refuse them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnxruntime import InferenceSession

from export import half, parity, photographs, pixels, quality, quantise, ranges, rewrite
from export.parity import ParityError
from export.served import ServedModel
from img2poem.artifacts.sessions import open_session
from img2poem.nn.model import PhotoToPoem
from img2poem.text.tokenizer import PoemTokenizer


def loaded(repository: Path, model: str) -> onnx.ModelProto:
    return onnx.load(repository / model / "1" / "model.onnx")


def session(proto: onnx.ModelProto) -> InferenceSession:
    onnx.checker.check_model(proto, full_check=True)
    return InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])


def products(proto: onnx.ModelProto) -> list[str]:
    graphs = [proto.graph, *(a.g for n in proto.graph.node for a in n.attribute if a.HasField("g"))]
    return [node.op_type for graph in graphs for node in graph.node if node.op_type.startswith(("MatMul", "Gemm"))]


@pytest.mark.parametrize("model", ["poem_decoder_greedy", "poem_encoder"])
def test_no_row_of_int8_depends_on_what_it_is_batched_with(
    repository: Path, served: dict[str, ServedModel], model: str
) -> None:
    inputs = served[model].sample(4, np.random.default_rng(3))
    proto = loaded(repository, model)
    seen = ranges.observed(proto, inputs) if model == "poem_decoder_greedy" else {}
    proto = quantise.products(proto, seen)
    assert "MatMulIntegerToFloat" in products(proto)
    run = session(proto)
    together = run.run(None, inputs)
    for i in range(4):
        alone = run.run(None, {name: value[i : i + 1] for name, value in inputs.items()})
        for whole, part in zip(together, alone, strict=True):
            assert np.abs(whole[i] - part[0]).max() < 1e-5


def test_a_table_that_is_only_looked_up_is_stored_in_integers() -> None:
    random = np.random.default_rng(0)
    words, tied = (random.normal(size=(1000, 80)).astype(np.float32) for _ in range(2))
    nodes = [
        onnx.helper.make_node("Gather", ["words", "ids"], ["looked_up"]),
        onnx.helper.make_node("Gather", ["tied", "ids"], ["other"]),
        onnx.helper.make_node("ReduceSum", ["tied"], ["sum"], keepdims=0),
        onnx.helper.make_node("Add", ["other", "sum"], ["read"]),
    ]
    outputs = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["b", 80]) for n in ("looked_up", "read")]
    ids = onnx.helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, ["b"])
    tables = [numpy_helper.from_array(words, "words"), numpy_helper.from_array(tied, "tied")]
    graph = onnx.helper.make_graph(nodes, "g", [ids], outputs, tables)
    model = quantise.tables(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    )
    kinds = {t.name: t.data_type for t in model.graph.initializer}
    assert "words" not in kinds and kinds["words_int8"] == onnx.TensorProto.INT8 and "tied" in kinds
    rows = np.array([3, 999, 0])
    looked_up, read = session(model).run(None, {"ids": rows})
    assert np.abs(looked_up - words[rows]).max() <= np.abs(words).max() / 254 + 1e-6
    assert np.allclose(read, tied[rows] + tied.sum(), rtol=1e-4, atol=1e-2)


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    return rewrite.products(model, half.product)


def measured_by_row(model: onnx.ModelProto) -> onnx.ModelProto:
    return quantise.products(model, {})


@pytest.mark.parametrize(("lowered", "limit"), [(measured_by_row, 0.05), (halved, 0.002)])
def test_products_in_a_lower_precision_stay_near(
    repository: Path,
    served: dict[str, ServedModel],
    lowered: Callable[[onnx.ModelProto], onnx.ModelProto],
    limit: float,
) -> None:
    before, after = loaded(repository, "decoder_step"), lowered(loaded(repository, "decoder_step"))
    assert "Gemm" in products(before) and "Gemm" not in products(after)
    inputs = served["decoder_step"].sample(5, np.random.default_rng(1))
    want, got = session(before).run(None, inputs), session(after).run(None, inputs)
    assert np.quantile(np.abs(got[2] - want[2]), 0.999) < limit * 2  # hidden, within 1 and -1
    possible = np.isfinite(want[0])  # a mark among the likeliest words is not repeated at the end
    assert (np.isfinite(got[0]) == possible).all()
    assert np.abs(got[0] - want[0])[possible].mean() < limit * np.abs(want[0][possible]).mean()


def test_convolutions_in_int8_see_the_same_photographs(repository: Path) -> None:
    before = loaded(repository, "image_encoder")
    after = quantise.convolutions(loaded(repository, "image_encoder"), photographs.calibration(None, 224)[::2])
    assert len(after.SerializeToString()) < 0.7 * len(before.SerializeToString())
    assert {entry.domain for entry in after.opset_import} == {""}
    pixels = photographs.held_out(None, 224)[:8]
    want, got = (session(proto).run(["embedding"], {"pixels": pixels})[0] for proto in (before, after))
    assert (want * got).sum(1).mean() > 0.97


def test_int8_convolutions_read_the_pixels_as_they_are(repository: Path) -> None:
    """The normalisation gives the quantisation parameters: zero point 127, scale 1/128."""
    before = quantise.convolutions(loaded(repository, "image_encoder"), photographs.calibration(None, 224)[::8])
    after = pixels.normalised(onnx.ModelProto.FromString(before.SerializeToString()))
    first = {node.op_type for node in after.graph.node[:-1] if "pixels" in node.input or "permute" in node.input}
    assert "DequantizeLinear" in first and "Cast" not in first
    assert len(after.graph.node) == len(before.graph.node) - 4
    photos = photographs.held_out(None, 224)[:4]
    want, got = (session(proto).run(["embedding"], {"pixels": photos})[0] for proto in (before, after))
    assert (want * got).sum(1).min() > 0.999


def test_pixels_whose_channels_differ_are_normalised_as_before(repository: Path) -> None:
    proto = loaded(repository, "image_encoder")
    [mean] = [t for t in proto.graph.initializer if t.name.endswith("normalise.mean")]
    mean.CopyFrom(numpy_helper.from_array(np.array([120, 115, 104], np.float32).reshape(1, 3, 1, 1), mean.name))
    after = pixels.normalised(onnx.ModelProto.FromString(proto.SerializeToString()))
    assert [node.op_type for node in after.graph.node] == [node.op_type for node in proto.graph.node]


def test_decoders_agree_on_the_ranges_of_what_their_products_read(
    repository: Path, served: dict[str, ServedModel]
) -> None:
    found = {}
    decoders = ("poem_decoder_greedy", "poem_decoder_beam", "poem_decoder_line", "poem_decoder_candidates")
    for model in ("decoder_step", *decoders):
        proto = loaded(repository, model)
        before = proto.SerializeToString()
        found[model] = ranges.observed(proto, served[model].sample(32, np.random.default_rng(7)))
        assert proto.SerializeToString() == before
    # States are within 1; the output layer's inputs are larger.
    assert len({frozenset(seen.values()) for seen in found.values()}) == 1
    assert all(min(seen.values()) == 1 < max(seen.values()) for seen in found.values())
    # An embedding's values are far smaller: all decoders measure it row by row, for any number of poems per embedding.
    assert len({len(found[model]) for model in decoders}) == 1


def test_a_product_of_a_known_range_cuts_off_what_is_larger() -> None:
    weight = numpy_helper.from_array(np.eye(256, dtype=np.float32), "weight")
    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None, 256]) for name in "xy")
    nodes = [onnx.helper.make_node("Tanh", ["x"], ["t"]), onnx.helper.make_node("MatMul", ["t", "weight"], ["y"])]
    graph = onnx.helper.make_graph(nodes, "one", [x], [y], [weight])
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=9)
    run = session(quantise.products(proto, {"t": 0.5}))
    rows = np.linspace(-0.4, 2, 2 * 256, dtype=np.float32).reshape(2, 256)
    assert np.abs(run.run(None, {"x": rows})[0] - np.tanh(rows).clip(max=0.5)).max() < 0.01


def test_calibration_and_measure_share_no_photograph() -> None:
    calibrating, measuring = (
        {photo.tobytes() for photo in photos(None, 224)} for photos in (photographs.calibration, photographs.held_out)
    )
    assert len(calibrating) > 50 and len(measuring) > 10 and not calibrating & measuring


def test_quality_lets_the_exact_model_in(repository: Path, package: tuple[PhotoToPoem, PoemTokenizer]) -> None:
    measures = quality.check(repository, *package, "fp16", photographs.held_out(None, 224), None)
    assert measures["embedding_cosine"] > 0.9999 and measures["tokens_agreed"] > 0.999
    assert abs(measures["relevance_lost"]) < 1e-3


@pytest.mark.parametrize(
    ("model", "parameter", "names"),
    [
        ("image_encoder", "image_encoder.projection.4.weight", "embedding_cosine|retrieval_of_its_own"),
        ("decoder_step", "poem_decoder.gru.weight_hh_l0", "tokens_agreed"),
        ("poem_decoder_greedy", "poem_decoder.token_embedding.weight", "relevance_lost"),
    ],
)
def test_quality_keeps_a_spoilt_one_out(
    repository: Path,
    package: tuple[PhotoToPoem, PoemTokenizer],
    tmp_path: Path,
    model: str,
    parameter: str,
    names: str,
) -> None:
    weight = tuple(package[0].get_parameter(parameter).shape)
    for name in quality.MODELS:
        shutil.copytree(repository / name, tmp_path / name)
    proto = loaded(repository, model)
    tensor = next(t for t in proto.graph.initializer if tuple(t.dims) in (weight, weight[::-1]))
    values = np.roll(numpy_helper.to_array(tensor), 7, axis=0)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(proto, tmp_path / model / "1" / "model.onnx")
    with pytest.raises(ParityError, match=f"int8: ({names}) is"):
        quality.check(tmp_path, *package, "int8", photographs.held_out(None, 224), None)


def test_a_lower_precision_has_its_own_tolerance(
    repository: Path, served: dict[str, ServedModel], tmp_path: Path
) -> None:
    path = tmp_path / "poem_encoder" / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    onnx.save(measured_by_row(loaded(repository, "poem_encoder")), path)
    assert parity.check_model(served["poem_encoder"], path, precision="int8").difference > parity.TOLERANCE
    with pytest.raises(ParityError, match=r"poem_encoder\.embedding, batch 1: differs from torch"):
        parity.check_model(served["poem_encoder"], path)
    assert open_session(path).get_inputs()[0].name == "input_ids"


def test_int8_that_hangs_on_the_last_bit_is_kept_out(
    repository: Path, served: dict[str, ServedModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Releases of ONNX Runtime round differently, and so do fused and plain operators of one release."""
    path = tmp_path / "poem_encoder" / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    onnx.save(measured_by_row(loaded(repository, "poem_encoder")), path)
    monkeypatch.setattr(parity, "ROUNDING_TOLERANCE", 0.001)
    parity.check_model(served["poem_encoder"], repository / "poem_encoder" / "1" / "model.onnx", precision="int8")
    with pytest.raises(ParityError, match=r"poem_encoder\.embedding: different rounding changes it"):
        parity.check_model(served["poem_encoder"], path, precision="int8")
