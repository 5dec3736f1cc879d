"""Output, error reporting and signal handling of all commands.

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
#: Minimum terminal width in columns for readable help.
_NARROWEST = 40


@contextlib.contextmanager
def reporting() -> Iterator[None]:
    """Report an :class:`Img2PoemError` in one line and exit with status 1 or 2; exit with 130 on Ctrl-C."""
    try:
        yield
    except Img2PoemError as error:
        raise typer.Exit(_told(error)) from error
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


@contextlib.contextmanager
def at_the_edge() -> Iterator[None]:
    """Run a command line so that our errors, I/O errors and Ctrl-C print at most one line, and no traceback."""
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
    """End the block normally on Ctrl-C or SIGTERM, the usual ways to stop a server."""
    # SIGINT too: shells start background jobs with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupted)
    try:
        yield
    except KeyboardInterrupt:
        tell("stopped")


def say(line: str) -> None:
    """Print a line to standard output and flush it.

    Raises:
        WriteFailed: standard output is closed, or its disk is full.
        BrokenPipeError: the reader of the pipe has exited.
    """
    with _written():
        print(line, flush=True)


def say_bytes(data: bytes) -> None:
    """Write bytes to standard output and flush them.

    Raises:
        WriteFailed: standard output is closed, or its disk is full.
        BrokenPipeError: the reader of the pipe has exited.
    """
    with _written():
        file: Any = getattr(sys.stdout, "buffer", sys.stdout)  # _Closed has no buffer, and its write() fails
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
    """Print a line to standard error; ignore I/O errors."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def log_everything() -> None:
    """Print the library's log to standard error, from level DEBUG on."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log = logging.getLogger("img2poem")
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)


def shown(name: str) -> str:
    """Return a file name for display: non-printable characters escaped, bytes that are not UTF-8 as U+FFFD."""
    whole = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in whole)


def _told(error: Img2PoemError) -> int:
    """Print an error and return the exit status."""
    tell(f"img2poem: {error}")
    return 2 if isinstance(error, BadImage | InvalidOption) else 1


def _complete_streams() -> None:
    """Open missing standard streams, and escape characters that their encodings lack.

    Otherwise the next file to be opened would get the descriptor of a closed stream, and receive its output.
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
    """Raise ``COLUMNS`` to a readable width: with ``COLUMNS=0``, as set without a terminal, help would be empty."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) < _NARROWEST:
        os.environ["COLUMNS"] = str(_NARROWEST)


class _Closed(io.TextIOBase):
    """Stands in for a closed standard output; every write fails."""

    def write(self, text: str) -> int:
        raise OSError(9, "it is closed")


_ESCAPED = "img2poem.escaped"


def _escaped(error: UnicodeError) -> tuple[str, int]:
    r"""Encode characters that an encoding lacks as ``\uXXXX``, as in JSON."""
    assert isinstance(error, UnicodeEncodeError)
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2)), error.end


codecs.register_error(_ESCAPED, _escaped)


def _silence_output() -> None:
    """Redirect standard output to the null device: at exit Python would flush it and report the error again."""
    with contextlib.suppress(OSError):
        number = os.open(os.devnull, os.O_WRONLY)
        os.dup2(number, 1)
        os.close(number)


def _leave() -> NoReturn:
    """Exit at once after Ctrl-C: a normal exit joins all threads, which may be waiting for a server."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(INTERRUPTED)


def _interrupted(signum: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt
