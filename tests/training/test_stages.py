from __future__ import annotations

import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from img2poem.datasets import ImagePolarity
from img2poem.datasets.sentiment import POLARITIES
from training.fitting import read_result

from ..conftest import ROOT, encoded
from .conftest import COLOURS, command, run

EPOCHS = ("--no-distilled", "--epochs", "4", "--epoch-batches", "2", "--batch", "16")


def test_a_generator_killed_between_epochs_ends_as_one_that_was_not(data: Path, aligned: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for work in (whole, cut):
        shutil.copytree(aligned, work)
    done = run("generator", data, whole, *EPOCHS)
    assert done.returncode == 0, done.stderr

    process = subprocess.Popen(
        command("generator", data, cut, *EPOCHS), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "epoch 2/4" in line:
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    resumed = run("generator", data, cut, *EPOCHS)
    assert resumed.returncode == 0, resumed.stderr
    assert "going on from" in resumed.stdout and "epoch 4/4" in resumed.stdout and "epoch 1/4" not in resumed.stdout
    wanted, found = (load_file(work / "lite" / "generator" / "result.safetensors") for work in (whole, cut))
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor)
    assert list((whole / "lite" / "generator" / "tensorboard").rglob("events.out.tfevents.*"))


def test_polarity_labels_are_learned_as_valence(data: Path, tmp_path: Path) -> None:
    missing = run("sentiment", data, tmp_path / "none", "--labels", "polarity")
    assert missing.returncode == 1 and ImagePolarity.FILE in missing.stderr and "Traceback" not in missing.stderr

    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    rows = [f"{i},http://localhost/p{i}.jpg,{list(POLARITIES)[i % 5]},1.0" for i in range(120)]
    (folder / ImagePolarity.FILE).write_text("\n".join(["id,url,label,confidence", *rows]))
    unfetched = run("sentiment", folder, tmp_path / "none", "--labels", "polarity")
    assert unfetched.returncode == 1 and "ImagePolarity.download" in unfetched.stderr

    for record in ImagePolarity(folder):
        record.photo.parent.mkdir(exist_ok=True)
        record.photo.write_bytes(encoded(Image.new("RGB", (32, 32), COLOURS[record.polarity]), "JPEG"))
    done = run("sentiment", folder, tmp_path / "work", "--labels", "polarity", "--epochs", "20")
    assert done.returncode == 0, done.stderr
    metrics = read_result(tmp_path / "work" / "lite" / "sentiment" / "result.safetensors").metrics
    assert metrics["sentiment_valence_r_5_fold"] > 0.7 and len(metrics) == 1, "nothing is known of arousal"


def test_a_full_disk_is_named_and_leaves_the_last_checkpoint(data: Path, aligned: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    shutil.copytree(aligned, work)
    # With a learning rate of 0 no epoch is better than the first, but each must be kept.
    options = (*EPOCHS, "--learning-rate", "0")
    process = subprocess.Popen(command("generator", data, work, *options), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    next(line for line in process.stdout if "epoch 3/4" in line)
    process.kill()
    process.wait()
    [last] = (work / "lite" / "generator").rglob("last.ckpt")
    kept = last.read_bytes()

    # A file size limit fails like a full disk: an OSError in the middle of writing.
    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(kept) // 2, resource.RLIM_INFINITY))

    full = subprocess.run(
        command("generator", data, work, *options), cwd=ROOT, capture_output=True, text=True, preexec_fn=small_files
    )
    assert full.returncode == 1 and "make room" in full.stderr and "Traceback" not in full.stderr
    assert last.read_bytes() == kept
    resumed = run("generator", data, work, *options)
    assert resumed.returncode == 0 and "epoch 4/4" in resumed.stdout and "epoch 2/4" not in resumed.stdout


def test_a_finished_stage_is_not_trained_again_unless_its_settings_change(
    data: Path, aligned: Path, tmp_path: Path
) -> None:
    work = Path(shutil.copytree(aligned, tmp_path / "work"))
    result = work / "lite" / "sentiment" / "result.safetensors"
    before = result.stat().st_mtime_ns
    assert run("sentiment", data, work, "--epochs", "4").returncode == 0
    assert result.stat().st_mtime_ns == before
    assert "sentiment_valence_r" in run("sentiment", data, work, "--epochs", "5").stdout
    assert result.stat().st_mtime_ns != before
    stale = run("generator", data, work, "--no-distilled")
    assert stale.returncode == 1 and "made from an older result of the stage sentiment" in stale.stderr


def test_other_data_in_the_same_work_is_learned_anew(data: Path, tmp_path: Path) -> None:
    folder, work = Path(shutil.copytree(data, tmp_path / "data")), tmp_path / "work"
    options = ("--epochs", "1", "--batch", "16")
    first = run("sentiment", folder, work, *options)
    assert first.returncode == 0, first.stderr
    before = (work / "lite" / "sentiment" / "result.safetensors").read_bytes()
    ratings = (folder / "oasis.csv").read_text().splitlines()
    (folder / "oasis.csv").write_text("\n".join([ratings[0], *reversed(ratings[1:])]))
    again = run("sentiment", folder, work, *options)
    assert again.returncode == 0 and (work / "lite" / "sentiment" / "result.safetensors").read_bytes() != before
    assert len(list((work / "features").iterdir())) == 2


def test_ctrl_c_leaves_a_checkpoint_and_says_how_to_go_on(data: Path, aligned: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    shutil.copytree(aligned, work)
    process = subprocess.Popen(
        command("generator", data, work, "--no-distilled", "--epochs", "500", "--epoch-batches", "2", "--batch", "8"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stderr is not None
    for line in process.stdout:
        if "epoch 2/" in line:
            break
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert process.stderr.read().strip().endswith("training: interrupted; run again to go on from the last checkpoint")
    assert list((work / "lite" / "generator").rglob("last.ckpt"))


@pytest.mark.parametrize(
    ("stage", "options", "status", "told"),
    [
        ("alignment", ("--limit", "50"), 2, "--limit must be 100 or more"),
        ("teacher", (), 1, "run first: python -m training.scene"),
        ("generator", (), 1, "run first: python -m training.scene"),
        ("scene", ("--model", "resnet50", "--backbones", "/nowhere.pth"), 1, "/nowhere.pth"),
    ],
)
def test_wrong_options_say_what_to_do(
    data: Path, tmp_path: Path, stage: str, options: tuple[str, ...], status: int, told: str
) -> None:
    failed = run(stage, data, tmp_path / "work", *options)
    assert failed.returncode == status
    assert told in " ".join(failed.stderr.split()) and "Traceback" not in failed.stderr


def test_missing_data_and_a_damaged_result_are_named(data: Path, aligned: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    missing = run("scene", tmp_path / "empty", tmp_path / "work")
    assert missing.returncode == 1 and "flickr8k_captions.json" in missing.stderr and "Traceback" not in missing.stderr

    undistilled = run("generator", data, aligned)
    assert undistilled.returncode == 1 and "run first: python -m training.distillation" in undistilled.stderr

    work = tmp_path / "damaged"
    shutil.copytree(aligned, work)
    result = work / "lite" / "alignment" / "result.safetensors"
    result.write_bytes(result.read_bytes()[:-100])
    damaged = run("generator", data, work, "--no-distilled")
    assert damaged.returncode == 1 and str(result) in damaged.stderr and "delete it" in damaged.stderr
