"""The operations of the client as flows: which model is asked for what, wherever the models are.

The life of a request, ``Img2Poem("grpc://HOST:8001").write("photo.jpg")``:

1. ``client.client.Img2Poem.write`` checks the arguments (``arguments``), reads the file and checks its header
   (``shared.checked``), and starts a ``requests.Call``: a deadline and an id.
2. ``Operations.write`` is a generator, the *flow*. It yields ``requests.Infer``: the model ``img2poem_best``, the
   encoded photograph, and the option tensors of the strategy (``decoding.strategies``).
3. ``drivers.Driver`` runs the flow in a ``session.Session``. The session chooses the endpoint, compares the contract
   hash once per model, and yields ``Send``; the driver calls the endpoint's ``infer``.
4. ``transports.grpc.GrpcEndpoint`` sends the tensors and turns each gRPC status into an error of ``img2poem.errors``.
   The driver throws an error back into the session, which retries, turns to the next endpoint, or raises it.
5. The answer goes back into the flow, which reads text, tokens, score and relevance from it.
6. ``shared.poem_of`` makes the ``results.Poem``, with timings and request id.

In process, ``transports.local.LocalEndpoint`` takes the place of step 4. With ``where="client"`` or a form, the flow
yields many requests instead of one: ``decode_image``, ``image_encoder``, then ``decoder_step`` for each token
(``decoding.search``, ``form.search``), ``rerank`` and ``poem_text``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from ..decoding.noise import drawn
from ..decoding.registry import registered
from ..decoding.search import Hypotheses, Searches
from ..decoding.strategies import AnyStrategy, BestOf, Greedy, Sampling
from ..errors import InvalidOption, NoPoem
from ..form.form import Form
from ..form.search import FormSearch
from ..requests import Answer, Classify, Flow, Follow, Infer, Line, Tensors, infer, look, one_string
from ..text.vocabulary import BOS, EOS, PAD
from .results import Description, Info, Label, Match, Model
from .served_vocabulary import ServedVocabulary

Where = Literal["server", "client"]
Floats = NDArray[np.float32]

_OUTPUTS = ("text", "tokens", "score", "length")
#: Maximum input length of the aligner in tokens, begin and end token included.
_MAX_TEXT_TOKENS = 128


class Written(NamedTuple):
    """The result of decoding for one photograph."""

    text: str
    tokens: tuple[int, ...]  # token ids, end token included
    score: float
    relevance: float | None
    model: Model


class Operations:
    """The operations, with a cache of the vocabulary. Safe to share among threads."""

    def __init__(self) -> None:
        self._vocabulary = ServedVocabulary()

    def write(self, photo: bytes, strategy: AnyStrategy, form: Form | None, where: Where | None) -> Flow[Written]:
        """Write a poem about an encoded photograph.

        Raises:
            InvalidOption: strategy, form and ``where`` do not fit together.
            NoPoem: no poem satisfies the options.
        """
        form = form or Form()
        if not form.only_lines:
            form.check(strategy, (yield from self._vocabulary.searches()).orthography)
        limited = form.limit(strategy)
        if _place(form, where) == "server":
            return _checked((yield from self._served(photo, limited)))
        searches = yield from self._vocabulary.searches()
        # Created before the photograph is embedded, because it refuses impossible forms.
        formed = None if form.only_lines else FormSearch(searches, form, limited)
        embedding = yield from self.embed_image(photo)
        if formed is None:
            found = yield from self._searched(searches, embedding, limited)
        else:
            found = yield from formed.run(embedding)
        return _checked((yield from self._worded(found, embedding, strategy)))

    def lines(self, photo: bytes, strategy: AnyStrategy, form: Form | None, where: Where) -> Flow[Written]:
        """Yield each line of a poem as it is written, and return the poem.

        Raises:
            InvalidOption: the strategy is not greedy search or sampling, or the form has constraints besides ``lines``.
        """
        form = form or Form()
        if not isinstance(strategy, Greedy | Sampling) or not form.only_lines:
            raise InvalidOption("only Greedy and Sampling write line by line, with no form except lines")
        if _place(form, where) == "client":
            return self.write(photo, strategy, form, "client")
        return self._followed(photo, form.limit(strategy))

    def embed_image(self, photo: bytes) -> Flow[Floats]:
        """Return the embedding of a photograph in the poetic space, float32 ``[1, embedding_dim]``."""
        [pixels] = yield from infer("decode_image", {"image": one_string(photo)}, "pixels")
        [embedding] = yield from infer("image_encoder", {"pixels": pixels}, "embedding")
        return embedding

    def embed_poems(self, poems: Sequence[str | Sequence[int]]) -> Flow[Floats]:
        """Return the embeddings of poems (strings or token ids), float32 ``[len(poems), embedding_dim]``.

        Strings are truncated to ``_MAX_TEXT_TOKENS``.
        """
        tokenizer = yield from self._vocabulary.tokenizer()
        texts = (poem if isinstance(poem, str) else None for poem in poems)
        ids = [
            [*tokenizer.encode(text.strip())[: _MAX_TEXT_TOKENS - 2], EOS]
            if text is not None
            else list(cast("Any", poem))
            for poem, text in zip(poems, texts, strict=True)
        ]
        parts = []
        most = (yield from look("poem_encoder")).max_batch
        for start in range(0, len(ids), most):
            rows = [[BOS, *row] for row in ids[start : start + most]]
            width = max(map(len, rows))
            padded = np.array([row + [PAD] * (width - len(row)) for row in rows], np.int64)
            inputs = {"input_ids": padded, "attention_mask": (padded != PAD).astype(np.int64)}
            parts.append((yield from infer("poem_encoder", inputs, "embedding"))[0])
        return np.concatenate(parts)

    def score(self, photo: bytes, poem: str | Sequence[int]) -> Flow[float]:
        """Return the cosine similarity of photograph and poem in the poetic space."""
        image = yield from self.embed_image(photo)
        text = yield from self.embed_poems([poem])
        return float(image[0] @ text[0])

    def search(self, photo: bytes, poems: Sequence[str], k: int) -> Flow[list[Match]]:
        """Return the ``k`` poems with the highest cosine similarity to the photograph, highest first."""
        image = yield from self.embed_image(photo)
        if not poems:
            return []
        scores = (yield from self.embed_poems(poems)) @ image[0]
        order = np.argsort(-scores, kind="stable")[:k]
        return [Match(poems[i], int(i), round(float(scores[i]), 6)) for i in order]

    def describe(self, photo: bytes, k: int) -> Flow[Description]:
        """Return the ``k`` most likely objects and scenes in a photograph, and its sentiment."""
        [pixels] = yield from infer("decode_image", {"image": one_string(photo)}, "pixels")
        scores, outputs = ("object_scores", "scene_scores"), ("object_scores", "scene_scores", "sentiment")
        request = Classify("image_encoder", {"pixels": pixels}, outputs, dict.fromkeys(scores, k))
        found = cast("Answer", (yield request)).tensors
        objects, scenes = (tuple(map(_label, found[name].reshape(-1))) for name in scores)
        valence, arousal = (round(float(value), 3) for value in found["sentiment"][0])
        return Description(objects, scenes, valence, arousal)

    def info(self, target: tuple[str, ...]) -> Flow[Info]:
        """Return the metadata of the model package."""
        stamps = (yield from look("poem_text")).stamps
        return Info(
            target=target,
            package=stamps["package"],
            contract=stamps["contract"],
            precision=stamps["precision"],
            vocabulary_size=int(stamps["vocabulary_size"]),
            image_size=int(json.loads(stamps["preprocessing"])["size"]),
        )

    def _followed(self, photo: bytes, strategy: Greedy | Sampling) -> Flow[Written]:
        pieces = (yield from self._vocabulary.decoder_pieces()) if strategy.forbidden else ()
        inputs = {"image": one_string(photo), **line_options(strategy, pieces)}
        lines: dict[int, str] = {}

        def noted(part: Answer) -> Line | None:
            if line := _line(part):
                lines[line.index] = line.text  # a retry sends the lines again
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
        pieces = (yield from self._vocabulary.decoder_pieces()) if strategy.forbidden else ()
        inputs = {"image": one_string(photo), **strategy.tensors(pieces)}
        outputs = (*_OUTPUTS, "relevance") if isinstance(strategy, BestOf) else _OUTPUTS
        model = registered(strategy).ensemble
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
            search = searches.of(strategy)
            return (yield from search(embedding, options))
        noise = options.pop("noise")[0]
        rows = {name: np.repeat(value, strategy.n, axis=0) for name, value in options.items()}
        several = np.repeat(embedding, strategy.n, axis=0)
        return (yield from searches.sample(several, {**rows, "noise": noise}))

    def _worded(self, found: Hypotheses, embedding: Floats, strategy: AnyStrategy) -> Flow[Written]:
        """Rerank the candidates of best of n with the served ``rerank``, and convert the tokens to text."""
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


def line_options(strategy: Greedy | Sampling, pieces: Sequence[str] = ()) -> Tensors:
    """Return the options of ``img2poem_stream`` for ``strategy``; greedy search is temperature 0.

    ``pieces`` is the decoder's vocabulary, needed only for forbidden words.
    """
    tensors = strategy.tensors(pieces)
    return tensors if isinstance(strategy, Sampling) else {**tensors, "temperature": np.zeros((1, 1), np.float32)}


def line_place(where: Where | None, follows: bool) -> Where:
    """Return where a stream of lines is decoded. ``follows`` says whether all endpoints can stream responses.

    Raises:
        InvalidOption: ``where`` is ``server``, but an endpoint cannot stream.
    """
    if where == "server" and not follows:
        raise InvalidOption("a server writes line by line only over gRPC; use where='client'")
    return where or ("server" if follows else "client")


def _line(part: Answer) -> Line | None:
    line, index, final = (part.tensors[name].item() for name in ("line", "index", "final"))
    return None if final else Line(index, _text(line))


def _checked(written: Written) -> Written:
    """Return ``written`` if it has any text.

    Raises:
        NoPoem: the text is empty.
    """
    if not written.text:
        raise NoPoem("the options leave no word to write; forbid fewer words")
    return written


def _place(form: Form, where: Where | None) -> Where:
    if where not in (None, "server", "client"):
        raise InvalidOption(f"where must be server or client, not {where!r}")
    if form.only_lines:
        return where or "server"
    if where == "server":
        raise InvalidOption("acrostic, rhyme, include and first_words are decoded by the client; use where='client'")
    return "client"


def _label(classified: bytes | str) -> Label:
    """Return the class in ``score:index:name``."""
    score, _, name = _text(classified).split(":", 2)
    return Label(name, round(float(score), 4))


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
