"""The contents of the pages: links, headings and code blocks."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

from ..conftest import ROOT

#: Generated from the commands themselves and tested there.
GENERATED = {"docs/options.md"}

PAGES = sorted(
    path
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md"))
    if str(path.relative_to(ROOT)) not in GENERATED
)

_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.S | re.M)


@dataclass(frozen=True)
class Block:
    """A code block, without its indentation in a list."""

    language: str
    text: str


def name_of(page: Path) -> str:
    """Return a page's name as shown by the tests."""
    return page.relative_to(ROOT).as_posix()


def blocks_of(page: Path) -> list[Block]:
    """Return the code blocks in order."""
    return [Block(found[2], textwrap.dedent(found[3])) for found in _BLOCK.finditer(page.read_text())]


def prose_of(page: Path) -> str:
    """Return the page without its code blocks."""
    return _BLOCK.sub("", page.read_text())


def links_of(page: Path) -> list[str]:
    """Return the targets of links and pictures within the repository: files and headings, not network addresses."""
    targets = re.findall(r"\]\(([^()\s]+)\)", prose_of(page))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def anchors_of(page: Path) -> set[str]:
    """Return GitHub's anchors of the page's headings."""
    anchors: set[str] = set()
    for heading in re.findall(r"^#+ +(.+?) *$", prose_of(page), re.M):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        while anchor in anchors:
            anchor = f"{anchor}-1"
        anchors.add(anchor)
    return anchors


def commands_of(block: Block) -> list[str]:
    """Return the commands of a shell block, each as one string with all its lines, without comments."""
    commands, command, quote, comment = [], "", "", False
    for before, character in zip("\n" + block.text, block.text + "\n", strict=True):
        comment = character != "\n" and (comment or (character == "#" and not quote and before in " \n"))
        if comment:
            continue
        if character == "\n" and not quote and not command.rstrip().endswith(("\\", "|", "&&")):
            commands.append(command.strip())
            command = ""
            continue
        if character in "'\"" and quote in ("", character):
            quote = "" if quote else character
        command += character
    return [command for command in commands if command]


def inline_commands_of(page: Path) -> list[str]:
    """Return our commands in the text, between backticks."""
    found = re.findall(r"`((?:python -m|img2poem|make) [^`]+)`", prose_of(page))
    return [" ".join(command.split()) for command in found]
