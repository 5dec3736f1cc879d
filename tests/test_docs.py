"""The pages speak of what is there, and their examples run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from img2poem.serving.server import TritonServer

from .conftest import ROOT

CLIENT_PAGE = (ROOT / "docs" / "client.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", CLIENT_PAGE, re.S)
PAGE = (ROOT / "docs" / "serving.md").read_text()


def test_every_alert_is_explained() -> None:
    groups = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text())["groups"]
    for rule in (rule for group in groups for rule in group["rules"]):
        assert rule["alert"] in PAGE


def test_every_option_of_serve_that_the_page_names_exists() -> None:
    command = [sys.executable, "-m", "img2poem", "serve", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={"COLUMNS": "200", "PATH": ""})
    known = set(re.findall(r"--[a-z][a-z-]+", done.stdout))
    blocks = re.findall(r"img2poem serve(?:[^\n`]|\\\n)*", PAGE)
    named = {option for block in blocks for option in re.findall(r"--[a-z][a-z-]+", block)}
    assert {"--check", "--api-key-file", "--grpc-cert", "--trace-config"} <= named <= known


def test_every_error_in_the_table_is_one_of_ours_or_of_triton() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "img2poem" / "serving").glob("*.py"))
    for ours in ("holds no exported model repository", "holds what no export wrote", "Triton cannot replace it"):
        assert ours in PAGE and ours in sources


def test_every_link_to_a_file_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", PAGE)
    missing = [link for link in links if not (ROOT / "docs" / link).exists()]
    # What export writes has a page of its own.
    assert set(missing) <= {"export.md"}


def test_every_option_of_the_commands_that_the_page_names_exists() -> None:
    lines = re.findall(r"^img2poem (\w+) ([^\n#]*)", CLIENT_PAGE, re.M)
    assert len(lines) >= 6
    for command, rest in lines:
        done = subprocess.run(
            [sys.executable, "-m", "img2poem", command, "--help"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            env={"COLUMNS": "200", "PATH": ""},
        )
        assert set(re.findall(r"--[a-z][a-z-]+", rest)) <= set(re.findall(r"--[a-z][a-z-]+", done.stdout)), command


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_every_example_runs(
    server: TritonServer, photos: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, example: str
) -> None:
    (tmp_path / "photo.jpg").write_bytes(photos[0])
    (tmp_path / "other.png").write_bytes(photos[7])
    monkeypatch.chdir(tmp_path)
    here = example.replace("grpc://127.0.0.1:8001", server.grpc_url).replace("http://127.0.0.1:8000", server.http_url)
    exec(compile(here, "docs/client.md", "exec"), {"__name__": "example"})


def test_every_file_that_the_clients_page_links_to_is_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", CLIENT_PAGE)
    assert links and all((ROOT / "docs" / link).exists() for link in links)
