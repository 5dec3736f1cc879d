"""In-process endpoint: ONNX Runtime on the files of the model repository."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..artifacts import manifest
from ..artifacts.compact import WEIGHTS, path_of
from ..artifacts.inspection import PREFIX, is_package, no_repository
from ..artifacts.installed import how_to_mend
from ..artifacts.labels import labels
from ..artifacts.manifest import Manifest
from ..artifacts.sessions import PROVIDERS, Device, check_file, open_session
from ..decoding.noise import drawn
from ..decoding.registry import REGISTRY, Registered
from ..errors import BadRepository, ContractMismatch, InvalidOption, ServerError
from ..images.decode import decode
from ..requests import Answer, Call, Infer, ModelInfo, Tensors
from ..validation.numbers import at_least
from .forks import PerProcess

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_ENSEMBLES = {one.ensemble: one for one in REGISTRY.values()}
_DECODERS = {one.ensemble: one.decoder for one in REGISTRY.values()}
_CANDIDATES = ("candidates", "candidate_scores", "candidate_lengths")
_DECODED = ("tokens", "scores", "lengths")
#: The models that the client's operations run in process.
MODELS = (
    "image_encoder",
    *(one.decoder for one in REGISTRY.values()),
    "rerank",
    "poem_text",
    "poem_encoder",
    "decoder_init",
    "decoder_step",
)
#: The only version of each model in an exported repository.
_VERSION = "1"


class LocalEndpoint:
    """Runs the models of a repository and their ensembles. Each model is verified and loaded at its first use.

    A running model cannot be interrupted, so the deadline is checked before each model.

    Args:
        repository: folder written by ``python -m export.all``.
        device: ``cpu`` or ``cuda``.
        threads: threads per model; by default one per core that the process may use.

    Raises:
        InvalidOption: ``device`` or ``threads`` is invalid.
        BadRepository: the folder is not an exported repository, or a file was changed since its export.
        ContractMismatch: a file comes from another model package; at its first use.
        MissingDependency: onnxruntime, or its CUDA provider, is not installed; at the first use of a model.
    """

    def __init__(self, repository: str | os.PathLike[str], device: Device = "cpu", threads: int | None = None) -> None:
        self._repository, self._device = Path(repository), device
        self._threads = None if threads is None else at_least(1, "threads", threads)
        if device not in PROVIDERS:
            raise InvalidOption(f"device must be cpu or cuda, not {device!r}")
        self.name = str(repository)
        self._manifest = _manifest_of(self._repository)
        self._sessions: PerProcess[dict[str, InferenceSession]] = PerProcess(dict)
        self._loading = PerProcess(threading.Lock)

    def infer(self, request: Infer, call: Call) -> Answer:
        """Run a model or an ensemble."""
        ensemble = _ENSEMBLES.get(request.model)
        if ensemble is not None:
            found = self._ensemble(ensemble, request.inputs, call)
        elif request.model == "decode_image":
            found = {"pixels": self._pixels(request.inputs)}
        else:
            found = self._run(request.model, request.outputs, request.inputs, call)
        return Answer({name: self._classified(request, name, found[name]) for name in request.outputs}, _VERSION)

    def _classified(self, request: Infer, output: str, scores: NDArray[Any]) -> NDArray[Any]:
        """Return an output, or its highest scores with the names of their classes, as Triton does."""
        if not (count := request.class_count(output)):
            return scores
        names = labels(self._repository, self._manifest, request.model, output)
        highest = np.argsort(-scores, kind="stable")[:, :count]
        rows = [[f"{row[i]:f}:{i}:{names[i]}" for i in best] for row, best in zip(scores, highest, strict=True)]
        return np.array(rows, np.object_)

    def look(self, model: str, call: Call) -> ModelInfo:
        """Return the metadata of a model: of the decoder for an ensemble, of ``image_encoder`` for ``decode_image``."""
        session = self._session({**_DECODERS, "decode_image": "image_encoder"}.get(model, model))
        stamped = session.get_modelmeta().custom_metadata_map
        return ModelInfo(model, {k.removeprefix(PREFIX): v for k, v in stamped.items() if k.startswith(PREFIX)})

    def ready(self, call: Call) -> bool:
        """Whether the manifest of the repository is unchanged."""
        return _manifest_of(self._repository) == self._manifest

    def close(self) -> None:
        """Release the sessions and their memory."""
        self._sessions.close()

    def _ensemble(self, ensemble: Registered, inputs: Tensors, call: Call) -> Tensors:
        options = drawn({name: value for name, value in inputs.items() if name != "image"})
        encoded = self._run("image_encoder", ("embedding",), {"pixels": self._pixels(inputs)}, call)
        outputs = _CANDIDATES if ensemble.reranked else _DECODED
        decoded = self._run(ensemble.decoder, outputs, {**encoded, **options}, call)
        if ensemble.reranked:
            decoded = self._run("rerank", (*_DECODED, "relevance"), {**decoded, **encoded}, call)
        text = self._run("poem_text", ("text",), {"tokens": decoded["tokens"]}, call)
        return {**decoded, **encoded, **text, "score": decoded["scores"], "length": decoded["lengths"]}

    def _pixels(self, inputs: Tensors) -> np.ndarray[Any, Any]:
        size = int(self._session("image_encoder").get_inputs()[0].shape[1])
        return np.stack([decode(image, size) for image in inputs["image"].reshape(-1)])

    def _run(self, model: str, outputs: tuple[str, ...], inputs: Tensors, call: Call) -> Tensors:
        call.deadline.left()
        session = self._session(model)
        try:
            found = session.run(list(outputs), {name: _readable(value) for name, value in inputs.items()})
        except Exception as error:  # onnxruntime's exceptions have no common base
            raise ServerError(f"{self.name}: {model} failed: {error}") from error
        return dict(zip(outputs, found, strict=True))

    def _session(self, model: str) -> InferenceSession:
        sessions = self._sessions.get()
        if (found := sessions.get(model)) is not None:
            return found
        with self._loading.get():
            if model not in sessions:
                sessions[model] = self._opened(model)
            return sessions[model]

    def _opened(self, model: str) -> InferenceSession:
        files = self._manifest.files
        name = path_of(model, _VERSION, files)
        if WEIGHTS in files and not self._sessions.get():
            check_file(self._repository / WEIGHTS, files[WEIGHTS], self._repository)
        session = open_session(
            self._repository / name, self._device, files.get(name, "none"), self._repository, self._threads
        )
        stamped = session.get_modelmeta().custom_metadata_map.get(PREFIX + "contract")
        if stamped != self._manifest.about.get("contract"):
            raise ContractMismatch(
                f"{self._repository / model} was exported from another model package than the rest; "
                f"{how_to_mend(self._repository)}"
            )
        return session


class AsyncLocalEndpoint:
    """Asyncio version of :class:`LocalEndpoint`. Each request runs in a worker thread.

    Args:
        endpoint: the endpoint that runs the models.
    """

    def __init__(self, endpoint: LocalEndpoint) -> None:
        self._endpoint, self.name = endpoint, endpoint.name

    async def infer(self, request: Infer, call: Call) -> Answer:
        """Run a model or an ensemble."""
        return await asyncio.to_thread(self._endpoint.infer, request, call)

    async def look(self, model: str, call: Call) -> ModelInfo:
        """Return the metadata of a model."""
        return await asyncio.to_thread(self._endpoint.look, model, call)

    async def ready(self, call: Call) -> bool:
        """Whether the manifest of the repository is unchanged."""
        return await asyncio.to_thread(self._endpoint.ready, call)

    async def close(self) -> None:
        """Release the sessions and their memory."""
        self._endpoint.close()


def _readable(value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return ``value`` as a contiguous array, which onnxruntime requires."""
    return np.ascontiguousarray(value)


def _manifest_of(repository: Path) -> Manifest:
    try:
        if is_package(repository):
            raise no_repository(repository)
        return manifest.read(repository)
    except OSError:
        raise no_repository(repository) from None
    except ValueError as error:
        raise BadRepository(f"{repository}: {error}; {how_to_mend(repository)}") from None
