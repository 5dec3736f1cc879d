from __future__ import annotations

import subprocess
import sys

import pytest

from ..conftest import ROOT


@pytest.mark.parametrize(("only", "says"), [("nonsense", "there is no nonsense"), ("training", "needs --data")])
def test_what_cannot_be_killed_is_refused_before_anything_is(only: str, says: str) -> None:
    command = [sys.executable, "-m", "benchmarks.kills", "--only", only]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr
