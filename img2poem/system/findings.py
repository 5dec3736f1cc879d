"""Findings of checks of an installation or a machine."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Verdict(str, Enum):
    """Outcome of a check. Neither a ``warning`` nor ``missing``, an extra that not every use needs, is a failure."""

    ok = "ok"
    warning = "warning"
    missing = "missing"
    failed = "failed"


@dataclass(frozen=True)
class Finding:
    """Result of one check, with advice if it is not ``ok``."""

    check: str
    verdict: Verdict
    detail: str
    advice: str = ""
