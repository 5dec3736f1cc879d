"""The CMU Pronouncing Dictionary (of American English), loaded once for all threads."""

from __future__ import annotations

import threading
from types import ModuleType

from ..errors import MissingDependency

_LOADING = threading.Lock()


def dictionary() -> ModuleType:
    """Return the module ``pronouncing`` with its tables filled.

    Raises:
        MissingDependency: ``pronouncing`` is not installed.
    """
    try:
        import pronouncing
    except ImportError:
        raise MissingDependency("rhymes need a dictionary; pip install 'img2poem[rhyme]'") from None
    # It fills its tables at the first look-up, and meanwhile answers other threads from a part of them.
    with _LOADING:
        pronouncing.init_cmu()
    return pronouncing  # type: ignore[no-any-return]
