"""No warnings of other libraries while any of several threads is at work."""

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

    Python's filters belong to the whole process: threads that each put them aside and back, overlapping, leave all
    warnings ignored for good. So the first thread puts them aside and the last one puts them back.
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
