"""Against a Triton server over gRPC: the photograph goes over as it is, one call a poem."""

from __future__ import annotations

from functools import cached_property
from typing import Any, cast
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from ..decoding import AnyStrategy
from ..errors import (
    BadImage,
    ConnectionFailed,
    ContractMismatch,
    Img2PoemError,
    InvalidOption,
    MissingDependency,
    ServerError,
    Timeout,
)
from ..images import check
from . import Written, read_pieces

_ENSEMBLES = {"beam": "img2poem", "greedy": "img2poem_greedy", "sample": "img2poem_sample", "best": "img2poem_best"}
_OUTPUTS = ("text", "tokens", "score", "length", "embedding")
_BAD_IMAGE = "BadImage: "


class GrpcEngine:
    """Calls the ensembles ``img2poem`` (beam search), ``img2poem_greedy``, ``img2poem_sample``, ``img2poem_best``.

    Args:
        url: ``grpc://HOST:PORT``.
        timeout: seconds a call may take.

    Raises:
        InvalidOption: the address is not of that form.
        ConnectionFailed: nobody answers there.
        ContractMismatch: the server's models come from different model packages.
        MissingDependency: tritonclient is not installed.
    """

    def __init__(self, url: str, timeout: float = 60.0) -> None:
        try:
            import tritonclient.grpc as triton
        except ImportError:
            raise MissingDependency("talking to a server needs tritonclient; pip install 'img2poem[client]'") from None
        self._triton: Any = triton
        self.name, self._timeout = url, timeout
        self._client = triton.InferenceServerClient(_address(url))
        self.contract = self._check_contract()

    def write(self, image: bytes, strategy: AnyStrategy) -> Written:
        """Send one photograph; raises ``BadImage``, ``Timeout``, ``ConnectionFailed`` or ``ServerError``."""
        check(image)  # what the header alone shows need not cross the network
        inputs = [self._input("image", np.array([[image]], np.object_))]
        options = strategy.tensors(self.pieces if strategy.forbidden else ())
        inputs += [self._input(name, value) for name, value in options.items()]
        result = self._call(
            self._client.infer,
            _ENSEMBLES[strategy.name],
            inputs,
            outputs=[self._triton.InferRequestedOutput(name) for name in _OUTPUTS],
        )
        text, tokens, score, length, embedding = (result.as_numpy(name)[0] for name in _OUTPUTS)
        return Written(text[0].decode(), tokens[: length[0]], float(score[0]), embedding)

    @cached_property
    def pieces(self) -> list[str]:
        """The decoder's vocabulary by id."""
        size = int(self._config("poem_text").parameters["img2poem.vocabulary_size"].string_value)
        outputs = [self._triton.InferRequestedOutput("pieces")]

        def spelt(tokens: NDArray[np.int64]) -> NDArray[Any]:
            result = self._call(self._client.infer, "poem_text", [self._input("tokens", tokens)], outputs=outputs)
            return cast("NDArray[Any]", result.as_numpy("pieces"))

        return read_pieces(size, spelt)

    def close(self) -> None:
        """Close the channel."""
        self._client.close()

    def _input(self, name: str, value: NDArray[Any]) -> Any:
        from tritonclient.utils import np_to_triton_dtype

        tensor = self._triton.InferInput(name, list(value.shape), np_to_triton_dtype(value.dtype))
        tensor.set_data_from_numpy(value)
        return tensor

    def _check_contract(self) -> str:
        """Return the contract hash that the ensemble and all of its steps carry."""
        ensemble = self._config("img2poem")
        stamps = {"img2poem": _stamp(ensemble)}
        for step in ensemble.ensemble_scheduling.step:
            stamps[step.model_name] = _stamp(self._config(step.model_name))
        if len(set(stamps.values())) != 1 or not stamps["img2poem"]:
            listed = ", ".join(f"{name} {stamp[:8] or 'none'}" for name, stamp in stamps.items())
            raise ContractMismatch(
                f"{self.name} serves models of different packages ({listed}); export the repository anew"
            )
        return stamps["img2poem"]

    def _config(self, model: str) -> Any:
        return self._call(self._client.get_model_config, model).config

    def _call(self, method: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, client_timeout=self._timeout, **kwargs)
        except self._triton.InferenceServerException as error:
            raise self._translated(error) from error

    def _translated(self, error: Any) -> Img2PoemError:
        status, message = str(error.status()), str(error.message())
        if _BAD_IMAGE in message:
            return BadImage(message.split(_BAD_IMAGE, 1)[1])
        if "UNAVAILABLE" in status:
            return ConnectionFailed(f"no inference server answers at {self.name}; start one with: img2poem serve")
        if "DEADLINE_EXCEEDED" in status:
            return Timeout(f"{self.name} did not answer within {self._timeout:g} s")
        return ServerError(f"{self.name}: {message}")


def _address(url: str) -> str:
    parts = urlsplit(url)
    try:
        well_formed = parts.scheme == "grpc" and parts.hostname and parts.port and parts.path in ("", "/")
    except ValueError:
        well_formed = False
    if not well_formed:
        raise InvalidOption(f"{url!r} is not an address of the form grpc://HOST:PORT")
    return parts.netloc


def _stamp(config: Any) -> str:
    return str(config.parameters["img2poem.contract"].string_value) if "img2poem.contract" in config.parameters else ""
