"""CI's workflow and the citation match their schemas, and what they name exists."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from img2poem import __version__

from ..conftest import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize(
    ("schema", "path"),
    [("github-workflows", path) for path in WORKFLOWS] + [("citation-file-format", ROOT / "CITATION.cff")],
    ids=lambda value: getattr(value, "name", value),
)
def test_it_is_of_its_form(schema: str, path: Path) -> None:
    command = [Path(sys.executable).parent / "check-jsonschema", "--builtin-schema", f"vendor.{schema}", path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_jobs_run_what_is_there() -> None:
    jobs = [job for path in WORKFLOWS for job in yaml.safe_load(path.read_text())["jobs"].values()]
    commands = [step["run"] for job in jobs for step in job["steps"] if "run" in step]
    makefile = (ROOT / "Makefile").read_text()
    targets = [found[1] for command in commands for found in re.finditer(r"\bmake ([a-z-]+)", command)]
    assert ".ci/run" in commands and {"release", "docs"} <= {*targets}
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_the_citation_is_of_this_version() -> None:
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == __version__
