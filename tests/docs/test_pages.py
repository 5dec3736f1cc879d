"""Shell blocks are split into commands as a shell does."""

from __future__ import annotations

from .pages import Block, commands_of

SCRIPT = """\
# a comment alone
first one   # it's a comment
second --option 'a # b' \\
    --more
third '{"a":
    1}'
printf x |
    fourth
"""


def test_comments_quotes_and_continued_lines() -> None:
    assert commands_of(Block("sh", SCRIPT)) == [
        "first one",
        "second --option 'a # b' \\\n    --more",
        "third '{\"a\":\n    1}'",
        "printf x |\n    fourth",
    ]
