"""How commands end: on Ctrl-C whatever they wait for, and for inputs that never end or are unusable."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from img2poem import BadImage
from img2poem.images.decode import read_photo

from ..conftest import ROOT, encoded, gradient
from ..silent import Silent
from ..waiting import eventually
from .test_app import run

#: Seconds after which a command counts as hanging, on any machine; the calls below have ten times this deadline.
HANGS = 60

COMMANDS = {
    "write": ["{photo}", "{photo}", "{photo}"],
    "stream": ["{photo}"],
    "batch": ["{folder}", "--out", "{out}"],
    "card": ["{photo}", "--out", "{card}"],
    "describe": ["{photo}", "{photo}"],
    "embed": ["{photo}"],
    "score": ["{photo}", "--poem", "one"],
    "doctor": [],
}


@pytest.mark.parametrize("scheme", ["grpc", "http"])
@pytest.mark.parametrize("command", COMMANDS)
def test_one_interrupt_ends_a_command_while_a_server_hangs(command: str, scheme: str, tmp_path: Path) -> None:
    photo = tmp_path / "photos" / "a.jpg"
    photo.parent.mkdir()
    photo.write_bytes(encoded(gradient(), "JPEG"))
    names = {"photo": photo, "folder": photo.parent, "out": tmp_path / "out", "card": tmp_path / "card.png"}
    with Silent() as server:
        arguments = [one.format(**names) for one in COMMANDS[command]]
        target = ["--url", f"{scheme}://{server.address}", "--timeout", str(10 * HANGS)]
        process = subprocess.Popen(
            [sys.executable, "-m", "img2poem", command, *arguments, *target],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert server.asked.wait(HANGS)
            process.send_signal(signal.SIGINT)
            out, error = process.communicate(timeout=HANGS)
        finally:
            process.kill()
    assert process.returncode == 130 and not out and not error
    assert not names["card"].exists() and not (names["out"].exists() and names["out"].read_bytes())


def test_an_interrupt_leaves_the_lines_of_a_batch_whole(repository: Path, tmp_path: Path, photos: list[bytes]) -> None:
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    for i in range(60):
        (folder / f"{i}.jpg").write_bytes(photos[i % len(photos)])
    command = [sys.executable, "-m", "img2poem", "batch", str(folder), "--out", str(out), "--engine", str(repository)]
    process = subprocess.Popen([*command, "--n", "1"], cwd=ROOT, stderr=subprocess.PIPE)
    assert eventually(lambda: out.exists() and out.read_bytes().count(b"\n") >= 2, HANGS)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=HANGS)
    assert process.returncode == 130 and not error
    lines = out.read_bytes().splitlines(keepends=True)
    assert len(lines) >= 2 and all(line.endswith(b"\n") and json.loads(line) for line in lines)


def _zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _endless_pipe(path: Path) -> None:
    os.mkfifo(path)
    subprocess.Popen(["/bin/sh", "-c", 'exec cat /dev/zero > "$1" 2>/dev/null', "sh", str(path)])


@pytest.mark.parametrize("made", [_zeros, _endless_pipe], ids=["device", "pipe"])
def test_what_has_no_end_is_read_no_further_than_allowed(
    repository: Path, tmp_path: Path, made: Callable[[Path], None]
) -> None:
    """With a memory limit that unbounded reading would soon exceed."""
    for name, command in (
        ("a.jpg", ["write", "{}"]),
        ("b.jpg", ["describe", "{}"]),
        ("poem", ["embed", "--poem-file", "{}"]),
        ("key", ["serve", str(repository), "--api-key-file", "{}"]),
        ("cert", ["serve", str(repository), "--grpc-cert", "{}", "--grpc-key", "{}"]),
    ):
        path = tmp_path / name
        made(path)
        arguments = [one.format(path) for one in command]
        target = ["--engine", str(repository)] if command[0] != "serve" else []
        limited = ["/bin/sh", "-c", 'ulimit -v 8000000; exec "$@"', "sh", sys.executable, "-m", "img2poem"]
        done = subprocess.run([*limited, *arguments, *target], cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 2 and ("more than" in done.stderr or "not a file" in done.stderr), done.stderr


def test_a_pipe_that_ends_is_a_photograph(tmp_path: Path) -> None:
    whole, pipe = encoded(gradient(), "PNG"), tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "photo").write_bytes(whole)
    subprocess.Popen(["/bin/sh", "-c", 'cat "$1" > "$2"', "sh", str(tmp_path / "photo"), str(pipe)])
    assert read_photo(pipe) == whole
    with pytest.raises(BadImage, match=r"^more than the 64 MiB allowed"):
        read_photo("/dev/zero")


@pytest.mark.parametrize("command", ["write", "describe", "score", "embed", "stream", "card"])
def test_a_bad_photograph_is_named_and_the_others_go_on(repository: Path, tmp_path: Path, command: str) -> None:
    (tmp_path / "good.jpg").write_bytes(encoded(gradient(), "JPEG"))
    (tmp_path / "text.jpg").write_text("no picture")
    good, bad = str(tmp_path / "good.jpg"), [str(tmp_path / name) for name in ("missing.jpg", "text.jpg")]
    more = {"score": ["--poem", "one"], "card": ["--out", str(tmp_path / "card.png")], "write": ["--n", "1"]}
    alone = command in ("stream", "card")
    photos = [bad[1]] if alone else [bad[0], good, bad[1]]
    done = run(command, *photos, *more.get(command, []), "--engine", repository)
    assert done.returncode == 2
    expected = ["text.jpg: not a picture"] if alone else ["missing.jpg: no such file", "text.jpg: not a picture"]
    assert len(done.stderr.splitlines()) == len(expected)
    for line, words in zip(done.stderr.splitlines(), expected, strict=True):
        assert line.startswith(f"img2poem: {tmp_path}/{words}")
    assert bool(done.stdout.strip()) is not alone and not (tmp_path / "card.png").exists()


@pytest.mark.parametrize("source", ["--poem", "--poem-file", "standard input"])
def test_a_poem_that_is_no_utf8_is_refused(repository: Path, photo_file: Path, tmp_path: Path, source: str) -> None:
    (tmp_path / "poem").write_bytes(b"the sea\xff")
    arguments = {"--poem": [os.fsdecode(b"the sea\xff")], "--poem-file": [tmp_path / "poem"]}.get(source, ["-"])
    option = source if source.startswith("--") else "--poem-file"
    stdin = {} if option == source else {"input": "the sea\udcff", "errors": "surrogateescape"}
    for command in (["score", photo_file], ["embed"], ["card", photo_file, "--out", tmp_path / "card.png"]):
        done = run(*command, option, *arguments, "--engine", repository, **stdin)
        assert done.returncode == 2 and "UTF-8" in done.stderr and len(done.stderr.splitlines()) == 1


def test_an_error_is_one_line_and_more_is_told_when_asked(photo_file: Path) -> None:
    nowhere = ("write", photo_file, "--url", "grpc://127.0.0.1:9")
    quiet, verbose = run(*nowhere), run("--verbose", *nowhere)
    assert quiet.returncode == verbose.returncode == 1
    assert len(quiet.stderr.splitlines()) == 1 and "no inference server answers" in quiet.stderr
    told = verbose.stderr.splitlines()
    assert len(told) == 5 and all("img2poem_best at grpc://127.0.0.1:9, attempt" in line for line in told[:4])
    assert "CallEvent(" not in verbose.stderr


def test_the_library_logs_nowhere_unless_asked() -> None:
    code = "import img2poem; print(img2poem.Img2Poem('grpc://127.0.0.1:9', retries=1).health()[0].ready)"
    code += "\ntry: img2poem.Img2Poem('http://127.0.0.1:9', retries=1).info()\nexcept img2poem.ConnectionFailed: pass"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "False" and not done.stderr
