"""The rules of `make lint` against dangerous calls are active."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ROOT

PLANTED = {
    "S602": "import subprocess\nsubprocess.run('ls *', shell=True)\n",
    "S605": "import os\nos.system('ls *')\n",
    "S307": "eval(input())\n",
    "S102": "exec(input())\n",
    "S301": "import pickle\npickle.loads(b'')\n",
    "S302": "import marshal\nmarshal.loads(b'')\n",
    "S104": "import socket\nsocket.create_server(('0.0.0.0', 1))\n",
    "S501": "import httpx\nhttpx.get('https://localhost', verify=False, timeout=1)\n",
}


@pytest.mark.parametrize("rule", PLANTED)
def test_ruff_refuses(rule: str) -> None:
    command = [sys.executable, "-m", "ruff", "check", "--stdin-filename", "img2poem/planted.py", "-"]
    done = subprocess.run(command, cwd=ROOT, input=PLANTED[rule], capture_output=True, text=True)
    assert done.returncode == 1 and rule in done.stdout


def test_bandit_refuses_to_unpickle_weights(tmp_path: Path) -> None:
    """Called as in `make lint`; ruff has no such rule."""
    [line] = [line for line in (ROOT / "Makefile").read_text().splitlines() if "bandit" in line]
    options = line.split("bandit ", 1)[1].split(" img2poem ")[0].split()
    planted = tmp_path / "planted.py"
    for call, status in (("torch.load('x')", 1), ("torch.load('x', weights_only=True)", 0)):
        planted.write_text(f"import torch\n{call}\n")
        done = subprocess.run([sys.executable, "-m", "bandit", *options, str(planted)], capture_output=True, text=True)
        assert done.returncode == status and ("B614" in done.stdout) is bool(status), done.stdout + done.stderr
