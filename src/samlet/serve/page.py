"""The page at /docs: every route with its fields, made from the OpenAPI description, without scripts or a network."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from samlet.reporting import page as html

_NAME = "#/components/schemas/"
_DONE = "200"


def describe(description: Mapping[str, Any], address: str, model: str) -> str:
    """The page.

    Args:
        description: what /openapi.json holds.
        address: of the service, without a slash at its end, for the examples.
        model: its name.
    """
    schemas = description.get("components", {}).get("schemas", {})
    summary = html.text(description["info"].get("summary", ""))
    parts = ["<style>th, td { text-align: left; }</style>", f"<p>{summary}</p>", *_examples(address)]
    told: set[str] = set()
    errors: dict[str, str] = {}
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            parts += _route(f"{method.upper()} {path}", operation, schemas, told)
            errors |= {status: one["description"] for status, one in operation["responses"].items() if status != _DONE}
    parts += ["<h2>Errors</h2><p>An error is a JSON object with one sentence as detail.</p>"]
    parts.append(html.table(("status", "says that"), sorted([status, what] for status, what in errors.items())))
    parts.append('<p class="soft"><a href="openapi.json">openapi.json</a> has the same for programs.</p>')
    return html.page(f"samlet {description['info']['version']}: {model}", parts)


def _examples(address: str) -> list[str]:
    prompts = '{"prompts": [{"points": [[214, 250]]}, {"box": [160, 180, 360, 490]}]}'
    steps = (
        ("Send a photograph. The answer names it, as image:", f"curl --data-binary @photo.jpg {address}/images"),
        (
            "Ask for masks of it, with that name in the place of NAME:",
            f"curl {address}/images/NAME/masks -H 'content-type: application/json' -d '{prompts}'",
        ),
        ("Or for all masks:", f"curl -X POST {address}/images/NAME/everything"),
    )
    return [f"<p>{html.text(what)}</p><pre>{html.text(command)}</pre>" for what, command in steps]


def _route(title: str, operation: Mapping[str, Any], schemas: Mapping[str, Any], told: set[str]) -> Iterator[str]:
    """One route: what it does, takes and answers, with the objects that no route before has told of."""
    yield f"<h2>{html.text(title)}</h2><p>{html.text(operation.get('description', ''))}</p>"
    rows = [[one["name"], f"in the address: {_kind(one['schema'])}"] for one in operation.get("parameters", ())]
    content = {kind: one["schema"] for kind, one in operation.get("requestBody", {}).get("content", {}).items()}
    rows += [["body", f"{kind}: {_kind(schema)}"] for kind, schema in content.items()]
    if rows:
        yield html.table(("takes", "as"), rows)
    asked = list(dict.fromkeys(name for schema in content.values() for name in _names(schema, schemas)))
    yield from (_fields(name, schemas[name], True) for name in asked if name not in told)
    answer = operation["responses"][_DONE]["content"]["application/json"]["schema"]
    yield f"<p>The answer is {html.text(_kind(answer))}.</p>"
    given = list(dict.fromkeys(_names(answer, schemas)))
    yield from (_fields(name, schemas[name], False) for name in given if name not in told)
    told.update(asked, given)


def _fields(name: str, schema: Mapping[str, Any], asked: bool) -> str:
    """The fields of an object, as a table; with what may be left out where they are asked for."""
    needed, rows = schema.get("required", ()), []
    for field, one in schema.get("properties", {}).items():
        usual = "needed" if field in needed else f"default {json.dumps(one.get('default'))}"
        rows.append([field, _kind(one), *([usual] if asked else []), one.get("description", "")])
    head = ("field", "is", "if left out", "means") if asked else ("field", "is", "means")
    title = f"<p><b>{html.text(name)}</b>: {html.text(schema.get('description', ''))}</p>"
    return title + html.table(head, rows)


def _names(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[str]:
    """The objects that a schema speaks of, outermost first."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_NAME)
        yield name
        for one in schemas[name].get("properties", {}).values():
            yield from _names(one, schemas)
    for one in (*schema.get("anyOf", ()), *schema.get("prefixItems", ()), *[schema.get("items") or {}]):
        if one and isinstance(one, dict):
            yield from _names(one, schemas)


def _kind(schema: Mapping[str, Any]) -> str:
    """What a value is, in words: `list of PromptBody`, `[number, number]`, `1 to 64`."""
    if "$ref" in schema:
        return str(schema["$ref"]).removeprefix(_NAME)
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return " or ".join(json.dumps(value) for value in schema.get("enum", [schema.get("const")]))
    if "prefixItems" in schema:
        return f"[{', '.join(_kind(one) for one in schema['prefixItems'])}]"
    if schema.get("type") == "array":
        most = f", {schema['maxItems']} at most" if "maxItems" in schema else ""
        return f"list of {_kind(schema.get('items', {}))}{most}"
    if "properties" in schema:
        return "; ".join(f"{name}, {_kind(one)}" for name, one in schema["properties"].items())
    if schema.get("format") == "binary":
        return "the bytes of the file"
    kind = {"object": "JSON object", "integer": "whole number"}.get(schema.get("type", ""), schema.get("type", "JSON"))
    if {"minimum", "maximum"} <= schema.keys():
        return f"{kind} from {schema['minimum']:g} to {schema['maximum']:g}"
    return str(kind)
