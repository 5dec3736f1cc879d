from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from img2poem.datasets.poems import plain_lines
from img2poem.datasets.splits import Groups, photo_link, split_of, text_links


@dataclass(frozen=True)
class Record:
    key: str
    links: tuple[str, ...]


LINES = st.sampled_from(
    [
        "the sea is wide and i am here",
        "with all the stars of night above",
        "and you are in my heart again",
        "o",
        "snow falls on the silent and empty road",
    ]
)
PHOTOS = st.sampled_from([f"https://farm{i % 3}.staticflickr.com/1/{i}_ab.jpg" for i in range(6)])


@st.composite
def collections(draw: st.DrawFn) -> list[Record]:
    """Two collections with few lines and photographs, so that records are related in every way."""
    poems = draw(st.lists(st.tuples(st.lists(LINES, min_size=1, max_size=4), st.none() | PHOTOS), max_size=15))
    return [
        Record(f"{'multim' if photo else 'unim'}/{i}", (*text_links(lines), *([photo_link(photo)] if photo else [])))
        for i, (lines, photo) in enumerate(poems)
    ]


@given(collections())
def test_no_text_and_no_photograph_crosses(records: list[Record]) -> None:
    groups = Groups(records)
    for one, other in itertools.combinations(records, 2):
        if set(one.links) & set(other.links):
            assert groups.split_of(one) == groups.split_of(other)


@given(collections(), st.randoms())
def test_groups_depend_neither_on_order_nor_on_repetition(records: list[Record], random: object) -> None:
    shuffled = [*records, *records[:3]]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = Groups(records), Groups(shuffled)
    assert [one.name(record) for record in records] == [other.name(record) for record in records]


@given(collections())
def test_groups_are_no_larger_than_they_must_be(records: list[Record]) -> None:
    groups = Groups(records)
    for record in records:
        relatives = [r for r in records if r is not record and set(r.links) & set(record.links)]
        if not relatives:
            assert groups.name(record) == record.key and groups.split_of(record) == split_of(record.key)


def links(poem: str) -> set[str]:
    return set(text_links(plain_lines(poem)))


POEM = "The sea is wide, and I am here,\nWith all the stars of night.\n\nAnd you are in my heart!"


def related(poems: Sequence[str]) -> bool:
    return bool(links(poems[0]) & links(poems[1]))


def test_editions_and_excerpts_of_a_poem_are_related() -> None:
    assert related([POEM, POEM.lower().replace(",", "").replace("\n\n", "\n")])
    assert related([POEM, "Title\n" + "\n".join(POEM.splitlines()[:2])])
    assert related(["o", "o!"]), "a short poem is related to itself"
    assert related(["all on one line the sea is wide", "all on one line\nthe sea is wide"])
    assert not related([POEM, "the sea is wide and i am here\nno other line is shared at all here"])
    assert not related(["oh yes\noh no\nmy heart", "oh yes\noh no\nmy hand"]), "few words tell no poem"


def test_a_photograph_is_the_same_at_every_address_and_size() -> None:
    assert (
        photo_link("http://farm3.staticflickr.com/2351/2185619744_6ca570e169.jpg")
        == photo_link("https://live.staticflickr.com/2351/2185619744_0123456789_z.jpg?zz=1")
        == photo_link("http://farm3.static.flickr.com/2351/2185619744_6ca570e169_b.png")
        == photo_link("2185619744_6ca570e169.jpg")
    )
    assert photo_link("http://A.files.wordpress.com/1.jpg?w=500") == photo_link("https://a.files.wordpress.com/1.jpg")
    different = [
        "http://a.example/1.jpg",
        "http://b.example/1.jpg",
        "http://a.example/2.jpg",
        "http://a.example/?p=1",
        "http://a.example/?p=2",
        "http://a.example/2185619744_6ca570e169.jpg",
        "http://farm3.staticflickr.com/2351/2185619744_6ca570e169.jpg",
        "http://[bad",
    ]
    assert len(set(map(photo_link, different))) == len(different)
