"""Options that a run refuses before any work, and options that make it a different run."""

from __future__ import annotations

import dataclasses
import json
import lzma
import shutil
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from img2poem.datasets import PhotoPoems
from img2poem.datasets.errors import MissingData
from img2poem.nn.backbones import EfficientNetLite, ResNet50
from training.corpus import Corpus
from training.encoder import EncoderSettings, EncoderTraining
from training.fitting import Stage, compiles, result_path, start_of
from training.generator import GeneratorSettings
from training.package import kept_decoder, spread_words
from training.parts import result_of
from training.pretrained import load_backbone
from training.run import Run, fingerprint

from ..nn.models import EMBEDDING_DIM, small_decoder


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "oasis.csv").write_text("file,valence,arousal\n")
    return Run(tmp_path / "data", tmp_path / "runs")


def test_nothing_is_compiled_without_a_compiler(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/c++" if name == "my-compiler" else None)
    monkeypatch.setenv("CXX", "my-compiler")
    assert compiles(True) and not compiles(False) and not capsys.readouterr().err
    monkeypatch.delenv("CXX")
    assert not compiles(True) and "no C++ compiler (g++) was found" in capsys.readouterr().err


def test_what_cannot_be_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--places365 goes with --model resnet50"):
        Run(tmp_path, tmp_path.parent / "runs", places365=tmp_path / "places.pth")
    for work in (tmp_path, tmp_path / "runs", tmp_path / ".." / tmp_path.name / "runs"):
        with pytest.raises(ValueError, match="lies within --data"):
            Run(tmp_path, work)


def test_poems_from_another_folder_make_another_run(run: Run, tmp_path: Path) -> None:
    poems = tmp_path / "clone" / PhotoPoems.FILE
    poems.parent.mkdir(parents=True)
    poems.write_bytes(lzma.compress(b'{"set": "flickr8k", "photo": "1.jpg", "form": "free", "poem": "A dog."}'))
    (run.data / "flickr8k_captions.json").write_text(json.dumps({"1.jpg": ["a dog"] * 5}))
    other = dataclasses.replace(run, poems_from=tmp_path / "clone")
    assert run.sources() != other.sources() and run.features != other.features
    assert Corpus.load(other.data, None, other.poems_from).poem_texts() == ["A dog."]
    with pytest.raises(MissingData):
        Corpus.load(run.data)


def test_another_file_of_the_same_name_is_another_backbone(run: Run, tmp_path: Path) -> None:
    for content in ("one", "other"):
        file = tmp_path / content / "backbone.pth"
        file.parent.mkdir()
        file.write_text(content)
    one, other = (
        Run(run.data, run.work, "resnet50", str(tmp_path / name / "backbone.pth")) for name in ("one", "other")
    )
    assert one.sources() != other.sources()


def test_a_file_must_fit_the_backbone(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="EfficientNetLite takes no file"):
        load_backbone(EfficientNetLite(), tmp_path / "weights.pth")
    state = ResNet50().body.state_dict()
    torch.save({**state, "fc.weight": torch.zeros(365, 2048), "fc.bias": torch.zeros(365)}, tmp_path / "places.pth")
    with pytest.raises(MissingData, match="365 classes apart, not the 1000"):
        load_backbone(ResNet50(), tmp_path / "places.pth", 1000)
    assert load_backbone(ResNet50(), tmp_path / "places.pth") is not None
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(MissingData, match="no weights for ResNet50"):
        load_backbone(ResNet50(), tmp_path / "text.pth")


def test_a_result_of_other_data_is_not_built_on(run: Run) -> None:
    Stage(run, "scene", "mark", {}).finish({"weight": torch.zeros(1)}, {"scene_top5": 0.5})
    assert result_of(run, "scene").metrics == {"scene_top5": 0.5}
    other = Run(run.data, run.work, seed=1)
    with pytest.raises(
        MissingData, match=r"is of other data or options of the run; run first: python -m training\.scene"
    ):
        result_of(other, "scene")
    with pytest.raises(MissingData, match=r"is not there; run first: python -m training\.sentiment"):
        result_of(run, "sentiment")


def test_a_result_made_from_an_older_one_is_not_built_on(run: Run) -> None:
    Stage(run, "scene", "first", {}).finish({}, {})
    Stage(run, "alignment", "mark", {"scene": "first"}).finish({}, {})
    assert result_of(run, "alignment").made_from == {"scene": "first"}
    Stage(run, "scene", "second", {}).finish({}, {})
    older = r"made from an older result of the stage scene; run first: python -m training\.alignment"
    with pytest.raises(MissingData, match=older):
        result_of(run, "alignment")
    result_path(run, "scene").unlink()
    with pytest.raises(MissingData, match="scene"):
        result_of(run, "alignment")


@pytest.mark.parametrize(("kept", "decoder"), [(0.0, "generator"), (1.0, "adversarial")])
def test_a_package_takes_the_decoder_that_was_kept(run: Run, kept: float, decoder: str) -> None:
    Stage(run, "adversarial", "mark", {}).finish({"weight": torch.zeros(1)}, {"kept": kept})
    assert kept_decoder(result_of(run, "adversarial")) == decoder


def test_a_decoder_whose_words_are_spread_computes_the_same() -> None:
    decoder, embedding = small_decoder(), torch.randn(3, EMBEDDING_DIM)
    tokens = torch.randint(1, decoder.config.vocabulary_size, (3, 7))
    before, words = decoder(tokens, embedding), decoder.token_embedding.weight.detach().clone()
    spread_words(decoder)
    torch.testing.assert_close(decoder(tokens, embedding), before, rtol=1e-4, atol=1e-5)
    assert (decoder.token_embedding.weight - words).abs().max() > 0.1


def test_a_backbone_that_is_not_tuned_keeps_its_batch_statistics() -> None:
    trunk = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).requires_grad_(False)
    module = EncoderTraining(cast(Any, None), EncoderSettings(), trunk, cast(Any, torch.nn.Identity()))
    assert module.training and not any(part.training for part in module.train().trunk.modules())
    trunk[1].requires_grad_(True)
    assert all(part.training for part in module.train().trunk.modules())


def test_an_earlier_result_counts_by_what_it_is_and_not_by_its_place(run: Run, tmp_path: Path) -> None:
    for name in ("one", "other"):
        Stage(run, name, name, {}).finish({}, {})
    moved = Path(shutil.copy(result_path(run, "one"), tmp_path / "moved.safetensors"))
    files = (result_path(run, "one"), moved, result_path(run, "other"), None)
    found = [start_of(GeneratorSettings(start=file)) for file in files]
    assert [earlier and earlier.fingerprint for earlier, _ in found] == ["one", "one", "other", None]
    one, again, other, none = (fingerprint(decisive) for _, decisive in found)
    assert one == again and len({one, other, none}) == 3
