"""Outputs of commands never destroy other files; if one cannot be written, the error is one line."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from img2poem import Greedy, Img2Poem, InvalidOption
from img2poem.cli.batch import Batch
from img2poem.errors import WriteFailed

from ..conftest import ROOT, encoded, gradient
from .test_app import run

#: The part of a line in a poems file that is read before the options are compared.
LINE = '{"photo": "a.jpg", "strategy": {}, "form": null}\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "photos"
    made.mkdir()
    (made / "a.jpg").write_bytes(encoded(gradient(), "JPEG"))
    return made


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"my notes", "something else than poems"),
        (b"my notes\n", "something else than poems"),
        (b"\xff\xd8\xff\xe0 a photograph\n\n of mine", "something else than poems"),
        (b"[1]\nhalf", "something else than poems"),
        (LINE.encode() + b"notes", "something else than poems"),
        (LINE.encode() + b'{"photo": "b', "another strategy"),
        (b'{"photo": "a"}\n{"photo": "b', "something else than poems"),
        (b"\0" * 2**21, "something else than poems"),
    ],
    ids=range(8),
)
def test_a_batch_leaves_what_is_not_its_own(
    repository: Path, folder: Path, tmp_path: Path, content: bytes, says: str
) -> None:
    for name in ("notes.txt", "out.errors.jsonl"):
        (tmp_path / name).write_bytes(content)
    with Img2Poem(repository) as poet:
        with Batch(folder, tmp_path / "notes.txt", Greedy(), None) as batch, pytest.raises(InvalidOption, match=says):
            batch.run(poet)
        with Batch(folder, tmp_path / "out", Greedy(), None) as batch, pytest.raises(InvalidOption, match="failures"):
            batch.run(poet)
    assert (tmp_path / "notes.txt").read_bytes() == (tmp_path / "out.errors.jsonl").read_bytes() == content


def _same(photo: Path, name: Path) -> None:
    name.write_bytes(photo.read_bytes())


@pytest.mark.parametrize("linked", [os.symlink, os.link, _same], ids=["symlink", "hard link", "copy"])
def test_a_photograph_is_never_written_over(
    repository: Path, folder: Path, tmp_path: Path, linked: Callable[[Path, Path], None]
) -> None:
    photo = folder / "a.jpg"
    other, card = tmp_path / "other", tmp_path / "card.png"
    linked(photo, other)
    linked(photo, card)
    before = photo.read_bytes()
    commands = (("batch", folder, "--out", other), ("card", photo, "--out", card, "--poem", "one"))
    for command in commands:
        done = run(*command, "--engine", repository)
        assert done.returncode == 2 and "name another file" in done.stderr, done.stderr
    assert photo.read_bytes() == other.read_bytes() == card.read_bytes() == before


def test_a_batch_does_not_write_among_the_photographs(repository: Path, folder: Path) -> None:
    (folder / "empty.jpg").touch()
    os.link(folder / "empty.jpg", folder / "poems")
    for out in ("new.jpg", "poems"):
        done = run("batch", folder, "--out", folder / out, "--engine", repository)
        assert done.returncode == 2 and "photograph" in done.stderr
    assert not (folder / "empty.jpg").read_bytes() and not (folder / "new.jpg").exists()


def test_devices_pipes_and_folders_are_no_outputs(repository: Path, folder: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "device.png").symlink_to("/dev/full")
    for name in ("pipe.png", "folder.png", "device.png"):
        done = run("card", folder / "a.jpg", "--out", tmp_path / name, "--poem", "one")
        assert done.returncode == 2 and "is not a file" in done.stderr
    for out in ("/dev/full", "/dev/stdout", tmp_path):
        done = run("batch", folder, "--out", out, "--engine", repository)
        assert done.returncode == 2 and "is not a file" in done.stderr


def test_a_card_takes_the_place_of_a_card_alone(folder: Path, tmp_path: Path) -> None:
    out, link = tmp_path / "card.png", tmp_path / "link.png"
    link.symlink_to(out)
    for poem in ("one", "two"):
        assert run("card", folder / "a.jpg", "--out", link, "--poem", poem).stdout == f"{poem}\n"
    assert link.is_symlink() and out.read_bytes().startswith(b"\x89PNG")
    out.write_bytes(encoded(gradient(), "PNG"))
    done = run("card", folder / "a.jpg", "--out", out, "--poem", "one")
    assert done.returncode == 2 and "something else than a card" in done.stderr
    assert out.read_bytes() == encoded(gradient(), "PNG")


def test_the_servers_log_is_a_file_of_its_own(repository: Path, tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(encoded(gradient(), "JPEG"))
    before = photo.read_bytes()
    for log in (photo, "/dev/full", tmp_path, tmp_path / "no" / "log", repository / "manifest.json"):
        done = run("serve", repository, "--log-file", log)
        assert done.returncode == 2 and str(Path(log).parent) in done.stderr, done.stderr
    assert photo.read_bytes() == before


def test_a_full_disk_leaves_whole_lines(
    repository: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "bcd":
        (folder / f"{name}.jpg").write_bytes((folder / "a.jpg").read_bytes())
    out = tmp_path / "poems.jsonl"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Img2Poem(repository) as poet, Batch(folder, out, Greedy(), None) as batch:
        poet.write(folder / "a.jpg", Greedy())  # loads everything before the limit
        # A disk with space for one and a half poems.
        resource.setrlimit(resource.RLIMIT_FSIZE, (1500, hard))
        try:
            with pytest.raises(WriteFailed, match=r"poems.jsonl cannot be written: .*run again"):
                batch.run(poet)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert 0 < out.read_bytes().count(b"\n") < 4 and out.read_bytes().endswith(b"\n")
    with Img2Poem(repository) as poet, Batch(folder, out, Greedy(), None) as batch:
        assert batch.run(poet).written + batch.run(poet).kept >= 4


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["inspect"], ["card"]], ids=lambda one: one[0])
def test_a_full_or_closed_standard_output_is_an_error_of_one_line(
    repository: Path, folder: Path, tmp_path: Path, arguments: list[str]
) -> None:
    more = {"inspect": [str(ROOT / "weights" / "lite")]}.get(arguments[0], [])
    if arguments == ["card"]:
        more = [str(folder / "a.jpg"), "--out", str(tmp_path / "card.png"), "--poem", "one"]
    command = [sys.executable, "-m", "img2poem", *arguments, *more]
    for redirected in (">/dev/full", ">&-"):
        shell = ["/bin/sh", "-c", f'"$@" {redirected}', "sh", *command]
        done = subprocess.run(shell, cwd=ROOT, stderr=subprocess.PIPE, text=True, timeout=300)
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr
        assert "standard output cannot be" in done.stderr
    if arguments == ["card"]:
        assert (tmp_path / "card.png").read_bytes().startswith(b"\x89PNG")


def test_who_reads_no_further_ends_the_command_quietly(repository: Path) -> None:
    shell = ["/bin/sh", "-c", '"$@" | true', "sh", sys.executable, "-m", "img2poem", "inspect", str(repository)]
    done = subprocess.run(shell, cwd=ROOT, stderr=subprocess.PIPE, text=True, timeout=300)
    assert not done.stderr


def test_any_name_is_printed_in_any_encoding(repository: Path, tmp_path: Path) -> None:
    names = [os.fsdecode(name) for name in ("münze.jpg".encode(), b"\xff.jpg", b"a\x1b[2J\n.jpg")]
    for name in names:
        (tmp_path / name).write_bytes(encoded(gradient(), "JPEG"))
    photos = [str(tmp_path / name) for name in names]
    for encoding in ("ascii", "latin-1", "utf-8"):
        environment = {**os.environ, "PYTHONIOENCODING": encoding}
        for command in (["describe", *photos], ["score", *photos, "--poem", "one"], ["write", *photos, "--n", "1"]):
            done = run(*command, "--engine", repository, env=environment, encoding=encoding)
            assert done.returncode == 0 and not done.stderr, done.stderr
            assert "\x1b" not in done.stdout and r"\x1b[2J\n.jpg" in done.stdout
