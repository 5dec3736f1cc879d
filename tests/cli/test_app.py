from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from img2poem import Form, Greedy, Img2Poem
from img2poem.cli.batch import Batch, Summary
from img2poem.serving.server import TritonServer

from ..conftest import ROOT, encoded, gradient

COMMANDS = ("write", "stream", "batch", "card", "describe", "embed", "score", "serve", "web", "inspect", "doctor")


def run(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "img2poem", *map(str, arguments)]
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        command, cwd=ROOT, capture_output=True, text=True, timeout=300, **options
    )


@pytest.mark.parametrize("columns", ["0", "9"])
def test_help_can_be_read_where_there_is_no_width(columns: str) -> None:
    done = run("card", "--help", env={**os.environ, "COLUMNS": columns})
    assert done.returncode == 0 and "--poem" in done.stdout and "Typeset" in done.stdout


def test_write_prints_the_poem(repository: Path, photo_file: Path) -> None:
    done = run("write", photo_file, "--engine", repository)
    assert done.returncode == 0 and not done.stderr
    assert len(done.stdout.strip().splitlines()) >= 3


def test_json_has_one_object_a_line_and_all_homes_agree(
    repository: Path, server: TritonServer, photo_file: Path, tmp_path: Path, photos: list[bytes]
) -> None:
    second = tmp_path / "second.jpg"
    second.write_bytes(photos[7])
    found = []
    homes = (["--engine", str(repository)], ["--url", server.grpc_url], ["--url", server.http_url])
    for home in homes:
        for strategy in (["--strategy", "sample", "--seed", "5"], ["--n", "3", "--temperature", "1.1"]):
            done = run("write", photo_file, second, *home, *strategy, "--json")
            assert done.returncode == 0, done.stderr
            found.append([json.loads(line) for line in done.stdout.splitlines()])
    for poems in found:
        assert [poem["photo"] for poem in poems] == [str(photo_file), str(second)]
        for poem in poems:
            assert {"lines", "score", "tokens", "finish_reason", "seed", "strategy", "timings", "model"} <= poem.keys()
            assert poem["text"] == "\n".join(poem["lines"]) and poem["timings"]["total"] > 0
    tokens = [[poem["tokens"] for poem in poems] for poems in found]
    assert tokens[:2] == tokens[2:4] == tokens[4:] and tokens[0] != tokens[1]
    assert [found[i][0]["strategy"]["name"] for i in (0, 1)] == ["sample", "best-of"]


def test_a_form_can_be_asked_for(server: TritonServer, photo_file: Path) -> None:
    form = ["--rhyme", "aabb", "--acrostic", "TIDE", "--include", "sea", "--forbid", "the", "--first-words", "to"]
    done = run("write", photo_file, "--url", server.grpc_url, "--strategy", "beam", "--beam-width", "2", *form)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.strip().splitlines()
    assert [line[0].lower() for line in lines] == list("tide") and lines[0].startswith("To ")
    words = re.findall("[a-z]+", done.stdout.lower())
    assert "sea" in words and "the" not in words
    three = run(
        "write", photo_file, "--url", server.http_url, "--strategy", "greedy", "--lines", "3", "--where", "client"
    )
    assert len(three.stdout.strip().splitlines()) == 3


def test_stream_prints_the_lines_that_write_does(repository: Path, server: TritonServer, photo_file: Path) -> None:
    written = run("write", photo_file, "--engine", repository, "--strategy", "sample", "--seed", "3", "--lines", "5")
    for home in (["--engine", str(repository)], ["--url", server.grpc_url], ["--url", server.http_url]):
        done = run("stream", photo_file, *home, "--seed", "3", "--lines", "5")
        assert done.returncode == 0 and done.stdout == written.stdout.rstrip() + "\n"
        told = run("stream", photo_file, *home, "--seed", "3", "--lines", "5", "--json")
        lines = [json.loads(line) for line in told.stdout.splitlines()]
        assert [line["index"] for line in lines] == list(range(5))
        assert "\n".join(line["text"] for line in lines) == done.stdout.rstrip()


def test_several_poems_about_each_photograph(
    repository: Path, photo_file: Path, tmp_path: Path, photos: list[bytes]
) -> None:
    second = tmp_path / "second.jpg"
    second.write_bytes(photos[7])
    options = ("--engine", repository, "--strategy", "sample", "--seed", "7", "--count", "3")
    done = run("write", photo_file, "no.jpg", second, *options, "--json")
    poems = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 2 and done.stderr == "img2poem: no.jpg: no such file\n"
    assert [(poem["photo"], poem["seed"]) for poem in poems] == [
        (str(path), seed) for path in (photo_file, second) for seed in (7, 8, 9)
    ]
    assert len({poem["text"] for poem in poems}) == 6
    told = run("write", photo_file, *options).stdout
    streamed = run("stream", photo_file, "--engine", repository, "--seed", "7", "--count", "3")
    assert told.strip() == streamed.stdout.strip() == "\n\n".join(poem["text"] for poem in poems[:3])
    for wrong in (("--strategy", "beam", "--count", "2"), ("--count", "33"), ("--count", "0")):
        assert run("write", photo_file, "--engine", repository, *wrong).returncode == 2


def test_bad_photographs_are_named_and_the_others_still_written(
    repository: Path, photo_file: Path, tmp_path: Path
) -> None:
    whole = photo_file.read_bytes()
    bad = {
        "missing.jpg": None,
        "text.jpg": b"this is no picture, only a name that lies about it",
        "truncated.jpg": whole[: len(whole) // 2],
        "empty.jpg": b"",
    }
    for name, data in bad.items():
        if data is not None:
            (tmp_path / name).write_bytes(data)
    (tmp_path / "folder").mkdir()
    paths = [tmp_path / name for name in (*bad, "folder")]
    done = run("write", paths[0], paths[1], photo_file, *paths[2:], "--json", "--engine", repository)
    assert done.returncode == 2
    assert [json.loads(line)["photo"] for line in done.stdout.splitlines()] == [str(photo_file)]
    errors = done.stderr.splitlines()
    reasons = ["no such file", "not a picture", "truncated", "empty", "folder"]
    assert len(errors) == len(paths)
    for error, path, reason in zip(errors, paths, reasons, strict=True):
        assert str(path) in error and reason in error


def test_unusual_photographs_are_written(repository: Path, tmp_path: Path) -> None:
    picture = gradient(320, 200)
    kinds = {
        "alpha.png": encoded(picture.convert("RGBA"), "PNG"),
        "palette.gif": encoded(picture.quantize(16), "GIF"),
        "grey.jpg": encoded(picture.convert("L"), "JPEG"),
        "cmyk.jpg": encoded(picture.convert("CMYK"), "JPEG"),
        "pixel.png": encoded(picture.resize((1, 1)), "PNG"),
        "large.jpg": encoded(picture.resize((8000, 6000)), "JPEG"),
    }
    for name, data in kinds.items():
        (tmp_path / name).write_bytes(data)
    done = run("write", *(tmp_path / name for name in kinds), "--json", "--engine", repository)
    assert done.returncode == 0, done.stderr
    assert all(len(json.loads(line)["lines"]) >= 3 for line in done.stdout.splitlines())


def test_describe_embed_and_score(repository: Path, photo_file: Path, tmp_path: Path) -> None:
    home = ("--engine", repository)
    plain = run("describe", photo_file, *home)
    assert "temple/east_asia" in plain.stdout and "valence" in plain.stdout
    [seen] = [json.loads(line) for line in run("describe", photo_file, "--k", "2", "--json", *home).stdout.splitlines()]
    assert seen["photo"] == str(photo_file) and len(seen["objects"]) == len(seen["scenes"]) == 2
    poem = tmp_path / "poem.txt"
    poem.write_text("an old temple\nover the water\n")
    done = run("embed", photo_file, "--poem-file", poem, "--json", *home)
    image, text = [json.loads(line)["embedding"] for line in done.stdout.splitlines()]
    assert len(image) == 512
    for source in (["--poem-file", poem], ["--poem", "an old temple / over the water\n"]):
        scored = json.loads(run("score", photo_file, *source, "--json", *home).stdout)
        assert abs(scored["score"] - np.dot(image, text)) < 1e-3
    piped = run("score", photo_file, "--poem-file", "-", *home, input=poem.read_text())
    assert f"{scored['score']:.3f}" in piped.stdout


@pytest.fixture
def folder(tmp_path: Path, photos: list[bytes]) -> Path:
    """Eight photographs, one of them in a subfolder and one damaged, and a text file."""
    made = tmp_path / "photos"
    (made / "more").mkdir(parents=True)
    for i, photo in enumerate(photos[:7]):
        (made / f"{i}.jpg").write_bytes(photo)
    (made / "more" / "last.JPG").write_bytes(photos[8])
    (made / "notes.txt").write_text("not a photograph")
    (made / "broken.png").write_bytes(photos[0][:3000])
    return made


def test_batch_writes_a_folder_and_goes_on_where_it_was(
    server: TritonServer, repository: Path, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "poems.jsonl"
    command = ("batch", folder, "--out", out, "--url", server.grpc_url, "--strategy", "greedy")
    done = run(*command, "--json")
    assert done.returncode == 2 and json.loads(done.stdout) == {"written": 8, "kept": 0, "failed": 1}
    poems = [json.loads(line) for line in out.read_text().splitlines()]
    assert [poem["photo"] for poem in poems] == [*(f"{i}.jpg" for i in range(7)), "more/last.JPG"]
    with Img2Poem(repository) as poet:
        for poem in poems:
            assert poem["text"] == poet.write(folder / poem["photo"], Greedy()).text
    [error] = [json.loads(line) for line in (tmp_path / "poems.jsonl.errors.jsonl").read_text().splitlines()]
    assert error["photo"] == "broken.png" and error["error"] == "BadImage" and error["request_id"]

    # The state after a kill in the middle of a line.
    whole = out.read_bytes().splitlines(keepends=True)
    out.write_bytes(b"".join(whole[:3]) + whole[3][:40])
    (folder / "broken.png").unlink()
    again = run(*command)
    assert again.returncode == 0 and "5 written, 3 kept, 0 failed" in again.stdout
    assert {json.loads(line)["photo"] for line in out.read_text().splitlines()} == {poem["photo"] for poem in poems}
    assert not (tmp_path / "poems.jsonl.errors.jsonl").exists()
    other = run(*command[:-1], "beam")
    assert other.returncode == 2 and "another strategy" in other.stderr
    (tmp_path / "list.jsonl").write_text("[1]\n")
    strange = run("batch", folder, "--out", tmp_path / "list.jsonl", "--engine", repository)
    assert strange.returncode == 2 and "something else" in strange.stderr
    assert (tmp_path / "list.jsonl").read_text() == "[1]\n"


def test_a_batch_takes_file_names_that_are_not_utf8(repository: Path, tmp_path: Path, photos: list[bytes]) -> None:
    folder, out = tmp_path / "photos", tmp_path / "poems.jsonl"
    folder.mkdir()
    names = [os.fsdecode(name) for name in (b"\xff.jpg", b"\xfe.png")]
    for name, data in zip(names, (photos[0], b"no picture"), strict=True):
        (folder / name).write_bytes(data)
    command = ("batch", folder, "--out", out, "--engine", repository, "--strategy", "greedy", "--json")
    assert json.loads(run(*command).stdout) == {"written": 1, "kept": 0, "failed": 1}
    assert json.loads(run(*command).stdout) == {"written": 0, "kept": 1, "failed": 1}
    assert json.loads(out.read_text())["photo"] == names[0]
    assert json.loads((tmp_path / "poems.jsonl.errors.jsonl").read_text())["photo"] == names[1]
    both = [folder / name for name in names]
    done = run("write", *both, "--engine", repository, "--strategy", "greedy")
    assert done.returncode == 2 and "\ufffd.jpg" in done.stdout and "\ufffd.png: not a picture" in done.stderr


def test_a_batch_goes_on_where_a_form_leaves_no_poem(repository: Path, folder: Path, tmp_path: Path) -> None:
    form, strategy = (
        Form(lines=1, include=("temple", "mountain", "ocean", "window", "garden", "night")),
        Greedy(max_line_tokens=5),
    )
    with Img2Poem(repository) as poet, Batch(folder, tmp_path / "out", strategy, form) as batch:
        assert batch.run(poet) == Summary(written=0, kept=0, failed=9)
    told = [json.loads(line)["error"] for line in (tmp_path / "out.errors.jsonl").read_text().splitlines()]
    assert sorted(told) == ["BadImage", *["NoPoem"] * 8]


def test_a_batch_that_is_killed_loses_and_doubles_nothing(repository: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "poems.jsonl"
    (folder / "broken.png").unlink()
    command = [sys.executable, "-m", "img2poem", "batch", str(folder), "--out", str(out), "--engine", str(repository)]
    started = subprocess.Popen([*command, "--concurrency", "1"], cwd=ROOT, stdout=subprocess.DEVNULL)
    while not (out.exists() and out.read_bytes().count(b"\n") >= 2):
        assert started.poll() is None
        time.sleep(0.02)
    os.kill(started.pid, signal.SIGKILL)
    started.wait()
    kept = out.read_bytes().count(b"\n")
    done = subprocess.run([*command, "--json"], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert json.loads(done.stdout) == {"written": 8 - kept, "kept": kept, "failed": 0}
    names = [json.loads(line)["photo"] for line in out.read_text().splitlines()]
    assert len(names) == len(set(names)) == 8


def test_a_batch_ends_when_no_server_answers(folder: Path, tmp_path: Path) -> None:
    done = run("batch", folder, "--out", tmp_path / "out", "--url", "grpc://127.0.0.1:9")
    assert done.returncode == 1 and "no inference server" in done.stderr and not (tmp_path / "out").read_text()


def test_doctor_writes_a_poem_or_says_what_fails(repository: Path, server: TritonServer) -> None:
    for home in (["--engine", str(repository)], ["--url", server.http_url]):
        done = run("doctor", *home, "--json")
        told = json.loads(done.stdout)
        assert done.returncode == 0 and told["ok"]
        assert {"python", "client", "local", "rhyme", "models", "poem"} <= {f["check"] for f in told["findings"]}
    for home, says in ((["--engine", "nowhere"], "export.all"), (["--url", "http://127.0.0.1:9"], "img2poem serve")):
        done = run("doctor", *home)
        assert done.returncode == 1 and "failed" in done.stdout and says in done.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--engine", "nowhere"], 1, "python -m export.all --out nowhere"),
        (["--url", "grpc://127.0.0.1:9"], 1, "no inference server"),
        (["--url", "ftp://x"], 2, "grpc://HOST:PORT"),
        (["--url", "folder"], 2, "grpc://HOST:PORT"),
        (["--url", "grpc://x:1", "--engine", "y"], 2, "not both"),
        (["--strategy", "beam", "--beam-width", "11"], 2, "from 1 to 10"),
        (["--strategy", "greedy", "--beam-width", "3"], 2, "--strategy beam"),
        (["--strategy", "beam", "--seed", "3"], 2, "--strategy sample or best-of"),
        (["--strategy", "sample", "--n", "3"], 2, "--strategy best-of"),
        (["--n", "33"], 2, "n must be from 1 to 32"),
        (["--temperature", "9"], 2, "from 0.05 to 4"),
        (["--strategy", "magic"], 2, "magic"),
        (["--rhyme", "AABB", "--lines", "2"], 2, "only 2 lines"),
        (["--include", "qqxzv"], 2, "no word"),
        (["--acrostic", "SUN", "--where", "server"], 2, "decoded by the client"),
    ],
)
def test_wrong_options_say_what_is_right(
    repository: Path, photo_file: Path, arguments: list[str], status: int, says: str
) -> None:
    done = run("write", photo_file, *arguments)
    assert done.returncode == status and not done.stdout
    assert says in done.stderr and "Traceback" not in done.stderr


def test_help_explains_every_option() -> None:
    for command in COMMANDS:
        done = run(command, "--help")
        assert done.returncode == 0 and "Usage" in done.stdout
    assert run("--version").stdout.strip()


def test_the_shell_completes_commands_and_options() -> None:
    script = run("--show-completion", "bash", env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"})
    assert "_IMG2POEM_COMPLETE" in script.stdout or "COMPLETE" in script.stdout
    executable = Path(sys.executable).parent / "img2poem"
    environment = {**os.environ, "_IMG2POEM_COMPLETE": "complete_bash", "COMP_CWORD": "2"}
    for words, known in (("img2poem write --rh", "--rhyme"), ("img2poem batch --conc", "--concurrency")):
        done = subprocess.run(
            [executable], env={**environment, "COMP_WORDS": words}, capture_output=True, text=True, timeout=60
        )
        assert known in done.stdout


def test_import_is_light() -> None:
    """A service that imports the client loads no framework."""
    heavy = (
        "torch onnxruntime tritonclient transformers typer rich tokenizers onnx httpx tenacity pronouncing grpc fastapi"
    )
    code = f"import sys, img2poem; print([m for m in {heavy.split()} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
