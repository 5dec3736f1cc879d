"""A handful of made records in the original file formats, and the commands that train on them."""

from __future__ import annotations

import csv
import io
import json
import lzma
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from ..conftest import ROOT, encoded

COLOURS = ("red", "green", "blue", "orange", "purple", "grey", "brown", "white")
VERSE = "the {0} sea is {1} and i am here\nwith all the {1} stars of night\nand you are in my {1} heart\n"


def verse(word: str, number: int) -> str:
    """Return a poem of lines that no other has: poems that share lines are kept apart."""
    return VERSE.format(word, word[0] + chr(97 + number % 26) + chr(97 + number // 26))


def archive(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Plain colours as photographs, with captions, scenes and ratings that name or follow the colour."""
    root = tmp_path_factory.mktemp("data")
    photos = {i: encoded(Image.new("RGB", (32, 32), COLOURS[i % 8]), "JPEG") for i in range(320)}
    archive(root / "flickr8k.tar", {f"flickr8k/{i}.jpg": data for i, data in photos.items()})
    captions = {f"{i}.jpg": [f"a {COLOURS[i % 8]} picture {k}" for k in range(5)] for i in photos}
    (root / "flickr8k_captions.json").write_text(json.dumps(captions))
    (root / "miniplaces_classes.txt").write_text("".join(f"{i} {c}\n" for i, c in enumerate(COLOURS)))
    for split in ("train", "val"):
        archive(root / f"miniplaces_{split}.tar", {f"miniplaces/{split}/{i}.jpg": photos[i] for i in range(64)})
        labels = "".join(f"{split}/{i}.jpg {i % 8}\n" for i in range(64))
        (root / f"miniplaces_{split}.txt").write_text(labels)
    archive(root / "oasis.tar", {f"oasis/{i}.jpg": photos[i] for i in range(80)})
    with open(root / "oasis.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "valence", "arousal"])
        rows.writerows([f"{i}.jpg", 1 + i % 6, 7 - i % 6] for i in range(80))
    multim = [
        {"id": i, "poem": verse(c, i), "image_url": f"http://localhost/{i}.jpg", "caption": f"a {c} picture"}
        for i, c in enumerate(COLOURS * 8)
    ]
    (root / "multim_poem.json").write_text(json.dumps(multim))
    (root / "unim_poem_part.json").write_text(json.dumps([{"id": i, "poem": verse("old", i)} for i in range(40)]))
    with lzma.open(root / "public_domain_poems.jsonl.xz", "wt") as file:
        for i in range(40):
            file.write(json.dumps({"author": "A", "title": str(i), "poem": verse("yellow", i)}) + "\n")
    return root


def command(module: str, data: Path, work: Path, *options: str) -> list[str]:
    """Return the command of a stage on the CPU."""
    known = ["--data", str(data), "--work", str(work), "--accelerator", "cpu"]
    return [sys.executable, "-m", f"training.{module}", *known, *options]


def run(module: str, data: Path, work: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a stage to its end."""
    return subprocess.run(command(module, data, work, *options), cwd=ROOT, capture_output=True, text=True, timeout=500)


@pytest.fixture(scope="session")
def aligned(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder with everything before the generator."""
    work = tmp_path_factory.mktemp("work")
    for stage, options in {"scene": (), "sentiment": ("--epochs", "4"), "alignment": ("--epochs", "8")}.items():
        done = run(stage, data, work, *options)
        assert done.returncode == 0, done.stderr
    return work
