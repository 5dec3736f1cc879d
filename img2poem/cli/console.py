"""What the commands share: what they print, and how errors and signals end them.

Exit status: 0; 1 when models or server failed, or a result could not be written; 2 for wrong options and unusable
photographs; 130 after Ctrl-C.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import logging
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any, NoReturn, TextIO, cast

import typer

from ..errors import BadImage, Img2PoemError, InvalidOption, WriteFailed

INTERRUPTED = 130
#: Fewest columns in which help can be read.
_NARROWEST = 40


@contextlib.contextmanager
def reporting() -> Iterator[None]:
    """Turn our errors into one line and exit status 1 (2 for wrong options and photographs), Ctrl-C into 130."""
    try:
        yield
    except Img2PoemError as error:
        raise typer.Exit(_told(error)) from error
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


@contextlib.contextmanager
def at_the_edge() -> Iterator[None]:
    """Run a whole command line: whatever the terminal, the disk or Ctrl-C do to it, it ends with one line at most."""
    _complete_streams()
    _widen()
    try:
        yield
    except Img2PoemError as error:
        sys.exit(_told(error))
    except OSError as error:
        _silence_output()
        tell(f"img2poem: {error.filename or 'standard output'} cannot be used: {error.strerror or error}")
        sys.exit(1)
    except KeyboardInterrupt:
        _leave()
    except SystemExit as end:
        if end.code == INTERRUPTED:
            _leave()
        raise


@contextlib.contextmanager
def until_interrupted() -> Iterator[None]:
    """End the block quietly on Ctrl-C and SIGTERM: for a server that is how it is meant to end."""
    # SIGINT too: a shell starts what it runs in the background with that one ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupted)
    try:
        yield
    except KeyboardInterrupt:
        tell("stopped")


def say(line: str) -> None:
    """Print a line on standard output, at once.

    Raises:
        WriteFailed: it is full or closed.
        BrokenPipeError: who read it has ended.
    """
    with _written():
        print(line, flush=True)


def say_bytes(data: bytes) -> None:
    """Write a file to standard output.

    Raises:
        WriteFailed: it is full or closed.
        BrokenPipeError: who read it has ended.
    """
    with _written():
        file: Any = getattr(sys.stdout, "buffer", sys.stdout)  # none where it is closed, which refuses all
        file.write(data)
        file.flush()


@contextlib.contextmanager
def _written() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        _silence_output()
        raise WriteFailed(f"standard output cannot be written: {error.strerror or error}") from None


def tell(line: str) -> None:
    """Print a line on standard error, where that is possible."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def log_everything() -> None:
    """Print what the library logs on standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log = logging.getLogger("img2poem")
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)


def shown(name: str) -> str:
    """Return a file's name for people: without what a terminal would obey, and bytes that are no UTF-8 as U+FFFD."""
    whole = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in whole)


def _told(error: Img2PoemError) -> int:
    """Print an error and return the exit status."""
    tell(f"img2poem: {error}")
    return 2 if isinstance(error, BadImage | InvalidOption) else 1


def _complete_streams() -> None:
    """Make standard streams that take any text and are there at all.

    Where one is closed, the next file that is opened would take its place, and be printed into.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    sys.stdout = sys.stdout or cast("TextIO", _Closed())
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ESCAPED)


def _widen() -> None:
    """Keep a width in which help can be read: of ``COLUMNS=0``, as where there is no terminal, it would be empty."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) < _NARROWEST:
        os.environ["COLUMNS"] = str(_NARROWEST)


class _Closed(io.TextIOBase):
    """Standard output where there is none."""

    def write(self, text: str) -> int:
        raise OSError(9, "it is closed")


_ESCAPED = "img2poem.escaped"


def _escaped(error: UnicodeError) -> tuple[str, int]:
    r"""Write what an encoding lacks as ``\uXXXX``, which is also how JSON has it."""
    assert isinstance(error, UnicodeEncodeError)
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2)), error.end


codecs.register_error(_ESCAPED, _escaped)


def _silence_output() -> None:
    """Let nothing more be written to standard output: Python would try again, and complain, when it ends."""
    with contextlib.suppress(OSError):
        number = os.open(os.devnull, os.O_WRONLY)
        os.dup2(number, 1)
        os.close(number)


def _leave() -> NoReturn:
    """End at once after Ctrl-C: Python would wait for threads, which may wait for a server."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(INTERRUPTED)


def _interrupted(signum: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt
