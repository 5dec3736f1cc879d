"""The errors quoted in docs/troubleshooting.md exist."""

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
#: Errors that need an explanation; those of options and data state what is allowed.
EXPLAINED = set(
    "BadImage BadPackage BadRepository Cancelled ConnectionFailed ContractMismatch MissingDependency NoPoem NotReady "
    "Overloaded ServerError Timeout WriteFailed".split()
)
SOURCES = sorted(chain.from_iterable((ROOT / name).rglob("*.py") for name in ("img2poem", "export", "training")))


def quoted(section: str) -> list[str]:
    """Return the texts in the first column of a section's table."""
    cells = re.findall(r"^\| (`.+?`) \| ", SECTIONS[section], re.M)
    return [text for cell in cells for text in re.findall(r"`([^`]+)`", cell)]


def parts(text: str) -> list[str]:
    """Return the parts of a quoted text that occur literally in the sources."""
    return [part.strip(" :;,.()") for part in re.split("…|; ", text)]


def strings_in(node: ast.AST) -> list[str]:
    """Return all strings below ``node``; adjacent literals as one."""
    return [n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)]


@pytest.fixture(scope="module")
def trees() -> list[ast.Module]:
    return [ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES]


@pytest.mark.parametrize("section", [name for name in SECTIONS if name != "Messages of other programs"])
def test_every_quoted_error_stands_in_the_sources(section: str, trees: list[ast.Module]) -> None:
    texts, strings = quoted(section), "\n".join(chain.from_iterable(map(strings_in, trees)))
    assert len(texts) >= 10
    for text in texts:
        for part in parts(text):
            assert part in strings, f"{text}: no source says {part!r}"


def test_every_failure_is_on_the_page(trees: list[ast.Module]) -> None:
    known = [part for section in SECTIONS for text in quoted(section) for part in parts(text) if len(part) >= 5]
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args]
    raised = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id in EXPLAINED]
    told = {" ".join(strings_in(call.args[0])) for call in raised}
    assert len(told) > 40
    unexplained = [text for text in told if len(re.findall("[a-z]", text)) > 8 and not any(k in text for k in known)]
    assert not unexplained, unexplained
