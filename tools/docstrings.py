"""Docstrings as Markdown for the API reference: a griffe extension, loaded by mkdocs.yml."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":\w+:`~?\.?([^`]+)`")


class MarkdownDocstrings(griffe.Extension):
    """Replaces roles and double backticks of reStructuredText by Markdown code."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of a module, class, function or attribute."""
        if obj.docstring:
            obj.docstring.value = _ROLE.sub(r"`\1`", obj.docstring.value).replace("``", "`")
