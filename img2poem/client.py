"""The client: one class for a server and for the same models in process."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from types import TracebackType

from .decoding import AnyStrategy, BeamSearch
from .engines import Engine
from .images import read_photo


@dataclass(frozen=True)
class Poem:
    """A poem and how it came about."""

    lines: tuple[str, ...]
    #: Log-probability a token; with beam search over length ** length_penalty.
    score: float
    #: Token ids, end token included.
    tokens: tuple[int, ...]
    #: Folder or address of the engine.
    engine: str
    #: Wall-clock time of the call.
    milliseconds: float

    @property
    def text(self) -> str:
        """The lines, joined by newlines."""
        return "\n".join(self.lines)

    def to_json(self, **more: object) -> str:
        """Return one line of JSON, with ``more`` fields in front."""
        return json.dumps({**more, **asdict(self), "text": self.text}, ensure_ascii=False)


class Img2Poem:
    """Writes poems about photographs; use it as a context manager or call :meth:`close`.

    Args:
        target: a model repository (folder) to run in process, or ``grpc://HOST:PORT``.
        timeout: seconds a call to a server may take.

    Raises:
        Img2PoemError: the target cannot be used; see :mod:`img2poem.errors`.

    >>> with Img2Poem("triton_repo") as poet:  # doctest: +SKIP
    ...     print(poet.write("photo.jpg").text)
    """

    def __init__(self, target: str | os.PathLike[str] = "triton_repo", timeout: float = 60.0) -> None:
        self._engine = _engine(target, timeout)

    @property
    def contract(self) -> str:
        """The contract hash of the models: SHA-256 of the package they were exported from."""
        return self._engine.contract

    def write(self, photo: str | os.PathLike[str] | bytes, strategy: AnyStrategy | None = None) -> Poem:
        """Write a poem about a photograph, given as a path or as the encoded file's bytes.

        Raises:
            BadImage: the photograph cannot be used.
            Img2PoemError: the engine failed; see :mod:`img2poem.errors`.
        """
        started = time.perf_counter()
        written = self._engine.write(read_photo(photo), strategy or BeamSearch())
        return Poem(
            lines=tuple(written.text.splitlines()),
            score=round(written.score, 6),
            tokens=tuple(map(int, written.tokens)),
            engine=self._engine.name,
            milliseconds=round((time.perf_counter() - started) * 1000, 1),
        )

    def close(self) -> None:
        """Free sessions or connections."""
        self._engine.close()

    def __enter__(self) -> Img2Poem:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _engine(target: str | os.PathLike[str], timeout: float) -> Engine:
    if "://" in str(target):
        from .engines.grpc import GrpcEngine

        return GrpcEngine(str(target), timeout)
    from .engines.local import LocalEngine

    return LocalEngine(target)
