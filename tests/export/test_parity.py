"""The parity gate catches faults in exports; each fault is planted, and the error names it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor

from export import noise, parity, poem_text, torchscript
from export import onnx as export_onnx
from export.parity import ParityError
from export.served import ServedModel, TensorSpec, served_models
from export.settings import OPSETS
from img2poem.errors import BadRepository
from img2poem.nn.model import PhotoToPoem, load_package
from img2poem.nn.poem_decoder import Condition, PoemDecoder
from img2poem.text.tokenizer import PoemTokenizer

from ..conftest import WEIGHTS


def changed(repository: Path, model: str, tmp_path: Path, change: object) -> Path:
    """Return a copy of an exported file with ``change(proto)`` applied."""
    proto = onnx.load(repository / model / "1" / "model.onnx")
    change(proto)  # type: ignore[operator]
    path = tmp_path / "model.onnx"
    onnx.save(proto, path)
    return path


def scale_largest(proto: onnx.ModelProto, shape: tuple[int, ...], factor: float) -> None:
    [tensor] = [t for t in proto.graph.initializer if tuple(t.dims) == shape][:1]
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(factor), tensor.name))


@pytest.mark.parametrize("model", ["decoder_init", "decoder_step"])
def test_a_faithful_file_passes(repository: Path, served: dict[str, ServedModel], model: str) -> None:
    found = parity.check_model(served[model], repository / model / "1" / "model.onnx", seed=9)
    assert found.difference < 1e-3


def test_a_wrong_normalisation_constant_is_caught(
    repository: Path, served: dict[str, ServedModel], tmp_path: Path
) -> None:
    path = changed(repository, "image_encoder", tmp_path, lambda proto: scale_largest(proto, (1, 3, 1, 1), 1.02))
    with pytest.raises(ParityError, match="image_encoder"):
        parity.check_model(served["image_encoder"], path)


def test_stale_weights_are_caught(repository: Path, package: tuple[PhotoToPoem, PoemTokenizer], tmp_path: Path) -> None:
    model, tokenizer = load_package(WEIGHTS)
    with torch.no_grad():
        model.poem_decoder.initial.weight.mul_(1.01)
    [stale] = [m for m in served_models(model, tokenizer) if m.name == "decoder_init"]
    with pytest.raises(ParityError, match=r"decoder_init\.hidden.*differs"):
        parity.check_model(stale, repository / "decoder_init" / "1" / "model.onnx")


def test_a_shifted_vocabulary_is_caught_by_its_tokens(
    repository: Path, served: dict[str, ServedModel], tmp_path: Path
) -> None:
    def shift(proto: onnx.ModelProto) -> None:
        shape = tuple(served["decoder_step"].module.step.decoder.token_embedding.weight.shape)
        [table] = [t for t in proto.graph.initializer if tuple(t.dims) == shape]
        table.CopyFrom(numpy_helper.from_array(np.roll(numpy_helper.to_array(table), 1, axis=0), table.name))

    path = changed(repository, "decoder_step", tmp_path, shift)
    with pytest.raises(ParityError, match="decoder_step"):
        parity.check_model(served["decoder_step"], path)


def test_a_frozen_batch_axis_is_caught(repository: Path, served: dict[str, ServedModel], tmp_path: Path) -> None:
    def freeze(proto: onnx.ModelProto) -> None:
        for value in (*proto.graph.input, *proto.graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = 2

    path = changed(repository, "decoder_init", tmp_path, freeze)
    with pytest.raises(ParityError, match="frozen at 2"):
        parity.check_model(served["decoder_init"], path)


def test_a_renamed_tensor_is_caught(repository: Path, served: dict[str, ServedModel], tmp_path: Path) -> None:
    def rename(proto: onnx.ModelProto) -> None:
        proto.graph.output[0].name = proto.graph.node[-1].output[0] = "state"

    path = changed(repository, "decoder_init", tmp_path, rename)
    with pytest.raises(ParityError, match="state"):
        parity.check_model(served["decoder_init"], path)


def exported(served: ServedModel, tmp_path: Path) -> Path:
    path = tmp_path / served.name / "1" / "model.onnx"
    export_onnx.write(export_onnx.export_module(served, OPSETS["cpu"][0]), path, {})
    return path


class ResetBeforeProduct(PoemDecoder):
    """Computes like ONNX's GRU with ``linear_before_reset=0``."""

    def cell(self, token: Tensor, state: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        w_ih, w_hh, _, b_hh = self.gru.all_weights[0]
        x = torch.nn.functional.linear(self.token_embedding(token), w_ih[:, : self.config.token_dim])
        reset_x, update_x, new_x = (x + condition.gates).chunk(3, dim=-1)
        reset_h, update_h, _ = torch.nn.functional.linear(state, w_hh, b_hh).chunk(3, dim=-1)
        reset, update = torch.sigmoid(reset_x + reset_h), torch.sigmoid(update_x + update_h)
        size = self.config.hidden_dim
        new = torch.tanh(new_x + torch.nn.functional.linear(reset * state, w_hh[2 * size :], b_hh[2 * size :]))
        after = new + update * (state - new)
        features = torch.nn.functional.linear(after, self.bottleneck.weight[:, :size]) + condition.features
        return features, after


@pytest.mark.parametrize("fault", ["swapped gates", "reset before product"])
def test_a_wrong_gru_cell_is_caught(served: dict[str, ServedModel], tmp_path: Path, fault: str) -> None:
    model, tokenizer = load_package(WEIGHTS)
    if fault == "swapped gates":
        for parameter in model.poem_decoder.gru.parameters():
            reset, update, new = parameter.data.chunk(3)
            parameter.data = torch.cat([update, reset, new])  # ONNX's order
    else:
        model.poem_decoder.__class__ = ResetBeforeProduct
    [faulty] = [m for m in served_models(model, tokenizer) if m.name == "decoder_step"]
    path = exported(faulty, tmp_path)
    with pytest.raises(ParityError, match=r"decoder_step\.top_logprobs, batch 1: differs from torch"):
        parity.check_model(served["decoder_step"], path)


def test_a_projection_in_another_order_is_caught(
    repository: Path, served: dict[str, ServedModel], tmp_path: Path
) -> None:
    def reverse(proto: onnx.ModelProto) -> None:
        tensor = max(proto.graph.initializer, key=lambda one: one.ByteSize())
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor)[::-1].copy(), tensor.name))

    path = changed(repository, "decoder_init", tmp_path, reverse)
    with pytest.raises(ParityError, match=r"decoder_init\.hidden, batch 1: differs"):
        parity.check_model(served["decoder_init"], path)


@pytest.mark.parametrize(("field", "value", "says"), [("opset", 22, "has opset .22."), ("ir", 11, "has IR version 11")])
def test_a_wrong_opset_is_caught(
    repository: Path, served: dict[str, ServedModel], tmp_path: Path, field: str, value: int, says: str
) -> None:
    def change(proto: onnx.ModelProto) -> None:
        if field == "ir":
            proto.ir_version = value
        else:
            [entry] = [entry for entry in proto.opset_import if entry.domain == ""]
            entry.version = value

    path = changed(repository, "decoder_init", tmp_path, change)
    with pytest.raises(ParityError, match=f"decoder_init: the file {says}"):
        parity.check_model(served["decoder_init"], path)


def test_a_batch_axis_frozen_inside_the_graph_is_caught(
    repository: Path, served: dict[str, ServedModel], tmp_path: Path
) -> None:
    """The tensors declare a free batch axis, but a reshape inside has the example's batch size."""

    def freeze(proto: onnx.ModelProto) -> None:
        graph = proto.graph
        graph.initializer.append(numpy_helper.from_array(np.array([2, 512]), "frozen"))
        for node in graph.node:
            node.input[:] = ["reshaped" if name == "embedding" else name for name in node.input]
        graph.node.insert(0, onnx.helper.make_node("Reshape", ["embedding", "frozen"], ["reshaped"]))

    path = changed(repository, "decoder_init", tmp_path, freeze)
    with pytest.raises(ParityError, match=r"decoder_init.*frozen at 2"):
        parity.check_model(served["decoder_init"], path)


@pytest.mark.parametrize("fault", ["stale", "truncated"])
def test_faults_of_torchscript_are_caught(tmp_path: Path, served: dict[str, ServedModel], fault: str) -> None:
    model, tokenizer = load_package(WEIGHTS)
    with torch.no_grad():
        model.poem_decoder.initial.weight.mul_(1.01)
    [stale] = [m for m in served_models(model, tokenizer) if m.name == "decoder_init"]
    path = tmp_path / "model.pt"
    torchscript.write(stale, path, {})
    if fault == "truncated":
        path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises((ParityError, BadRepository), match=r"decoder_init\.hidden.*differs|cannot be loaded"):
        parity.check_torchscript(served["decoder_init"], path)


@pytest.mark.parametrize("model", torchscript.MODELS)
def test_torchscript_names_no_device(tmp_path: Path, served: dict[str, ServedModel], model: str) -> None:
    """Regression: a constant on the trace's device failed on a GPU, where Triton's PyTorch backend puts the module."""
    torchscript.write(served[model], tmp_path / "model.pt", {})
    assert "torch.device" not in torchscript.load(tmp_path / "model.pt").code


def test_a_truncated_file_is_caught(repository: Path, served: dict[str, ServedModel], tmp_path: Path) -> None:
    path = tmp_path / "decoder_init" / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes((repository / "decoder_init" / "1" / "model.onnx").read_bytes()[:-1000])
    with pytest.raises(BadRepository, match="cannot be loaded"):
        parity.check_model(served["decoder_init"], path)


def test_poem_text_with_another_vocabulary_is_caught(
    repository: Path, package: tuple[PhotoToPoem, PoemTokenizer], tmp_path: Path
) -> None:
    model, tokenizer = package
    pieces = list(tokenizer.pieces[: model.config.decoder.vocabulary_size])
    shifted = poem_text.build([*pieces[:5], pieces[-1], *pieces[5:-1]], 96, OPSETS["cpu"][0])
    export_onnx.write(shifted, tmp_path / "model.onnx", {})
    with pytest.raises(ParityError, match="poem_text"):
        parity.check_poem_text(tmp_path / "model.onnx", tokenizer, model.config.decoder.vocabulary_size, 96)


@pytest.mark.parametrize("several", [False, True])
def test_noise_of_another_constant_is_caught(tmp_path: Path, several: bool) -> None:
    export_onnx.write(noise.build(several, 512, OPSETS["cpu"][0]), tmp_path / "model.onnx", {})
    assert parity.check_noise(several, 512, tmp_path / "model.onnx").difference == 0
    proto = onnx.load(tmp_path / "model.onnx")
    [gamma] = [t for t in proto.graph.initializer if t.name == "gamma"]
    gamma.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(gamma) + 2, "gamma"))
    onnx.save(proto, tmp_path / "model.onnx")
    with pytest.raises(ParityError, match=r"noise does not give the noise of img2poem\.decoding\.noise at batch 1"):
        parity.check_noise(several, 512, tmp_path / "model.onnx")


def test_every_file_is_one_that_triton_reads_and_is_stamped(repository: Path) -> None:
    files = list(repository.glob("*/1/model.onnx"))
    assert len(files) == 16
    contracts = set()
    for path in files:
        proto = onnx.load(path)
        onnx.checker.check_model(proto)
        assert proto.ir_version <= 10
        assert all(o.version <= 21 for o in proto.opset_import if o.domain == "")
        assert {o.domain for o in proto.opset_import if any(n.domain == o.domain for n in proto.graph.node)} == {""}
        stamps = {p.key: p.value for p in proto.metadata_props}
        assert stamps["img2poem.model"] == path.parts[-3]
        contracts.add(stamps["img2poem.contract"])
        assert str(Path(__file__).resolve().parents[2]).encode() not in path.read_bytes(), "no path of this machine"
    assert len(contracts) == 1


class Largest(torch.nn.Module):
    """Imitates a search: returns the index of the largest number, with a preference for the second."""

    def __init__(self, preference: float, sign: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("preference", torch.tensor([0.0, preference]))
        self.sign = sign

    def forward(self, embedding: Tensor) -> Tensor:
        return (self.sign * embedding + self.preference).argmax(-1, keepdim=True)


def largest(module: Largest, tied_rows: int) -> ServedModel:
    """Serve it on rows whose last ``tied_rows`` in each batch have two nearly equal numbers."""

    def sample(batch: int, random: np.random.Generator) -> dict[str, np.ndarray]:
        rows = random.permuted(np.tile(np.array([1.0, 3.0], np.float32), (batch, 1)), axis=1)
        rows[max(0, batch - tied_rows) :] = 1.0
        return {"embedding": rows}

    tensors = (TensorSpec("embedding", np.float32, (2,)),), (TensorSpec("tokens", np.int64, (1,)),)
    return ServedModel("largest", module, *tensors, sample)


def test_tokens_that_hang_on_a_tie_may_differ_in_a_few_rows(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export_onnx.write(export_onnx.export_module(largest(Largest(1e-5), 1), OPSETS["cpu"][0]), path, {})
    assert parity.check_model(largest(Largest(0.0), 1), path).difference == 0
    with pytest.raises(ParityError, match=r"largest\.tokens, batch 3: 3 of 3 values differ"):
        parity.check_model(largest(Largest(0.0), 8), path)
    with pytest.raises(ParityError, match=r"largest\.tokens, batch 1"):
        parity.check_model(largest(Largest(0.0, sign=-1.0), 0), path)
