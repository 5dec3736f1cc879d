from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from export import build, parity
from export.all import export
from export.repository import HEADER, may_be_replaced
from export.settings import Settings
from img2poem.artifacts.inspection import inspect
from img2poem.errors import BadPackage, BadRepository
from img2poem.files.atomic_folder import replacing

from ..conftest import ROOT, WEIGHTS


@pytest.fixture
def copy(repository: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(repository, tmp_path / "repository"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_nothing_changed_nothing_done(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unexpected(*args: Any) -> None:
        raise AssertionError("exported again")

    monkeypatch.setattr(build, "build", unexpected)
    assert export(WEIGHTS, copy) is False
    with pytest.raises(AssertionError, match="exported again"):
        export(WEIGHTS, copy, Settings(device="gpu"))


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_a_damaged_repository_is_not_taken_for_current(
    copy: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = copy / "poem_text" / "config.pbtxt"
    victim.write_text("") if damage == "changed" else victim.unlink()
    monkeypatch.setattr(build, "build", lambda *args: iter([build.Row("all", "python")]))
    assert export(WEIGHTS, copy) is True


def test_a_file_that_differs_from_torch_leaves_the_old_repository(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(copy)
    monkeypatch.setattr(parity, "TOLERANCE", -1.0)
    with pytest.raises(parity.ParityError, match=r"image_encoder\.embedding, batch 1: differs from torch"):
        export(WEIGHTS, copy, force=True, processes=1)
    assert contents(copy) == before
    assert [p.name for p in copy.parent.iterdir() if not p.name.endswith(".lock")] == ["repository"]


def test_the_command_fails_with_one_line_and_no_repository(tmp_path: Path) -> None:
    shutil.copytree(WEIGHTS, tmp_path / "weights")
    (tmp_path / "weights" / "tokenizer.json").unlink()
    command = [sys.executable, "-m", "export.all", "--weights", str(tmp_path / "weights"), "--out", str(tmp_path / "o")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and not (tmp_path / "o").exists()
    assert "tokenizer.json" in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_missing_package_says_how_to_train_one(tmp_path: Path) -> None:
    with pytest.raises(BadPackage, match=r"training\.all"):
        export(tmp_path / "none", tmp_path / "out")


def test_a_folder_of_something_else_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(BadRepository, match="holds something else"):
        export(WEIGHTS, tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_only_an_export_or_the_tracked_folder_may_be_replaced(tmp_path: Path) -> None:
    assert may_be_replaced(ROOT / "triton_repo")
    own = tmp_path / "noise" / "config.pbtxt"
    own.parent.mkdir()
    own.write_text('name: "noise"')
    assert not may_be_replaced(tmp_path)
    own.write_text(HEADER + 'name: "noise"')
    assert may_be_replaced(tmp_path)
    (tmp_path / "notes").mkdir()
    assert not may_be_replaced(tmp_path)


def test_what_a_kill_leaves_is_cleared_and_the_old_one_comes_back(copy: Path) -> None:
    """State after a kill between the two renames: the old repository is moved away, the new one is still staged."""
    before = contents(copy)
    copy.rename(copy.with_name("repository.old"))
    copy.with_name("repository.new").mkdir()

    def broken() -> Iterator[None]:
        with replacing(copy, may_be_replaced, BadRepository):
            yield
            raise ValueError

    attempt = broken()
    next(attempt)
    with pytest.raises(ValueError):
        next(attempt)
    assert contents(copy) == before
    assert not copy.with_name("repository.old").exists() and not copy.with_name("repository.new").exists()


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="needs a folder that nobody can write to")
@pytest.mark.parametrize(
    ("out", "says"), [("/proc", "is a mount point"), ("/proc/repository", "nothing was replaced: make room")]
)
def test_where_nothing_can_be_written_says_so_before_any_work(out: str, says: str) -> None:
    command = [sys.executable, "-m", "export.all", "--out", out]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and says in done.stderr and "Traceback" not in done.stderr


SMALL = ["--models", "decoder_init,decoder_step,poem_text"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of a few models, exported in seconds."""
    out = tmp_path_factory.mktemp("small") / "repository"
    export(WEIGHTS, out, Settings(models=("decoder_init", "decoder_step", "poem_text")))
    return out


def started(out: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "export.all", "--out", str(out), *SMALL, "--force", *options]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def test_an_export_killed_at_any_moment_leaves_a_whole_repository_or_none(small: Path, tmp_path: Path) -> None:
    """Random moments during an export of seconds; ``benchmarks.kills`` tries more of them."""
    out = Path(shutil.copytree(small, tmp_path / "repository"))
    began = time.monotonic()
    assert started(out).wait() == 0
    whole = time.monotonic() - began
    random = np.random.default_rng(0)
    for part in np.arange(5):
        before = contents(out) if out.exists() else {}
        process = started(out)
        time.sleep(whole * (part + random.random()) / 5)
        process.kill()
        process.wait()
        if not out.exists():  # killed between the two renames: the old one is moved away
            out.with_name("repository.old").rename(out)
        assert contents(out) == before or not inspect(out).problems


def test_two_exports_at_once_do_not_mix(small: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(small, tmp_path / "repository"))
    first = started(out, "--max-batch", "16")
    while not out.with_name("repository.new").exists():
        assert first.poll() is None
        time.sleep(0.02)
    second = started(out, "--max-batch", "8")
    _, errors = second.communicate()
    assert second.returncode == 1 and "another process is writing" in errors
    assert first.wait() == 0 and not inspect(out).problems
    assert "max_batch_size: 16" in (out / "decoder_init" / "config.pbtxt").read_text()


def test_configs_are_complete_and_agree_with_the_files(repository: Path) -> None:
    configs = {}
    for path in repository.glob("*/config.pbtxt"):
        configs[path.parent.name] = text_format.Parse(path.read_text(), pb.ModelConfig())
    manifest = json.loads((repository / "manifest.json").read_text())
    assert len(configs) == 23
    for name, config in configs.items():
        assert config.name == name and (8 <= config.max_batch_size <= 32 or name == "img2poem_stream")
        assert config.version_policy.HasField("latest")
        assert config.parameters["img2poem.contract"].string_value == manifest["contract"]
        if config.platform != "ensemble":
            assert config.instance_group and config.HasField("dynamic_batching") == (name != "candidate_noise")
        assert config.response_cache.enable == (config.platform == "ensemble")
    ensembles = {name for name, config in configs.items() if config.platform == "ensemble"}
    assert ensembles == {"img2poem", "img2poem_greedy", "img2poem_sample", "img2poem_best", "img2poem_pixels"}
    for name in ensembles:
        for step in configs[name].ensemble_scheduling.step:
            served = configs[step.model_name]
            needed = {t.name for t in served.input if not t.optional}
            assert needed <= set(step.input_map) <= {t.name for t in served.input}
            assert set(step.output_map) <= {t.name for t in served.output}
            assert served.max_batch_size >= configs[name].max_batch_size
