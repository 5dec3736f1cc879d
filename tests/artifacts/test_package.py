from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from img2poem.artifacts.package import FILES, Package, PackageConfig, contract_hash, seal
from img2poem.errors import BadPackage
from img2poem.nn.model import load_package, save_package

from ..conftest import WEIGHTS


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return Path(shutil.copytree(WEIGHTS, tmp_path / "package"))


def test_the_shipped_package_survives_saving(tmp_path: Path) -> None:
    model, tokenizer = load_package(WEIGHTS)
    save_package(tmp_path / "copy", model, tokenizer, model.config, "card")
    assert contract_hash(tmp_path / "copy") == contract_hash(WEIGHTS)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["copy", "copy.lock"], "no staging folder stays"
    assert PackageConfig.from_json(model.config.to_json()) == model.config


@pytest.mark.parametrize("name", FILES)
def test_the_contract_covers_every_byte(package: Path, name: str) -> None:
    data = bytearray((package / name).read_bytes())
    data[len(data) // 2] ^= 1
    (package / name).write_bytes(data)
    assert contract_hash(package) != contract_hash(WEIGHTS)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(package: Path, name: str) -> None:
    (package / name).unlink()
    with pytest.raises(BadPackage, match=name):
        Package.open(package)


def test_wrong_configurations_are_named(package: Path) -> None:
    good = json.loads((package / "config.json").read_text())
    decoder = good["decoder"]
    wrong = {
        "not JSON": "{",
        "architecture_version 99": json.dumps({**good, "architecture_version": 99}),
        "architecture_version None": "[]",
        "unknown: colour": json.dumps({**good, "colour": 1}),
        "config.decoder.layers must be int": json.dumps({**good, "decoder": {**decoder, "layers": "1"}}),
        "config.decoder: missing": json.dumps({**good, "decoder": {"layers": 1}}),
        "config.decoder must be an object": json.dumps({**good, "decoder": 5}),
        "config.preprocessing.mean must be": json.dumps(
            {**good, "preprocessing": {**good["preprocessing"], "mean": "x"}}
        ),
    }
    for says, text in wrong.items():
        (package / "config.json").write_text(text)
        (package / "manifest.json").unlink(missing_ok=True)
        with pytest.raises(BadPackage, match=says):
            Package.open(package)


def test_damaged_weights_are_refused(package: Path) -> None:
    path = package / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    seal(package)
    with pytest.raises(BadPackage, match="cannot be loaded"):
        load_package(package)


def test_weights_of_another_shape_are_refused(package: Path) -> None:
    path = package / "model.safetensors"
    state = load_file(path)
    state["poem_decoder.output_bias"] = torch.zeros(3)
    save_file(state, path)
    seal(package)
    with pytest.raises(BadPackage, match="output_bias"):
        load_package(package)
