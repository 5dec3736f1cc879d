"""The default location of the models: an export in this folder, else the package, else an error."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from img2poem import AsyncImg2Poem, Img2Poem, __version__
from img2poem.artifacts import manifest
from img2poem.artifacts.installed import default_repository, how_to_mend, installed_repository
from img2poem.cli.app import app
from img2poem.errors import BadRepository
from img2poem.web.app import create_app

BOTH_WAYS = r"no models found: pip install 'img2poem\[local\]'.*python -m export\.all"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, without a really installed package."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr("img2poem.artifacts.installed._MODULE", "img2poem_lite_of_tests")
    monkeypatch.setattr("img2poem.artifacts.installed.DISTRIBUTION", "img2poem-lite-of-tests")
    return here


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    def install(version: str) -> Path:
        site = tmp_path / "site"
        repository = site / "img2poem_lite_of_tests" / "repository"
        repository.mkdir(parents=True)
        (repository.parent / "__init__.py").write_text("raise RuntimeError('imported')\n")
        manifest.write(repository, {"contract": "c" * 64, "made_from": {}})
        information = site / f"img2poem_lite_of_tests-{version}.dist-info"
        information.mkdir()
        name = f"Metadata-Version: 2.4\nName: img2poem-lite-of-tests\nVersion: {version}\n"
        (information / "METADATA").write_text(name)
        monkeypatch.syspath_prepend(site)
        return repository

    return install


def test_an_export_in_the_folder_comes_before_the_package(folder: Path, package: Callable[[str], Path]) -> None:
    installed = package(__version__)
    assert default_repository() == installed == installed_repository()
    assert "img2poem_lite_of_tests" not in sys.modules
    (folder / "triton_repo.cpu").mkdir()
    assert default_repository() == Path("triton_repo.cpu")
    # A broken export is an error; it does not fall back to the package.
    with pytest.raises(BadRepository, match=r"triton_repo\.cpu holds no exported model repository"):
        Img2Poem()


def test_the_clients_take_the_package(package: Callable[[str], Path]) -> None:
    installed = str(package(__version__))
    with Img2Poem() as poet:
        assert [health.endpoint for health in poet.health()] == [installed]
    assert create_app().state.poet is not None


@pytest.mark.parametrize("use", [default_repository, Img2Poem, AsyncImg2Poem, create_app])
def test_with_neither_the_error_names_both_ways(use: Callable[[], object]) -> None:
    with pytest.raises(BadRepository, match=BOTH_WAYS):
        use()


def test_a_mere_folder_of_its_name_is_no_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "img2poem_lite_of_tests").mkdir()
    monkeypatch.syspath_prepend(folder)
    assert installed_repository() is None


def test_a_package_of_another_version_is_refused(package: Callable[[str], Path]) -> None:
    package("0.0.7")
    with pytest.raises(BadRepository, match=rf"of-tests 0\.0\.7 is installed beside img2poem {__version__}; pip inst"):
        Img2Poem()


def test_a_damaged_package_is_installed_again_and_not_exported(package: Callable[[str], Path]) -> None:
    installed = package(__version__)
    (installed / manifest.NAME).unlink()
    with pytest.raises(BadRepository, match="holds no exported model repository; pip install --force-reinstall"):
        Img2Poem()
    assert "export.all --out" in how_to_mend(installed.parents[2] / "elsewhere")
    # The tracked folder holds the configs for GPUs: an export for CPUs would replace them.
    assert "export.all --device gpu --out" in how_to_mend(Path("triton_repo"))


@pytest.mark.parametrize(
    "arguments",
    [
        *(f"{command} photo.jpg" for command in ("write", "stream", "describe", "embed", "card --out card.png")),
        "batch . --out poems.jsonl",
        "score photo.jpg poem",
        "web --port 1",
        "inspect",
        "doctor",
    ],
)
def test_every_command_looks_there(
    folder: Path, arguments: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (8, 8)).save(folder / "photo.jpg")
    monkeypatch.setattr(sys, "argv", ["img2poem", *arguments.split()])
    with pytest.raises(SystemExit) as ended:
        app()
    told = capsys.readouterr()
    assert ended.value.code == 1 and "no models found" in told.out + told.err
