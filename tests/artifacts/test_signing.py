"""The commands in docs/reliability.md that sign a package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from ..conftest import ROOT, WEIGHTS


def test_a_package_is_signed_and_a_changed_byte_noticed(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "reliability.md").read_text()
    [block] = re.findall(r"```sh\n(openssl.*?)```", page, re.S)
    package = Path(shutil.copytree(WEIGHTS, tmp_path / "weights" / "lite"))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def run(commands: str) -> subprocess.CompletedProcess[str]:
        line = ["sh", "-e", "-c", commands]
        return subprocess.run(line, cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True)

    signed = run(block)
    assert signed.returncode == 0 and "Verification succeeded" in signed.stdout, signed.stdout + signed.stderr
    (package / "MODEL_CARD.md").write_text("another card")
    verified = run(block.splitlines()[-1])
    assert verified.returncode != 0 and "MODEL_CARD.md" in verified.stdout + verified.stderr
