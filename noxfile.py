"""The versions that are supported, each in an environment of its own: ``nox``, or ``nox -s client-3.13``.

`make matrix` exports the repository, writes what is expected, and runs them all. Interpreters that are not installed
are skipped, and said so.
"""

from __future__ import annotations

from pathlib import Path

import nox

nox.options.error_on_missing_interpreters = False
nox.options.default_venv_backend = "venv"
nox.options.sessions = ["client", "oldest", "server"]

EXPECTED = Path("build/expected.json")
#: Tests that need nothing but the client.
LIGHT = ("tests/images/test_decode.py", "tests/decoding/test_strategies.py", "tests/images/test_hostile.py")
TOOLS = ("pytest>=8.3", "hypothesis>=6.100", "filelock>=3.12", "rich>=13", "pillow-heif>=1")
#: The lowest versions of what the extras `local` and `client` ask for.
OLDEST = (
    *("numpy==1.26.0", "pillow==11.3.0", "tokenizers==0.21.0", "typer==0.15.1", "onnxruntime==1.19.2"),
    *("tritonclient[grpc,http]==2.51.0", "httpx==0.27.0", "anyio==4.0.0"),
)


@nox.session(python=["3.10", "3.11", "3.12", "3.13"])
@nox.parametrize("numpy", ["1.26", "2"])
def client(session: nox.Session, numpy: str) -> None:
    """Write poems in process with the newest of everything, on either numpy."""
    if session.python == "3.13" and numpy == "1.26":
        session.skip("numpy 1.26 has no wheel for Python 3.13")
    session.install("-e", ".[local,client]", f"numpy=={numpy}.*", *TOOLS)
    _compare(session)
    _test(session)


@nox.session(python="3.10")
def oldest(session: nox.Session) -> None:
    """The same on the oldest versions."""
    session.install("-e", ".[local,client]", *OLDEST, *TOOLS)
    session.run("python", "export/loads.py", "triton_repo.cpu")
    _compare(session)
    _test(session)


@nox.session(python=["3.10", "3.11", "3.12"])
def server(session: nox.Session) -> None:
    """Triton of the wheel, which needs numpy 1, and the clients of this environment."""
    session.install("-e", ".[server,client]")
    _compare(session, "--serve")


def _compare(session: nox.Session, *more: str) -> None:
    if not EXPECTED.exists():
        session.error("make matrix exports and writes what is expected; run it, or see there")
    session.run("python", "-m", "benchmarks.versions", "--compare", str(EXPECTED), *more)


def _test(session: nox.Session) -> None:
    session.install("--no-deps", "scikit-learn")  # for its two photographs alone
    session.run("python", "-m", "pytest", "-q", *LIGHT)
