"""MkDocs hooks: files outside ``docs/`` that pages link to become pages of the site.

In the repository, pages link to its files: ``../img2poem/images/decode.py``, ``../CONTRIBUTING.md``. On the site these
become pages below ``source/``: Markdown and notebooks as text, other files as highlighted code, folders as lists of
files.
"""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path

import fontpkg
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pymdownx.slugs import slugify

ROOT = Path(__file__).resolve().parent.parent
DOCS, SOURCE = "docs", "source"
_LANGUAGES = {".json": "json", ".py": "python", ".sh": "sh", ".yaml": "yaml", "Dockerfile": "dockerfile"}
_FENCE = re.compile(r"(^ *```.*?^ *```$)", re.S | re.M)
#: Text and target of a link or picture, unless the target is an address or an anchor of the same page.
_LINK = re.compile(r"\[([^][]*)\]\((?![a-z]+:|#)([^()\s#]+)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Give headings the same anchors as on GitHub."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = slugify(case="lower")
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages below ``source/`` and the headings' font.

    Raises:
        FileNotFoundError: a page links to a missing file.
    """
    waiting = [f"{DOCS}/{file.src_uri}" for file in files.documentation_pages()]
    waiting += [f"{DOCS}/{uri}" for uri in re.findall(rf"{SOURCE}/[\w/]+\.md", json.dumps(config.nav))]
    waiting = [_origin(path.removeprefix(f"{DOCS}/")) for path in waiting]
    seen = set(waiting)
    while waiting:
        path = waiting.pop()
        if not path.startswith(f"{DOCS}/"):
            files.append(File.generated(config, _uri(path), content=_text(path)))
        if path.endswith(".md"):
            linked = {_resolved(path, target) for target in _targets((ROOT / path).read_text(encoding="utf-8"))}
            new = {one for one in linked if not one.startswith(f"{DOCS}/")} - seen
            seen |= new
            waiting += sorted(new)
    typeface = fontpkg.path("EB Garamond")
    files.append(File.generated(config, "assets/eb-garamond.ttf", abs_src_path=str(typeface)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Convert links to the site's; code is not searched."""
    origin = _origin(page.file.src_uri)
    if not origin.endswith((".md", ".ipynb")):
        page.meta["search"] = {"exclude": True}
    if page.is_homepage:
        page.meta["hide"] = ["navigation"]
    folder = posixpath.dirname(page.file.src_uri)

    def link(found: re.Match[str]) -> str:
        path = _resolved(origin, found[2])
        text = _title(path) if found[1] == posixpath.basename(path) and path.endswith(".md") else found[1]
        return f"[{text}]({posixpath.relpath(_uri(path), folder or '.')}"

    parts = _FENCE.split(markdown)
    parts[::2] = [_LINK.sub(link, part) for part in parts[::2]]
    return "".join(parts)


def _title(path: str) -> str:
    """Return a page's heading, used instead of its file name."""
    found = re.search("^# (.+)$", (ROOT / path).read_text(encoding="utf-8"), re.M)
    return found[1] if found else posixpath.basename(path)


def _origin(uri: str) -> str:
    """Return the repository path of the page ``uri``."""
    path = uri.removeprefix(f"{SOURCE}/")
    if path == uri:
        return f"{DOCS}/{uri}"
    stem = path.removesuffix(".md")
    for candidate in (path, f"{stem}.ipynb", stem.removesuffix("/index"), stem):
        if (ROOT / candidate).exists():
            return candidate
    raise FileNotFoundError(f"{uri}: the repository has no such file")


def _uri(path: str) -> str:
    """Return the page for the file or folder ``path`` of the repository."""
    if path.startswith(f"{DOCS}/"):
        return path.removeprefix(f"{DOCS}/")
    if (ROOT / path).is_dir():
        return f"{SOURCE}/{path}/index.md"
    return f"{SOURCE}/{path.removesuffix('.md').removesuffix('.ipynb')}.md"


def _resolved(origin: str, target: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(origin), target))


def _targets(markdown: str) -> list[str]:
    return [found[2] for part in _FENCE.split(markdown)[::2] for found in _LINK.finditer(part)]


def _text(path: str) -> str:
    """Return the Markdown of the page for ``path``."""
    file = ROOT / path
    if file.is_dir():
        names = sorted(one.relative_to(file).as_posix() for one in file.rglob("*") if one.is_file())
        listed = "".join(f"- `{name}`\n" for name in names if "__pycache__" not in name)
        return f"# `{path}/`\n\n{listed}"
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".md":
        return text
    if file.suffix == ".ipynb":
        return "\n\n".join(map(_cell, json.loads(text)["cells"]))
    return f"# `{path}`\n\n{_fenced(text, _LANGUAGES.get(file.suffix or file.name, 'text'))}"


def _cell(cell: dict[str, object]) -> str:
    """Return a notebook's cell with its outputs: text and embedded pictures."""
    source = "".join(cell["source"])  # type: ignore[arg-type]
    if cell["cell_type"] == "markdown":
        return source
    outputs: list[dict[str, object]] = cell.get("outputs", [])  # type: ignore[assignment]
    return "\n\n".join([_fenced(source, "python"), *map(_output, outputs)])


def _output(output: dict[str, object]) -> str:
    data: dict[str, object] = output.get("data", {})  # type: ignore[assignment]
    for kind in ("image/png", "image/jpeg"):
        if kind in data:
            return f"![output of the cell above](data:{kind};base64,{''.join(str(data[kind]).split())})"
    return _fenced("".join(output.get("text") or data.get("text/plain") or ()), "text")  # type: ignore[arg-type]


def _fenced(text: str, language: str) -> str:
    return f"````{language}\n{text.rstrip()}\n````\n"
