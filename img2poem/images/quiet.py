"""Silences warnings of other libraries, safely in several threads."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_within = 0
_caught: warnings.catch_warnings[None] | None = None


@contextmanager
def quiet() -> Iterator[None]:
    """Ignore warnings in the block.

    Warning filters belong to the whole process. If each of several threads saved and restored them, overlapping blocks
    could leave all warnings ignored for good. So the first thread saves the filters and the last one restores them.
    """
    global _within, _caught
    with _lock:
        _within += 1
        if _within == 1:
            _caught = warnings.catch_warnings()
            _caught.__enter__()
            warnings.simplefilter("ignore")
    try:
        yield
    finally:
        with _lock:
            _within -= 1
            if _within == 0 and _caught is not None:
                _caught.__exit__(None, None, None)
