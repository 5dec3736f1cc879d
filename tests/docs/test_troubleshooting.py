"""docs/troubleshooting.md quotes errors that there are."""

from __future__ import annotations

import ast
import re
from itertools import chain

import pytest

from ..conftest import ROOT
from .pages import prose_of

SECTIONS = {
    section.splitlines()[0]: section for section in prose_of(ROOT / "docs" / "troubleshooting.md").split("\n## ")[1:]
}
SOURCES = sorted(chain.from_iterable((ROOT / name).rglob("*.py") for name in ("img2poem", "export", "training")))


def quoted(section: str) -> list[str]:
    """Return the texts in the first column of a section's table."""
    cells = re.findall(r"^\| (`.+?`) \| ", SECTIONS[section], re.M)
    return [text for cell in cells for text in re.findall(r"`([^`]+)`", cell)]


@pytest.fixture(scope="module")
def strings() -> list[str]:
    """All strings of the sources; those that are written in several parts, as one."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES]
    nodes = chain.from_iterable(map(ast.walk, trees))
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


@pytest.mark.parametrize("section", [name for name in SECTIONS if name != "What others say"])
def test_every_quoted_error_stands_in_the_sources(section: str, strings: list[str]) -> None:
    texts = quoted(section)
    assert len(texts) >= 10
    for text in texts:
        for part in re.split("…|; ", text):
            told = part.strip(" :;,.()")
            assert any(told in string for string in strings), f"{text}: no source says {told!r}"
