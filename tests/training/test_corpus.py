"""The training corpus: which poems a stage learns from."""

from __future__ import annotations

from img2poem.datasets import PhotoPoem
from training.corpus import Photo, poems_about


def photo(name: str, *poems: tuple[bool, str | None]) -> Photo:
    written = (
        PhotoPoem("coco", name, "free", f"{name} {i}", None, fault, plain) for i, (plain, fault) in enumerate(poems)
    )
    return Photo("coco", name, (), tuple(written))


def test_the_best_poems_are_plain_and_without_fault() -> None:
    photos = [photo("a", (False, None), (True, None)), photo("b", (True, "g")), photo("c", (True, None))]
    assert poems_about(photos, [0, 1], best=False) == [(0, 0), (0, 1), (1, 0)]
    assert poems_about(photos, [0, 1, 2], best=True) == [(0, 1), (2, 0)]


def test_where_no_poem_is_plain_all_without_fault_are_the_best() -> None:
    photos = [photo("a", (False, None), (False, "n")), photo("b", (True, None))]
    assert poems_about(photos, [0], best=True) == [(0, 0)]
