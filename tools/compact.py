"""Pack models of an exported repository for in-process use (:mod:`img2poem.artifacts.compact`).

Every weight is stored once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from io import BufferedWriter
from pathlib import Path

import onnx
from onnx import TensorProto, numpy_helper

from export.rewrite import graphs
from img2poem.artifacts import manifest
from img2poem.artifacts.compact import WEIGHTS, compact_name
from img2poem.artifacts.labels import label_files
from img2poem.errors import BadRepository

#: Size in bytes from which a tensor is moved to the shared weights.
_LEAST = 1024
#: Alignment in bytes: ONNX Runtime maps the file into memory and computes on it there.
_ALIGNED = 64


def compact(repository: Path, models: Iterable[str], out: Path, extra: Iterable[Path] = ()) -> None:
    """Write a compact repository.

    Args:
        repository: an exported repository.
        models: names of the models to pack; each has an ONNX file.
        out: an empty folder.
        extra: other files to include, such as a model card.

    Raises:
        BadRepository: ``repository`` is not an export, lacks a model, or one of its files has changed.
    """
    try:
        found = manifest.read(repository)
    except (OSError, ValueError) as error:
        raise BadRepository(f"{repository} is no exported repository: {error}") from error
    with (out / WEIGHTS).open("wb") as file:
        weights = _Weights(file)
        for name in models:
            part = f"{name}/1/model.onnx"
            path = repository / part
            if not path.is_file() or manifest.hash_of(path) != found.files.get(part):
                raise BadRepository(f"{path} is missing or has changed; export it anew")
            model = onnx.load(path)
            for graph in graphs(model.graph):
                for tensor in graph.initializer:
                    weights.take(tensor)
            (out / compact_name(name)).write_bytes(model.SerializeToString())
            for labels in label_files(name, found.files):
                (out / name).mkdir(exist_ok=True)
                (out / labels).write_bytes((repository / labels).read_bytes())
    for path in extra:
        (out / path.name).write_bytes(path.read_bytes())
    manifest.write(out, {name: found.about[name] for name in ("contract", "made_from")})


class _Weights:
    """The shared file, with the offsets of the tensors already in it."""

    def __init__(self, file: BufferedWriter) -> None:
        self._file = file
        self._places: dict[bytes, int] = {}

    def take(self, tensor: TensorProto) -> None:
        """Move the values of a large tensor to the file, unless it already contains them."""
        if tensor.data_type == TensorProto.STRING:
            return
        values = tensor.raw_data or numpy_helper.to_array(tensor).tobytes()
        if len(values) < _LEAST:
            return
        digest = hashlib.sha256(values).digest()
        if digest not in self._places:
            self._file.write(bytes(-self._file.tell() % _ALIGNED))
            self._places[digest] = self._file.tell()
            self._file.write(values)
        bare = TensorProto(
            name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, data_location=TensorProto.EXTERNAL
        )
        for key, value in (("location", WEIGHTS), ("offset", self._places[digest]), ("length", len(values))):
            bare.external_data.add(key=key, value=str(value))
        tensor.CopyFrom(bare)
