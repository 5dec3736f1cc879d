from __future__ import annotations

import json
import lzma
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from img2poem.datasets import poems
from img2poem.datasets.splits import split_of


def test_splits_are_stable_and_of_the_stated_sizes() -> None:
    splits = Counter(split_of(f"record {i}") for i in range(20_000))
    assert splits["train"] / 20_000 == pytest.approx(0.90, abs=0.01)
    assert splits["test"] / 20_000 == pytest.approx(0.05, abs=0.01)
    # Golden: SHA-256 of the name decides, on every machine and in every order.
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
