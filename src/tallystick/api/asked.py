"""What a request asks: its parameters and its body, bounded, or in words what is wrong with them."""

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct
from starlette.requests import ClientDisconnect, Request

from tallystick.api.questions import JSON, MESSAGEPACK
from tallystick.api.routes import Endpoint
from tallystick.problems import BadRequest, Busy

MAX_BODY_BYTES: Final = 16 * 1024 * 1024
_BODY_SECONDS: Final = 30.0
_MOST_BODY_BYTES: Final = 8 * MAX_BODY_BYTES
"""Of all bodies at once."""
_NOUNS: Final = {"integer": "a whole number", "boolean": "true or false", "string": "text", "array": "a list"}

_decoders: Final[Mapping[str, Callable[..., Any]]] = {JSON: msgspec.json.decode, MESSAGEPACK: msgspec.msgpack.decode}


class UnsupportedType(BadRequest):
    """A body in a form that is not understood."""

    code, http_status = "unsupported-type", 415


class TooLarge(BadRequest):
    """A body beyond the bound."""

    code, http_status = "too-large", 413


def parameters(endpoint: Endpoint, request: Request) -> Struct:
    """Of the path and the query. Raises `BadRequest`."""
    items = [*request.query_params.multi_items(), *request.path_params.items()]
    if len(dict(items)) != len(items):
        raise BadRequest("a parameter stands twice in the address")
    try:
        asked = msgspec.convert(dict(items), endpoint.parameters, strict=False)
    except msgspec.ValidationError as error:
        raise BadRequest(_in_words(error, endpoint.parameters)) from None
    for name, text in items:
        value = getattr(asked, name)
        if type(value) is int and str(value) != text:
            raise BadRequest(f"{name} has to be a whole number in plain digits, not {text!r}")
    return asked


class Bodies:
    """Reads bodies, so many bytes of them at once."""

    def __init__(self) -> None:
        self._held_bytes = 0

    async def read(self, endpoint: Endpoint, request: Request) -> Struct:
        """The body that an endpoint asks for. Raises `BadRequest`, `Busy`."""
        media_type = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
        kind = endpoint.bodies.get(media_type)
        if kind is None:
            raise UnsupportedType(f"{media_type!r} is not understood here; send {' or '.join(endpoint.bodies)}")
        data = await self.read_bytes(request, MAX_BODY_BYTES)
        try:
            body: Struct = _decoders[media_type](data, type=kind)
            return body
        except msgspec.ValidationError as error:
            raise BadRequest(_in_words(error, kind)) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            where = re.search(r"byte \d+", str(error))
            told = f", from {where[0]} on" if where else ""
            raise BadRequest(f"the body is not well-formed {media_type}{told}") from None

    async def read_bytes(self, request: Request, most: int) -> bytes:
        """The body as it came, of so many bytes at most. Raises `BadRequest`, `Busy`."""
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                return await self._read(request, most)
        except TimeoutError:
            raise BadRequest(f"the body was not there within {_BODY_SECONDS:.0f} s") from None

    async def _read(self, request: Request, most: int) -> bytes:
        declared = request.headers.get("content-length", "0")
        if declared.isascii() and declared.isdigit() and int(declared) > most:
            raise TooLarge(f"a body of {declared} bytes, {most} are allowed; send it in parts")
        body = bytearray()
        try:
            async for part in request.stream():
                body += part
                self._held_bytes += len(part)
                if len(body) > most:
                    raise TooLarge(f"a body of more than {most} bytes; send it in parts")
                if self._held_bytes > _MOST_BODY_BYTES:
                    raise Busy("others are submitting as much as there is room for; submit again in a second")
            return bytes(body)
        except ClientDisconnect:
            raise BadRequest("the connection ended within the body") from None  # nobody is there to read this
        finally:
            self._held_bytes -= len(body)


def _in_words(error: msgspec.ValidationError, kind: type[Struct]) -> str:
    """Which parameter or field is not as its declaration says, and what is expected of it."""
    if strange := re.match("Object (.*?) field `(.*?)`", str(error), re.DOTALL):
        return f"{strange[2][:100]!r} is {'no field here' if 'unknown' in strange[1] else 'missing'}"
    found = re.search(r"at `\$\.?([^`]*)`$", str(error))
    where = found[1] if found else ""
    _, schemas = msgspec.json.schema_components([kind])
    wanted: Mapping[str, Any] = schemas[kind.__name__]
    for step in re.findall(r"[a-z]\w*|\[", where):
        either = _either(wanted, schemas)
        inside = [one["items"] if step == "[" else one.get("properties", {}).get(step) for one in either]
        fits = [one for one in inside if one is not None]
        words = [word for one in fits for word in one.get("enum", ())]
        wanted = {"enum": words} if words else fits[0]
    return f"{where or 'the body'} has to be {_expected(_either(wanted, schemas)[0])}"


def _either(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The schemas of which one has to hold."""
    if "$ref" in schema:
        return _either(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    return [each for one in schema["anyOf"] for each in _either(one, schemas)] if "anyOf" in schema else [schema]


def _expected(schema: Mapping[str, Any]) -> str:
    """What a JSON schema of a parameter or field wants."""
    if "pattern" in schema or "contentEncoding" in schema:
        text = str(schema["description"])
        return text[0].lower() + text[1:].rstrip(".")
    if "enum" in schema:
        return f"one of {', '.join(map(str, schema['enum']))}"
    bounds = {
        word: next((schema[name] for name in schema if name.startswith(start)), None)
        for start, word in (("min", "at least"), ("max", "at most"))
    }
    said = [f"{word} {bound}" for word, bound in bounds.items() if bound is not None]
    unit = {"string": " characters", "array": " items"}.get(schema["type"], "") if said else ""
    return ", ".join([_NOUNS.get(schema["type"], "an object"), *said]) + unit
