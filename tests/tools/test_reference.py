"""The page of options matches the code, and the code describes every option."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
import tyro

from img2poem.cli import app
from tools import options, reference
from training import evaluate
from training.run import Arguments

from ..conftest import ROOT

PAGE = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")


def test_the_committed_page_is_what_the_code_says(tmp_path: Path) -> None:
    assert reference.page() == PAGE, "make docs writes it anew"
    out = tmp_path / "options.md"
    command = [sys.executable, "-m", "tools.reference", str(out)]
    narrow = {"COLUMNS": "40", "PATH": "", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=narrow, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert out.read_text(encoding="utf-8") == PAGE, "whatever the width of the terminal"


def test_every_option_that_the_command_line_takes_is_there_by_its_name() -> None:
    for name, command in typer.main.get_command(app.app).commands.items():  # type: ignore[attr-defined]
        [section] = re.findall(rf"^### `img2poem {name}\b.*?(?=^##)", PAGE, re.M | re.S)
        listed = set(re.findall(r"--[a-z][a-z0-9-]*", " ".join(re.findall(r"^\| `(.*?)` \|", section, re.M))))
        assert listed == {o for p in command.params for o in (*p.opts, *p.secondary_opts) if o.startswith("--")}, name


@pytest.mark.parametrize("stage", [*reference.STAGES, "evaluate"])
def test_every_option_of_the_stages_is_there_by_its_name(stage: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked = evaluate.main if stage == "evaluate" else Arguments[reference.STAGES[stage]]  # type: ignore[misc]
    with pytest.raises(SystemExit):
        tyro.cli(asked, config=(tyro.conf.OmitArgPrefixes,), args=["--help"])
    taken = set(re.findall(r"^\W*(--[a-z][a-z0-9-]+)", capsys.readouterr().out, re.M))
    [section] = re.findall(rf"^### `python -m training.{stage}`.*?(?=^##)", PAGE, re.M | re.S)
    [shared] = re.findall(r"^### The run.*?(?=^##)", PAGE, re.M | re.S)
    text = section if stage == "evaluate" else section + shared
    assert taken == set(re.findall(r"^\| `(--[a-z0-9-]+)", text, re.M))


def test_an_option_that_nobody_described_is_refused() -> None:
    @dataclass
    class Settings:
        """Settings.

        Args:
            told: what it is for.
        """

        told: int = 1
        untold: int = 2

    def command(flag: bool = False) -> None:
        """Do."""

    with pytest.raises(ValueError, match="untold"):
        list(options.of_settings(Settings))
    with pytest.raises(ValueError, match=r"flag is not declared by typer\.Option"):
        list(options.of_command(command))
