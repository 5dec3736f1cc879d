"""Pages are executed from top to bottom, like a reader would: Python blocks and commands are run or checked."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from img2poem.artifacts.installed import EXPORTED
from img2poem.serving.server import Ports, TritonServer

from ..conftest import ROOT
from .commands import ELSEWHERE, NOT_RUN, NOT_RUN_LANGUAGES, owner_of, reason_not_to_run
from .lookup import faults
from .pages import PAGES, blocks_of, commands_of, inline_commands_of, name_of

SHELL = [
    (name_of(page), command)
    for page in PAGES
    for block in blocks_of(page)
    if block.language == "sh"
    for command in commands_of(block)
]
RUNNABLE = [
    page
    for page in PAGES
    if any(
        block.language == "python"
        or any(not owner_of(name_of(page), c) and not reason_not_to_run(c) for c in commands_of(block))
        for block in blocks_of(page)
        if block.language not in NOT_RUN_LANGUAGES
    )
]


@dataclass
class Desk:
    """A reader's folder, with a server whose addresses replace those on the pages."""

    folder: Path
    server: TritonServer
    done: set[str] = field(default_factory=set)

    def run(self, command: str) -> None:
        """Run a shell command; a command on several pages runs only once."""
        if command in self.done:
            return
        self.done.add(command)
        path = os.pathsep.join(map(str, (self.folder / "bin", Path(sys.executable).parent, os.environ["PATH"])))
        environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            ["sh", "-eu", "-c", self.here(command)],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"

    def here(self, text: str) -> str:
        """Return ``text`` with the addresses, and files that contain them, of this test."""
        ports = Ports.free()
        options = f"--grpc-port {ports.grpc} --http-port {ports.http} --metrics-port {ports.metrics}"
        text = re.sub(r"(examples/rest\.sh photo\.jpg|deploy/healthcheck\.py)", rf"\1 {self.server.http_url}", text)
        text = text.replace("serve --check", f"serve --check {options}")
        text = re.sub(r"\bcurl ", "curl --fail-with-body --show-error ", text)
        text = text.replace("http://127.0.0.1:8002/metrics", self.server.metrics_url)
        return text.replace("grpc://127.0.0.1:8001", self.server.grpc_url).replace(
            "http://127.0.0.1:8000", self.server.http_url
        )


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, server: TritonServer, photos: list[bytes]) -> Desk:
    folder = tmp_path_factory.mktemp("desk")
    (folder / "photos").mkdir()
    for name, photo in {"photo.jpg": 0, "other.png": 7, "photos/1.jpg": 1, "photos/2.jpg": 8}.items():
        (folder / name).write_bytes(photos[photo])
    (folder / "poem.txt").write_text("an old temple\nover the water\n")
    (folder / EXPORTED).symlink_to(server.repository)
    for name in ("deploy", "examples", "weights"):
        (folder / name).symlink_to(ROOT / name)
    # The command of this checkout, not the installed one.
    (folder / "bin").mkdir()
    command = folder / "bin" / "img2poem"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m img2poem "$@"\n')
    command.chmod(0o755)
    return Desk(folder, server)


@pytest.mark.parametrize("page", RUNNABLE, ids=name_of)
def test_every_block_of_the_page_runs(page: Path, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk.folder)
    for block in blocks_of(page):
        if block.language == "python":
            exec(compile(desk.here(block.text), name_of(page), "exec"), {"__name__": "example"})
        elif block.language == "sh":
            for command in commands_of(block):
                if not owner_of(name_of(page), command) and not reason_not_to_run(command):
                    desk.run(command)


def test_every_block_is_in_a_language_that_is_run_or_excused() -> None:
    languages = {(name_of(page), block.language) for page in PAGES for block in blocks_of(page)}
    assert {language for _, language in languages} <= {"python", "sh", *NOT_RUN_LANGUAGES}, languages
    for page in PAGES:
        fences = re.findall(r"^ *```", page.read_text(), re.M)
        assert len(fences) == 2 * len(blocks_of(page)), f"{name_of(page)} has a block that is not read as one"


@pytest.mark.parametrize(("page", "command"), [found for found in SHELL if reason_not_to_run(found[1])])
def test_what_a_command_that_is_not_run_names_is_there(page: str, command: str) -> None:
    assert not [*faults(command)], page


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_a_command_in_the_text_names_is_there(page: Path) -> None:
    assert not [fault for command in inline_commands_of(page) for fault in faults(command)]


def test_every_excuse_is_needed() -> None:
    for pattern in NOT_RUN:
        assert any(re.match(pattern, command, re.S) for _, command in SHELL), f"no page has {pattern}"
    for (owner, pattern), test in ELSEWHERE.items():
        assert any(page == owner and re.match(pattern, command) for page, command in SHELL), f"nothing for {test}"
        assert Path(owner).name in (ROOT / test).read_text(), f"{test} does not speak of {owner}"


def test_what_is_not_there_is_noticed() -> None:
    for command in (
        "img2poem serve --no-such-option",
        "python -m export.all --no-such-option",
        "python -m training.all --data folder --generator.no-such-option 1",
        "python -m benchmarks.no_such_module",
        "make no-such-target",
        "make demo NO_SUCH_VARIABLE=1",
        "pip install 'img2poem[no-such-extra]'",
        "kubectl apply -k deploy/no/such/folder",
    ):
        assert [*faults(command)], command
