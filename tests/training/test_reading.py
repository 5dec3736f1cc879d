"""The reading sheet in a browser and as plain text, and the table of its marks."""

from __future__ import annotations

import io
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

from img2poem.datasets import BadData
from img2poem.errors import Img2PoemError
from training.marks import Key, read_marks
from training.reading import sheet

from ..conftest import ROOT
from ..web.test_page import ARGUMENTS, CHROMIUM
from .conftest import archive

SYSTEMS = ("teacher", "lite", "written")
NAMES = [f"{i}.jpg" for i in range(4)]


def poem(system: str, name: str) -> str:
    return f"Poem of {SYSTEMS.index(system)} <b>about</b>\n{name} & more."


@pytest.fixture
def poems(tmp_path: Path) -> Path:
    """Twelve poems in the format of training.evaluate."""
    rows = [{"photo": n, "captions": [f"a caption of {n}"], **{s: poem(s, n) for s in SYSTEMS}} for n in NAMES]
    path = tmp_path / "poems.json"
    path.write_text(json.dumps({"photographs": 4, "systems": {s: {"relevance": 0.1} for s in SYSTEMS}, "poems": rows}))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Flickr8k with the poems' photographs, each with a different width."""
    root = tmp_path / "data"
    root.mkdir()
    encoded = {}
    for i, name in enumerate(NAMES):
        file = io.BytesIO()
        Image.new("RGB", (100 + i, 80), "red").save(file, "PNG")
        encoded[name] = file.getvalue()
    archive(root / "flickr8k.tar", encoded)
    (root / "flickr8k_captions.json").write_text(json.dumps({name: [*"abcde"] for name in NAMES}))
    return root


def reading(*arguments: str | Path) -> str:
    command = [sys.executable, "-m", "training.reading", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def systems_of(key: Path) -> list[str]:
    found: list[str] = json.loads(key.read_text())["systems"]
    return found


@pytest.fixture
def page(poems: Path, data: Path, tmp_path: Path) -> Iterator[Page]:
    """The sheet in a browser; the test fails if the sheet has an error or makes a request."""
    if CHROMIUM is None and "CI" not in os.environ:
        pytest.skip("no Chromium; apt-get install chromium")
    sheet = tmp_path / "sheet.html"
    reading("sheet", poems, "--data", data, "--out", sheet)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page, faults = browser.new_context().new_page(), []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda r: None if r.url.startswith(("data:", "blob:", "file:")) else faults.append(r.url))
        page.goto(sheet.as_uri())
        yield page
        browser.close()
    assert not faults


def test_a_sheet_is_read_by_keys_kept_saved_and_tabled(page: Page, tmp_path: Path) -> None:
    key = tmp_path / "sheet.html.key.json"
    expect(page.get_by_role("heading")).to_have_text("Poem 1 of 12")
    for number, system in enumerate(systems_of(key)):
        expect(page.get_by_role("heading")).to_have_text(f"Poem {number + 1} of 12")
        text = page.locator("#poem").inner_text()
        name = text.splitlines()[1].split()[0]
        assert text == poem(system, name), "the key says whose poem it is; no markup of it is run"
        width = page.locator("#photo").evaluate("image => image.decode().then(() => image.naturalWidth)")
        assert width == 100 + NAMES.index(name), "beside its photograph"
        page.keyboard.type({"teacher": "n43y", "lite": "Y11n", "written": "x6n55y"}[system])  # other keys are ignored
    expect(page.get_by_role("status")).to_have_text("12 of 12 marked")
    assert not Axe().run(page).response["violations"]
    page.reload()
    expect(page.get_by_role("status")).to_have_text("12 of 12 marked")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save the marks").click()
    download.value.save_as(tmp_path / "marks.json")
    table = reading("table", tmp_path / "marks.json", key)
    # Wilson's interval for 4 of 4 is 51 to 100 per cent.
    assert "| teacher | 4 | 100 (51 to 100) | 4.0 (4.0 to 4.0) | 3.0 (3.0 to 3.0) | 100 (51 to 100) |" in table
    assert "| lite | 4 | 0 (0 to 49) | 1.0 (1.0 to 1.0) | 1.0 (1.0 to 1.0) | 0 (0 to 49) |" in table
    assert "| written | 4 | 100 (51 to 100) | 5.0 (5.0 to 5.0) |" in table and "not marked" not in table


def test_answers_can_be_changed_and_poems_passed_over(page: Page) -> None:
    page.keyboard.type("n4")
    page.keyboard.press("ArrowUp")
    page.keyboard.type("2")
    sense = page.get_by_role("group", name="Does it make sense?")
    expect(sense.get_by_role("button", name="2")).to_have_attribute("aria-pressed", "true")
    expect(sense.get_by_role("button", name="4")).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("heading")).to_have_text("Poem 2 of 12")
    expect(page.get_by_role("status")).to_have_text("0 of 12 marked")
    page.get_by_role("button", name="Previous").click()
    page.get_by_role("group", name="Does it fit").get_by_role("button", name="3").click()
    page.get_by_role("group", name="Would you show").get_by_role("button", name="yes").click()
    expect(page.get_by_role("status")).to_have_text("1 of 12 marked")
    expect(page.get_by_role("heading")).to_have_text("Poem 2 of 12")


def test_the_sheet_tells_no_system_and_the_seed_decides_the_order(poems: Path, data: Path, tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        sheet((poems,), tmp_path / f"{name}.html", data, seed=seed)
    one, again, other = (tmp_path / f"{name}.html" for name in ("one", "again", "other"))
    assert one.read_bytes() == again.read_bytes() != other.read_bytes()
    assert not any(system in one.read_text() for system in SYSTEMS)
    order = systems_of(tmp_path / "one.html.key.json")
    assert sorted(order) == sorted(SYSTEMS * 4) and order != sorted(order)
    assert order != systems_of(tmp_path / "other.html.key.json")


def test_plain_text_is_read_with_captions_and_marked_by_lines(poems: Path, tmp_path: Path) -> None:
    plain = {"written": [{"photo": "1.jpg", "poem": "A dog.", "captions": ["a caption of 1.jpg"]}]}
    (tmp_path / "more.json").write_text(json.dumps(plain))
    out, key = tmp_path / "sheet.txt", tmp_path / "sheet.txt.key.json"
    chosen = ("--systems", "lite", "poems: written", "more: written")
    reading("sheet", poems, tmp_path / "more.json", "--out", out, "--text", "--each", "2", *chosen)
    systems, text = systems_of(key), out.read_text()
    assert sorted(systems) == ["lite", "lite", "more: written", "poems: written", "poems: written"]
    photos = {s: [p.split("caption of ")[1].split("\n")[0] for p in _parts(text, systems, s)] for s in set(systems)}
    assert sorted(photos["lite"]) == sorted(photos["poems: written"]), "about the same photographs"
    assert "A dog." in _parts(text, systems, "more: written")[0]
    fits = iter((1, 2))
    lines = [f"{i}. n 4 {next(fits) if s == 'lite' else 5} y\n" for i, s in enumerate(systems, 1) if "poems" not in s]
    (tmp_path / "marks.txt").write_text("\n".join(lines))
    table = reading("table", tmp_path / "marks.txt", key)
    half = 1.96 * math.sqrt(0.5) / math.sqrt(2)  # for 1 and 2
    assert f"| lite | 2 | 100 (34 to 100) | 4.0 (4.0 to 4.0) | 1.5 (1.0 to {1.5 + half:.1f}) |" in table
    assert "| more: written | 1 | 100 (21 to 100) | 4.0 | 5.0 |" in table and "| poems: written | 0 |" in table
    assert "2 of 5 poems are not marked" in table


def _parts(text: str, systems: list[str], system: str) -> list[str]:
    """Return the numbered parts of a sheet that ``system`` wrote."""
    ends = [text.index(f"\n{i}.\n") for i in range(1, len(systems) + 1)] + [len(text)]
    return [text[ends[i] : ends[i + 1]] for i, name in enumerate(systems) if name == system]


def test_without_the_photograph_the_captions_are_shown(tmp_path: Path) -> None:
    rows = [{"photo": "coco.jpg", "poem": "A dog.", "captions": ["a dog"]}]
    (tmp_path / "poems.json").write_text(json.dumps({"one": rows}))
    sheet((tmp_path / "poems.json",), tmp_path / "sheet.html")
    assert '"photo": null, "poem": "A dog.", "captions": ["a dog"]' in (tmp_path / "sheet.html").read_text()


@pytest.mark.parametrize(
    ("content", "options", "says"),
    [
        ([], {}, "an object is expected; give what training.evaluate"),
        ({"photographs": 4}, {}, "there are no poems"),
        ({"one": [{"photo": "1.jpg"}]}, {}, "poem 1, of 'one': a photo and a poem are expected"),
        ({"one": [{"photo": "1.jpg", "poem": "A dog."}]}, {}, "1.jpg is neither a file nor a photograph in --data"),
        ({"one": [{"photo": "1.jpg", "poem": "A dog."}]}, {"systems": ("two",)}, "no poems by two: --systems of one"),
        ({"one": [{"photo": "1.jpg", "poem": "A dog."}]}, {"each": 0}, "--each must be 1 or more, not 0"),
        ({"one": [{"photo": "pyproject.toml", "poem": "A dog."}]}, {}, "pyproject.toml: not a photograph"),
    ],
)
def test_what_is_no_sheet_is_refused(tmp_path: Path, content: object, options: dict[str, Any], says: str) -> None:
    (tmp_path / "poems.json").write_text(json.dumps(content))
    with pytest.raises((Img2PoemError, ValueError)) as caught:
        sheet((tmp_path / "poems.json",), tmp_path / "sheet.html", **options)
    assert says in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["poems.json"]


@pytest.mark.parametrize(
    ("marks", "says"),
    [
        ("1 n 4 5 y\n2 n 6 5 y", "line 2: NUMBER FAULT SENSE FIT SHOW is expected, as 12 n 4 5 y, not '2 n 6 5 y'"),
        ("1 n 4 5 y\n1 n 4 5 y", "line 2: poem 1 is marked twice"),
        ("3 n 4 5 y", "the sheet has 2 poems, and none is number 3"),
        ('{"sheet": "other", "marks": {}}', "marks of another sheet"),
        ('{"marks": []}', "not the marks of a sheet"),
        ('{"sheet": "mark", "marks": {"1": {"sense": true}}}', "poem 1: not a mark"),
        ('{"sheet": "mark", "marks": {"1": {"fault": 1}}}', "poem 1: not a mark"),
        ('{"sheet": "mark", "marks": {"1": {"sense": 6}}}', "poem 1: not a mark"),
        ('{"sheet": "mark", "marks": {"1": {"taste": 3}}}', "poem 1: not a mark"),
    ],
)
def test_what_is_no_mark_is_refused(tmp_path: Path, marks: str, says: str) -> None:
    (tmp_path / "key.json").write_text(json.dumps({"sheet": "mark", "systems": ["one", "two"]}))
    (tmp_path / "marks").write_text(marks)
    with pytest.raises(BadData) as caught:
        read_marks(tmp_path / "marks", Key.read(tmp_path / "key.json"))
    assert says in str(caught.value)


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key.json").write_text('{"sheet": "mark"}')
    with pytest.raises(BadData, match="not the key of a sheet"):
        Key.read(tmp_path / "key.json")
