"""The whole training on a handful of made records in the original file formats."""

from __future__ import annotations

import csv
import io
import json
import lzma
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from img2poem.nn.model import load_package
from img2poem.package import load_config

from .conftest import ROOT, encoded

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


@pytest.fixture(scope="module")
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
    multim = [{"id": i, "poem": verse(c, i), "caption": f"a {c} picture"} for i, c in enumerate(COLOURS * 8)]
    (root / "multim_poem.json").write_text(json.dumps(multim))
    (root / "unim_poem_part.json").write_text(json.dumps([{"id": i, "poem": verse("old", i)} for i in range(40)]))
    with lzma.open(root / "public_domain_poems.jsonl.xz", "wt") as file:
        for i in range(40):
            file.write(json.dumps({"author": "A", "title": str(i), "poem": verse("yellow", i)}) + "\n")
    return root


def train(data: Path, folder: Path, tokens: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "training.all", "--data", str(data), "--work", str(folder / "runs")]
    command += ["--out", str(folder / "small"), "--tokens", str(tokens)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500)


def test_training_writes_a_package_and_resumes(data: Path, tmp_path: Path) -> None:
    first = train(data, tmp_path, tokens=20_000)
    assert first.returncode == 0, first.stderr
    config = load_config(tmp_path / "small")
    assert config.name == "small" and config.scene_classes == list(COLOURS)
    assert config.metrics["scene_top1"] > 0.6, "eight plain colours are told apart far better than by chance (0.125)"
    assert (tmp_path / "small" / "MODEL_CARD.md").read_text().startswith("# small")
    model, _ = load_package(tmp_path / "small")
    assert all(np.isfinite(p.detach().numpy()).all() for p in model.parameters())

    command = [sys.executable, "-m", "training.evaluate", "--data", str(data), "--weights", str(tmp_path / "small")]
    command += ["--out", str(tmp_path / "figures.json"), "--limit", "16", "--best-of", "2"]
    measured = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500)
    assert measured.returncode == 0, measured.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["photographs"] == len(figures["poems"]) == 16
    assert {"greedy", "beam", "sampled", "best of 2"} < figures["systems"].keys()
    assert figures["systems"]["human, at random"]["copied_lines"] > 0.5, "most of these human poems are learned ones"
    assert all(row["best of 2"] for row in figures["poems"]) and "| best of 2 |" in measured.stdout

    again = train(data, tmp_path, tokens=40_000)
    assert again.returncode == 0, again.stderr
    assert "resumed at 2" in again.stdout
    better = load_config(tmp_path / "small").metrics["nats_a_token_by_poem"]
    assert better < config.metrics["nats_a_token_by_poem"]
