from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from img2poem.artifacts.package import Package
from img2poem.nn.model import load_package

from ..conftest import ROOT
from .conftest import COLOURS, command, run

SHORT = (
    # Three photographs are too few to select an epoch.
    "--scene.patience",
    "None",
    *(
        "--sentiment.epochs",
        "4",
        "--alignment.epochs",
        "8",
        "--teacher.epochs",
        "1",
        "--teacher.epoch-batches",
        "4",
        "--teacher.batch",
        "8",
        "--teacher.layers",
        "1",
        "--teacher.no-compiled",
        "--distillation.poems",
        "200",
        "--distillation.no-compiled",
        "--generator.epochs",
        "2",
        "--generator.epoch-batches",
        "6",
    ),
    *("--adversarial.epochs", "1", "--adversarial.epoch-batches", "2", "--adversarial.discriminator-start", "2"),
    *("--adversarial.photos", "2", "--adversarial.samples", "2", "--adversarial.validation-photos", "8"),
    *("--evaluation.photos", "16", "--evaluation.best-of", "2", "--evaluation.order-gain", "4"),
)


def test_all_writes_a_measured_package_and_goes_on_after_a_kill(data: Path, tmp_path: Path) -> None:
    work, out = tmp_path / "runs", tmp_path / "small"
    process = subprocess.Popen(command("all", data, work, "--out", str(out), *SHORT), cwd=ROOT)
    try:
        while not (work / "lite" / "alignment" / "result.safetensors").exists():
            assert process.poll() is None, "it ends before the alignment is done"
            time.sleep(0.1)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not out.exists()
    aligned = (work / "lite" / "alignment" / "result.safetensors").read_bytes()

    second = run("all", data, work, "--out", str(out), *SHORT)
    assert second.returncode == 0, second.stderr
    assert (work / "lite" / "alignment" / "result.safetensors").read_bytes() == aligned, "what was done is kept"
    config = Package.open(out).config
    assert str(tmp_path) not in json.dumps(config.metrics), "a package is passed on to other machines"
    assert config.name == "small" and config.scene_classes == list(COLOURS)
    assert config.metrics["scene"]["scene_top1"] > 0.6, "eight plain colours, by chance 0.125"
    curves = json.loads((work / "lite" / "generator" / "curves.json").read_text())
    points = curves["validation/photo"]
    assert len(points) == 2 and points[0][0] < points[1][0], "one each epoch"
    assert min(value for _, value in points) == pytest.approx(config.metrics["generator"]["photo"], abs=1e-3)
    model, _ = load_package(out)
    assert all(np.isfinite(p.detach().numpy()).all() for p in model.parameters())

    systems = config.metrics["evaluation"]["systems"]
    assert {"written", "written, of others", "greedy", "beam", "sampled", "best of 2"} < systems.keys()
    assert sum(": best of 2" in name for name in systems) == 1, "the decoder of the other stage, beside"
    assert systems["written"]["copied_lines"] == 1, "these written poems have the same lines"
    card = (out / "MODEL_CARD.md").read_text()
    assert card.startswith("# small") and "| best of 2 |" in card and "| generator | epochs 2," in card

    command_line = [*command("evaluate", data, work)[:3], "--data", str(data), "--weights", str(out)]
    command_line += [
        "--out",
        str(tmp_path / "new" / "figures.json"),
        "--photos",
        "16",
        "--best-of",
        "2",
        "--order-gain",
        "4",
    ]
    measured = subprocess.run(command_line, cwd=ROOT, capture_output=True, text=True, timeout=500)
    assert measured.returncode == 0, measured.stderr
    figures = json.loads((tmp_path / "new" / "figures.json").read_text())
    assert figures["photographs"] == len(figures["poems"]) == 16
    alone, beside = ({**row, "overall": None} for row in (figures["systems"]["greedy"], systems["greedy"]))
    assert alone == beside, "the same package measures the same, but for what compares it with the systems beside it"
