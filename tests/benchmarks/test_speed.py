"""The tools of the speed figures: alternation, ratios, lower bounds, the report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from benchmarks import floor
from benchmarks.measure import Times, side_by_side
from benchmarks.report import Claim, Report, Section


def test_jobs_take_turns_after_a_warm_up() -> None:
    ran: list[str] = []
    found = side_by_side({"a": lambda: ran.append("a"), "b": lambda: ran.append("b")}, turns=3, warmup=1)
    assert "".join(ran) == "ab" + "ababab"
    assert [len(times.samples) for times in found.values()] == [3, 3]


def test_a_ratio_is_of_turns_so_that_a_slow_spell_falls_on_both() -> None:
    ours, theirs = Times([1.0, 1.0, 50.0]), Times([2.0, 2.0, 100.0])
    assert theirs.over(ours) == 2.0
    assert ours.median == 1.0 and ours.percentile(99) == pytest.approx(49.02)


def test_the_report_names_the_aims_that_were_missed(tmp_path: Path) -> None:
    section = Section(
        "Speed", ["what", "ms"], [["poem", 3]], [Claim("fast", 3, at_most=2), Claim("good", 3, at_least=2)]
    )
    Report("python -m benchmarks.all", [section]).write(tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| fast | 3 | at most 2 | **no** |" in text and "| good | 3 | at least 2 | yes |" in text
    assert "| poem | 3 |" in text
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["sections"][0]["claims"][0]["value"] == 3


def test_the_floor_of_a_loop_has_its_products_and_nothing_else(repository: Path) -> None:
    path = repository / "poem_decoder_greedy" / "1" / "model.onnx"
    floor.of_loop(path, rows=2, steps=3)()
    weights = [tensor for tensor in onnx.load(path).graph.initializer if len(tensor.dims) == 2]
    read = floor.bytes_of_loop(path)
    assert 10240 * 256 * 4 < read < sum(int(np.prod(tensor.dims)) * 4 for tensor in weights)


def test_the_floor_of_an_encoder_runs_its_convolutions(repository: Path) -> None:
    under = floor.of_encoder(repository / "image_encoder" / "1" / "model.onnx", batch=2)
    under()
    assert under.operators == {"Concat", "Conv", "Gemm", "ReduceMean"}
