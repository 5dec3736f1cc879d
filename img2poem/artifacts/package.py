"""The model package ``weights/<name>/``: typed configuration, files and contract hash.

Files: ``config.json``, ``model.safetensors``, ``tokenizer.json``, ``MODEL_CARD.md``, and ``manifest.json`` with their
SHA-256 hashes. No file is a pickle.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from ..errors import BadPackage
from ..text.vocabulary import default_forbidden
from . import manifest

#: Incremented when a change makes older packages unreadable.
ARCHITECTURE_VERSION = 2
#: Files that a package must have, and that its contract hash covers.
FILES = ("config.json", "model.safetensors", "tokenizer.json")

T = TypeVar("T")


@dataclass(frozen=True)
class Preprocessing:
    """Image preprocessing: side length in pixels; ``mean`` and ``std`` per channel, on a scale of 0 to 255."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class EncoderConfig:
    """One visual encoder: backbone, name of its trunk (encoders may share one), adapter width (0: none), outputs."""

    backbone: str
    trunk: str
    adapter_dim: int
    outputs: int


@dataclass(frozen=True)
class ImageEncoderConfig:
    """The encoders by name (``object``, ``scene``, ``sentiment``), and width and dropout of the projection."""

    encoders: dict[str, EncoderConfig]
    projection_dim: int
    dropout: float = 0.1


@dataclass(frozen=True)
class PoemEncoderConfig:
    """Configuration of the poem encoder: keyword arguments of ``transformers.BertConfig``."""

    bert: dict[str, Any]


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes of the GRU decoder; ids below ``vocabulary_size`` are its vocabulary.

    ``contractions`` and ``stems`` are what :func:`img2poem.text.vocabulary.contractions` finds in the poems.
    ``forbidden_words`` never occur in a poem. Best of n ranks poems by cosine to the photograph, plus
    ``likelihood_weight`` times log-probability per token; see :class:`img2poem.nn.rerank.Rerank`.
    """

    vocabulary_size: int
    token_dim: int
    context_dim: int
    hidden_dim: int
    layers: int
    dropout: float
    max_tokens: int
    contractions: list[str] = field(default_factory=list)
    stems: list[str] = field(default_factory=list)
    likelihood_weight: float = 0.0
    forbidden_words: list[str] = field(default_factory=lambda: [*default_forbidden()])


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes of the transformer decoder; ids below ``vocabulary_size`` are its vocabulary."""

    vocabulary_size: int
    hidden_dim: int
    feed_forward_dim: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    rope_theta: float
    norm_epsilon: float
    prefix_tokens: int
    prefix_dim: int
    positions: int


@dataclass(frozen=True)
class PackageConfig:
    """The content of ``config.json``."""

    name: str
    architecture_version: int
    embedding_dim: int
    preprocessing: Preprocessing
    image_encoder: ImageEncoderConfig
    poem_encoder: PoemEncoderConfig
    decoder: DecoderConfig
    scene_classes: list[str]
    provenance: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, text: str) -> PackageConfig:
        """Parse ``config.json``.

        Raises:
            BadPackage: not JSON, another architecture version, or a field is missing, unknown or of the wrong type.
        """
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise BadPackage(f"config.json is not JSON: {error}") from error
        version = data.get("architecture_version") if isinstance(data, dict) else None
        if version != ARCHITECTURE_VERSION:
            raise BadPackage(
                f"config.json has architecture_version {version!r}, this img2poem reads {ARCHITECTURE_VERSION}; "
                "use the img2poem release that trained the package, or train again"
            )
        return _parse(cls, data, "config")

    def to_json(self) -> str:
        """Return the text of ``config.json``."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"


@dataclass(frozen=True)
class Package:
    """A verified model package: its folder, configuration and contract. Open it once and pass it on.

    ``contract`` is that of :func:`contract_hash`.
    """

    folder: Path
    config: PackageConfig
    contract: str

    @classmethod
    def open(cls, folder: Path) -> Package:
        """Verify every file of the package in ``folder`` against its manifest, which reads each file once.

        Raises:
            BadPackage: the folder, one of its ``FILES`` or the manifest is missing, a file has changed, the
                configuration is malformed, or the package has another architecture version.
        """
        _verify(folder)
        return cls(folder, config_of(folder), str(manifest.read(folder).about["contract"]))


def _verify(folder: Path) -> None:
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise BadPackage(
            f"{folder} is not a model package: no {', '.join(missing)}; train one with python -m training.all"
        )
    sealed = (folder / manifest.NAME).is_file()
    if sealed and (problems := faults(folder)):
        raise BadPackage(
            f"{folder}: {'; '.join(problems)}; get the package again, or run img2poem seal {folder} if you changed it"
        )
    if not sealed:  # written by an earlier release
        config_of(folder)  # an error there says more
        raise BadPackage(f"{folder} has no {manifest.NAME}; if you trust its files: img2poem seal {folder}")


def seal(folder: Path) -> None:
    """Write ``manifest.json`` with name, architecture version, contract and file hashes of the package in ``folder``.

    Raises:
        BadPackage: it is not a package, or the manifest cannot be written.
    """
    config = config_of(folder)
    about = {"name": config.name, "architecture_version": config.architecture_version}
    try:
        manifest.write(folder, {**about, "contract": contract_hash(folder)})
    except OSError as error:
        raise BadPackage(f"{folder} cannot be sealed: {error}") from error


def config_of(folder: Path) -> PackageConfig:
    """Read ``config.json`` without verifying any file.

    Raises:
        BadPackage: it is missing, malformed, or has another architecture version.
    """
    try:
        return PackageConfig.from_json((folder / "config.json").read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        raise BadPackage(f"{folder} is not a model package: {error}") from error
    except BadPackage as error:
        raise BadPackage(f"{folder}: {error}") from error


def faults(folder: Path) -> list[str]:
    """Read every file of the package in ``folder``; return one message per difference from its manifest."""
    try:
        listed = manifest.read(folder).files
    except (OSError, ValueError) as error:
        return [str(error)]
    return manifest.differences(folder, listed).told()


def contract_hash(folder: Path) -> str:
    """Return the contract: SHA-256 in hex over names and contents of the package's ``FILES``; stamps contain it."""
    digest = hashlib.sha256()
    for name in FILES:
        content = (folder / name).read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _parse(cls: type[T], data: Any, where: str) -> T:
    """Build dataclass ``cls`` from JSON ``data``; refuse missing and unknown fields and wrong types."""
    if not isinstance(data, dict):
        raise BadPackage(f"{where} must be an object, not {type(data).__name__}")
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = get_type_hints(cls)
    required = {n for n, f in fields.items() if f.default is f.default_factory is dataclasses.MISSING}
    if wrong := (required - data.keys()) | (data.keys() - fields.keys()):
        raise BadPackage(f"{where}: missing or unknown: {', '.join(sorted(wrong))}")
    return cls(**{name: _value(hints[name], value, f"{where}.{name}") for name, value in data.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if dataclasses.is_dataclass(hint):
        return _parse(hint, value, where)  # type: ignore[arg-type]
    if hint is Any:
        return value
    if origin is dict and isinstance(value, dict):
        return {key: _value(args[1], item, f"{where}.{key}") for key, item in value.items()}
    if origin in (list, tuple) and isinstance(value, list):
        return origin(_value(args[0], item, where) for item in value)
    if hint is float and type(value) in (int, float):
        return float(value)
    if origin is None and type(value) is hint:
        return value
    raise BadPackage(f"{where} must be {getattr(hint, '__name__', hint)}, not {value!r}")
