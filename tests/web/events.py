"""Parsing of server-sent events."""

from __future__ import annotations

import json
import re
from typing import Any


def events_of(text: str) -> list[tuple[str, Any]]:
    """Return name and data of each event."""
    return [(name, json.loads(data)) for name, data in re.findall(r"^event: (\w+)\r?\ndata: (.*)$", text, re.M)]
