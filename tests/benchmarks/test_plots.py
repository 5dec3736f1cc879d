"""The figures of the docs, drawn from real output of the benchmarks and the training."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from benchmarks import plots, served
from benchmarks.measure import Times, milliseconds
from benchmarks.photographs import photographs
from benchmarks.report import Report, Section
from img2poem.errors import InvalidOption
from img2poem.serving.server import TritonServer

from ..conftest import ROOT, WEIGHTS

FIGURES = ROOT / "docs" / "figures"


def texts(svg: bytes) -> str:
    return " ".join("".join(element.itertext()) for element in ElementTree.fromstring(svg).iter())  # noqa: S314  what we drew


def written(folder: Path, *sections: Section) -> dict[str, object]:
    Report("python -m benchmarks.all", list(sections)).write(folder)
    found: dict[str, object] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return found


def test_load_is_drawn_from_what_the_benchmark_measures(
    repository: Path, server: TritonServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = served.ways

    @contextmanager
    def some(running: TritonServer) -> Iterator[list[served.Way]]:
        with every(running) as found:
            yield [found[0], found[-1]]

    # The real code on the running server, reduced to seconds: two interfaces, each job once.
    monkeypatch.setattr(served, "TritonServer", lambda *_: nullcontext(server))
    monkeypatch.setattr(served, "CONCURRENCIES", (1, 16))
    monkeypatch.setattr(served, "ways", some)
    monkeypatch.setattr(
        served, "side_by_side", lambda jobs, turns: {name: Times([milliseconds(job)]) for name, job in jobs.items()}
    )
    section = served.under_load(repository, photographs(2), 0.01)
    figure = plots.latency_under_load(written(tmp_path, section))
    latency, throughput = figure.axes
    assert [line.get_label() for line in latency.lines] == ["one call, greedy (gRPC)", "client decodes, greedy"]
    for axes, number in ((latency, "ms"), (throughput, "poems a second")):
        callers, drawn = axes.lines[0].get_data()
        assert list(callers) == [1, 16]
        wanted = [section.numbers[f"one call, greedy (gRPC), {n} callers: {number}"] for n in (1, 16)]
        assert list(drawn) == pytest.approx(wanted, rel=0.05, abs=0.6), "as the table has them, rounded"


def test_quality_is_set_against_the_time_of_the_same_strategy(tmp_path: Path) -> None:
    rows = [
        [name, Times([ms])]
        for name, ms in (("greedy", 40.0), ("sampling", 45.0), ("beam 5", 80.0), ("best of 16", 350.0))
    ]
    report = written(tmp_path, Section("One caller: ms", ["", "in process"], rows))
    systems = {
        name: {"caption_r10_by_judge": 0.3, "distinct_2": 0.5} for name in ("greedy", "sampled", "beam", "best of 16")
    }
    figure = plots.quality_against_speed(report, {"systems": systems})
    drawn = {tuple(line.get_xydata()[0]) for line in figure.axes[0].lines}
    assert drawn == {(40.0, 0.3), (45.0, 0.3), (80.0, 0.3), (350.0, 0.3)}


def test_the_command_takes_in_results_and_draws_the_same_again(tmp_path: Path) -> None:
    run, folder = tmp_path / "runs" / "lite", tmp_path / "figures"
    for stage in ("generator", "scene"):
        (run / stage).mkdir(parents=True)
        curves = {"train/nats": [[20, 5.0], [40, 4.0]], "validation/nats_by_photo": [[40, 5.5]]}
        (run / stage / "curves.json").write_text(json.dumps(curves))
    command, options = plots_command(), ["--folder", str(folder), "--weights", str(WEIGHTS)]
    assert CliRunner().invoke(command, [*options, "--run", str(run)]).exit_code == 0
    first = (folder / "training.svg").read_bytes()
    text = texts(first)
    assert text.index("scene") < text.index("generator") and "nats by photo" in text
    assert CliRunner().invoke(command, options).exit_code == 0
    assert (folder / "training.svg").read_bytes() == first
    assert {path.name for path in folder.iterdir()} == {"training.json", "training.svg"}


def test_results_that_are_not_there_are_named(tmp_path: Path) -> None:
    found = CliRunner().invoke(plots_command(), ["--folder", str(tmp_path / "f"), "--run", str(tmp_path)])
    assert found.exit_code == 2 and "curves.json" in found.output
    assert not (tmp_path / "f").exists()
    with pytest.raises(InvalidOption, match="no section 'Served by Triton'"):
        plots.latency_under_load({"sections": []})


def test_the_committed_figures_are_of_the_committed_results(tmp_path: Path) -> None:
    for path in FIGURES.glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    found = CliRunner().invoke(plots_command(), ["--folder", str(tmp_path), "--weights", str(WEIGHTS)])
    assert found.exit_code == 0, found.output
    names = {path.name for path in tmp_path.glob("*.svg")}
    assert names == {path.name for path in FIGURES.glob("*.svg")}
    # Positions of numbers may differ between versions of matplotlib; texts may not.
    for name in names:
        assert texts((tmp_path / name).read_bytes()) == texts((FIGURES / name).read_bytes())
        assert not re.search(rb"<image|<script", (FIGURES / name).read_bytes())


def plots_command() -> object:
    import typer

    app = typer.Typer()
    app.command()(plots.main)
    return app
