"""Draws ``chain.svg`` and ``ensemble.svg`` of how-it-works.md: ``python docs/diagrams.py``.

Each drawing brings its own background, light or dark as the reader's system wants it, so that it can be read on any
page. Text stays text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

STYLE = """
.page { fill: #ffffff; stroke: #d0d7de } .box { fill: #eef3fb; stroke: #5b7db1 } .end { fill: #fdf4e3; stroke: #b08430 }
.group { fill: none; stroke: #8c959f; stroke-dasharray: 4 4 } .arrow { fill: none; stroke: #57606a; stroke-width: 1.5 }
.head { fill: #57606a } text { fill: #1f2328; font: 14px sans-serif } .small { fill: #57606a; font-size: 12px }
.tensor { fill: #1a5fb4; font: 12px monospace } .name { font: bold 14px sans-serif }
@media (prefers-color-scheme: dark) {
.page { fill: #0d1117; stroke: #30363d } .box { fill: #17233a; stroke: #6b8fc9 } .end { fill: #2d2412; stroke: #c79a45 }
.group { stroke: #6e7681 } .arrow { stroke: #9aa4af } .head { fill: #9aa4af } text { fill: #e6edf3 }
.small { fill: #9aa4af } .tensor { fill: #7ab7ff } }
"""

Point = tuple[float, float]


@dataclass
class Drawing:
    """Shapes in the order in which they are drawn."""

    width: int
    height: int
    title: str
    shapes: list[str] = field(default_factory=list)

    def box(self, x: float, y: float, w: float, h: float, name: str, *lines: str, kind: str = "box") -> None:
        """Draw a rectangle with its name and lines of small text, all in its middle."""
        self.shapes.append(f'<rect class="{kind}" x="{x}" y="{y}" width="{w}" height="{h}" rx="6"/>')
        top = y + h / 2 + 5 - 8 * len(lines)
        self.text(x + w / 2, top, name, "name")
        for number, line in enumerate(lines, start=1):
            self.text(x + w / 2, top + 16 * number, line, "small")

    def group(self, x: float, y: float, w: float, h: float, name: str) -> None:
        """Draw a dashed frame with a name above its upper edge."""
        self.shapes.append(f'<rect class="group" x="{x}" y="{y}" width="{w}" height="{h}" rx="8"/>')
        if name:
            self.text(x + w / 2, y - 7, name, "small")

    def text(self, x: float, y: float, text: str, kind: str = "small", anchor: str = "middle") -> None:
        """Write ``text`` with its baseline at ``y``."""
        self.shapes.append(f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>')

    def arrow(self, points: Sequence[Point], label: str = "", at: Point | None = None, anchor: str = "middle") -> None:
        """Draw a line through ``points`` with a head at its end, and a tensor's name at ``at``."""
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        self.shapes.append(f'<polyline class="arrow" points="{path}" marker-end="url(#head)"/>')
        if label:
            x, y = at or ((points[0][0] + points[-1][0]) / 2, points[0][1] - 6)
            self.text(x, y, label, "tensor", anchor)

    def svg(self) -> str:
        """Return the file's text."""
        head = (
            '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
            'markerUnits="userSpaceOnUse" orient="auto"><path class="head" d="M0,0 L8,4 L0,8 z"/></marker>'
        )
        page = f'<rect class="page" x="0.5" y="0.5" width="{self.width - 1}" height="{self.height - 1}" rx="8"/>'
        size = f'width="{self.width}" height="{self.height}" viewBox="0 0 {self.width} {self.height}"'
        start = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
        lines = [start, f"<title>{escape(self.title)}</title>", f"<style>{STYLE}</style>", f"<defs>{head}</defs>", page]
        return "\n".join([*lines, *self.shapes, "</svg>"]) + "\n"


def chain() -> Drawing:
    """From a photograph to a poem, in two rows: what is seen, and what is written."""
    d = Drawing(984, 392, "From a photograph to a poem")
    d.box(24, 82, 104, 56, "photograph", "JPEG, PNG, …", kind="end")
    d.arrow([(128, 110), (166, 110)])
    d.box(166, 82, 104, 56, "decode", "and resize")
    d.arrow([(270, 110), (392, 110)], "pixels", (329, 102))
    d.text(331, 128, "224 x 224 x 3")
    d.group(392, 40, 170, 142, "encoders")
    for row, (name, about) in enumerate(
        [("object", "ImageNet, 1,000"), ("scene", "MiniPlaces, 100"), ("sentiment", "valence, arousal")]
    ):
        d.box(402, 50 + 44 * row, 150, 36, name, about)
    d.arrow([(562, 110), (640, 110)], "features")
    d.box(640, 82, 120, 56, "projection", "to length 1")
    d.arrow([(760, 110), (818, 110)])
    d.box(818, 82, 118, 56, "embedding", "float32 [512]", kind="end")

    d.arrow([(877, 138), (877, 260)])
    d.text(886, 196, "a point of the", anchor="start")
    d.text(886, 212, "poetic space", anchor="start")
    d.box(806, 260, 142, 72, "GRU decoder", "greedy, beam,", "sampling")
    d.arrow([(806, 296), (640, 296)], "tokens", (722, 288))
    d.text(722, 314, "n poems, scores")
    d.group(392, 248, 248, 106, "")
    d.text(516, 344, "aligner: the poems in the same space")
    d.box(404, 268, 104, 56, "cosine", "the nearest")
    d.box(544, 268, 84, 56, "BERT", "projection")
    d.arrow([(544, 296), (508, 296)])
    d.arrow([(840, 138), (840, 218), (456, 218), (456, 268)])
    d.text(648, 211, "the photograph's embedding")
    d.arrow([(392, 296), (300, 296)], "tokens", (346, 288))
    d.box(196, 268, 104, 56, "pieces", "to lines")
    d.arrow([(196, 296), (128, 296)], "text", (162, 288))
    d.box(24, 268, 104, 56, "poem", kind="end")
    d.text(492, 376, "greedy search and beam search write one poem, which needs no choice")
    return d


def ensemble() -> Drawing:
    """The ensemble img2poem_best: its six steps from top to bottom, between request and answer."""
    d = Drawing(880, 590, "The ensemble img2poem_best")
    steps = [
        ("decode_image", "Python: Pillow"),
        ("image_encoder", "ONNX"),
        ("candidate_noise", "ONNX, integers"),
        ("poem_decoder_candidates", "ONNX Loop"),
        ("rerank", "ONNX: the aligner"),
        ("poem_text", "ONNX, strings"),
    ]
    x, w, h = 300.0, 230.0, 48.0
    tops = [40 + 92 * row for row in range(len(steps))]
    left, right, request, answer, rail = x, x + w, 150.0, 740.0, 596.0
    d.box(24, 40, 126, 508, "request", "one photograph", kind="end")
    d.box(740, 40, 116, 508, "answer", "one poem", kind="end")
    for top, (name, about) in zip(tops, steps, strict=True):
        d.box(x, top, w, h, name, about)
    middle = [top + h / 2 for top in tops]

    d.arrow([(request, middle[0] - 8), (left, middle[0] - 8)], "image")
    d.arrow([(request, middle[0] + 12), (left, middle[0] + 12)], "options, seed, n", (225, middle[0] + 28))
    d.arrow([(request, middle[2]), (left, middle[2])], "seed, n")
    d.arrow([(request, middle[3]), (left, middle[3])], "options")

    down = x + 60
    for row, name in enumerate(["pixels", "", "noise", "drawn_candidates", "decoded"]):
        if name:
            d.arrow([(down, tops[row] + h), (down, tops[row + 1])], name, (down + 8, tops[row] + h + 27), "start")
    d.text(down + 8, tops[3] + h + 41, "their scores and lengths", anchor="start")

    d.arrow([(right, middle[1]), (rail, middle[1]), (rail, middle[2]), (right, middle[2])], "encoded", (564, 150))
    d.arrow([(rail, middle[2]), (rail, middle[3]), (right, middle[3])])
    d.arrow([(rail, middle[3]), (rail, middle[4] - 8), (right, middle[4] - 8)])
    d.text(rail + 8, middle[2] + 4, "for the order alone", anchor="start")

    d.arrow([(right, middle[4] + 12), (answer, middle[4] + 12)], "score, length,", (660, middle[4] + 6))
    d.text(660, middle[4] + 28, "embedding, relevance", "tensor")
    d.arrow([(right, middle[5]), (answer, middle[5])], "text, tokens", (636, middle[5] - 6))
    d.text(440, 574, "options: min_lines, max_lines, …, top_k, top_p; decode_image refuses those out of range")
    return d


DRAWINGS = {"chain.svg": chain, "ensemble.svg": ensemble}

if __name__ == "__main__":
    for name, draw in DRAWINGS.items():
        (Path(__file__).parent / name).write_text(draw().svg(), encoding="utf-8")
