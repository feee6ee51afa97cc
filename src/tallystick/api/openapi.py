"""The OpenAPI 3.1 document, made from the routes and the views."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final, get_args

import msgspec
from msgspec import Struct

from tallystick.api import views
from tallystick.api.field_docs import field_docs
from tallystick.api.questions import Nothing
from tallystick.api.routes import JSON, MESSAGEPACK, Endpoint

_PROBLEM: Final = {
    "description": "What is in the way, and what to do next (RFC 9457).",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_HEX: Final = {"type": "string", "pattern": "^[0-9a-f]{64}$", "example": "00" * 32}
_PATH_PARAMETERS: Final[Mapping[str, dict[str, Any]]] = {
    "index": {"type": "integer", "minimum": 0, "maximum": 2**53, "example": 0},
    "who": {"type": "string", "minLength": 1, "example": "node-1"},
}
"""All others are ids, keys and hashes."""
_ID_OR_ITS_BEGINNING: Final = {"type": "string", "pattern": "^[0-9a-f]{8,64}$", "example": "00" * 32}


def document(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """The whole document."""
    kinds: dict[type[Struct], None] = {views.Problem: None, views.BlockEvent: None}
    for one in endpoints:
        kinds.update(dict.fromkeys([one.answer, *one.bodies.values()]))
    _, schemas = msgspec.json.schema_components(list(kinds), ref_template="#/components/schemas/{name}")
    for kind in _all_structs(kinds):
        for name, text in field_docs(kind).items():
            schemas[kind.__name__]["properties"][name].setdefault("description", text)
    paths: dict[str, dict[str, Any]] = {}
    for one in endpoints:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one)
    paths["/v1/events"] = {"get": _events()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Tallystick", "version": version("tallystick"), "description": views.__doc__},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _all_structs(kinds: Iterable[type[Struct]]) -> list[type[Struct]]:
    """These, and those that their fields hold."""
    found: dict[type[Struct], None] = {}
    todo = list(kinds)
    while todo:
        kind = todo.pop()
        if kind not in found:
            found[kind] = None
            held = (one for field in msgspec.structs.fields(kind) for one in _in_type(field.type))
            todo.extend(one for one in held if isinstance(one, type) and issubclass(one, Struct))
    return list(found)


def _in_type(kind: Any) -> Iterator[Any]:
    yield kind
    for one in get_args(kind):
        yield from _in_type(one)


def _operation(one: Endpoint) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": one.handler.__name__,
        "summary": one.summary,
        "parameters": [*_path_parameters(one.path), *_query_parameters(one.question)],
        "responses": {
            "200": {
                "description": (one.answer.__doc__ or "").strip(),
                "content": _content({JSON: one.answer, MESSAGEPACK: one.answer}),
            },
            "default": _PROBLEM,
        },
    }
    if one.method == "GET":
        operation["responses"]["304"] = {"description": "It is as the `If-None-Match` of the request says."}
    if one.bodies:
        operation["requestBody"] = {"required": True, "content": _content(one.bodies)}
    return operation


def _content(kinds: Mapping[str, type[Struct]]) -> dict[str, Any]:
    return {media: {"schema": {"$ref": f"#/components/schemas/{kind.__name__}"}} for media, kind in kinds.items()}


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": _ID_OR_ITS_BEGINNING if path == "/v1/certificates/{id}" else _PATH_PARAMETERS.get(name, _HEX),
        }
        for name in re.findall(r"{(\w+)}", path)
    ]


def _query_parameters(question: type[Struct]) -> list[dict[str, Any]]:
    if question is Nothing:
        return []
    _, components = msgspec.json.schema_components([question])
    properties = components[question.__name__].get("properties", {})
    return [{"name": name, "in": "query", "required": False, "schema": schema} for name, schema in properties.items()]


def _events() -> dict[str, Any]:
    stream = {"schema": {"type": "string", "description": "Events `block`, whose data is a `BlockEvent`."}}
    return {
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
            "200": {"description": "Without an end.", "content": {"text/event-stream": stream}},
            "default": _PROBLEM,
        },
    }
