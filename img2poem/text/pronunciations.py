"""The CMU Pronouncing Dictionary (American English), loaded once for all threads."""

from __future__ import annotations

import threading
from types import ModuleType

from ..errors import MissingDependency

_LOADING = threading.Lock()


def dictionary() -> ModuleType:
    """Return the module ``pronouncing`` with its tables loaded.

    Raises:
        MissingDependency: ``pronouncing`` is not installed.
    """
    try:
        import pronouncing
    except ImportError:
        raise MissingDependency("rhymes need a dictionary; pip install 'img2poem[rhyme]'") from None
    # pronouncing fills its tables at the first look-up; until then, other threads would read incomplete tables.
    with _LOADING:
        pronouncing.init_cmu()
    return pronouncing  # type: ignore[no-any-return]
