"""PhotoPoems: the reader with made-up records, and the shipped file."""

from __future__ import annotations

import json
import lzma
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from img2poem.datasets import BadData, MissingData, PhotoPoem, PhotoPoems, split_of
from img2poem.datasets.files import xz_json_records
from img2poem.datasets.photographs import coco_captions

from ..conftest import ROOT

RECORD = {"set": "oasis", "photo": "Acorns 1.jpg", "form": "free", "poem": 'Two acorns.\nOne says, "Oak."'}


def written(root: Path, *records: object) -> Path:
    path = root / PhotoPoems.FILE
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(lzma.compress("\n".join(map(json.dumps, records)).encode()))
    return root


@pytest.fixture(scope="module")
def shipped() -> PhotoPoems:
    return PhotoPoems(ROOT / "data")


def test_a_record_has_its_fields_and_what_may_be_missing_is_none(tmp_path: Path) -> None:
    full = {**RECORD, "form": "rhymed", "caption": "Two acorns.", "fault": "g", "plain": True}
    one, other = PhotoPoems(written(tmp_path, RECORD, full))
    assert one == PhotoPoem("oasis", "Acorns 1.jpg", "free", RECORD["poem"])
    assert (other.form, other.caption, other.fault, other.plain) == ("rhymed", "Two acorns.", "g", True)
    assert one.key == other.key == "oasis/Acorns 1.jpg"


@pytest.mark.parametrize(
    ("poem", "text"),
    [
        ('He says, "Go!"', "He says, Go!"),
        ("'Go,' he says, 'don't!'", "Go, he says, don't!"),
        ("It's the dogs' day o'clock", "It's the dogs' day o'clock"),
    ],
)
def test_decoders_learn_no_quotation_marks(poem: str, text: str) -> None:
    assert PhotoPoem("coco", "1.jpg", "free", poem).text == text


@given(st.text(min_size=1), st.sampled_from(("flickr8k", "coco")))
def test_the_photograph_decides_the_split(photo: str, collection: Any) -> None:
    poems = [PhotoPoem(collection, photo, form, form) for form in ("free", "rhymed")]
    assert {poem.split for poem in poems} == {split_of(photo)}


def test_a_split_is_that_of_its_photographs(tmp_path: Path) -> None:
    poems = PhotoPoems(
        written(tmp_path, *({**RECORD, "photo": f"{i}.jpg", "poem": f"{i * 'a '}"} for i in range(1, 99)))
    )
    splits = {split: poems.in_split(split) for split in ("train", "validation", "test")}  # type: ignore[arg-type]
    assert all(poem.split == split for split, found in splits.items() for poem in found)
    assert sum(map(len, splits.values())) == len(poems) == 98


@pytest.mark.parametrize(
    ("record", "complaint"),
    [
        ({**RECORD, "set": "imagenet"}, "line 2: set must be flickr8k or miniplaces or oasis or coco, not 'imagenet'"),
        ({**RECORD, "form": "haiku"}, "line 2: form must be free or rhymed, not 'haiku'"),
        ({**RECORD, "poem": " \n"}, "line 2: the poem is empty"),
        ({**RECORD, "photo": 7}, "line 2: 'photo' must be str, not 7"),
        ({**RECORD, "fault": 7}, "line 2: 'fault' must be str or NoneType, not 7"),
        ({"set": "oasis"}, "line 2: no field 'photo'"),
        ([], "line 2: an object is expected, not list"),
    ],
)
def test_a_record_that_is_none_is_named(tmp_path: Path, record: object, complaint: str) -> None:
    with pytest.raises(BadData, match=complaint) as caught:
        PhotoPoems(written(tmp_path, RECORD, record))
    assert caught.value.record == "line 2"


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="no such file"):
        PhotoPoems(tmp_path)
    path = written(tmp_path) / PhotoPoems.FILE
    path.write_bytes(json.dumps(RECORD).encode())
    with pytest.raises(BadData, match="not an XZ file, or damaged"):
        PhotoPoems(tmp_path)
    path.write_bytes(lzma.compress(json.dumps(RECORD).encode() * 99)[:-30])
    with pytest.raises(BadData, match="not an XZ file, or damaged"):
        PhotoPoems(tmp_path)


def test_it_is_fetched_from_nowhere(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="no address to fetch it from"):
        PhotoPoems.download(tmp_path)
    assert not list(tmp_path.iterdir())


def test_lines_of_json_come_with_their_names(tmp_path: Path) -> None:
    data = lzma.compress(b'{"a": 1, "more": 2}\n{"a": null}\n')
    records = xz_json_records(data, tmp_path, {"a": (int, type(None))})
    assert [*records] == [("line 1", {"a": 1, "more": 2}), ("line 2", {"a": None})]
    with pytest.raises(BadData, match="line 2: not JSON"):
        [*xz_json_records(lzma.compress(b"{}\n{"), tmp_path, {})]


def test_captions_of_coco_are_as_many_as_there_are(tmp_path: Path) -> None:
    path = tmp_path / "coco_captions.json"
    path.write_text(json.dumps({"1.jpg": ["a  dog\nruns", "b", "c", "d", "e", "f"], "2.jpg": ["a cat"]}))
    assert coco_captions(tmp_path) == {"1.jpg": ["a dog runs", "b", "c", "d", "e", "f"], "2.jpg": ["a cat"]}
    for content, complaint in (
        ({"1.jpg": "a dog"}, "1.jpg: a list of captions"),
        ({"1.jpg": [7]}, "1.jpg: a list"),
        ([], "an object"),
    ):
        path.write_text(json.dumps(content))
        with pytest.raises(BadData, match=complaint):
            coco_captions(tmp_path)


def test_the_shipped_file_is_what_its_card_says(shipped: PhotoPoems) -> None:
    card = (ROOT / "data" / "photo_poems" / "README.md").read_text(encoding="utf-8")
    assert f"{len(shipped):,} short English poems about {len({r.key for r in shipped}):,} photographs" in card
    for name in ("flickr8k", "miniplaces", "oasis", "coco", "all"):
        records = [record for record in shipped if name in (record.set, "all")]
        forms = Counter(record.form for record in records)
        plain = sum(record.plain for record in records)
        captions = len({record.key for record in records if record.caption is not None})
        counts = (len({record.key for record in records}), forms["free"], forms["rhymed"], plain, captions or "")
        row = " | ".join(f"{count:,}" if count else "" for count in counts)
        assert f"| {name} | {row} |".replace("  |", " |") in card
    assert f"{sum(record.plain for record in shipped):,} of them in plain sentences" in card
    faults = Counter(record.fault for record in shipped if not record.plain)
    for fault, count in faults.items():
        assert re.search(rf"\| {f'`{fault}`' if fault else 'none'} \| .*\| {count:,} \|", card), fault
    splits = [f"{len(shipped.in_split(split)):,}" for split in ("train", "validation", "test")]  # type: ignore[arg-type]
    assert f"{splits[0]}, {splits[1]} and {splits[2]} poems" in " ".join(card.split())


def test_plain_poems_repeat_themselves_little(shipped: PhotoPoems) -> None:
    """No line is a habit of the writer's, and plain words may come often, but not endings."""
    plain = [record.poem for record in shipped if record.plain]
    lines = Counter(line for poem in plain for line in poem.lower().splitlines())
    assert sum(count for count in lines.values() if count > 1) < 0.06 * sum(lines.values())
    endings = Counter(poem.lower().splitlines()[-1] for poem in plain)
    assert endings.most_common(1)[0][1] <= 6


def test_the_shipped_poems_are_in_their_form(shipped: PhotoPoems) -> None:
    assert len({record.poem for record in shipped}) == len(shipped)
    assert all(record.fault is None for record in shipped if record.plain)
    for record in shipped:
        rows = record.poem.split("\n")
        assert 3 <= len(rows) <= 7 and max(len(row.split()) for row in rows) <= 11, record
        assert re.fullmatch(r"[A-Za-z ,.;:?!'\"\n-]+", record.poem) and '"' not in record.text, record
        assert all(row == row.strip() and row for row in rows), record
        assert (record.caption is None) == (record.set in ("flickr8k", "coco"))
