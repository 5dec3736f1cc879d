from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from img2poem.datasets import (
    BadData,
    Groups,
    ImageEmotion,
    ImagePolarity,
    MissingData,
    MultiMPoems,
    PoeticPairs,
    UniMPoems,
)
from img2poem.datasets.collection import Collection
from img2poem.datasets.download import DownloadOptions
from tests.datasets.server import PhotoServer, jpeg, photo, status

ANSWER = "which_of_these_sentiment_scores_does_the_above_image_fit_into_best"
CROWDFLOWER = ["_unit_id", "_golden", "_unit_state", ANSWER, f"{ANSWER}:confidence", "imageurl", "notes"]
QUIET = DownloadOptions(attempts=2, first_wait=0.01, quiet=True)


def word(number: int) -> str:
    """A word for each number: the comparison of poems ignores digits."""
    return "".join("abcdefghij"[int(digit)] for digit in str(number))


def multim_json(count: int, base: str = "http://127.0.0.1") -> bytes:
    return json.dumps(
        [{"poem": f"poem {word(i)}\nof the sea", "image_url": f"{base}/{i}.jpg", "id": i} for i in range(count)]
    ).encode()


def table(*rows: list[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def polarity_csv(base: str = "http://127.0.0.1") -> bytes:
    return table(
        CROWDFLOWER,
        [694548604, "TRUE", "golden", "Positive", "0.6395", f"{base}/0.jpg", "a, note\nof two lines"],
        [694548605, "FALSE", "finalized", "Highly negative", 1, f"{base}/1.jpg", ""],
    )


def emotion_csv(base: str = "http://127.0.0.1") -> bytes:
    return table(
        ["id", "emotion", "url", "disagrees", "agrees", "", ""],
        [75798, "awe", f"{base}/0.jpg", 1, 4, 1, 1291],
        [28853, "anger", f"{base}/1.jpg", 5, 0, 0, ""],
    )


def test_unim_and_multim_are_read_as_the_reference_has_them(tmp_path: Path) -> None:
    (tmp_path / "unim_poem.json").write_text('[{"poem": "o sea\\no sky", "id": 0}]')
    [poem] = UniMPoems(tmp_path)
    assert (poem.id, poem.poem, poem.key) == (0, "o sea\no sky", "unim/0")
    (tmp_path / "other.json").write_text('[{"poem": "o", "image_url": "http://a/1.jpg", "id": 7, "caption": "a sea"}]')
    [pair] = MultiMPoems(tmp_path, "other.json")
    assert (pair.id, pair.poem, pair.caption) == (7, "o", "a sea")
    assert pair.photo == tmp_path / "multim" / "7.jpg"
    (tmp_path / "multim_poem.json").write_bytes(multim_json(3))
    multim = MultiMPoems(tmp_path)
    assert len(multim) == 3 and multim[2].caption is None and multim.downloaded() == []


def test_polarity_is_read_in_both_formats(tmp_path: Path) -> None:
    (tmp_path / ImagePolarity.FILE).write_bytes(b"\xef\xbb\xbf" + polarity_csv())
    (tmp_path / "short.csv").write_bytes(
        table(["id", "golden", "label", "confidence", "url"], [1, "TRUE", "Neutral", 0.5, "http://a/1.jpg"])
    )
    one, other = ImagePolarity(tmp_path)
    assert (one.id, one.polarity, one.confidence) == (694548604, 1, 0.6395)
    assert (other.image_url, other.polarity, other.confidence) == ("http://127.0.0.1/1.jpg", -2, 1.0)
    [short] = ImagePolarity(tmp_path, "short.csv")
    assert (short.id, short.polarity, short.confidence, short.photo.name) == (1, 0, 0.5, "1.jpg")


def test_emotion_is_read_with_the_agreement_of_its_raters(tmp_path: Path) -> None:
    (tmp_path / ImageEmotion.FILE).write_bytes(emotion_csv())
    assert [(r.id, r.emotion, r.agreement) for r in ImageEmotion(tmp_path)] == [
        (75798, "awe", 0.8),
        (28853, "anger", 0),
    ]


@pytest.mark.parametrize(
    ("reader", "data", "complaint"),
    [
        (UniMPoems, b'[{"poem": "o",', "not JSON.*fetch the file anew"),
        (UniMPoems, b"[" * 100_000, "not JSON"),
        (UniMPoems, b"\xff\xfe", "not UTF-8"),
        (UniMPoems, b'{"poem": "o", "id": 1}', "list of records is expected, not dict"),
        (UniMPoems, b'[{"poem": "o", "id": 1}, 5]', "record 2: an object is expected"),
        (UniMPoems, b'[{"id": 3}]', r"record 1 \(id 3\): no field 'poem'.*its fields are id, poem"),
        (UniMPoems, b'[{"poem": "o", "id": true}]', "'id' must be int, not True"),
        (UniMPoems, b'[{"poem": null, "id": 3}]', "'poem' must be str, not None"),
        (UniMPoems, b'[{"poem": " \\n", "id": 3}]', r"record 1 \(id 3\): the poem is empty; correct or delete"),
        (MultiMPoems, b'[{"poem": "o", "id": 3}]', "no field 'image_url'"),
        (MultiMPoems, b'[{"poem": "o", "id": 3, "image_url": "u", "caption": 4}]', "'caption' must be str or NoneType"),
        (MultiMPoems, b'[{"poem": "o", "id": 3, "image_url": "u"}, {"poem": "p", "id": 3, "image_url": "v"}]', "twice"),
        (ImagePolarity, b"", "line 1: no column _unit_id"),
        (ImagePolarity, b"<html>", "line 1: no column .*found: <html>"),
        (ImagePolarity, b"id,label,url\n", "no column confidence; found: id, label, url"),
        (ImagePolarity, b"id,label,url,confidence\n1,Positive\n", "line 2: fewer cells than columns"),
        (ImagePolarity, b"id,label,url,confidence\n1,Fine,u,1\n", "line 2: label 'Fine' is none of Highly negative"),
        (ImagePolarity, b"id,label,url,confidence\nx,Positive,u,1\n", "line 2: 'x' is not a number"),
        (ImagePolarity, b"id,label,url,confidence\n1,Positive,u,high\n", "line 2: 'high' is not a number"),
        (ImageEmotion, emotion_csv() + b"28853,awe,u,1,4,,\n", "line 4: id 28853 occurs twice"),
        (ImageEmotion, b"id,emotion,url,disagrees,agrees\n1,joy,u,1,4\n", "label 'joy' is none of amusement"),
        (ImageEmotion, b'id,emotion,url,disagrees,agrees\n1,"' + b"a" * 200_000 + b'",u,1,4\n', "not CSV"),
    ],
)
def test_what_is_not_in_its_format_is_named(
    tmp_path: Path, reader: type[Collection[Any]], data: bytes, complaint: str
) -> None:
    (tmp_path / reader.FILE).write_bytes(data)
    with pytest.raises(BadData, match=complaint) as caught:
        reader(tmp_path)
    assert caught.value.path == tmp_path / reader.FILE and str(caught.value.path) in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"unim_poem\.json: no such file; put it there") as caught:
        UniMPoems(tmp_path)
    assert isinstance(caught.value, BadData) and isinstance(caught.value, FileNotFoundError)
    (tmp_path / "unim_poem.json").mkdir()
    with pytest.raises(BadData, match="cannot be read: Is a directory"):
        UniMPoems(tmp_path)


POEMS = [
    ("the sea is wide and i am here\nwith all the stars of night", 1),
    ("the sea is wide and i am here\nwith all the stars of night\nand you", 2),
    ("a poem about the same photograph", 2),
]


def write_pairs(root: Path, count: int) -> None:
    records = [{"poem": poem, "image_url": f"http://a/{photo}.jpg", "id": i} for i, (poem, photo) in enumerate(POEMS)]
    records += [{"poem": f"poem number {word(i)}", "image_url": f"http://b/{i}.jpg", "id": i} for i in range(3, count)]
    (root / "multim_poem.json").write_text(json.dumps(records))


def test_related_records_share_their_split_across_collections(tmp_path: Path) -> None:
    write_pairs(tmp_path, 300)
    (tmp_path / "unim_poem.json").write_text(
        json.dumps([{"poem": f"Poem, number {word(i)}!", "id": i} for i in range(300)])
    )
    multim, unim = MultiMPoems(tmp_path), UniMPoems(tmp_path)
    assert len({Groups(multim).name(multim[i]) for i in range(3)}) == 1
    together = Groups([*multim, *unim])
    for split in ("train", "validation", "test"):
        pairs, poems = multim.in_split(split, together), unim.in_split(split, together)
        assert {r.id for r in pairs if r.id >= 3} == {r.id for r in poems if r.id >= 3} != set()
    assert sum(len(multim.in_split(split)) for split in ("train", "validation", "test")) == 300


@given(st.integers(0, 2**32))
def test_contrasts_are_drawn_from_the_seed_within_the_split(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    root = tmp_path_factory.getbasetemp() / "pairs"
    if not root.exists():
        root.mkdir()
        write_pairs(root, 60)
    multim = MultiMPoems(root)
    groups = Groups(multim)
    for split in ("train", "test"):
        pairs = PoeticPairs(root, split, seed)
        assert [p.pair for p in pairs] == multim.in_split(split) and len(pairs) == len(multim.in_split(split))
        for i, both in enumerate(pairs):
            assert groups.split_of(both.contrast) == groups.split_of(both.pair) == split
            assert groups.name(both.contrast) != groups.name(both.pair)
            assert pairs[i] == both
        assert list(PoeticPairs(root, split, seed)) == list(pairs)
    assert list(PoeticPairs(root, "train", seed)) != list(PoeticPairs(root, "train", seed + 1))


def test_a_split_without_contrast_is_an_error(tmp_path: Path) -> None:
    write_pairs(tmp_path, 3)
    [split] = {Groups(MultiMPoems(tmp_path)).split_of(record) for record in MultiMPoems(tmp_path)}
    with pytest.raises(BadData, match=r"all pairs in split .* are of one group; add more pairs"):
        PoeticPairs(tmp_path, split)


def test_multim_is_downloaded_with_its_photographs(photo_server: PhotoServer, tmp_path: Path) -> None:
    base = photo_server.url("")
    photo_server.routes |= {"/pairs.json": photo(multim_json(60, base)), "/3.jpg": status(404)}
    photo_server.routes |= {f"/{i}.jpg": photo(jpeg(i)) for i in range(60) if i != 3}
    report = PoeticPairs.download(tmp_path / "new", f"{base}/pairs.json", QUIET)
    assert report.counts == {"downloaded": 59, "present": 0, "dead": 1, "invalid": 0, "failed": 0}
    assert json.loads((tmp_path / "new/multim/download_report.json").read_text())["lost"][0]["file"] == "3.jpg"
    multim = MultiMPoems(tmp_path / "new")
    assert len(multim) == 60 and [r.id for r in multim.downloaded()] == [i for i in range(60) if i != 3]
    assert multim.downloaded()[5].photo.read_bytes() == jpeg(6)
    pairs = PoeticPairs(tmp_path / "new", "train", downloaded=True)
    assert pairs and all(p.pair.photo.is_file() and p.contrast.photo.is_file() for p in pairs)
    assert MultiMPoems.download(tmp_path / "new", f"{base}/pairs.json", QUIET).counts["present"] == 59
    assert photo_server.requests["/pairs.json"] == 1


@pytest.mark.parametrize(
    ("reader", "data"), [(ImagePolarity, polarity_csv), (ImageEmotion, emotion_csv)], ids=["polarity", "emotion"]
)
def test_sentiment_is_downloaded_with_its_photographs(
    photo_server: PhotoServer,
    tmp_path: Path,
    reader: type[ImagePolarity] | type[ImageEmotion],
    data: Callable[[str], bytes],
) -> None:
    base = photo_server.url("")
    photo_server.routes |= {"/labels.csv": photo(data(base)), "/0.jpg": photo(jpeg(0)), "/1.jpg": photo(b"<html>")}
    report = reader.download(tmp_path, f"{base}/labels.csv", QUIET)
    assert report.counts == {"downloaded": 1, "present": 0, "dead": 0, "invalid": 1, "failed": 0}
    assert [record.image_url for record in reader(tmp_path).downloaded()] == [f"{base}/0.jpg"]
    assert (tmp_path / reader.FOLDER / "download_report.json").exists()


def test_unim_is_downloaded_once_and_only_if_it_can_be_read(photo_server: PhotoServer, tmp_path: Path) -> None:
    url = photo_server.url("/poems.json")
    with pytest.raises(MissingData, match=r"unim_poem\.json: cannot be fetched from http.*: HTTP 404; get it else"):
        UniMPoems.download(tmp_path, url, QUIET)
    photo_server.routes["/poems.json"] = photo(b"<html>moved</html>")
    with pytest.raises(MissingData, match="not JSON"):
        UniMPoems.download(tmp_path, url, QUIET)
    assert list(tmp_path.iterdir()) == []
    photo_server.routes["/poems.json"] = photo(b'[{"poem": "o", "id": 1}]')
    assert UniMPoems.download(tmp_path, url, QUIET).counts["downloaded"] == 1
    assert UniMPoems.download(tmp_path, url, QUIET).counts["present"] == 1
    assert [poem.poem for poem in UniMPoems(tmp_path)] == ["o"] and photo_server.requests["/poems.json"] == 3


def test_reading_needs_no_downloader_and_downloading_names_the_extra() -> None:
    code = """
import sys
import img2poem, img2poem.datasets as datasets
assert not {"httpx", "tenacity", "rich", "torch"} & set(sys.modules), "import stays light"
sys.modules["tenacity"] = None
try:
    datasets.UniMPoems.download(".", "http://127.0.0.1")
except img2poem.errors.MissingDependency as error:
    assert str(error) == "downloading needs tenacity; pip install 'img2poem[data]'", error
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", code], check=True)
