"""``batch``: the files that it finds in a folder, and its outputs: JSON, columns, standard output."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from img2poem import Greedy, Img2Poem, InvalidOption, Sampling
from img2poem.cli.batch import Batch, Format, Summary
from img2poem.cli.folders import photographs_in

from ..conftest import ROOT, encoded, gradient
from .test_app import run

PHOTO = encoded(gradient(), "JPEG")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "photos"
    made.mkdir()
    for name in ("a.jpg", "=b.jpg", 'c "1",\n2.jpg'):
        (made / name).write_bytes(PHOTO)
    return made


def test_what_is_taken_of_a_folder(tmp_path: Path) -> None:
    top, elsewhere = tmp_path / "top", tmp_path / "elsewhere"
    for path in (
        *("a.jpg", "b.JFIF", "c.avif", "d.heic", "e.HEIF", "sub/f.webp", "sub/deep/g.tiff"),
        *("._a.jpg", ".hidden.jpg", ".thumbs/h.jpg", "@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg", "sub/@eaDir/i.jpg"),
        *("notes.txt", "folder.jpg/j.png"),
    ):
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_bytes(PHOTO)
    (elsewhere / "more").mkdir(parents=True)
    (elsewhere / "more" / "k.jpg").write_bytes(PHOTO)
    (elsewhere / "back").symlink_to(elsewhere)
    (top / "a loop").symlink_to(top)
    (top / "linked").symlink_to(elsewhere)
    (top / "linked again").symlink_to(elsewhere / "more")
    (top / "sub" / "up").symlink_to("..")
    (top / "to deep").symlink_to(top / "sub" / "deep")
    (top / "l.jpg").symlink_to(top / "a.jpg")
    (top / "lost.jpg").symlink_to(tmp_path / "nowhere")
    assert photographs_in(top) == [
        *("a.jpg", "b.JFIF", "c.avif", "d.heic", "e.HEIF", "folder.jpg/j.png", "l.jpg", "linked/more/k.jpg"),
        *("sub/deep/g.tiff", "sub/f.webp"),
    ]


def test_a_folder_without_photographs_is_an_error_and_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "photos" / ".hidden").mkdir(parents=True)
    (tmp_path / "photos" / ".hidden" / "a.jpg").write_bytes(PHOTO)
    done = run("batch", tmp_path / "photos", "--out", tmp_path / "poems.jsonl")
    assert done.returncode == 2 and "holds no photograph (.jpg, .jpeg, .jfif" in done.stderr
    assert not (tmp_path / "poems.jsonl").exists()


def test_columns_for_spreadsheets(repository: Path, folder: Path, tmp_path: Path) -> None:
    out, strategy = tmp_path / "poems.csv", Sampling(seed=5)
    (folder / "broken.png").write_bytes(b"none")
    with Img2Poem(repository) as poet:
        with Batch(folder, out, strategy, None, count=2, format=Format.csv) as batch:
            assert batch.run(poet) == Summary(written=6, kept=0, failed=1)
        whole = out.read_bytes()
        rows = list(csv.DictReader(io.StringIO(whole.decode(), newline="")))
        expected = [poem.text for poem in poet.write_several(PHOTO, 2, strategy)]
        assert [row["photo"] for row in rows] == ["./=b.jpg", "a.jpg", 'c "1",\n2.jpg'] * 2
        assert [row["text"] for row in rows] == [text for text in expected for _ in range(3)]
        assert [row["seed"] for row in rows] == ["5"] * 3 + ["6"] * 3
        assert json.loads(rows[0]["strategy"])["name"] == "sample" and rows[0]["form"] == ""
        # Wherever it is killed, it resumes after the last complete row.
        for place in (3, len(whole) // 3, len(whole) // 2, len(whole) - 1, len(whole)):
            out.write_bytes(whole[:place])
            with Batch(folder, out, strategy, None, count=2, format=Format.csv) as batch:
                summary = batch.run(poet)
            assert summary.written + summary.kept == 6
            again = list(csv.DictReader(io.StringIO(out.read_text(), newline="")))
            assert [(row["photo"], row["text"]) for row in again] == [(row["photo"], row["text"]) for row in rows]
        for count, format in ((2, Format.jsonl), (1, Format.csv)):
            with (
                Batch(folder, out, strategy, None, count=count, format=format) as batch,
                pytest.raises(InvalidOption, match=r"something else than poems|another strategy"),
            ):
                batch.run(poet)


@pytest.mark.parametrize("content", [b"my notes", b"photo,text\n", b'photo,"' + b"x" * 2**21, b"\xff\n", b"\0\n"])
def test_another_file_of_columns_is_left_alone(repository: Path, folder: Path, tmp_path: Path, content: bytes) -> None:
    out = tmp_path / "mine.csv"
    out.write_bytes(content)
    with (
        Img2Poem(repository) as poet,
        Batch(folder, out, Greedy(), None, format=Format.csv) as batch,
        pytest.raises(InvalidOption, match="something else than poems"),
    ):
        batch.run(poet)
    assert out.read_bytes() == content


def test_more_poems_about_each_photograph_are_added(repository: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "poems.jsonl"
    options = ("--out", out, "--engine", repository, "--strategy", "sample", "--json")
    assert json.loads(run("batch", folder, *options).stdout) == {"written": 3, "kept": 0, "failed": 0}
    done = run("batch", folder, *options, "--count", "3")
    assert json.loads(done.stdout) == {"written": 6, "kept": 3, "failed": 0}
    poems = [json.loads(line) for line in out.read_text().splitlines()]
    assert {(poem["photo"], poem["seed"]) for poem in poems} == {
        (path.name, seed) for path in folder.iterdir() for seed in range(3)
    }
    assert run("batch", folder, "--out", tmp_path / "b", "--strategy", "beam", "--count", "2").returncode == 2


@pytest.mark.parametrize("format", Format)
def test_poems_go_to_standard_output(repository: Path, folder: Path, tmp_path: Path, format: Format) -> None:
    (folder / "broken.png").write_bytes(b"none")
    options = ("--engine", repository, "--strategy", "greedy", "--format", format.value)
    done = run("batch", folder, "--out", "-", *options)
    assert done.returncode == 2 and "broken.png: not a picture" in done.stderr
    assert done.stderr.endswith("-: 3 written, 0 kept, 1 failed\n")
    out = tmp_path / "poems"
    run("batch", folder, "--out", out, *options)

    def told(text: str) -> list[list[str]]:
        if format is Format.csv:
            rows = [dict(row) for row in csv.DictReader(io.StringIO(text, newline=""))]
        else:
            rows = [json.loads(line) for line in text.splitlines()]
        return [[row["photo"], row["text"]] for row in rows]

    assert told(done.stdout) == told(out.read_text()) and len(told(done.stdout)) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", "poems", "poems.errors.jsonl"]


def piped(data: bytes, *arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "img2poem", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, input=data, capture_output=True, timeout=300)


def test_a_photograph_comes_on_standard_input(repository: Path, photo_file: Path) -> None:
    photo, home = photo_file.read_bytes(), ("--engine", repository)
    for command in (
        ("write", "--count", "2"),
        ("stream", "--count", "2"),
        ("describe",),
        ("embed",),
        ("score", "--poem", "the sea / at night"),
    ):
        done, expected = piped(photo, *command, "-", *home), run(*command, photo_file, *home)
        assert done.returncode == 0, done.stderr
        assert done.stdout.decode() == expected.stdout.replace(str(photo_file), "-")
    card = piped(photo, "card", "-", "--out", "-", "--poem", "one / two")
    assert card.returncode == 0 and card.stdout.startswith(b"\x89PNG") and card.stdout.endswith(b"IEND\xaeB`\x82")


def test_standard_input_that_is_no_photograph(repository: Path, photo_file: Path) -> None:
    home = ("--engine", repository)
    for data, says in ((b"", "-: the file is empty"), (b"text", "-: not a picture")):
        done = piped(data, "write", "-", photo_file, *home)
        assert done.returncode == 2 and says in done.stderr.decode() and len(done.stdout.splitlines()) > 3
    twice = piped(PHOTO, "write", "-", "-", *home)
    assert twice.returncode == 2 and b"give - once" in twice.stderr
    command = [sys.executable, "-m", "img2poem", "write", "-", "--engine", str(repository)]
    closed = subprocess.run(["sh", "-c", '"$@" <&-', "sh", *command], cwd=ROOT, capture_output=True, text=True)
    assert closed.returncode == 2 and "standard input is closed" in closed.stderr and "Traceback" not in closed.stderr


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.jpg").write_bytes(PHOTO)
    gone = tmp_path / "gone"
    gone.mkdir()
    gone.chmod(0)
    if os.access(gone, os.R_OK):
        pytest.skip("root reads everything")
    assert photographs_in(tmp_path) == ["a.jpg"]
    assert "is left out" in capsys.readouterr().err
