"""Rhymes do not depend on the number of threads that look them up first."""

from __future__ import annotations

import subprocess
import sys

from ..conftest import ROOT, WEIGHTS

#: Run in a separate process, which has not loaded the dictionary yet.
_TOGETHER = """
import json, sys, time
from concurrent.futures import ThreadPoolExecutor
import pronouncing
from img2poem.form.rhymes import Rhymes

vocabulary = json.load(open(sys.argv[1]))["model"]["vocab"]
pieces = sorted(vocabulary, key=vocabulary.get)

def found():
    return Rhymes(pieces).beginning(2).tolist()

sys.setswitchinterval(1e-4)
with ThreadPoolExecutor(2) as pool:
    first = pool.submit(found)
    while pronouncing.pronunciations is None:
        time.sleep(1e-3)
    second = pool.submit(found)
alone = found()
print(sum(alone) > 1000 and first.result() == alone and second.result() == alone)
"""


def test_a_thread_that_asks_while_another_loads_finds_the_whole_dictionary() -> None:
    """Regression: one thread filled the dictionary's tables while the others read the incomplete tables."""
    command = [sys.executable, "-c", _TOGETHER, str(WEIGHTS / "tokenizer.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "True", done.stderr
