from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from img2poem.serving.server import TritonServer

from .conftest import ROOT, encoded, gradient


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "img2poem", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_write_prints_the_poem(repository: Path, photo_file: Path) -> None:
    done = run("write", photo_file, "--engine", repository)
    assert done.returncode == 0 and not done.stderr
    assert len(done.stdout.strip().splitlines()) >= 3


def test_json_has_one_object_a_line_and_both_engines_agree(
    repository: Path, server: TritonServer, photo_file: Path, tmp_path: Path, photos: list[bytes]
) -> None:
    second = tmp_path / "second.jpg"
    second.write_bytes(photos[7])
    found = []
    for engine in (["--engine", str(repository)], ["--url", server.grpc_url]):
        for strategy in (["--strategy", "sample", "--seed", "5"], ["--strategy", "best-of", "--n", "3"]):
            done = run("write", photo_file, second, *engine, *strategy, "--json")
            assert done.returncode == 0, done.stderr
            found.append([json.loads(line) for line in done.stdout.splitlines()])
    for poems in found:
        assert [poem["photo"] for poem in poems] == [str(photo_file), str(second)]
        for poem in poems:
            assert {"photo", "lines", "text", "score", "tokens", "engine", "milliseconds"} <= poem.keys()
            assert poem["text"] == "\n".join(poem["lines"]) and poem["milliseconds"] > 0
    tokens = [[poem["tokens"] for poem in poems] for poems in found]
    assert tokens[:2] == tokens[2:] and tokens[0] != tokens[1]
    assert found[0][0]["engine"] == str(repository) and found[2][0]["engine"] == server.grpc_url


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


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--engine", "nowhere"], 1, "python -m export.all --out nowhere"),
        (["--url", "grpc://127.0.0.1:9"], 1, "no inference server"),
        (["--url", "ftp://x"], 2, "grpc://HOST:PORT"),
        (["--url", "grpc://x:1", "--engine", "y"], 2, "not both"),
        (["--beam-width", "11"], 2, "from 1 to 10"),
        (["--strategy", "greedy", "--beam-width", "3"], 2, "--strategy beam"),
        (["--strategy", "beam", "--seed", "3"], 2, "--strategy sample or best-of"),
        (["--strategy", "sample", "--n", "3"], 2, "--strategy best-of"),
        (["--strategy", "best-of", "--n", "33"], 2, "n must be from 1 to 32"),
        (["--strategy", "sample", "--temperature", "9"], 2, "from 0.05 to 4"),
        (["--strategy", "magic"], 2, "magic"),
    ],
)
def test_wrong_options_say_what_is_right(photo_file: Path, arguments: list[str], status: int, says: str) -> None:
    done = run("write", photo_file, *arguments)
    assert done.returncode == status and not done.stdout
    assert says in done.stderr and "Traceback" not in done.stderr


def test_help_explains_every_option() -> None:
    for command in ("write", "serve", "inspect"):
        done = run(command, "--help")
        assert done.returncode == 0 and "Usage" in done.stdout
    assert run("--version").stdout.strip()


def test_import_is_light() -> None:
    """A service that imports the client pays for no framework."""
    heavy = "torch onnxruntime tritonclient transformers typer rich tokenizers onnx"
    code = f"import sys, img2poem; print([m for m in {heavy.split()} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
