"""A few made-up records in the original file formats, and the commands that train on them."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import lzma
import runpy
import subprocess
import sys
import tarfile
import warnings
from pathlib import Path

import pytest
from PIL import Image

from img2poem.datasets.contents import contents_of

from ..conftest import ROOT, encoded

COLOURS = ("red", "green", "blue", "orange", "purple", "grey", "brown", "white")
VERSES = {
    "free": "The {0} sea is wide,\nand I don't know why.\nIt's {0} all the way,\nand {0} is the sky.",
    "rhymed": "A {0} bird, a {0} tree,\nA {0} boat upon the sea.\nWe sit and see the light,\nAnd stay until the night.",
}


def poems(collection: str, names: dict[str, str], captioned: bool) -> list[dict[str, str]]:
    """Return two poems about each photograph of a colour, by name; with captions if the set has none."""
    return [
        {"set": collection, "photo": name, "form": form, "poem": verse.format(colour)}
        | ({"caption": f"A {colour} picture of a sea."} if captioned else {})
        for name, colour in names.items()
        for form, verse in VERSES.items()
    ]


def archive(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs of plain colours, with captions, scenes and ratings that name or follow the colour."""
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
    colours = {i: COLOURS[i % 8] for i in photos}
    written = poems("flickr8k", {f"{i}.jpg": colours[i] for i in photos}, False)
    written += poems("miniplaces", {f"train/{i}.jpg": colours[i] for i in range(64)}, True)
    written += poems("oasis", {f"{i}.jpg": colours[i] for i in range(80)}, True)
    written += poems("coco", {f"c{i}.jpg": colours[i] for i in range(40)}, False)
    (root / "coco_captions.json").write_text(
        json.dumps({f"c{i}.jpg": [f"a {colours[i]} picture {k}" for k in "abcde"] for i in range(40)})
    )
    (root / "photo_poems").mkdir()
    with lzma.open(root / "photo_poems" / "poems.jsonl.xz", "wt") as file:
        file.writelines(json.dumps(record) + "\n" for record in written)
    return root


def command(module: str, data: Path, work: Path, *options: str) -> list[str]:
    """Return the command that runs a stage on the CPU."""
    known = ["--data", str(data), "--work", str(work), "--accelerator", "cpu"]
    if module == "generator":
        known.append("--no-compiled")  # test_all compiles it once
    return [sys.executable, "-m", f"training.{module}", *known, *options]


def run(module: str, data: Path, work: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a stage as ``python -m`` does, but in this process: importing torch and Lightning anew takes ten seconds."""
    arguments = command(module, data, work, *options)[3:]
    contents_of.cache_clear()  # a process reads its data once
    output, errors, status = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(sys, "argv", [f"training.{module}", *arguments])
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors), warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*found in sys.modules.*", RuntimeWarning)
            try:
                runpy.run_module(f"training.{module}", run_name="__main__", alter_sys=True)
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else int(end.code is not None)
    return subprocess.CompletedProcess(arguments, status, output.getvalue(), errors.getvalue())


@pytest.fixture(scope="session")
def aligned(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder with the results of all stages before the generator."""
    work = tmp_path_factory.mktemp("work")
    for stage, options in {"scene": (), "sentiment": ("--epochs", "4"), "alignment": ("--epochs", "8")}.items():
        done = run(stage, data, work, *options)
        assert done.returncode == 0, done.stderr
    return work
