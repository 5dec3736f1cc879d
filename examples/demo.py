"""The whole pipeline: export, start Triton, send photographs, print their poems.

    python -m examples.demo [PHOTO ...]

Without a photograph it uses the two samples of scikit-learn's package.
"""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
from pathlib import Path

from img2poem import Img2Poem, Img2PoemError
from img2poem.artifacts.installed import EXPORTED
from img2poem.errors import BadImage
from img2poem.images.decode import check, read_photo
from img2poem.serving.server import Ports, TritonServer


def main(photos: list[Path]) -> int:
    """Return the exit status: 0 for success, 1 if a step failed, 2 if a photograph is unusable."""
    # Bad photographs are refused early: before the export and the server's start.
    usable = [photo for photo in photos if _usable(photo)]
    if not usable:
        return 2
    exported = subprocess.run([sys.executable, "-m", "export.all", "--out", str(EXPORTED)]).returncode
    if exported:
        return exported
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print("starting Triton ...", flush=True)
    try:
        # Free ports, so that the demo can run beside a server on the default ports.
        with TritonServer(EXPORTED, Ports.free()) as server, Img2Poem(server.grpc_url) as poet:
            written = [_write(poet, photo) for photo in usable]
    except Img2PoemError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0 if all(written) and len(usable) == len(photos) else 2


def _write(poet: Img2Poem, photo: Path) -> bool:
    try:
        poem = poet.write(photo)
    except BadImage as error:
        print(f"demo: {photo}: {error}", file=sys.stderr)
        return False
    print(f"\n{photo} ({poem.timings['total']:.0f} ms)\n\n{poem.text}\n", flush=True)
    return True


def _usable(photo: Path) -> bool:
    try:
        check(read_photo(photo))
    except BadImage as error:
        print(f"demo: {photo}: {error}", file=sys.stderr)
        return False
    return True


def _samples() -> list[Path]:
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise SystemExit(
            "demo: the sample photographs come with scikit-learn; pip install scikit-learn or name a photograph"
        )
    folder = Path(spec.origin).parent / "datasets" / "images"
    return [folder / "china.jpg", folder / "flower.jpg"]


if __name__ == "__main__":
    raise SystemExit(main([Path(name) for name in sys.argv[1:]] or _samples()))
