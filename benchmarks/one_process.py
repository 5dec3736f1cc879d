"""Photograph to poem in one process: against the reference, split into parts, and each part against its lower bound."""

from __future__ import annotations

import io
import itertools
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from img2poem import BeamSearch, BestOf, Greedy, Img2Poem, Sampling
from img2poem.artifacts.sessions import open_session
from img2poem.decoding.strategies import AnyStrategy
from img2poem.images.decode import decode

from . import floor
from .measure import Times, decoder_inputs, side_by_side
from .reference import STEPS, ReferencePoet
from .report import Claim, Section

STRATEGIES: dict[str, AnyStrategy] = {
    "greedy": Greedy(),
    "beam 10": BeamSearch(width=10),
    "best of 16": BestOf(16),
}
#: Poems of the reference's length, whatever the decoder prefers.
_AS_LONG = BeamSearch(width=10, max_tokens=STEPS, min_lines=16, max_lines=16)


def against_reference(repositories: dict[str, Path], photo: bytes, turns: int) -> Section:
    """Compare with the reference repositories' method: beam 10 in eager torch."""
    poet, image = ReferencePoet(), Image.open(io.BytesIO(photo))
    image.load()
    section = Section("Photograph to poem, beam 10, one process: ms", ["", "ms", "reference / this"])
    poets = {name: Img2Poem(folder) for name, folder in repositories.items()}
    jobs: dict[str, Callable[[], object]] = {
        "reference": lambda: poet.write(image),
        "beam search proper": lambda: poet.write(image, drawing=False),
    }
    for name, one in poets.items():
        jobs[name] = partial(one.write, photo, _AS_LONG)
    found = side_by_side(jobs, turns, warmup=1)
    for name, times in found.items():
        ratio = found["reference"].over(times)
        section.rows.append([name, times, f"{ratio:.0f}"])
        section.numbers[f"reference over {name}"] = ratio
    for one in poets.values():
        one.close()
    section.notes.append(
        f"The same backbones (three ResNet-50) and vocabulary (20,000 words) where it says so; all poems have {STEPS} "
        "tokens. The reference is `benchmarks/reference.py`: its own search, which draws words and copies histories, "
        "and beam search proper, in eager torch too. Ours decodes the JPEG too, and runs its decoder twice a step, "
        "with and without the photograph."
    )
    ratios = section.numbers
    best = max(ratios["reference over ResNet-50"], ratios["reference over ResNet-50, int8"])
    fastest = max(ratios["reference over lite"], ratios["reference over lite, int8"])
    section.claims += [
        Claim("beam 10, ResNet-50: times the reference's speed", best, at_least=50),
        Claim("beam 10, lite: times the reference's speed", fastest, at_least=150),
    ]
    return section


def parts(lite: Path, lite_int8: Path, photo: bytes, turns: int) -> Section:
    """Split a poem into decoding the image, encoding it, and writing; fp32 and int8, batches of 1 and 8."""
    section = Section("The parts of a poem, one process: ms", ["", "batch", "fp32", "int8", "fp32 / int8"])
    for batch in (1, 8):
        jobs: dict[str, Callable[[], object]] = {"decode and resize": lambda n=batch: [decode(photo) for _ in range(n)]}  # type: ignore[misc]
        for precision, folder in (("fp32", lite), ("int8", lite_int8)):
            for name, job in _models(folder, photo, batch).items():
                jobs[f"{name}, {precision}"] = job
        found = side_by_side(jobs, turns)
        section.rows.append(["decode and resize", batch, found["decode and resize"], "", ""])
        for name in ("encoders", *STRATEGIES):
            fp32, int8 = found[f"{name}, fp32"], found[f"{name}, int8"]
            section.rows.append([name, batch, fp32, int8, f"{fp32.over(int8):.2f}"])
            section.numbers[f"{name}, batch {batch}: fp32 over int8"] = fp32.over(int8)
    return section


def whole(lite: Path, lite_int8: Path, photos: list[bytes], turns: int) -> Section:
    """Time ``Img2Poem.write`` from the caller's side; photographs alternate because poems differ in length."""
    section = Section("`Img2Poem(folder).write`: ms", ["", "fp32", "int8", "fp32 / int8"])
    with Img2Poem(lite) as fp32, Img2Poem(lite_int8) as int8:
        jobs: dict[str, Callable[[], object]] = {}
        for name, strategy in {**STRATEGIES, "sampling": Sampling()}.items():
            for precision, poet in (("fp32", fp32), ("int8", int8)):
                turn = itertools.cycle(photos)
                jobs[f"{name}, {precision}"] = lambda w=poet.write, t=turn, s=strategy: w(next(t), s)  # type: ignore[misc]
        found = side_by_side(jobs, turns)
    for name in (*STRATEGIES, "sampling"):
        slow, fast = found[f"{name}, fp32"], found[f"{name}, int8"]
        section.rows.append([name, slow, fast, f"{slow.over(fast):.2f}"])
        section.numbers[f"write, {name}: fp32 over int8"] = slow.over(fast)
    section.claims += [
        Claim("int8 lite, photograph to greedy poem: ms", found["greedy, int8"].median, at_most=40),
        Claim("the same: fp32 / int8", section.numbers["write, greedy: fp32 over int8"], at_least=2),
    ]
    return section


def over_floor(lite: Path, lite_int8: Path, photo: bytes, turns: int) -> Section:
    """Compare encoders and decoding loops with their lower bounds, and decoding the image with Pillow alone."""
    section = Section("Over the floor", ["part", "ms", "floor", "part / floor"])
    bandwidth = _bandwidth()
    for precision, folder in (("fp32", lite), ("int8", lite_int8)):
        jobs = _models(folder, photo, 1)
        encoder = folder / "image_encoder" / "1" / "model.onnx"
        pairs: dict[str, tuple[Callable[[], object], floor.Floor]] = {
            "encoders": (jobs["encoders"], floor.of_encoder(encoder, 1))
        }
        for name, model, rows in (("greedy", "poem_decoder_greedy", 1), ("beam 10", "poem_decoder_beam", 10)):
            path = folder / model / "1" / "model.onnx"
            steps = _steps(path, folder, photo, STRATEGIES[name])
            pairs[name] = (jobs[name], floor.of_loop(path, rows, steps))
            read = floor.bytes_of_loop(path) * steps
            section.notes.append(
                f"{name}, {precision}: {steps} steps that read {read / 1e6:.0f} MB of weights, "
                f"{read / bandwidth * 1e3:.1f} ms at the {bandwidth / 1e9:.1f} GB/s that numpy's sum reads here."
            )
        for name, (job, under) in pairs.items():
            found = side_by_side({"part": job, "floor": under}, turns)
            ratio = found["part"].over(found["floor"])
            section.rows.append([f"{name}, {precision}", found["part"], found["floor"], f"{ratio:.2f}"])
            section.numbers[f"{name}, {precision}, over its floor"] = ratio
    large = _twelve_megapixels(photo)
    found = side_by_side({"ours": lambda: decode(large), "Pillow": lambda: _pillow(large)}, turns)
    ratio = found["ours"].over(found["Pillow"])
    section.rows.append(["decode and resize, 12 megapixels", found["ours"], found["Pillow"], f"{ratio:.2f}"])
    section.numbers["decode and resize over Pillow's"] = ratio
    section.claims += [
        Claim("greedy decoding over its floor", section.numbers["greedy, fp32, over its floor"], at_most=1.5),
        Claim("beam search over its floor", section.numbers["beam 10, fp32, over its floor"], at_most=1.5),
        Claim("encoders over their floor", section.numbers["encoders, fp32, over its floor"], at_most=1.15),
        Claim("decode and resize, 12 megapixels, over Pillow's draft and resize", ratio, at_most=1.3),
    ]
    return section


def cold_start(lite: Path, lite_int8: Path, photo: Path, turns: int) -> Section:
    """Time a new process from its start to its first poem."""
    section = Section("Cold start: seconds from the start of Python to the first poem", ["", "s"])
    script = "import sys; from img2poem import *; Img2Poem(sys.argv[1]).write(sys.argv[2], Greedy())"

    def run(folder: Path) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, "-c", script, str(folder), str(photo)], check=True)

    found = side_by_side({"fp32": run(lite), "int8": run(lite_int8)}, turns, warmup=1)
    for name, times in found.items():
        section.rows.append([name, f"{times.median / 1000:.2f}"])
    section.claims.append(Claim("cold start to the first poem: s", found["fp32"].median / 1000, at_most=1.5))
    return section


def _models(folder: Path, photo: bytes, batch: int) -> dict[str, Callable[[], object]]:
    """Return jobs that run the encoders and each decoder on ``batch`` copies of a photograph."""
    pixels = np.stack([decode(photo)] * batch)
    encoder = _session(folder, "image_encoder")
    [embedding] = encoder.run(["embedding"], {"pixels": pixels})
    jobs: dict[str, Callable[[], object]] = {"encoders": lambda: encoder.run(["embedding"], {"pixels": pixels})}
    models = {"greedy": "poem_decoder_greedy", "beam 10": "poem_decoder_beam", "best of 16": "poem_decoder_candidates"}
    for name, model in models.items():
        session, inputs = _session(folder, model), decoder_inputs(STRATEGIES[name], embedding)
        jobs[name] = partial(session.run, None, inputs)
    return jobs


def _steps(path: Path, folder: Path, photo: bytes, strategy: AnyStrategy) -> int:
    [embedding] = _session(folder, "image_encoder").run(["embedding"], {"pixels": decode(photo)[None]})
    session = open_session(path)
    trace = session.run(None, decoder_inputs(strategy, embedding))
    return int(trace[[output.name for output in session.get_outputs()].index("lengths")].max())


def _session(folder: Path, model: str) -> Any:
    return open_session(folder / model / "1" / "model.onnx")


def _bandwidth() -> float:
    """Return the bytes per second that one core reads from memory, measured by summing 256 MB."""
    large = np.ones(32 * 2**20)
    times: Times = side_by_side({"sum": large.sum}, 5)["sum"]
    return large.nbytes / min(times.samples) * 1000


def _twelve_megapixels(photo: bytes) -> bytes:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(photo)).convert("RGB").resize((4000, 3000), Image.Resampling.BICUBIC).save(
        buffer, "JPEG", quality=90
    )
    return buffer.getvalue()


def _pillow(photo: bytes) -> Image.Image:
    """Decode at a reduced scale and resize, without checks."""
    image = Image.open(io.BytesIO(photo))
    image.draft("RGB", (448, 448))
    return image.convert("RGB").resize((224, 224), Image.Resampling.BICUBIC, reducing_gap=3.0)
