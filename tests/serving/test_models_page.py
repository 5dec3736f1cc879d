"""The commands of docs/models.md run and cover every model."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from img2poem.serving.server import TritonServer

from ..conftest import ROOT


def test_every_model_answers_the_page_s_request(server: TritonServer, tmp_path: Path, photos: list[bytes]) -> None:
    (tmp_path / "photo.jpg").write_bytes(photos[0])
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "models.md").read_text(), re.S)
    script = "\n".join(blocks).replace("http://127.0.0.1:8000", server.http_url)
    done = subprocess.run(["sh", "-eu"], input=script, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr
    answered = re.findall(r'"model_name":"(\w+)"', done.stdout)
    assert {*answered} == {config.parent.name for config in server.repository.glob("*/config.pbtxt")}
    assert '"final":true' in done.stdout and "error" not in done.stdout
