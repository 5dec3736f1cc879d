"""A release holds what it should, or is not made."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from img2poem import __version__
from tools import distributions, release
from tools.distributions import ReleaseError

from ..conftest import ROOT


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return release.build(ROOT, tmp_path_factory.mktemp("release"))


def test_wheel_and_source_distribution_are_built_of_what_git_tracks(built: list[Path]) -> None:
    wheel, sdist = built
    assert wheel.name == f"img2poem-{__version__}-py3-none-any.whl" and sdist.name == f"img2poem-{__version__}.tar.gz"
    names = zipfile.ZipFile(wheel).namelist()
    assert {"img2poem/py.typed", "img2poem/web/pages/index.html", "img2poem/forbidden_words.txt"} <= {*names}
    with tarfile.open(sdist) as archive:
        inside = archive.getnames()
    assert any(name.endswith("/tests/conftest.py") for name in inside)
    assert not any("/weights/" in name or "/.venv" in name for name in inside)


def test_a_wheel_with_a_file_too_many_or_too_few_is_refused(built: list[Path], tmp_path: Path) -> None:
    with zipfile.ZipFile(built[0]) as wheel:
        expected = [name for name in wheel.namelist() if ".dist-info/" not in name]
    distributions.check_wheel(built[0], expected)
    with pytest.raises(ReleaseError, match=r"lacks img2poem/more\.py"):
        distributions.check_wheel(built[0], [*expected, "img2poem/more.py"])
    with pytest.raises(ReleaseError, match=r"should not: img2poem/py\.typed"):
        distributions.check_wheel(built[0], set(expected) - {"img2poem/py.typed"})


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
        release.build(tmp_path, tmp_path / "work")
    assert not list((tmp_path / "work").iterdir())


def test_without_a_repository_nothing_is_installed(built: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"python -m export\.all"):
        release.try_out(built[0], tmp_path / "none", b"", tmp_path)
    assert not list(tmp_path.iterdir())
