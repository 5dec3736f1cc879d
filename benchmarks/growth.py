"""Growth of time and memory with batch size, beam width, length of the poem and size of the vocabulary."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from img2poem import BeamSearch, Greedy
from img2poem.artifacts.sessions import open_session
from img2poem.decoding.strategies import AnyStrategy
from img2poem.serving.server import Ports, TritonServer
from img2poem.serving.workers import processes_of_models

from .measure import decoder_inputs, side_by_side
from .reference import STEPS
from .report import Section

#: Keeps every poem from ending before its token limit.
_ENDLESS: dict[str, Any] = {"min_lines": 16, "max_lines": 16}
#: ``getrusage`` would report the parent's peak memory if that is larger.
_CHILD = """
import pathlib, sys
from benchmarks.growth import decoding
from img2poem import BeamSearch, Greedy
decoding(sys.argv[1], sys.argv[2], int(sys.argv[3]), eval(sys.argv[4]))()
print(pathlib.Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""


def decoding(repository: str | Path, model: str, batch: int, strategy: AnyStrategy) -> Callable[[], object]:
    """Return a job that decodes a batch of ``batch`` embeddings."""
    session = open_session(Path(repository) / model / "1" / "model.onnx")
    embedding = np.random.default_rng(0).normal(size=(batch, 512)).astype(np.float32)
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    inputs = decoder_inputs(strategy, embedding)
    return lambda: session.run(["tokens"], inputs)


def time_and_memory(lite: Path, larger: Path, turns: int) -> Section:
    """Vary one parameter at a time; ``larger`` is a repository with twice the vocabulary."""
    section = Section("Growth of decoding", ["", "", "ms", "ms a poem", "peak memory of the process: MB"])
    cases: list[tuple[str, str, Path, str, int, AnyStrategy]] = []
    for batch in (1, 4, 8, 16, 32):
        cases.append(("batch, greedy", str(batch), lite, "poem_decoder_greedy", batch, Greedy(**_ENDLESS)))
    for width in (1, 2, 5, 10):
        beam = BeamSearch(width=width, **_ENDLESS)
        cases.append(("beam width", str(width), lite, "poem_decoder_beam", 1, beam))
    for tokens in (16, 32, 64, 96):
        short = Greedy(max_tokens=tokens, **_ENDLESS)
        cases.append(("tokens, greedy", str(tokens), lite, "poem_decoder_greedy", 1, short))
    for size, repository in (("10,240", lite), ("20,000", larger)):
        # The length limit of the larger repository's decoder.
        short = Greedy(max_tokens=STEPS, **_ENDLESS)
        cases.append(("vocabulary, greedy", size, repository, "poem_decoder_greedy", 1, short))
    for kind in dict.fromkeys(case[0] for case in cases):
        same = [case for case in cases if case[0] == kind]
        found = side_by_side({case[1]: decoding(*case[2:]) for case in same}, turns)
        for case in same:
            times, memory = found[case[1]], _peak(*case[2:])
            section.rows.append([kind, case[1], times, f"{times.median / case[4]:.1f}", f"{memory:.0f}"])
            section.numbers[f"{kind} {case[1]}: ms"] = times.median
    return section


def sizes(package: Path, repositories: dict[str, Path]) -> Section:
    """Return the sizes of package and repositories, and a server's memory by model."""
    section = Section("Sizes: MB", ["", "on disk", "of the server, all processes", "the largest models"])
    section.rows.append([str(package), f"{_size(package):.0f}", "", ""])
    for name, repository in repositories.items():
        with TritonServer(repository, Ports.free()) as server:
            resident = {model: _resident(ids) for model, ids in processes_of_models(server.pid or 0).items()}
        largest = sorted(resident.items(), key=lambda one: -one[1])[:4]
        told = ", ".join(f"{model} {size:.0f}" for model, size in largest)
        section.rows.append([f"repository, {name}", f"{_size(repository):.0f}", f"{sum(resident.values()):.0f}", told])
    return section


def _peak(repository: Path, model: str, batch: int, strategy: AnyStrategy) -> float:
    command = [sys.executable, "-c", _CHILD, str(repository), model, str(batch), repr(strategy)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1024


def _size(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def _resident(processes: Sequence[int]) -> float:
    """Return the memory of processes; shared memory is divided among its users (PSS)."""
    lines = [line for one in processes for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
