"""Every link has a target, and every page is linked."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ..conftest import ROOT
from .pages import PAGES, anchors_of, links_of, name_of, prose_of


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_and_anchor_is_there(page: Path) -> None:
    for link in links_of(page):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{link}: no such file"
        if anchor:
            assert anchor in anchors_of(target), f"{link}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_reference_is_defined_and_used(page: Path) -> None:
    text = prose_of(page)
    assert set(re.findall(r"\]\[(\w+)\]", text)) == set(re.findall(r"^\[(\w+)\]: https://\S+$", text, re.M))


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in links_of(index)}
    assert linked >= {page for page in PAGES if page.parent == index.parent and page != index}


def test_a_missing_file_or_heading_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A heading: `with code`, and more\n\n[one](other.md) [two](#a-heading-with-code-and-more)\n")
    assert links_of(page) == ["other.md", "#a-heading-with-code-and-more"]
    assert anchors_of(page) == {"a-heading-with-code-and-more"}
