from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from img2poem.artifacts import manifest
from img2poem.artifacts.inspection import inspect
from img2poem.artifacts.package import Package, contract_hash
from img2poem.errors import BadRepository

from ..conftest import ROOT, WEIGHTS


@pytest.fixture
def copy(repository: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(repository, tmp_path / "repository"))


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "img2poem", "inspect", *map(str, arguments)]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120)


def models_of(repository: Path) -> set[str]:
    return {config.parent.name for config in repository.glob("*/config.pbtxt")}


def test_a_whole_repository_says_what_it_is(repository: Path) -> None:
    report = inspect(repository)
    assert not report.problems and report.contract == contract_hash(WEIGHTS)
    assert {"torch", "onnx", "onnxruntime", "tritonclient"} <= report.made_from.keys()
    by_name = {model.name: model for model in report.models}
    assert by_name.keys() == models_of(repository) and by_name["img2poem"].platform == "ensemble"
    for model in report.models:
        assert model.stamps["model"] == model.name and model.stamps["precision"] == "fp32"
        assert json.loads(model.stamps["special_ids"])["newline"] == 4
        assert json.loads(model.stamps["preprocessing"])["size"] == 224
        assert len(model.stamps["vocabulary"]) == 64
        assert int(model.stamps["vocabulary_size"]) == Package.open(WEIGHTS).config.decoder.vocabulary_size


def restamp(repository: Path, key: str, value: str) -> None:
    path = repository / "decoder_init" / "1" / "model.onnx"
    proto = onnx.load(path)
    for entry in proto.metadata_props:
        if entry.key == key:
            entry.value = value
    onnx.save(proto, path)


def foreign(repository: Path) -> None:
    path = repository / "decoder_step" / "config.pbtxt"
    path.write_text(path.read_text().replace(contract_hash(WEIGHTS), "0" * 64))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda r: (r / "poem_text" / "1" / "model.onnx").unlink(), "poem_text/1/model.onnx is missing"),
        (lambda r: (r / "rerank" / "config.pbtxt").write_text(""), "rerank/config.pbtxt is not as it was written"),
        (lambda r: (r / "rerank" / "more.txt").write_text(""), "rerank/more.txt is not in the manifest"),
        (lambda r: (r / "more").symlink_to(r / "rerank"), "more is not in the manifest"),
        (
            lambda r: (r / "rerank" / "config.pbtxt").write_text(
                (r / "rerank" / "config.pbtxt").read_text().replace('string_value: "', r'string_value: "\q')
            ),
            "rerank/config.pbtxt is not as it was written",
        ),
        (foreign, "decoder_step is of another model package: contract 00000000"),
        (
            lambda r: restamp(r, "img2poem.precision", "int8"),
            "decoder_init: model.onnx and config.pbtxt disagree on precision",
        ),
        (lambda r: (r / "decoder_init" / "1" / "model.onnx").write_bytes(b"x"), "decoder_init/1/model.onnx cannot be"),
    ],
)
def test_what_is_wrong_is_named(copy: Path, damage: Callable[[Path], object], says: str) -> None:
    damage(copy)
    assert any(says in problem for problem in inspect(copy).problems)


def test_the_command_checks_and_tells(copy: Path) -> None:
    done = command(copy)
    assert done.returncode == 0 and contract_hash(WEIGHTS) in done.stdout and "poem_decoder_beam" in done.stdout
    manifest.write(copy, {**manifest.read(copy).about, "contract": "1" * 64})
    done = command(copy, "--json")
    assert done.returncode == 1 and len(json.loads(done.stdout)["problems"]) == len(models_of(copy))
    assert command(copy / "rerank").returncode == 1


def test_what_is_inside_an_onnx_file_is_left_out_without_onnxruntime(copy: Path) -> None:
    code = "import sys; sys.modules['onnxruntime'] = None; from img2poem.cli.app import app; app()"
    line = [sys.executable, "-c", code, "inspect", str(copy)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "as they were written" in done.stdout, done.stderr


def test_a_repository_without_models_is_wrong_in_every_file(copy: Path) -> None:
    for model in models_of(copy):
        shutil.rmtree(copy / model)
    done = command(copy)
    assert done.returncode == 1 and "img2poem/config.pbtxt is missing" in done.stderr and "Traceback" not in done.stderr


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(BadRepository, match=r"export\.all"):
        inspect(tmp_path)


def test_a_package_is_inspected_too(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(WEIGHTS, tmp_path / "package"))
    done = command(copy, "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 0 and told["contract"] == contract_hash(WEIGHTS) and not told["problems"]
    (copy / "MODEL_CARD.md").write_text("")
    done = command(copy)
    assert done.returncode == 1 and "MODEL_CARD.md is not as it was written" in done.stderr
