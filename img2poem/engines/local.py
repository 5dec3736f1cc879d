"""In process on ONNX Runtime, on the very files of the model repository."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..decoding import Strategy
from ..errors import BadRepository, ContractMismatch, MissingDependency
from ..images import decode
from . import Written

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


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

    def write(self, image: bytes, strategy: Strategy) -> Written:
        """Decode, encode, search, and put into words; raises ``BadImage`` for a photograph it cannot decode."""
        pixels = decode(image, self._size)[None]
        [embedding] = self._session("image_encoder").run(["embedding"], {"pixels": pixels})
        decoder = self._session(f"poem_decoder_{strategy.name}")
        tokens, scores, lengths = decoder.run(
            ["tokens", "scores", "lengths"], {"embedding": embedding, **strategy.tensors()}
        )
        [text] = self._session("poem_text").run(["text"], {"tokens": tokens})
        return Written(text[0, 0], tokens[0, : lengths[0, 0]], float(scores[0, 0]), embedding[0])

    def close(self) -> None:
        """Drop the sessions and their memory."""
        self._sessions.clear()

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
