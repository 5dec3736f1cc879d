"""The operators' page speaks of what is there."""

from __future__ import annotations

import re
import subprocess
import sys

import yaml

from .conftest import ROOT

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
