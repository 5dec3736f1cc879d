"""In process on ONNX Runtime, on the very files of the model repository."""

from __future__ import annotations

import json
import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from .. import images
from ..decoding import AnyStrategy, BestOf
from ..errors import BadRepository, ContractMismatch, MissingDependency
from ..noise import drawn
from . import Written, read_pieces

Tensors = dict[str, NDArray[Any]]

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from ..searches import Searches


class LocalEngine:
    """Runs ``image_encoder``, a decoder and ``poem_text`` of a repository; decoders load when first used.

    Raises:
        BadRepository: the folder is not an exported repository, or a file of it is damaged.
        ContractMismatch: its files come from different model packages.
        MissingDependency: onnxruntime is not installed.
    """

    def __init__(self, repository: str | os.PathLike[str]) -> None:
        self._repository = Path(repository)
        self.name = str(repository)
        self._sessions: dict[str, InferenceSession] = {}
        self.contract = _contract_of_manifest(self._repository)
        pixels = self._session("image_encoder").get_inputs()[0]
        self._size = int(pixels.shape[1])

    def write(self, image: bytes, strategy: AnyStrategy) -> Written:
        """Decode, encode, search, and put into words; raises ``BadImage`` for a photograph it cannot decode."""
        pixels = images.decode(image, self._size)[None]
        [embedding] = self._session("image_encoder").run(["embedding"], {"pixels": pixels})
        options = drawn(strategy.tensors(self.pieces if strategy.forbidden else ()))
        decode = self._best if isinstance(strategy, BestOf) else self._searched
        tokens, scores, lengths = decode(strategy.name, {"embedding": embedding, **options})
        [text] = self._session("poem_text").run(["text"], {"tokens": tokens})
        return Written(text[0, 0], tokens[0, : lengths[0, 0]], float(scores[0, 0]), embedding[0])

    @cached_property
    def pieces(self) -> list[str]:
        """The decoder's vocabulary by id."""
        session = self._session("poem_text")
        size = int(session.get_modelmeta().custom_metadata_map["img2poem.vocabulary_size"])
        return read_pieces(size, lambda tokens: session.run(["pieces"], {"tokens": tokens})[0])

    @cached_property
    def searches(self) -> Searches:
        """The searches in numpy, over ``decoder_init`` and ``decoder_step``."""
        from ..searches import Searches

        return Searches(_Steps(self._session("decoder_init"), self._session("decoder_step")), self.pieces)

    def close(self) -> None:
        """Drop the sessions and their memory."""
        self._sessions.clear()

    def _searched(self, name: str, inputs: Tensors) -> list[NDArray[Any]]:
        return self._run(f"poem_decoder_{name}", ["tokens", "scores", "lengths"], inputs)

    def _best(self, name: str, inputs: Tensors) -> list[NDArray[Any]]:
        names = ["candidates", "candidate_scores", "candidate_lengths"]
        candidates = dict(zip(names, self._run("poem_decoder_candidates", names, inputs), strict=True))
        return self._run("rerank", ["tokens", "scores", "lengths"], {**candidates, "embedding": inputs["embedding"]})

    def _run(self, model: str, outputs: list[str], inputs: Tensors) -> list[NDArray[Any]]:
        return list(self._session(model).run(outputs, inputs))

    def _session(self, model: str) -> InferenceSession:
        if model not in self._sessions:
            session = open_session(self._repository / model / "1" / "model.onnx")
            stamped = session.get_modelmeta().custom_metadata_map.get("img2poem.contract")
            if stamped != self.contract:
                raise ContractMismatch(
                    f"{self._repository / model} was exported from another model package than the rest; "
                    f"{_advice(self._repository)}"
                )
            self._sessions[model] = session
        return self._sessions[model]


class _Steps:
    """The served decoder steps in process."""

    def __init__(self, init: InferenceSession, step: InferenceSession) -> None:
        self._init, self._step = init, step

    def init(self, embedding: NDArray[np.float32]) -> NDArray[np.float32]:
        [hidden] = self._init.run(["hidden"], {"embedding": embedding})
        return cast("NDArray[np.float32]", hidden)

    def step(
        self, token: NDArray[np.int64], hidden: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
        outputs = ["top_logprobs", "top_tokens", "next_hidden"]
        logprobs, tokens, after = self._step.run(outputs, {"token": token, "hidden": hidden})
        return logprobs, tokens, after


def open_session(path: Path) -> InferenceSession:
    """Open an ONNX file on the CPU with one thread pool that does not spin.

    Raises:
        BadRepository: the file is missing or damaged.
        MissingDependency: onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise MissingDependency("the in-process engine needs onnxruntime; pip install 'img2poem[local]'") from None
    if not path.is_file():
        raise BadRepository(f"{path} is missing; {_advice(path.parents[2])}")
    options = onnxruntime.SessionOptions()
    # Sessions whose idle threads spin slow each other down several times over on few cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common base
        raise BadRepository(f"{path} cannot be loaded ({error}); {_advice(path.parents[2])}") from error


def _contract_of_manifest(repository: Path) -> str:
    try:
        return str(json.loads((repository / "manifest.json").read_text(encoding="utf-8"))["contract"])
    except (OSError, ValueError, KeyError, TypeError):
        raise BadRepository(f"{repository} holds no exported model repository; {_advice(repository)}") from None


def _advice(repository: Path) -> str:
    return f"make one with: python -m export.all --out {repository}"
