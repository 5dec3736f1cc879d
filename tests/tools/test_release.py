"""A release contains the right files, or is not made."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import typer

from img2poem import __version__
from tools import building, distributions, release
from tools.distributions import ReleaseError
from tools.proving import Fresh, Seconds, Trial, interpreters

from ..conftest import ROOT


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return building.build_code(ROOT, tmp_path_factory.mktemp("release"))


def test_wheel_and_source_distribution_are_built_of_what_git_tracks(built: tuple[Path, Path]) -> None:
    wheel, sdist = built
    assert wheel.name == f"img2poem-{__version__}-py3-none-any.whl" and sdist.name == f"img2poem-{__version__}.tar.gz"
    names = zipfile.ZipFile(wheel).namelist()
    assert {"img2poem/py.typed", "img2poem/web/pages/index.html", "img2poem/text/forbidden_words.txt"} <= {*names}
    with tarfile.open(sdist) as archive:
        inside = archive.getnames()
    assert any(name.endswith("/tests/conftest.py") for name in inside)
    assert not any("/weights/" in name or "/.venv" in name for name in inside)


def test_the_models_come_with_the_wheel_and_not_with_the_source(built: tuple[Path, Path]) -> None:
    wheel, sdist = built
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"img2poem-{__version__}.dist-info/METADATA").decode()
    assert f"img2poem-lite=={__version__}; extra == 'local'" in metadata
    with tarfile.open(sdist) as archive:
        file = archive.extractfile(f"img2poem-{__version__}/PKG-INFO")
        assert file is not None and "img2poem-lite" not in file.read().decode().partition("\n\n")[0]
    with pytest.raises(ReleaseError, match=r"the extra local of .* brings no models"):
        distributions.check_wheel(wheel, _files(wheel), "99")


def _files(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return [name for name in archive.namelist() if ".dist-info/" not in name]


def test_a_wheel_with_a_file_too_many_or_too_few_is_refused(built: tuple[Path, Path]) -> None:
    expected = _files(built[0])
    distributions.check_wheel(built[0], expected, __version__)
    with pytest.raises(ReleaseError, match=r"lacks img2poem/more\.py"):
        distributions.check_wheel(built[0], [*expected, "img2poem/more.py"], __version__)
    with pytest.raises(ReleaseError, match=r"should not: img2poem/py\.typed"):
        distributions.check_wheel(built[0], set(expected) - {"img2poem/py.typed"}, __version__)


def _lite(path: Path, *without: str, size: int = 0) -> list[str]:
    """Write a wheel of models and return the names of its files."""
    inside = (
        "__init__.py",
        *(f"repository/{name}" for name in ("manifest.json", "MODEL_CARD.md", "LICENSE", "a.onnx")),
    )
    names = [f"img2poem_lite/{name}" for name in inside if name not in without]
    with zipfile.ZipFile(path, "w") as wheel:
        for name in (*names, "img2poem_lite-1.dist-info/licenses/LICENSE"):
            wheel.writestr(name, bytes(size))
    return names


def test_a_wheel_of_models_is_whole_and_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "img2poem_lite-1-py3-none-any.whl"
    names = _lite(path)
    distributions.check_lite(path, names)
    with pytest.raises(ReleaseError, match=r"lacks img2poem_lite/more\.onnx"):
        distributions.check_lite(path, [*names, "img2poem_lite/more.onnx"])
    with pytest.raises(ReleaseError, match=r"lacks img2poem_lite/repository/LICENSE"):
        distributions.check_lite(path, _lite(path, "repository/LICENSE"))
    monkeypatch.setattr(distributions, "LARGEST_LITE", 2_000_000)
    with pytest.raises(ReleaseError, match=r"has 6\.0 MB, more than 2"):
        distributions.check_lite(path, _lite(path, size=1_000_000))


def test_a_source_distribution_with_a_file_too_many_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a-1.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name in ("a-1/PKG-INFO", "a-1/key.pem"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    with pytest.raises(ReleaseError, match=r"should not: key\.pem"):
        distributions.check_sdist(path, [])


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ("Metadata-Version: 2.4\nName: a\nVersion: 2\n\ntext", "is version 2, not 1"),
        ("Metadata-Version: 2.4\nName: a\nVersion: 1\n", "no description"),
        ("Metadata-Version: 2.4\nName: a\nVersion: one\n\ntext", "malformed.*version"),
    ],
)
def test_wrong_metadata_are_refused(tmp_path: Path, metadata: str, says: str) -> None:
    path = tmp_path / "a-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("a-1.dist-info/METADATA", metadata)
    with pytest.raises(ReleaseError, match=says):
        distributions.check_metadata(path, "1")


@pytest.mark.parametrize(
    "text",
    ["# Changelog\n\n## 1.0\n", "## [Unreleased]\n\n## [1.0] - 2026-01-01\n\n### Added\n\n- More.\n\n## [0.9]\n"],
)
def test_a_changelog_that_begins_with_the_version_is_right(tmp_path: Path, text: str) -> None:
    path = tmp_path / "CHANGELOG.md"
    path.write_text(text)
    distributions.check_changelog(path, "1.0")


@pytest.mark.parametrize(
    ("text", "begins"),
    [
        ("## [0.9] - 2026-01-01\n\n## 1.0\n", "0.9"),
        ("## [Unreleased]\n\n### Added\n\n- More.\n\n## 1.0\n", "Unreleased"),
        ("# Changelog\n", "nothing"),
    ],
)
def test_a_changelog_that_begins_with_something_else_is_refused(tmp_path: Path, text: str, begins: str) -> None:
    path = tmp_path / "CHANGELOG.md"
    with pytest.raises(ReleaseError, match=r"CHANGELOG\.md cannot be read"):
        distributions.check_changelog(path, "1.0")
    path.write_text(text)
    with pytest.raises(ReleaseError, match=rf"version 1\.0, but CHANGELOG\.md begins with {begins}"):
        distributions.check_changelog(path, "1.0")


def test_what_is_not_built_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    with pytest.raises(ReleaseError, match="asking git failed"):
        building.build_code(tmp_path, tmp_path / "work")
    assert not list((tmp_path / "work").iterdir())


def test_a_fresh_environment_has_only_what_was_installed(tmp_path: Path, built: tuple[Path, Path]) -> None:
    version = "{}.{}".format(*sys.version_info)
    found = interpreters([version, "2.99"])
    assert found.keys() <= {version}
    fresh = Fresh(found.get(version, Path(sys.executable)), tmp_path / "fresh", built)
    with pytest.raises(ReleaseError, match="installing img2poem offline failed"):
        fresh.install("img2poem")  # its dependencies are missing, and nothing is downloaded
    assert "img2poem" not in fresh.installed()


def test_the_report_names_what_misses_its_aim() -> None:
    trial = Trial("3.13.0", Seconds(4, 3), Seconds(2.5, 2), Seconds(0.8, 1), 150.0, 200.0, ("img2poem",), "a poem")
    told = release.report([trial, trial], {"img2poem.whl": 0.1})
    assert "| first `img2poem write`, s | 1.5 | 2.5 (missed) | 2.5 (missed) |" in told
    assert "| install `img2poem[local]`, s | 60 | 4 | 4 |" in told and "| `img2poem.whl` | 0.10 |" in told


def test_a_release_of_changed_files_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for command in (["git", "init", "-q"], ["git", "add", "-N", "."]):
        (tmp_path / "changed").touch()
        subprocess.run(command, cwd=tmp_path, check=True)
    monkeypatch.setattr(release, "ROOT", tmp_path)
    with pytest.raises(typer.Exit):
        release.main(tmp_path / "dist")
    assert not (tmp_path / "dist").exists()
