"""After a change only dependent files are exported again; the others are kept with new stamps."""

from __future__ import annotations

import multiprocessing
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from export import build, parity, torchscript
from export.all import export
from export.reuse import Earlier
from export.served import MAX_BATCH, MAX_BATCH_OF_CANDIDATES
from export.settings import Settings
from img2poem.artifacts.package import Package, contract_hash
from img2poem.errors import InvalidOption
from img2poem.nn.model import load_package, save_package
from img2poem.text.vocabulary import EOS

from ..conftest import WEIGHTS


def stamped(path: Path) -> str:
    return {p.key: p.value for p in onnx.load(path).metadata_props}["img2poem.contract"]


def rows(weights: Path, folder: Path, settings: Settings, earlier: Path) -> dict[str, build.Row]:
    folder.mkdir()
    found = build.build(Package.open(weights), folder, settings, Earlier(earlier), lambda model, total: None)
    return {row.model: row for row in found}


def test_a_changed_weight_rebuilds_what_depends_on_it(repository: Path, tmp_path: Path) -> None:
    model, tokenizer = load_package(WEIGHTS)
    with torch.no_grad():
        model.image_encoder.heads["scene"].output.bias.add_(0.5)
    save_package(tmp_path / "changed", model, tokenizer, model.config, "card")
    settings = Settings(models=("img2poem_greedy", "scene_encoder", "object_encoder", "poem_encoder"))
    found = rows(tmp_path / "changed", tmp_path / "out", settings, repository)
    checked = {name: row.kept for name, row in found.items() if row.made and name != "poem_text"}
    kept = {"object_encoder", "poem_encoder", "poem_decoder_greedy"}
    assert checked == {name: name in kept for name in (*kept, "image_encoder", "scene_encoder")}
    for name in checked:
        path = tmp_path / "out" / name / "1" / "model.onnx"
        assert stamped(path) == contract_hash(tmp_path / "changed") != contract_hash(WEIGHTS)
    assert found["object_encoder"].made is not None and found["object_encoder"].made.difference < parity.TOLERANCE


def test_a_changed_constant_of_the_config_rebuilds_what_may_hold_it(repository: Path, tmp_path: Path) -> None:
    model, tokenizer = load_package(WEIGHTS)
    config = replace(model.config, decoder=replace(model.config.decoder, likelihood_weight=100.0))
    save_package(tmp_path / "changed", model, tokenizer, config, "card")
    found = rows(tmp_path / "changed", tmp_path / "out", Settings(models=("rerank",)), repository)
    assert not found["rerank"].kept
    session = onnxruntime.InferenceSession(tmp_path / "out" / "rerank" / "1" / "model.onnx")
    candidates = np.zeros((1, 2, 96), np.int64)
    candidates[0, :, :2] = [[40, EOS], [50, EOS]]
    for best in (0, 1):
        inputs = {
            "candidates": candidates,
            "candidate_scores": np.where(np.arange(2) == best, -1, -2).astype(np.float32)[None],
            "candidate_lengths": np.full((1, 2), 2),
            "embedding": np.full((1, 512), 512**-0.5, np.float32),
        }
        assert session.run(["tokens"], inputs)[0][0, 0] == candidates[0, best, 0], "the likelier"


def test_a_damaged_file_is_not_kept(repository: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(repository, tmp_path / "repository"))
    path = copy / "decoder_init" / "1" / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    settings = Settings(models=("decoder_init", "decoder_step"))
    found = rows(WEIGHTS, tmp_path / "out", settings, copy)
    assert {name: row.kept for name, row in found.items()} == {"decoder_init": False, "decoder_step": True}


def test_torchscript_beside_onnx_and_kept_the_next_time(tmp_path: Path) -> None:
    settings = Settings(formats=("onnx", "torchscript"), models=("decoder_init", "decoder_init_torchscript"))
    assert export(WEIGHTS, tmp_path / "out", settings)
    path = tmp_path / "out" / "decoder_init_torchscript" / "1" / "model.pt"
    assert torchscript.stamps_of(path, ["img2poem.contract"]) == {"img2poem.contract": contract_hash(WEIGHTS)}
    text = (tmp_path / "out" / "decoder_init_torchscript" / "config.pbtxt").read_text()
    assert all(part in text for part in ('"pytorch_libtorch"', '"INPUT__0"', '"OUTPUT__0"', '"model.pt"'))
    again = rows(WEIGHTS, tmp_path / "again", settings, tmp_path / "out")
    assert all(row.kept for row in again.values())
    path = tmp_path / "again" / "decoder_init_torchscript" / "1" / "model.pt"
    assert torchscript.stamps_of(path, ["img2poem.contract"]) == {"img2poem.contract": contract_hash(WEIGHTS)}


def test_several_at_a_time_write_what_one_does(tmp_path: Path) -> None:
    settings = Settings(models=("decoder_init", "decoder_step", "poem_text"))
    for processes in (1, 2):
        assert export(WEIGHTS, tmp_path / str(processes), settings, processes=processes)
    for name in settings.models:
        one, two = (onnx.load(tmp_path / folder / name / "1" / "model.onnx") for folder in "12")
        assert one == two


def test_a_fault_that_one_of_several_finds_stops_all(tmp_path: Path) -> None:
    model, tokenizer = load_package(WEIGHTS)
    with torch.no_grad():
        model.poem_decoder.initial.weight[0, 0] = float("nan")
    save_package(tmp_path / "faulty", model, tokenizer, model.config, "card")
    settings = Settings(models=("decoder_init", "decoder_step", "sentiment_encoder"))
    with pytest.raises(parity.ParityError, match=r"decoder_init\.hidden"):
        export(tmp_path / "faulty", tmp_path / "out", settings, processes=2)
    assert not (tmp_path / "out").exists() and not multiprocessing.active_children()


def test_only_the_models_that_are_asked_for(repository: Path, tmp_path: Path) -> None:
    found = rows(WEIGHTS, tmp_path / "out", Settings(models=("img2poem_pixels",)), repository)
    assert set(found) == {"img2poem_pixels", "image_encoder", "poem_decoder_beam", "poem_text"}
    with pytest.raises(InvalidOption, match="no model decoder; there are image_encoder"):
        export(WEIGHTS, tmp_path / "other", Settings(models=("decoder",)))
    assert not (tmp_path / "other").exists()


def test_data_counts_by_its_contents_and_not_by_its_place(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "same", "other")]
    for folder in folders:
        folder.mkdir()
        (folder / "oasis.csv").write_text("other" if folder.name == "other" else "one")
    one, same, other = (Settings(precision="int8", data=folder).to_json() for folder in folders)
    assert one == same != other
    assert Settings(data=folders[0]).to_json() == Settings().to_json(), "float32 needs no photographs"


@pytest.mark.parametrize(("largest", "most", "candidates"), [(4, 4, 4), (16, 16, 8), (32, 32, 8), (256, 256, 64)])
def test_batches_shrink_to_what_is_asked_for_and_grow_in_proportion(largest: int, most: int, candidates: int) -> None:
    settings = Settings(max_batch=largest)
    assert (settings.largest_batch(MAX_BATCH), settings.largest_batch(MAX_BATCH_OF_CANDIDATES)) == (most, candidates)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"formats": ("tensorrt",)}, "formats are onnx and torchscript"),
        ({"formats": ()}, "formats are"),
        ({"opset": 22}, "opset must be 20 or 21 for --device cpu"),
        ({"opset": 20, "device": "gpu"}, "opset must be 18 for --device gpu"),
        ({"target": "24.12", "device": "gpu"}, "a Triton release from 25.03 on for --device gpu"),
        ({"instances": 0}, "instances must be from 1 to 16"),
        ({"photo_processes": 65}, "photo-processes must be from 1 to 64"),
        ({"streams": 0}, "streams must be from 1 to 1024"),
        ({"gpu_memory": 512}, "gpu-memory must be 0 or more MiB, and needs --device gpu"),
        ({"gpu_memory": -1, "device": "gpu"}, "gpu-memory must be 0 or more MiB"),
        ({"profile": "serving", "models": ("rerank",)}, "give one of them"),
        ({"max_batch": 0}, "max-batch must be from 1"),
        ({"target": "24.01"}, "a Triton release from 24.10 on"),
        ({"target": "newest"}, "a Triton release"),
        ({"precision": "fp16"}, "fp16 is for --device gpu"),
        ({"precision": "int8", "device": "gpu"}, "int8 is for --device cpu"),
        ({"precision": "int8", "formats": ("torchscript",)}, "fp32 only"),
    ],
)
def test_options_that_do_not_go_say_why(options: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidOption, match=says):
        Settings(**options)  # type: ignore[arg-type]
