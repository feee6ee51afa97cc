"""The ASGI application: it understands requests, bounds them, and answers with views or problems (RFC 9457)."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager
from enum import Enum
from hashlib import sha256
from typing import Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from tallystick.api import views
from tallystick.api.routes import ENDPOINTS, JSON, MESSAGEPACK, Asked, Endpoint, Source
from tallystick.ledger.errors import Refused
from tallystick.problems import BadRequest, Busy, ExitCode, NotAllowed, Problem, RefusedInput

MAX_BODY_BYTES: Final = 16 * 1024 * 1024
_BODY_SECONDS: Final = 30.0
_MOST_AT_ONCE: Final = 256
_PROBLEM_JSON: Final = "application/problem+json"

_encoders: Final[Mapping[str, Callable[[Any], bytes]]] = {
    JSON: msgspec.json.Encoder().encode,
    MESSAGEPACK: msgspec.msgpack.Encoder().encode,
}
_decoders: Final[Mapping[str, Callable[..., Any]]] = {JSON: msgspec.json.decode, MESSAGEPACK: msgspec.msgpack.decode}


class Door(Enum):
    """Where a request comes in."""

    LOCAL = "local"
    """The node's own socket, or a file: the node's user."""
    REMOTE = "remote"
    """TCP: anybody."""


class UnsupportedType(BadRequest):
    """A body in a form that is not understood."""

    code, http_status = "unsupported-type", 415


class TooLarge(BadRequest):
    """A body beyond the bound."""

    code, http_status = "too-large", 413


def make_app(source: Source, door: Door, hosts: frozenset[str] | None = None) -> Starlette:
    """An application for one door. `hosts`: the names it is reached by, in lower case; `None`: any."""
    at_once = asyncio.Semaphore(_MOST_AT_ONCE)
    routes = [
        Route(one.path, _Served(one, source, door, at_once, hosts), methods=[one.method])
        for one in ENDPOINTS
        if door is Door.LOCAL or not one.is_local
    ]
    return Starlette(routes=routes, exception_handlers={HTTPException: _not_found})


class _Served:
    """One endpoint behind a door."""

    def __init__(
        self, endpoint: Endpoint, source: Source, door: Door, at_once: asyncio.Semaphore, hosts: frozenset[str] | None
    ) -> None:
        self._endpoint, self._source, self._door = endpoint, source, door
        self._at_once, self._hosts = at_once, hosts

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """As ASGI has it."""
        request = Request(scope, receive)
        try:
            self._check_origin(request)
            async with _a_place(self._at_once):
                answer = await self._endpoint.handler(await self._asked(request))
            response = _answered(request, answer)
        except ClientDisconnect:
            return
        except Problem as problem:
            response = _problem(problem)
        except Refused as refused:
            response = _problem(RefusedInput(refused))
        await response(scope, receive, send)

    def _check_origin(self, request: Request) -> None:
        """A page in a browser may neither reach the node by another name (DNS rebinding) nor from another site."""
        if self._hosts is None:
            return
        host = request.headers.get("host", "").lower()
        if host not in self._hosts:
            raise NotAllowed(f"host {host!r} is not one of this node's; name it with --api-host")
        origin = request.headers.get("origin")
        if origin is not None and origin.lower().partition("://")[2] != host:
            raise NotAllowed(f"pages of {origin!r} may not ask this node")

    async def _asked(self, request: Request) -> Asked:
        endpoint = self._endpoint
        items = request.query_params.multi_items()
        if len({name for name, _ in items}) != len(items):
            raise BadRequest("a parameter stands twice in the address")
        try:
            question = msgspec.convert(dict(items), endpoint.question, strict=False)
        except msgspec.ValidationError as error:
            raise BadRequest(f"the parameters are not understood: {error}") from None
        body = await self._body(request) if endpoint.bodies else None
        return Asked(self._source, request.path_params, question, body)

    async def _body(self, request: Request) -> Any:
        media_type = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
        kind = self._endpoint.bodies.get(media_type)
        if kind is None:
            raise UnsupportedType(f"{media_type!r} is not understood here; send {' or '.join(self._endpoint.bodies)}")
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                return _decoders[media_type](await _read(request), type=kind)
        except TimeoutError:
            raise BadRequest(f"the body was not there within {_BODY_SECONDS:.0f} s") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadRequest(f"the body is not understood: {error}") from None


async def _read(request: Request) -> bytes:
    declared = request.headers.get("content-length", "0")
    if declared.isascii() and declared.isdigit() and int(declared) > MAX_BODY_BYTES:
        raise TooLarge(f"a body of {declared} bytes, {MAX_BODY_BYTES} are allowed; send it in parts")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            raise TooLarge(f"a body of more than {MAX_BODY_BYTES} bytes; send it in parts")
    return bytes(body)


@asynccontextmanager
async def _a_place(at_once: asyncio.Semaphore) -> Any:
    if at_once.locked():
        raise Busy(f"{_MOST_AT_ONCE} requests are answered at the moment; ask again in a second")
    async with at_once:
        yield


def _answered(request: Request, answer: msgspec.Struct) -> Response:
    wants = request.headers.get("accept", JSON)
    media_type = MESSAGEPACK if MESSAGEPACK in wants else JSON
    body = _encoders[media_type](answer)
    headers = {}
    if request.method == "GET":
        headers = {"ETag": f'"{sha256(body).hexdigest()[:32]}"', "Vary": "Accept", "Cache-Control": "no-cache"}
        if headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
    return Response(body, media_type=media_type, headers=headers)


def problem_view(problem: Problem) -> views.Problem:
    """A problem as it is told."""
    return views.Problem(
        type=f"urn:tallystick:problem:{problem.code}",
        title=(type(problem).__doc__ or "").strip().split("\n")[0],
        status=problem.http_status,
        detail=str(problem),
        code=problem.code,
        exit_code=int(problem.exit_code),
        rule=problem.rule if isinstance(problem, RefusedInput) else None,
    )


def _problem(problem: Problem) -> Response:
    headers = {"Retry-After": "1"} if isinstance(problem, Busy) else {}
    body = _encoders[JSON](problem_view(problem))
    return Response(body, status_code=problem.http_status, media_type=_PROBLEM_JSON, headers=headers)


async def _not_found(_request: Request, error: Exception) -> Response:
    """What Starlette refuses by itself: no such route, or not with this method."""
    assert isinstance(error, HTTPException)
    is_method = error.status_code == 405
    told = views.Problem(
        type=f"urn:tallystick:problem:{'no-such-method' if is_method else 'no-such-route'}",
        title="The route does not take this method." if is_method else "There is no such route.",
        status=error.status_code,
        detail="this method is not for this address" if is_method else "this address answers nothing",
        code="no-such-method" if is_method else "no-such-route",
        exit_code=int(ExitCode.USAGE),
    )
    return Response(
        _encoders[JSON](told), status_code=error.status_code, media_type=_PROBLEM_JSON, headers=error.headers
    )
