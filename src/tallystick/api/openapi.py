"""The OpenAPI 3.1 document, made from the routes and the views."""

import ast
import inspect
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from itertools import pairwise
from types import ModuleType
from typing import Any, Final

import msgspec
from msgspec import Struct

from tallystick.api import decisions, governed_views, proving_views, questions, view_base, views
from tallystick.api.proving_views import Text
from tallystick.api.questions import JSON, MESSAGEPACK, PLAIN_TEXT
from tallystick.api.routes import Endpoint

_PROBLEM: Final = {
    "description": "What is in the way, and what to do next (RFC 9457).",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_STREAM: Final = {"type": "string", "description": "Events `block`, whose data is a `BlockEvent`."}
_EVENTS: Final = {
    "operationId": "events",
    "summary": "Final blocks as they come, as server-sent events; their ids are sizes of the log.",
    "parameters": [
        {
            "name": "Last-Event-ID",
            "in": "header",
            "required": False,
            "schema": {"type": "string", "pattern": "^[0-9]{1,16}$"},
            "description": "Go on after this event.",
        }
    ],
    "responses": {
        "200": {"description": "Without an end.", "content": {"text/event-stream": {"schema": _STREAM}}},
        "default": _PROBLEM,
    },
}


def document(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """The whole document."""
    kinds: list[type[Struct]] = [views.Problem, views.BlockEvent]
    paths: dict[str, dict[str, Any]] = {}
    for one in endpoints:
        kinds += [one.answer, *one.bodies.values()]
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one)
    paths["/v1/events"] = {"get": _EVENTS}
    schemas = schemas_of(kinds, (views, view_base, governed_views, proving_views, questions, decisions))
    return {
        "openapi": "3.1.0",
        "info": {"title": "Tallystick", "version": version("tallystick"), "description": views.__doc__},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def schemas_of(kinds: Sequence[type[Struct]], modules: Sequence[ModuleType]) -> dict[str, dict[str, Any]]:
    """The JSON schemas of structs and of all that they hold, by name, with what their sources say of each field.

    `modules` are those that define them, or have them from one that does.
    """
    _, schemas = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    sources = {name: found for module in modules for name, found in _classes_in(module).items()}
    for name, schema in schemas.items():
        kind = next(getattr(module, name) for module in modules if hasattr(module, name))
        for field, text in _field_docs(kind, sources).items():
            schema["properties"][field].setdefault("description", text)
    return schemas


def _operation(one: Endpoint) -> dict[str, Any]:
    responses: dict[str, Any] = {
        "200": {
            "description": (one.answer.__doc__ or "").strip(),
            "content": {**_content({JSON: one.answer, MESSAGEPACK: one.answer}), **_text(one.answer)},
        },
        "default": _PROBLEM,
    }
    if one.method == "GET":
        responses["304"] = {"description": "It is as the `If-None-Match` of the request says."}
    told = {"operationId": one.handler.__name__, "summary": one.summary, "parameters": _parameters(one)}
    body = {"requestBody": {"required": True, "content": _content(one.bodies)}} if one.bodies else {}
    return {**told, **body, "responses": responses}


def _text(answer: type[Struct]) -> dict[str, Any]:
    return {PLAIN_TEXT: {"schema": {"type": "string"}}} if issubclass(answer, Text) else {}


def _content(kinds: Mapping[str, type[Struct]]) -> dict[str, Any]:
    return {media: {"schema": {"$ref": f"#/components/schemas/{kind.__name__}"}} for media, kind in kinds.items()}


def _parameters(one: Endpoint) -> list[dict[str, Any]]:
    _, schemas = msgspec.json.schema_components([one.parameters])
    properties = schemas[one.parameters.__name__].get("properties", {})
    in_path = {name: f"{{{name}}}" in one.path for name in properties}
    return [
        {"name": name, "in": "path" if in_path[name] else "query", "required": in_path[name], "schema": schema}
        for name, schema in properties.items()
    ]


def _classes_in(module: ModuleType) -> dict[str, ast.ClassDef]:
    return {one.name: one for one in ast.parse(inspect.getsource(module)).body if isinstance(one, ast.ClassDef)}


def _field_docs(kind: type[Struct], sources: Mapping[str, ast.ClassDef]) -> dict[str, str]:
    """What the sources say of a struct's fields, the inherited ones too: the string that stands below each."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if issubclass(base, Struct) and base is not Struct:
            for field, below in pairwise(sources[base.__name__].body):
                text = ast.get_docstring(ast.Module([below], [])) if isinstance(below, ast.Expr) else None
                if text and isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                    found[field.target.id] = text
    return found
