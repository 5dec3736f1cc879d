"""Shared fixtures: one exported repository, one real Triton server, photographs of many kinds."""

from __future__ import annotations

import importlib.util
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from export.all import export
from img2poem.artifacts.installed import EXPORTED
from img2poem.serving.server import Ports, TritonServer

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = ROOT / "weights" / "lite"

# Tests fail by results, never by their duration: machines differ and are shared.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository of the shipped package, exported only if it is not up to date.

    Each test worker has its own copy: tests identify processes by the repository that they serve.
    """
    out, temporary = ROOT / EXPORTED, tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" not in os.environ:
        export(WEIGHTS, out)
        return out
    with FileLock(temporary.parent / "export.lock"):
        export(WEIGHTS, out)
    return Path(shutil.copytree(out, temporary / "triton_repo"))


@pytest.fixture(scope="session")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    log = tmp_path_factory.mktemp("triton") / "triton.log"
    with TritonServer(repository, Ports.free(), log=log) as running:
        yield running


@pytest.fixture(params=["folder", "grpc", "http"])
def target(request: pytest.FixtureRequest, repository: Path, server: TritonServer) -> str:
    """Each address form that a blocking client accepts for the models."""
    return {"folder": str(repository), "grpc": server.grpc_url, "http": server.http_url}[request.param]


@pytest.fixture(scope="session")
def photos() -> list[bytes]:
    """scikit-learn's two real photographs and six crops of each."""
    spec = importlib.util.find_spec("sklearn")
    assert spec is not None and spec.origin is not None
    found = []
    for name in ("china.jpg", "flower.jpg"):
        path = Path(spec.origin).parent / "datasets" / "images" / name
        image = Image.open(path)
        found.append(path.read_bytes())
        for left, top in ((0, 0), (200, 0), (400, 0), (0, 200), (200, 200), (400, 200)):
            found.append(encoded(image.crop((left, top, left + 240, top + 220)), "JPEG"))
    return found


@pytest.fixture
def photo_file(tmp_path: Path, photos: list[bytes]) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(photos[0])
    return path


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    if format == "HEIC":
        import pillow_heif

        pillow_heif.from_pillow(image).save(buffer, **{"quality": 90, **options})
        return buffer.getvalue()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def gradient(width: int = 60, height: int = 40) -> Image.Image:
    """Red increases to the right, green to the bottom."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.dstack([x, y, np.full_like(x, 60)]).astype(np.uint8))
