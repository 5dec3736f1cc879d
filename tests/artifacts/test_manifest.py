from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from img2poem import BeamSearch, Greedy, Img2Poem
from img2poem.artifacts import manifest
from img2poem.artifacts.package import FILES as PARTS
from img2poem.artifacts.package import Package, config_of, faults, seal
from img2poem.errors import BadPackage, BadRepository
from img2poem.nn.model import load_package
from img2poem.serving.repository import verify

from ..conftest import WEIGHTS, encoded, gradient


def flip(path: Path, place: float) -> None:
    """Flip one bit."""
    data = bytearray(path.read_bytes())
    data[int(place * (len(data) - 1))] ^= 1
    path.write_bytes(data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("folder")
    (folder / "inner").mkdir()
    (folder / "a.txt").write_text("a")
    (folder / "inner" / "b.bin").write_bytes(bytes(range(256)))
    manifest.write(folder, {"name": "it", "size": 3})
    return folder


def test_a_manifest_comes_back_as_it_was_written(folder: Path) -> None:
    found = manifest.read(folder)
    assert found.about["name"] == "it" and set(found.files) == {"a.txt", "inner/b.bin"}
    assert not any(manifest.differences(folder, found.files))


@given(st.floats(0, 1), st.integers(0, 7))
def test_every_bit_of_a_manifest_counts(folder: Path, place: float, bit: int) -> None:
    path = folder / manifest.NAME
    whole = path.read_bytes()
    data = bytearray(whole)
    data[int(place * (len(data) - 1))] ^= 1 << bit
    path.write_bytes(data)
    try:
        with pytest.raises(ValueError, match=r"manifest\.json has changed"):
            manifest.read(folder)
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"sha256": 1}', '{"files": [], "sha256": ""}', "\\u0000"])
def test_what_is_no_manifest(tmp_path: Path, text: str) -> None:
    (tmp_path / manifest.NAME).write_text(text)
    with pytest.raises(ValueError, match=r"manifest\.json has changed"):
        manifest.read(tmp_path)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return Path(shutil.copytree(WEIGHTS, tmp_path / "package"))


@pytest.mark.parametrize("name", ["MODEL_CARD.md", manifest.NAME, *PARTS])
@pytest.mark.parametrize("place", [0.0, 0.6, 1.0])
def test_a_changed_byte_of_a_package_is_refused_and_named(package: Path, name: str, place: float) -> None:
    flip(package / name, place)
    with pytest.raises(BadPackage, match=name):
        load_package(package)


def test_a_package_with_more_than_it_was_written_with(package: Path) -> None:
    (package / "extra.py").write_text("")
    with pytest.raises(BadPackage, match=r"extra\.py is not in the manifest"):
        Package.open(package)


def test_a_package_of_another_architecture_says_what_to_do(package: Path) -> None:
    config = package / "config.json"
    config.write_text(config.read_text().replace('"architecture_version": 2', '"architecture_version": 7'))
    with pytest.raises(BadPackage, match=r"architecture_version 7, this img2poem reads 2; use the img2poem release"):
        seal(package)
    (package / manifest.NAME).unlink()
    with pytest.raises(BadPackage, match="use the img2poem release that trained the package, or train again"):
        Package.open(package)


def test_a_package_is_sealed_by_whoever_trusts_it(package: Path) -> None:
    (package / "MODEL_CARD.md").write_text("a better card")
    (package / manifest.NAME).unlink()
    with pytest.raises(BadPackage, match=f"if you trust its files: img2poem seal {package}"):
        Package.open(package)
    seal(package)
    assert Package.open(package).config == config_of(WEIGHTS) and not faults(package)


FILES = (
    "poem_text/1/model.onnx",
    "rerank/config.pbtxt",
    "decode_image/1/model.py",
    "img2poem/config.pbtxt",
    "manifest.json",
)


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_of_a_repository_is_refused_and_named(repository: Path, tmp_path: Path, name: str) -> None:
    copy = Path(shutil.copytree(repository, tmp_path / "repository", copy_function=shutil.copyfile))
    flip(copy / name, 0.5)
    with pytest.raises(BadRepository, match=name):
        verify(copy)


def test_a_changed_weight_is_refused_in_process(repository: Path, tmp_path: Path) -> None:
    """A changed byte within a tensor: onnxruntime would load it and write other poems."""
    copy = Path(shutil.copytree(repository, tmp_path / "repository"))
    flip(copy / "poem_decoder_beam" / "1" / "model.onnx", 0.5)
    photo = encoded(gradient(), "PNG")
    with Img2Poem(copy) as poet:
        assert poet.write(photo, Greedy()).lines, "the other decoder is whole"
        with pytest.raises(BadRepository, match=r"poem_decoder_beam/1/model\.onnx has changed"):
            poet.write(photo, BeamSearch())
    flip(copy / manifest.NAME, 0.5)
    with pytest.raises(BadRepository, match=r"manifest\.json has changed"):
        Img2Poem(copy)
