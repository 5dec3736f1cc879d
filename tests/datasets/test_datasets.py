from __future__ import annotations

import io
import json
import lzma
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from img2poem.datasets import BadData, Groups, MissingData, photographs, poems
from img2poem.datasets.splits import split_of


def test_splits_are_stable_and_of_the_stated_sizes() -> None:
    splits = Counter(split_of(f"record {i}") for i in range(20_000))
    assert splits["train"] / 20_000 == pytest.approx(0.90, abs=0.01)
    assert splits["test"] / 20_000 == pytest.approx(0.05, abs=0.01)
    # Golden: the SHA-256 of the name decides, on every machine and in any order.
    assert [split_of(f"record {i}") for i in range(3)] == ["validation", "train", "test"]


@given(st.text(max_size=80))
def test_plain_lines_are_plain(line: str) -> None:
    plain = poems.plain(line)
    assert set(plain) <= set("abcdefghijklmnopqrstuvwxyz'- ")
    assert poems.plain(plain) == plain
    assert "  " not in plain and plain == plain.strip()


def test_plain_keeps_apostrophes_and_hyphens_inside_words() -> None:
    assert poems.plain("'Tis the half-lit SEA -- don’t “go”!") == "tis the half-lit sea don't go"
    assert poems.plain("Déjà vu, 1915") == "deja vu"


def write_data(root: Path) -> None:
    verse = "the sea is wide and i am here\nwith all the stars of night\nand you are in my heart\n"
    multim = [{"id": 7, "poem": verse, "image_url": "u", "caption": "a sea"}, {"id": 8, "poem": "no", "caption": None}]
    (root / "multim_poem.json").write_text(json.dumps(multim))
    classic = [
        {"author": "A", "title": "T", "poem": "Title\n\n" + "The Sea, and the night!\n" * 10},
        {
            "author": "B",
            "title": "U",
            "poem": "der mond ist aufgegangen\ndie goldnen sternlein prangen\nam himmel hell",
        },
        {"author": "C", "title": "V", "poem": "\n".join(["the " * 20] * 4)},
    ]
    with lzma.open(root / "public_domain_poems.jsonl.xz", "wt") as file:
        file.writelines(json.dumps(poem) + "\n" for poem in classic)


def test_poems_are_cut_into_stanzas_that_keep_their_key_and_caption(tmp_path: Path) -> None:
    write_data(tmp_path)
    [record] = poems.multim(tmp_path)
    assert record.key == "multim/7" and record.caption == "a sea" and record.text.count("\n") == 2
    pieces = list(poems.public_domain(tmp_path))
    assert [p.text.count("\n") + 1 for p in pieces] == [5, 5], "a long stanza is halved, titles are dropped"
    assert {p.key for p in pieces} == {"public_domain/A/T"}, "foreign poems and prose are left out"
    groups = Groups(pieces)
    assert {groups.name(piece) for piece in pieces} == {"public_domain/A/T"}


def test_photographs_come_with_their_labels(tmp_path: Path) -> None:
    for name in ("flickr8k", "miniplaces_val", "oasis"):
        with tarfile.open(tmp_path / f"{name}.tar", "w") as archive:
            for photo in ("miniplaces/val/1.jpg", "val/2.jpg"):
                member = tarfile.TarInfo(photo)
                member.size = 3
                archive.addfile(member, io.BytesIO(photo[-5:-4].encode() * 3))
    (tmp_path / "flickr8k_captions.json").write_text(json.dumps({"1.jpg": [" a sea ", *"bcde"], "3.jpg": [*"abcde"]}))
    (tmp_path / "miniplaces_val.txt").write_text("val/1.jpg 17\nval/2.jpg 5\n")
    (tmp_path / "miniplaces_classes.txt").write_text("0 abbey\n1 bakery/shop\n")
    (tmp_path / "oasis.csv").write_text("file,theme,valence,arousal\n2.jpg,Acorns,4.5,2.25\n")
    assert list(photographs.flickr8k(tmp_path)) == [("1.jpg", b"111", ["a sea", *"bcde"])]
    assert list(photographs.miniplaces(tmp_path, "val")) == [("val/1.jpg", b"111", 17), ("val/2.jpg", b"222", 5)]
    assert photographs.miniplaces_classes(tmp_path) == ["abbey", "bakery/shop"]
    assert list(photographs.oasis(tmp_path)) == [("2.jpg", b"222", (4.5, 2.25))]


@pytest.mark.parametrize(
    ("read", "file", "data", "complaint"),
    [
        (poems.multim, "multim_poem.json", b"[", "not JSON"),
        (poems.multim, "multim_poem.json", b'[{"id": 1}]', r"record 1 \(id 1\): no field 'poem'"),
        (poems.unim, "unim_poem_part.json", b'[{"id": 1, "poem": ""}]', "the poem is empty"),
        (poems.public_domain, "public_domain_poems.jsonl.xz", b"no archive", "not an XZ file"),
        (
            poems.public_domain,
            "public_domain_poems.jsonl.xz",
            lzma.compress(b"{}" * 99)[:-30],
            "not an XZ file, or dam",
        ),
        (poems.public_domain, "public_domain_poems.jsonl.xz", lzma.compress(b"{"), "line 1: not JSON"),
        (poems.public_domain, "public_domain_poems.jsonl.xz", lzma.compress(b"{}"), "line 1: no field 'author'"),
        (photographs.flickr8k, "flickr8k_captions.json", b"[]", "an object of captions"),
        (photographs.flickr8k, "flickr8k_captions.json", b'{"1.jpg": "a"}', "1.jpg: a list of captions"),
        (photographs.flickr8k, "flickr8k_captions.json", b'{"1.jpg": ["a", "b"]}', "1.jpg: a list of 5 captions"),
        (photographs.flickr8k, "flickr8k.tar", b"no archive", "not a tar archive"),
        (lambda root: photographs.miniplaces(root, "val"), "miniplaces_val.txt", b"a 1\nb", "line 2: two words"),
        (lambda root: photographs.miniplaces(root, "val"), "miniplaces_val.txt", b"a x", "line 1: 'x' is not a num"),
        (photographs.miniplaces_classes, "miniplaces_classes.txt", b"0", "line 1: two words"),
        (photographs.oasis, "oasis.csv", b"file,valence\n", "no column arousal"),
        (photographs.oasis, "oasis.csv", b"file,valence,arousal\na,1,\n", "line 2: '' is not a number"),
    ],
)
def test_what_is_not_in_its_format_is_named(
    tmp_path: Path, read: Callable[[Path], Iterable[object]], file: str, data: bytes, complaint: str
) -> None:
    (tmp_path / "flickr8k_captions.json").write_text("{}")
    with pytest.raises(MissingData, match="no such file"):
        (tmp_path / file).unlink(missing_ok=True)
        list(read(tmp_path))
    (tmp_path / file).write_bytes(data)
    with pytest.raises(BadData, match=complaint) as caught:
        list(read(tmp_path))
    assert caught.value.path == tmp_path / file
