"""Checking an exported repository again, on the device that serves it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from export.all import export
from export.check import On, check
from export.settings import Settings
from img2poem.artifacts import manifest
from img2poem.errors import BadRepository, ContractMismatch, MissingDependency
from img2poem.nn.model import load_package, save_package

from ..conftest import ROOT, WEIGHTS

SETTINGS = Settings(formats=("onnx", "torchscript"), models=("decoder_init", "decoder_init_torchscript", "poem_text"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of a few models."""
    out = tmp_path_factory.mktemp("check") / "repository"
    export(WEIGHTS, out, SETTINGS)
    return out


@pytest.fixture
def copy(small: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small, tmp_path / "repository"))


def test_what_was_exported_passes(small: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "export.check", str(small)], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "decoder_init " in done.stdout and "decoder_init_torchscript" in done.stdout


def test_a_file_that_computes_something_else_is_named(copy: Path) -> None:
    path = copy / "decoder_init" / "1" / "model.onnx"
    proto = onnx.load(path)
    tensor = max(proto.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * 1.01, tensor.name))
    onnx.save(proto, path)
    # Pretend that it was exported like this: make the manifest match.
    manifest.write(copy, {name: value for name, value in manifest.read(copy).about.items() if name != "files"})
    rows, _, wrong = check(copy, WEIGHTS, On.cpu)
    assert [row.model for row in rows] == ["decoder_init_torchscript"]
    assert len(wrong) == 1 and wrong[0].startswith("decoder_init.hidden, batch 1: differs from torch")


def test_what_is_no_repository_of_the_package_is_refused(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(BadRepository, match=r"no exported repository .* python -m export\.all"):
        check(tmp_path / "none", WEIGHTS, On.cpu)
    model, tokenizer = load_package(WEIGHTS)
    save_package(tmp_path / "other", model, tokenizer, replace(model.config, name="other"), "card")
    with pytest.raises(ContractMismatch, match=r"not exported from .*other"):
        check(copy, tmp_path / "other", On.cpu)
    (copy / "poem_text" / "config.pbtxt").write_text("")
    with pytest.raises(
        BadRepository, match=r"changed since its export: poem_text/config\.pbtxt is not as it was written"
    ):
        check(copy, WEIGHTS, On.cpu)


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="there is CUDA")
def test_without_cuda_it_says_what_to_install(small: Path) -> None:
    with pytest.raises(MissingDependency, match=r"img2poem\[gpu\]"):
        check(small, WEIGHTS, On.cuda)
