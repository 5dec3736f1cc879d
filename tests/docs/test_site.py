"""The documentation builds as a site in strict mode, and loads nothing from other sites."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from ..conftest import ROOT
from ..web.test_page import ARGUMENTS, CHROMIUM
from .pages import GENERATED, PAGES, name_of


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class _Loads(HTMLParser):
    """Collects what a browser loads to show a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record the address that an element loads."""
        found = dict(attrs)
        url = found.get("href") if tag == "link" else found.get("src")
        if url and tag in ("link", "script", "img", "iframe"):
            self.urls.append(url)


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    pages = [*site.rglob("*.html")]
    assert len(pages) > 20
    for page in pages:
        loaded = _Loads(page.read_text(encoding="utf-8")).urls
        assert loaded and not [url for url in loaded if re.match(r"(https?:)?//", url)], page
    styles = [style.read_text(encoding="utf-8") for style in site.rglob("*.css")]
    assert styles and not [url for style in styles for url in re.findall(r"url\(\W?(https?:)?//", style)]


def test_every_page_is_there_and_searched(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    searched = {entry["location"].partition("#")[0] for entry in index["docs"]}
    docs = {name.removeprefix("docs/") for name in (*map(name_of, PAGES), *GENERATED) if name.startswith("docs/")}
    assert {name.replace("README", "index").replace(".md", ".html") for name in docs} <= searched
    # When opened as a file, a page cannot fetch the index: it must be a script.
    assert (site / "search" / "search_index.js").read_text(encoding="utf-8").startswith("var __index = ")


def test_the_reference_has_what_the_library_exports(site: Path) -> None:
    import img2poem

    page = (site / "api.html").read_text(encoding="utf-8")
    shown = {anchor.rpartition(".")[2] for anchor in re.findall(r'id="(img2poem\.[\w.]+)"', page)}
    assert shown >= set(img2poem.__all__) - {"__version__"}
    assert not re.search(r":(meth|class|data|func|attr):", page), "a role of reStructuredText is shown as it stands"


def test_links_to_files_of_the_repository_lead_to_pages(site: Path) -> None:
    page = (site / "how-it-works.html").read_text(encoding="utf-8")
    assert 'href="source/img2poem/images/decode.py.html"' in page
    code = (site / "source/img2poem/images/decode.py.html").read_text(encoding="utf-8")
    assert "def read_photo" in re.sub("<[^>]+>", "", code)


@pytest.mark.skipif(CHROMIUM is None and "CI" not in os.environ, reason="no Chromium; apt-get install chromium")
def test_search_works_from_the_folder_without_a_server(site: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page, asked = browser.new_page(), []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site / "index.html").as_uri())
        page.get_by_role("textbox", name="Search").fill("acrostic")
        expect(page.locator(".md-search-result__item").first).to_be_visible(timeout=60_000)
        assert "Python API" in page.locator(".md-search-result__item h1").all_inner_texts()
        assert asked and not [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]
        browser.close()
