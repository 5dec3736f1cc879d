"""Draw the figures of the docs from saved JSON: ``python -m benchmarks.plots``.

    python -m benchmarks.plots                                       # redraw the data in docs/figures/*.json
    python -m benchmarks.plots --report benchmarks/results/report.json --run runs/lite     # import new results

``report.json`` is the output of ``benchmarks.all``. ``training.json`` collects the ``curves.json`` of a run's stages.
Quality figures come from the evaluation in the model package.
"""

from __future__ import annotations

import io
import json
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import matplotlib
import typer
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from img2poem.artifacts.package import Package
from img2poem.cli.console import reporting, tell
from img2poem.errors import InvalidOption
from img2poem.files.atomic import write_atomically

#: Okabe and Ito's palette, safe for colour blindness, on a white card: legible on light and dark pages.
_STYLE: dict[Any, Any] = {
    "axes.prop_cycle": cycler(color=["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000"]),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": "medium",
    "figure.constrained_layout.h_pad": 0.12,
    "figure.constrained_layout.w_pad": 0.12,
    "figure.facecolor": "white",
    "font.size": 10,
    "grid.color": "#dddddd",
    "legend.frameon": False,
    # Makes files reproducible, with text as text.
    "svg.fonttype": "none",
    "svg.hashsalt": "img2poem",
}
#: Names of the strategies in the benchmarks and in the evaluation.
_STRATEGIES = {"greedy": "greedy", "sampling": "sampled", "beam 5": "beam", "best of 16": "best of 16"}
_ALONE, _LOAD = "One caller: ms", "Served by Triton"
STAGES = ("scene", "sentiment", "alignment", "teacher", "generator", "adversarial")


def quality_against_speed(report: dict[str, Any], evaluation: dict[str, Any]) -> Figure:
    """Draw the relevance and the diversity of each strategy's poems over its time.

    Args:
        report: report of ``benchmarks.all`` with the section ``overhead``.
        evaluation: evaluation of the model package.
    """
    rows = {row[0]: row for row in section(report, _ALONE)["rows"]}
    systems = evaluation["systems"]
    measures = {
        "caption_r10_by_judge": "captions found, R@10 among 1,000",
        "distinct_2": "distinct bigrams among the first 20,000",
    }
    figure = Figure((9, 4), layout="constrained")
    for axes, (measure, title) in zip(figure.subplots(1, 2), measures.items(), strict=True):
        for strategy, system in _STRATEGIES.items():
            milliseconds, value = median(rows[strategy][1]), systems[system][measure]
            axes.plot(milliseconds, value, "o", markersize=9, label=strategy)
        axes.set(title=title, xlabel="ms a poem, in process", xscale="log")
        axes.margins(0.15, 0.15)
        axes.grid(axis="y")
        _plain_ticks(axes, (20, 40, 80, 160, 320))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def latency_under_load(report: dict[str, Any]) -> Figure:
    """Draw latency and throughput over the number of callers, one line per interface.

    Args:
        report: report of ``benchmarks.all`` with the section ``load``.
    """
    ways: dict[str, list[tuple[int, float, float, float]]] = {}
    for way, callers, middle, slow, _, rate, _ in section(report, _LOAD)["rows"]:
        ways.setdefault(way, []).append((int(callers), float(middle), float(slow), float(rate)))
    figure = Figure((9, 5), layout="constrained")
    latency, throughput = figure.subplots(1, 2)
    for way, found in ways.items():
        callers, middles, slows, rates = zip(*found, strict=True)
        [line] = latency.plot(callers, middles, "o-", label=way, markersize=4)
        latency.fill_between(callers, middles, slows, color=line.get_color(), alpha=0.12, linewidth=0)
        throughput.plot(callers, rates, "o-", markersize=4)
    latency.set(title="ms, median; shaded up to the 95th percentile", xlabel="callers", xscale="log", yscale="log")
    latency.yaxis.set_major_formatter("{x:g}")
    throughput.set(title="answers a second", xlabel="callers", xscale="log", ylim=(0, None))
    for axes in (latency, throughput):
        _plain_ticks(axes, sorted({found[0] for way in ways.values() for found in way}))
        axes.grid(axis="y")
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def training_curves(stages: dict[str, dict[str, list[tuple[int, float]]]]) -> Figure:
    """Draw each stage's logged curves over the steps: losses above, validation measures below.

    Args:
        stages: curves by stage, in order.
    """
    figure = Figure((3 * len(stages), 5.5), layout="constrained")
    columns = figure.subplots(2, len(stages), squeeze=False).T
    for (stage, curves), column in zip(stages.items(), columns, strict=True):
        for axes, kind in zip(column, ("train", "validation"), strict=True):
            for name, points in curves.items():
                if name.startswith(f"{kind}/"):
                    axes.plot(*zip(*points, strict=True), label=name.partition("/")[2].replace("_", " "))
            if axes.lines:  # short runs log no losses
                axes.legend(fontsize="x-small")
            axes.grid(axis="y")
        column[0].set_title(stage)
        column[1].set_xlabel("steps")
    columns[0][0].set_ylabel("training")
    columns[0][1].set_ylabel("validation")
    return figure


def section(report: dict[str, Any], title: str) -> dict[str, Any]:
    """Return a section of a report.

    Raises:
        InvalidOption: there is no such section.
    """
    found: list[dict[str, Any]] = [one for one in report.get("sections", ()) if one["title"] == title]
    if not found:
        raise InvalidOption(f"the report has no section {title!r}; measure it by python -m benchmarks.all")
    return found[0]


def median(times: dict[str, list[float]]) -> float:
    """Return the median of durations in a report's JSON, in ms."""
    return statistics.median(times["samples"])


def drawn(figure: Callable[[], Figure]) -> bytes:
    """Return a figure as SVG in the style of the docs."""
    file = io.BytesIO()
    with matplotlib.rc_context(_STYLE):
        figure().savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    # matplotlib leaves trailing spaces.
    return b"\n".join(line.rstrip() for line in file.getvalue().splitlines()) + b"\n"


def _figures(report: Any, training: Any, weights: Path) -> dict[str, Callable[[], Figure]]:
    """Return the figures that can be drawn, by file name."""
    found: dict[str, Callable[[], Figure]] = {}
    titles = {one["title"] for one in report.get("sections", ())}
    if _ALONE in titles:
        evaluation = Package.open(weights).config.metrics.get("evaluation")
        if not evaluation:
            raise InvalidOption(f"{weights} holds no evaluation; python -m training.all writes one")
        found["quality-speed"] = lambda: quality_against_speed(report, evaluation)
    if _LOAD in titles:
        found["load"] = lambda: latency_under_load(report)
    if training:
        found["training"] = lambda: training_curves(training)
    return found


def _plain_ticks(axes: Axes, values: Iterable[float]) -> None:
    axes.set_xticks(ticks := list(values), [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()


def _loaded(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidOption(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _saved(path: Path) -> Any:
    return _loaded(path) if path.exists() else {}


def _curves_of(run: Path) -> dict[str, Any]:
    found = {stage: _loaded(path) for stage in STAGES if (path := run / stage / "curves.json").exists()}
    if not found:
        raise InvalidOption(f"no stage of {run} has a curves.json; name the folder of a run that training has finished")
    return found


def main(
    folder: Annotated[Path, typer.Option(help="Folder of the saved JSON and of the figures.")] = Path("docs/figures"),
    weights: Annotated[Path, typer.Option(help="Model package with its evaluation.")] = Path("weights/lite"),
    report: Annotated[
        Path | None, typer.Option(help="report.json of benchmarks.all that replaces the saved one.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="Folder of a training run, as runs/lite; its stages' curves are used.")
    ] = None,
) -> None:
    """Draw every figure whose saved JSON exists."""
    with reporting():
        new = {"report": report and _loaded(report), "training": run and _curves_of(run)}
        saved = {name: value or _saved(folder / f"{name}.json") for name, value in new.items()}
        pictures = {
            name: drawn(figure) for name, figure in _figures(saved["report"], saved["training"], weights).items()
        }
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in new.items():
            if value:
                write_atomically(folder / f"{name}.json", json.dumps(value, indent=1) + "\n")
        for name, picture in pictures.items():
            write_atomically(folder / f"{name}.svg", picture)
            tell(f"{folder / name}.svg written")


if __name__ == "__main__":
    typer.run(main)
