"""Generate the reference of all options from the code: ``python -m tools.reference docs/options.md``."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import docstring_parser
import typer

import export.all
import export.check
import training.evaluate
from img2poem.cli import app
from img2poem.decoding import strategies
from img2poem.decoding.options import Option, options_of
from img2poem.decoding.registry import REGISTRY
from img2poem.files.atomic import write_atomically
from img2poem.form import form
from training import (
    adversarial,
    alignment,
    distillation,
    encoder,
    generator,
    package,
    reading,
    run,
    sentiment,
    teacher,
)

from . import options

ROOT = Path(__file__).resolve().parent.parent
_HEAD = """\
# Options

Every option of the command line, of the decoding strategies, of export and of training. Each command prints its own:

```sh
img2poem write --help
```

`make docs` generates this page from the code; a test fails if the two differ.
"""
#: Settings of each training stage.
STAGES: dict[str, Callable[..., Any]] = {
    "scene": encoder.EncoderSettings,
    "sentiment": sentiment.SentimentSettings,
    "alignment": alignment.AlignmentSettings,
    "teacher": teacher.TeacherSettings,
    "distillation": distillation.DistillationSettings,
    "generator": generator.GeneratorSettings,
    "adversarial": adversarial.AdversarialSettings,
    "package": package.PackageSettings,
}
#: Files that read environment variables, and the variables' meanings.
_READ_IN = ("deploy/start.sh", "deploy/compose.yaml", "examples/service.py")
_VARIABLES = {
    "GRAFANA_PASSWORD": "Password of Grafana's administrator.",
    "IMG2POEM_KEY_FILE": "File with the key for the restricted interfaces; without a key nobody can use them.",
    "IMG2POEM_SHM_MIB": "MiB that `/dev/shm` must have for the container to start.",
    "IMG2POEM_THREADS": "Cores that models on the CPU share; by default the container's limit, or else the machine's.",
    "MODELS": "Model repository that the container serves.",
    "POEMS": "Server that the example asks.",
}
#: In shell and YAML ``${NAME:-default}`` or ``${NAME:?message}``, in Python ``environ.get("NAME", "default")``.
_READING = re.compile(r'\$\{([A-Z][A-Z_0-9]+)(?::-([^}]*)|:\?[^}]*)\}|environ\.get\("([A-Z_0-9]+)", "([^"]*)"\)')


def page() -> str:
    """Return the page as Markdown.

    Raises:
        ValueError: an option, field or variable is not described where it is declared.
    """
    parts = [_HEAD, *_commands(), *_strategies(), *_export(), *_training(), *_environment()]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _commands() -> Iterator[str]:
    yield f"## `img2poem`\n\n{_prose(app.main)}\n"
    yield _table(options.Row.columns, (row.cells for row in options.of_command(app.main)))
    for command in app.app.registered_commands:
        assert command.callback is not None
        rows = list(options.of_command(command.callback))
        placeholders = [row.name for row in rows if not row.name.startswith("-")]
        title = " ".join(["img2poem", command.callback.__name__, *placeholders])
        yield f"### `{title}`\n\n{_prose(command.callback)}\n"
        yield _table(options.Row.columns, (row.cells for row in rows))


def _strategies() -> Iterator[str]:
    yield (
        "## Decoding strategies\n\nKeyword arguments of the classes in `img2poem`. A value out of its range is an "
        "`InvalidOption`.\nThese are common to `Greedy`, `BeamSearch` and `Sampling`:\n"
    )
    yield _fields(strategies.Strategy, ())
    common = {field.name for field in dataclasses.fields(strategies.Strategy)}
    for strategy in (one.kind for one in REGISTRY.values()):
        yield f"### `{strategy.__name__}`\n\n{_prose(strategy)}\n"
        yield _fields(strategy, common)
    yield f"### `Form`\n\n{_prose(form.Form)}\n"
    rows = (dataclasses.replace(row, name=row.name.replace("-", "_")) for row in options.of_settings(form.Form, ""))
    yield _table(("field", *options.Row.columns[1:]), (row.cells for row in rows))


def _fields(strategy: type, leave_out: Iterable[str]) -> str:
    """Return a table of a strategy's fields and their ranges, without the fields ``leave_out``."""
    declared, hints = options_of(strategy), get_type_hints(strategy)
    rows = []
    for field in dataclasses.fields(strategy):
        if field.name in leave_out:
            continue
        if field.name == "sampling":
            rows.append(("`sampling`", "`Sampling`", "`Sampling()`", "", options.meanings(strategy)["sampling"]))
            continue
        one = declared[field.name]
        kind, meaning = options.type_of(hints[field.name]), options.escaped(one.meaning)
        rows.append((f"`{field.name}`", kind, options.default_of(one.default), _range(field.name, one), meaning))
    return _table(("field", "type", "default", "range", "meaning"), rows)


def _range(field: str, option: Option) -> str:
    return f"{strategies.MAX_FORBIDDEN} words at most" if field == "forbidden" else option.range


def _export() -> Iterator[str]:
    yield f"## `python -m export.all`\n\n{_prose(export.all.main)}\n"
    yield _table(options.Row.columns, (row.cells for row in options.of_command(export.all.main)))
    yield f"## `python -m export.check`\n\n{_prose(export.check.main)}\n"
    yield _table(options.Row.columns, (row.cells for row in options.of_command(export.check.main)))


def _training() -> Iterator[str]:
    yield (
        "## Training\n\n`python -m training.STAGE` takes the options of the run and its own. `python -m training.all` "
        "takes those\nof the run, `--out`, and those of every stage and of the evaluation with their names in front, "
        "as `--generator.epochs`\nand `--evaluation.photos`; with `--limit` some defaults are smaller.\n"
    )
    yield _settings("The run", run.Run)
    for stage, settings in STAGES.items():
        yield _settings(f"`python -m training.{stage}`", settings)
    yield _settings("`python -m training.evaluate`", training.evaluate.main)
    yield _settings("`python -m training.reading sheet`", reading.sheet)
    yield _settings("`python -m training.reading table`", reading.table)


def _settings(title: str, settings: Callable[..., Any]) -> str:
    rows = (row.cells for row in options.of_settings(settings))
    return f"### {title}\n\n{_prose(settings)}\n\n{_table(options.Row.columns, rows)}"


def _environment() -> Iterator[str]:
    rows = []
    for path in _READ_IN:
        for shell, default, python, other in _READING.findall((ROOT / path).read_text(encoding="utf-8")):
            name = shell or python
            if name not in _VARIABLES:
                raise ValueError(f"{path} reads {name}; say in tools/reference.py what it is for")
            rows.append((f"`{name}`", f"`{path}`", options.default_of(default or other or inspect.Parameter.empty)))
    told = [(*row, _VARIABLES[row[0].strip("`")]) for row in dict.fromkeys(rows)]
    yield "## Environment variables\n\nThe library and its commands read none of their own; these files do:\n"
    yield _table(("variable", "read by", "default", "meaning"), told)


def _prose(thing: Callable[..., Any]) -> str:
    """Return a docstring without its sections."""
    parsed = docstring_parser.parse(inspect.getdoc(thing) or "")
    paragraphs = filter(None, (parsed.short_description, parsed.long_description))
    return "\n\n".join(options.escaped(paragraph) for paragraph in paragraphs)


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(columns), *map(list, rows)]
    if len(lines) == 1:
        return "No options of its own.\n"
    lines.insert(1, ["---"] * len(lines[0]))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main(out: Annotated[Path, typer.Argument(help="Markdown file to write.")]) -> None:
    """Write the reference of all options."""
    write_atomically(out, page().encode())


if __name__ == "__main__":
    typer.run(main)
