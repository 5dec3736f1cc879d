"""Poems: MultiM-Poem (with captions), UniM-Poem and the public-domain collection.

All are converted to one plain style, that of MultiM-Poem: lower case, no punctuation except apostrophes and hyphens
inside words. With several styles, a decoder would mix them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .files import json_records, read_bytes, xz_json_records
from .splits import text_links

MIN_LINES, MAX_LINES = 3, 8
MAX_WORDS_A_LINE = 14
# A text counts as English if enough of its words are among the most common ones of the language.
_COMMON = frozenset(
    (
        "the and of to a in i that is my with on for it his as he her all but be you not so your from by or at "
        "me their this they was we no are thy thou our she when what"
    ).split()
)
_MIN_COMMON_SHARE = 0.2


@dataclass(frozen=True)
class PoemRecord:
    """A poem of ``MIN_LINES`` to ``MAX_LINES`` plain lines; ``key`` names the whole poem that it is part of."""

    key: str
    text: str
    caption: str | None = None

    @property
    def links(self) -> tuple[str, ...]:
        """Links that no record of another split may share; see :class:`img2poem.datasets.splits.Groups`."""
        return text_links(self.text.splitlines())


def plain(line: str) -> str:
    """Return ``line`` in lower-case ASCII, without punctuation except apostrophes and hyphens inside words."""
    line = unicodedata.normalize("NFKD", line.replace("’", "'").replace("`", "'")).encode("ascii", "ignore").decode()
    line = re.sub(r"-{2,}", " ", line.lower())
    line = re.sub(r"[^a-z'\- ]+", " ", line)
    line = re.sub(r"(?<![a-z])['-]+|['-]+(?![a-z])", " ", line)
    return " ".join(line.split())


def plain_lines(poem: str) -> list[str]:
    """Return the lines of ``poem`` in the plain style, without lines that become empty."""
    return [words for words in map(plain, poem.splitlines()) if words]


def multim(root: Path) -> Iterator[PoemRecord]:
    """Yield the poems of MultiM-Poem, each with the caption of its photograph if there is one.

    Raises:
        BadData: ``multim_poem.json`` is missing or malformed.
    """
    path = root / "multim_poem.json"
    fields = {"id": (int,), "poem": (str,), "caption": (str, type(None))}
    for _, record in json_records(read_bytes(path), path, fields):
        yield from _stanzas(f"multim/{record['id']}", record["poem"], record.get("caption"))


def unim(root: Path) -> Iterator[PoemRecord]:
    """Yield the three-line poems of UniM-Poem.

    Raises:
        BadData: ``unim_poem_part.json`` is missing or malformed.
    """
    path = root / "unim_poem_part.json"
    for _, record in json_records(read_bytes(path), path, {"id": (int,), "poem": (str,)}):
        yield from _stanzas(f"unim/{record['id']}", record["poem"])


def public_domain(root: Path) -> Iterator[PoemRecord]:
    """Yield the public-domain poems, cut into stanzas.

    Raises:
        BadData: ``public_domain_poems.jsonl.xz`` is missing, damaged or malformed.
    """
    path = root / "public_domain_poems.jsonl.xz"
    fields = {"author": (str,), "title": (str,), "poem": (str,)}
    for _, record in xz_json_records(read_bytes(path), path, fields):
        yield from _stanzas(f"public_domain/{record['author']}/{record['title']}", record["poem"])


def _stanzas(key: str, poem: str, caption: str | None = None) -> Iterator[PoemRecord]:
    """Cut ``poem`` at blank lines, then into equal pieces of at most ``MAX_LINES`` lines; drop unusable pieces."""
    for stanza in re.split(r"\n\s*\n", poem):
        lines = plain_lines(stanza)
        pieces = -(-len(lines) // MAX_LINES)
        for piece in range(pieces):
            part = lines[len(lines) * piece // pieces : len(lines) * (piece + 1) // pieces]
            if len(part) >= MIN_LINES and _looks_english(part):
                yield PoemRecord(key, "\n".join(part), caption)


def _looks_english(lines: list[str]) -> bool:
    words = " ".join(lines).split()
    too_long = any(len(line.split()) > MAX_WORDS_A_LINE for line in lines)
    return not too_long and sum(word in _COMMON for word in words) >= _MIN_COMMON_SHARE * len(words)
