"""The operations of the client as flows: what is asked of which model, wherever the models are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from ..decoding.noise import drawn
from ..decoding.search import Hypotheses, Searches
from ..decoding.strategies import MAX_TOKENS, AnyStrategy, BestOf, Greedy, Sampling
from ..errors import InvalidOption, NoPoem
from ..form.form import Form
from ..form.search import FormSearch
from ..requests import Answer, Flow, Follow, Infer, Line, Tensors, infer, look, one_string
from ..text.orthography import Orthography
from ..text.vocabulary import BOS, EOS, PAD
from .results import Description, Info, Label, Match, Model

if TYPE_CHECKING:
    from ..text.tokenizer import PoemTokenizer

Where = Literal["server", "client"]
Floats = NDArray[np.float32]

_ENSEMBLES = {"beam": "img2poem", "greedy": "img2poem_greedy", "sample": "img2poem_sample", "best": "img2poem_best"}
_OUTPUTS = ("text", "tokens", "score", "length")
#: Rows that a server takes as one batch.
_ROWS = 32
#: Longest text that the aligner reads, its begin and end included.
_MAX_TEXT_TOKENS = 128


class Written(NamedTuple):
    """What a decoder wrote about one photograph."""

    text: str
    tokens: tuple[int, ...]  # end token included
    score: float
    relevance: float | None
    model: Model


class Operations:
    """The operations, and the vocabulary once it is known; for many threads at once."""

    def __init__(self) -> None:
        self._pieces: list[str] | None = None
        self._tokenizer: PoemTokenizer | None = None
        self._searches: Searches | None = None

    def write(self, photo: bytes, strategy: AnyStrategy, form: Form | None, where: Where | None) -> Flow[Written]:
        """Write a poem about an encoded photograph."""
        form = form or Form()
        if not form.only_lines:
            form.check(strategy, (yield from self._searching()).orthography)
        limited = form.limit(strategy)
        if _place(form, where) == "server":
            return _checked((yield from self._served(photo, limited)))
        searches = yield from self._searching()
        # Made first: it refuses what no poem can be.
        formed = None if form.only_lines else FormSearch(searches, form, limited)
        embedding = yield from self.embed_image(photo)
        if formed is None:
            found = yield from self._searched(searches, embedding, limited)
        else:
            found = yield from formed.run(embedding)
        return _checked((yield from self._worded(found, embedding, strategy)))

    def lines(self, photo: bytes, strategy: AnyStrategy, form: Form | None, where: Where) -> Flow[Written]:
        """Yield each line of a poem as it is written; greedy search and sampling can do that."""
        form = form or Form()
        if not isinstance(strategy, Greedy | Sampling) or not form.only_lines:
            raise InvalidOption("only Greedy and Sampling, with no form but lines, write line by line")
        if _place(form, where) == "client":
            return self.write(photo, strategy, form, "client")
        return self._followed(photo, form.limit(strategy))

    def embed_image(self, photo: bytes) -> Flow[Floats]:
        """Return the photograph's place in the poetic space, float32 ``[1, embedding_dim]``."""
        [pixels] = yield from infer("decode_image", {"image": one_string(photo)}, "pixels")
        [embedding] = yield from infer("image_encoder", {"pixels": pixels}, "embedding")
        return embedding

    def embed_poems(self, poems: Sequence[str | Sequence[int]]) -> Flow[Floats]:
        """Return the places of poems, texts or decoded token ids, float32 ``[len(poems), embedding_dim]``."""
        tokenizer = yield from self._reading()
        texts = (poem if isinstance(poem, str) else None for poem in poems)
        ids = [
            [*tokenizer.encode(text.strip())[: _MAX_TEXT_TOKENS - 2], EOS]
            if text is not None
            else list(cast("Any", poem))
            for poem, text in zip(poems, texts, strict=True)
        ]
        parts = []
        for start in range(0, len(ids), _ROWS):
            rows = [[BOS, *row] for row in ids[start : start + _ROWS]]
            width = max(map(len, rows))
            padded = np.array([row + [PAD] * (width - len(row)) for row in rows], np.int64)
            inputs = {"input_ids": padded, "attention_mask": (padded != PAD).astype(np.int64)}
            parts.append((yield from infer("poem_encoder", inputs, "embedding"))[0])
        return np.concatenate(parts)

    def score(self, photo: bytes, poem: str | Sequence[int]) -> Flow[float]:
        """Return the cosine of photograph and poem in the poetic space."""
        image = yield from self.embed_image(photo)
        text = yield from self.embed_poems([poem])
        return float(image[0] @ text[0])

    def search(self, photo: bytes, poems: Sequence[str], k: int) -> Flow[list[Match]]:
        """Return the ``k`` poems nearest to the photograph, the nearest first."""
        image = yield from self.embed_image(photo)
        if not poems:
            return []
        scores = (yield from self.embed_poems(poems)) @ image[0]
        order = np.argsort(-scores, kind="stable")[:k]
        return [Match(poems[i], int(i), round(float(scores[i]), 6)) for i in order]

    def describe(self, photo: bytes, k: int) -> Flow[Description]:
        """Return what the encoders saw, the ``k`` likeliest objects and scenes."""
        [pixels] = yield from infer("decode_image", {"image": one_string(photo)}, "pixels")
        names = ("object_scores", "scene_scores", "sentiment")
        objects, scenes, sentiment = yield from infer("image_encoder", {"pixels": pixels}, *names)
        stamps = (yield from look("image_encoder")).stamps
        valence, arousal = (round(float(value), 3) for value in sentiment[0])
        return Description(
            tuple(_likeliest(objects[0], json.loads(stamps["object_classes"]), k)),
            tuple(_likeliest(scenes[0], json.loads(stamps["scene_classes"]), k)),
            valence,
            arousal,
        )

    def info(self, target: tuple[str, ...]) -> Flow[Info]:
        """Return what the models are."""
        stamps = (yield from look("poem_text")).stamps
        return Info(
            target=target,
            package=stamps["package"],
            contract=stamps["contract"],
            precision=stamps["precision"],
            vocabulary_size=int(stamps["vocabulary_size"]),
            image_size=int(json.loads(stamps["preprocessing"])["size"]),
            tools=json.loads(stamps["tools"]),
        )

    def _followed(self, photo: bytes, strategy: Greedy | Sampling) -> Flow[Written]:
        pieces = (yield from self._decoder_pieces()) if strategy.forbidden else ()
        inputs = {"image": one_string(photo), **line_options(strategy, pieces)}
        lines: dict[int, str] = {}

        def noted(part: Answer) -> Line | None:
            if line := _line(part):
                lines[line.index] = line.text  # once more when the request is tried again
            return line

        outputs = ("line", "index", "final", "tokens", "score")
        closing = cast("Answer", (yield Follow("img2poem_stream", inputs, outputs, noted)))
        stamps = (yield from look("img2poem_stream")).stamps
        return Written(
            "\n".join(text for _, text in sorted(lines.items())),
            tuple(map(int, closing.tensors["tokens"].reshape(-1))),
            float(closing.tensors["score"].item()),
            None,
            Model(stamps["package"], closing.version, stamps["contract"]),
        )

    def _served(self, photo: bytes, strategy: AnyStrategy) -> Flow[Written]:
        pieces = (yield from self._decoder_pieces()) if strategy.forbidden else ()
        inputs = {"image": one_string(photo), **strategy.tensors(pieces)}
        outputs = (*_OUTPUTS, "relevance") if isinstance(strategy, BestOf) else _OUTPUTS
        model = _ENSEMBLES[strategy.name]
        answer = cast("Answer", (yield Infer(model, inputs, outputs)))
        found = answer.tensors
        stamps = (yield from look(model)).stamps
        [text] = found["text"].reshape(-1)
        return Written(
            _text(text),
            tuple(map(int, found["tokens"][0, : int(found["length"][0, 0])])),
            float(found["score"][0, 0]),
            float(found["relevance"][0, 0]) if "relevance" in found else None,
            Model(stamps["package"], answer.version, stamps["contract"]),
        )

    def _searched(self, searches: Searches, embedding: Floats, strategy: AnyStrategy) -> Flow[Hypotheses]:
        options = drawn(strategy.tensors(searches.orthography.pieces))
        if not isinstance(strategy, BestOf):
            search = {"greedy": searches.greedy, "beam": searches.beam, "sample": searches.sample}[strategy.name]
            return (yield from search(embedding, options))
        noise = options.pop("noise")[0]
        rows = {name: np.repeat(value, strategy.n, axis=0) for name, value in options.items()}
        several = np.repeat(embedding, strategy.n, axis=0)
        return (yield from searches.sample(several, {**rows, "noise": noise}))

    def _worded(self, found: Hypotheses, embedding: Floats, strategy: AnyStrategy) -> Flow[Written]:
        """Choose among several poems as the served ``rerank`` does, and put the one into words."""
        relevance = None
        tokens, score, length = found.tokens, found.scores, found.lengths
        if isinstance(strategy, BestOf):
            inputs: Tensors = {
                "candidates": tokens[None],
                "candidate_scores": score[None].astype(np.float32),
                "candidate_lengths": length[None].astype(np.int64),
                "embedding": embedding,
            }
            chosen = yield from infer("rerank", inputs, "tokens", "scores", "lengths", "relevance")
            tokens, score, length = chosen[0], chosen[1][:, 0], chosen[2][:, 0]
            relevance = float(chosen[3][0, 0])
        answer = cast("Answer", (yield Infer("poem_text", {"tokens": tokens}, ("text",))))
        stamps = (yield from look("poem_text")).stamps
        return Written(
            _text(answer.tensors["text"][0, 0]),
            tuple(map(int, tokens[0, : int(length[0])])),
            float(score[0]),
            relevance,
            Model(stamps["package"], answer.version, stamps["contract"]),
        )

    def _decoder_pieces(self) -> Flow[list[str]]:
        size = int((yield from look("poem_text")).stamps["vocabulary_size"])
        return (yield from self._all_pieces())[:size]

    def _all_pieces(self) -> Flow[list[str]]:
        """Return the aligner's vocabulary by id, of which the first ids are the decoder's."""
        if self._pieces is None:
            size = int((yield from look("poem_text")).stamps["aligner_vocabulary_size"])
            rows = np.arange(-(-size // MAX_TOKENS) * MAX_TOKENS).clip(max=size - 1).reshape(-1, MAX_TOKENS)
            parts = []
            for start in range(0, len(rows), _ROWS):
                parts.append((yield from infer("poem_text", {"tokens": rows[start : start + _ROWS]}, "pieces"))[0])
            self._pieces = [_text(piece) for piece in np.concatenate(parts).reshape(-1)[:size]]
        return self._pieces

    def _searching(self) -> Flow[Searches]:
        if self._searches is None:
            pieces = yield from self._decoder_pieces()
            stamps = (yield from look("poem_text")).stamps
            words = (json.loads(stamps[name]) for name in ("contractions", "stems", "forbidden_words"))
            self._searches = Searches(Orthography(pieces, *words))
        return self._searches

    def _reading(self) -> Flow[PoemTokenizer]:
        if self._tokenizer is None:
            from ..text.tokenizer import PoemTokenizer

            self._tokenizer = PoemTokenizer.from_pieces((yield from self._all_pieces()))
        return self._tokenizer


def line_options(strategy: Greedy | Sampling, pieces: Sequence[str] = ()) -> Tensors:
    """Return the options of ``img2poem_stream`` that mean ``strategy``; ``pieces`` is the decoder's vocabulary."""
    tensors = strategy.tensors(pieces)
    return tensors if isinstance(strategy, Sampling) else {**tensors, "temperature": np.zeros((1, 1), np.float32)}


def line_place(where: Where | None, follows: bool) -> Where:
    """Return who decodes a stream of lines, of endpoints that have answers in parts or not.

    Raises:
        InvalidOption: they do not, but the server was demanded.
    """
    if where == "server" and not follows:
        raise InvalidOption("only a server over gRPC writes line by line itself: where='client'")
    return where or ("server" if follows else "client")


def _line(part: Answer) -> Line | None:
    line, index, final = (part.tensors[name].item() for name in ("line", "index", "final"))
    return None if final else Line(index, _text(line))


def _checked(written: Written) -> Written:
    """Refuse what is no poem.

    Raises:
        NoPoem: it has no word.
    """
    if not written.text:
        raise NoPoem("the options leave no word that could come; forbid fewer")
    return written


def _place(form: Form, where: Where | None) -> Where:
    if where not in (None, "server", "client"):
        raise InvalidOption(f"where must be server or client, not {where!r}")
    if form.only_lines:
        return where or "server"
    if where == "server":
        raise InvalidOption("acrostic, rhyme, include and first_words are decoded by the client: where='client'")
    return "client"


def _likeliest(scores: Floats, names: Sequence[str], k: int) -> Iterator[Label]:
    for i in np.argsort(-scores, kind="stable")[:k]:
        yield Label(names[i], round(float(scores[i]), 4))


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
