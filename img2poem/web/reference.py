"""The reference page of the routes, generated from the OpenAPI document without scripts or external resources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}: the REST interface</title>
<link rel="icon" href="pages/icon.svg">
<link rel="stylesheet" href="pages/style.css">
</head>
<body>
<main class="reference">
<header><a class="name" href="./">{title}</a></header>
<h1>The REST interface</h1>
<p>Version {version}. For programs: <a href="openapi.json">openapi.json</a>. Errors are problems as defined by RFC 9457,
<code>application/problem+json</code>. Every response has an <code>X-Request-ID</code>.</p>
{routes}
</main>
</body>
</html>
"""


def page_of(document: Mapping[str, Any]) -> str:
    """Return the page of an OpenAPI document as HTML."""
    routes = "".join(
        _route(method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    )
    return _PAGE.format(title=escape(document["info"]["title"]), version=document["info"]["version"], routes=routes)


def _route(method: str, path: str, operation: Mapping[str, Any]) -> str:
    description = "".join(f"<p>{_text(part)}</p>" for part in operation["description"].split("\n\n"))
    statuses = ", ".join(f"{status} {escape(found['description'])}" for status, found in operation["responses"].items())
    return (
        f"<section><h2><code>{method.upper()} {escape(path)}</code></h2>{description}"
        f"{_example(path, operation)}{_options(operation.get('parameters', []))}"
        f"<p class='statuses'>Answers: {statuses}.</p></section>"
    )


def _example(path: str, operation: Mapping[str, Any]) -> str:
    if "requestBody" not in operation:
        return f"<pre>curl HOST{escape(path)}</pre>"
    if "multipart/form-data" not in operation["requestBody"]["content"]:
        (body,) = operation["requestBody"]["content"].values()
        fields = [{"name": name, "schema": field, **field} for name, field in body["schema"]["properties"].items()]
        return f"<p>The body is a JSON object with these fields.</p>{_options(fields)}"
    asked = "<p>Send the photograph as the body, or as the field <code>photo</code> of a form with the options.</p>"
    return f"{asked}<pre>curl -F photo=@photo.jpg HOST{escape(path)}</pre>"


def _options(parameters: Sequence[Mapping[str, Any]]) -> str:
    if not parameters:
        return ""
    rows = "".join(
        f"<tr><th scope='row'><code>{escape(one['name'])}</code></th><td>{escape(_kind(one['schema']))}</td>"
        f"<td>{_text(one.get('description', ''))}</td></tr>"
        for one in parameters
    )
    head = "<thead><tr><th scope='col'>Option</th><th scope='col'>Values</th><th scope='col'>Meaning</th></tr></thead>"
    table = f"<table>{head}<tbody>{rows}</tbody></table>"
    return f"<div class='wide' tabindex='0' role='group' aria-label='Options'>{table}</div>"


def _kind(schema: Mapping[str, Any]) -> str:
    return " or ".join(_kinds(schema))


def _kinds(schema: Mapping[str, Any]) -> Iterator[str]:
    for one in schema.get("anyOf", [schema]):
        if "enum" in one:
            yield ", ".join(one["enum"])
        elif "minimum" in one:
            yield f"{one['minimum']} to {one['maximum']}" if "maximum" in one else f"{one['minimum']} or more"
        elif one.get("type") == "array":
            yield "words" if one["items"].get("type") == "string" else "list"
        elif one.get("type") in ("boolean", "object"):
            yield {"boolean": "true, false", "object": "object"}[one["type"]]
        elif one.get("type") != "null":
            yield "text"


def _text(text: str) -> str:
    """Return ``text`` as HTML, with backquoted parts as code."""
    parts = escape(" ".join(text.split())).split("`")
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))
