"""The commands of docs/web.md run, cover every route, and name existing options."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
from PIL import Image

from img2poem.web.poem_options import PoemOptions

from ..conftest import ROOT
from .events import events_of

PAGE = (ROOT / "docs" / "web.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.S)


def test_every_curl_of_the_page_is_answered(gateway: str, tmp_path: Path, photos: list[bytes]) -> None:
    (tmp_path / "photo.jpg").write_bytes(photos[0])
    begin = "^(?:curl|printf|OPENAI_BASE_URL=)"
    commands = [c for block in BLOCKS for c in re.findall(rf"{begin}.*?(?={begin}|\Z)", block, re.S | re.M)]
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    found = []
    for command in commands:
        script = command.replace("http://127.0.0.1:8080", gateway).replace("curl ", "curl --fail-with-body ", 1)
        done = subprocess.run(
            ["sh", "-eu"],
            input=script,
            cwd=tmp_path,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, script + done.stdout + done.stderr
        found.append(done.stdout)
    poems = [json.loads(answer) for answer in found[:3]]
    assert [poem["strategy"]["name"] for poem in poems] == ["best-of", "sample", "best-of"]
    assert len(poems[1]["lines"]) == 4 and [line[0].lower() for line in poems[2]["lines"]] == ["s", "e", "a"]
    assert json.loads(found[4])["form"]["include"] == ["night"]  # the JSON after the printf that writes it
    assert events_of(found[5])[-1][0] == "poem"
    assert found[-2].endswith("data: [DONE]\n\n") and len(found[-1].splitlines()) >= 3
    with Image.open(tmp_path / "card.png") as card:
        assert "over the water" in card.text["Description"]
    called = set(re.findall(r"8080(/[\w/.]+)", " ".join(commands)))
    assert called >= set(httpx.get(f"{gateway}/openapi.json").json()["paths"])


def test_every_option_and_link_of_the_page_is_there() -> None:
    known = {}
    for command in ("web", "card"):
        done = subprocess.run(
            [sys.executable, "-m", "img2poem", command, "--help"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            env={"COLUMNS": "200", "PATH": ""},
        )
        known[command] = set(re.findall(r"--[a-z][a-z-]+", done.stdout))
    for command, rest in re.findall(r"img2poem (web|card) ([^\n#`]*)", PAGE):
        assert set(re.findall(r"--[a-z][a-z-]+", rest)) <= known[command]
    assert set(re.findall(r"^\| `(--[a-z-]+)`", PAGE, re.M)) <= known["web"]
    assert all(f"`{name}`" in PAGE for name in PoemOptions.model_fields)
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", PAGE)
    assert links and all((ROOT / "docs" / link).exists() for link in links)
