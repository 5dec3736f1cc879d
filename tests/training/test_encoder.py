"""Cross-validation of an encoder's head: the evaluated photographs are not trained on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch.utils.data import TensorDataset

from img2poem.artifacts.package import EncoderConfig
from img2poem.nn.image_encoder import EncoderHead
from training.encoder import EncoderSettings, EncoderTask, cross_validated
from training.run import Run

COUNT = 60
SETTINGS = EncoderSettings(epochs=20, batch=16, learning_rate=0.01, dropout=0.0, patience=None)


def correlation(predicted: torch.Tensor, wanted: torch.Tensor) -> dict[str, float]:
    assert predicted.shape == wanted.shape == (COUNT, 1), "each photograph is judged once"
    return {"r": float(torch.corrcoef(torch.stack([predicted[:, 0], wanted[:, 0]]))[0, 1])}


TASK = EncoderTask("mood", "oasis", None, torch.float32, torch.nn.functional.mse_loss, correlation, "r", folds=5)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (tmp_path / "data").mkdir()
    return Run(tmp_path / "data", tmp_path / "work", accelerator="cpu", precision="32-true")


@pytest.fixture
def head() -> EncoderHead:
    torch.manual_seed(0)
    return EncoderHead(EncoderConfig("efficientnet_lite0", "object", adapter_dim=0, outputs=1))


def test_what_features_tell_is_found_and_what_they_do_not_tell_is_not(run: Run, head: EncoderHead) -> None:
    torch.manual_seed(0)
    moods, noise = torch.randn(COUNT, 1), torch.randn(COUNT, 1)
    # Beside the mood's shared features, each photograph has its own, which lets a head memorise its mood.
    features = torch.cat([moods.expand(-1, 20), 5 * torch.eye(COUNT), torch.zeros(COUNT, 1280 - 20 - COUNT)], dim=1)
    before = {name: tensor.clone() for name, tensor in head.state_dict().items()}
    told = cross_validated(run, TASK, SETTINGS, head, TensorDataset(features, moods))
    untold = cross_validated(run, TASK, SETTINGS, head, TensorDataset(features, noise))
    assert told["mood_r_5_fold"] > 0.9 and abs(untold["mood_r_5_fold"]) < 0.5
    assert all(torch.equal(tensor, before[name]) for name, tensor in head.state_dict().items())
    assert not run.work.exists(), "nothing is left of the folds"
    again = cross_validated(run, dataclasses.replace(TASK), SETTINGS, head, TensorDataset(features, moods))
    assert again == told
