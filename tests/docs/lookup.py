"""Check that what a command names exists, without running it."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import runpy
import sys
import warnings
from collections.abc import Iterator
from functools import cache
from unittest import mock

import typer

from img2poem.cli.app import app

from ..conftest import ROOT

#: Third-party modules, whose options are not checked.
_OTHERS = {"pytest"}
#: Our modules with sub-commands.
_WITH_COMMANDS = {"training.reading"}


def faults(command: str) -> Iterator[str]:
    """Yield what ``command`` names but does not exist."""
    for part in re.split(r"(?:;|&&)\s+", command):
        words = part.replace("\\\n", " ").split()
        yield from (f"no file {word}" for word in words if _is_of_ours(word) and not (ROOT / word).exists())
        if words[0] == "img2poem":
            yield from _unknown(words, _options_of_command(words[1]))
        elif words[:2] == ["python", "-m"]:
            yield from _module_faults(words)
        elif words[0] == "make":
            yield from _make_faults(words[1:])
        elif words[:2] == ["pip", "install"]:
            extras = re.findall(r"[\w-]+", "".join(re.findall(r"img2poem\[(.*?)\]", part)))
            yield from (f"no extra {extra}" for extra in extras if extra not in _extras())


def _is_of_ours(word: str) -> bool:
    return bool(re.match(r"(deploy|examples|tests|docs)/", word))


def _module_faults(words: list[str]) -> Iterator[str]:
    module = words[2]
    if importlib.util.find_spec(module) is None:
        yield f"no module {module}"
    elif module not in _OTHERS and any(word.startswith("--") for word in words):
        yield from _unknown(words, _options_of_module(module, *words[3 : 3 + (module in _WITH_COMMANDS)]))


def _make_faults(words: list[str]) -> Iterator[str]:
    makefile = (ROOT / "Makefile").read_text()
    for word in words:
        name, equals, _ = word.partition("=")
        found = f"$({name})" in makefile or f"$({name})," in makefile or f"$(or $({name})" in makefile
        if not (found if equals else re.search(rf"^{name}:", makefile, re.M)):
            yield f"no {'variable' if equals else 'target'} {name} in the Makefile"


def _unknown(words: list[str], known: frozenset[str]) -> Iterator[str]:
    named = {re.split("[=,]", word)[0] for word in words if word.startswith("--")}
    yield from (f"no option {name} of {words[:3]}" for name in sorted(named - known))


@cache
def _options_of_command(name: str) -> frozenset[str]:
    group = typer.main.get_command(app)
    commands = {"--": group, **group.commands}  # type: ignore[attr-defined]
    command = commands.get(name, group if name.startswith("--") else None)
    assert command is not None, f"img2poem has no command {name}"
    named = (option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts))
    return frozenset({*named, "--help"})


@cache
def _options_of_module(name: str, *command: str) -> frozenset[str]:
    """Return the options in the ``--help`` of a module or its sub-command; in this process, to import only once."""
    told = io.StringIO()
    with (
        warnings.catch_warnings(),
        mock.patch.object(sys, "argv", [name, *command, "--help"]),
        mock.patch.dict("os.environ", {"COLUMNS": "200", "TERM": "dumb"}),
        contextlib.redirect_stdout(told),
        contextlib.suppress(SystemExit),
    ):
        warnings.simplefilter("ignore", RuntimeWarning)  # raised if the module was imported before
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    assert "--help" in told.getvalue(), f"python -m {name} --help tells nothing: {told.getvalue()!r}"
    return frozenset(re.findall(r"--[a-z][\w.-]*", told.getvalue()))


@cache
def _extras() -> frozenset[str]:
    project = (ROOT / "pyproject.toml").read_text()
    section = project.partition("[project.optional-dependencies]\n")[2].partition("\n[")[0]
    return frozenset(re.findall(r"^([\w-]+) = \[", section, re.M))
