"""The ASGI application: it understands requests, bounds them, and answers with views or problems (RFC 9457)."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tallystick.api import views
from tallystick.api.events import BlockEvents
from tallystick.api.openapi import document
from tallystick.api.problem_view import problem_view
from tallystick.api.questions import HexSubmission, Submission
from tallystick.api.rates import Rates
from tallystick.api.routes import ENDPOINTS, JSON, MESSAGEPACK, Asked, Endpoint, Source
from tallystick.ledger.errors import Refused
from tallystick.problems import BadRequest, Busy, ExitCode, NotAllowed, NotRunning, Problem, RefusedInput

MAX_BODY_BYTES: Final = 16 * 1024 * 1024
_BODY_SECONDS: Final = 30.0
_MOST_AT_ONCE: Final = 256
_MOST_WAITING: Final = 768
_MOST_BODY_BYTES: Final = 8 * MAX_BODY_BYTES
"""Of all bodies at once."""
_PROBLEM_JSON: Final = "application/problem+json"
_NO_CACHE: Final = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}

_encoders: Final[Mapping[str, Callable[[Any], bytes]]] = {
    JSON: msgspec.json.Encoder().encode,
    MESSAGEPACK: msgspec.msgpack.Encoder().encode,
}
_decoders: Final[Mapping[str, Callable[..., Any]]] = {JSON: msgspec.json.decode, MESSAGEPACK: msgspec.msgpack.decode}


@dataclass(frozen=True)
class Door:
    """Where requests come in. The node's own socket, and a file, are its user's."""

    is_local: bool = True
    hosts: frozenset[str] | None = None
    """The names it is reached by, with their ports, in lower case; `None`: any, which a browser cannot reach."""
    rates: Rates | None = None


class Fault(Problem):
    """A fault in this program."""

    code, exit_code, http_status = "fault", ExitCode.FAILED, 500


class UnsupportedType(BadRequest):
    """A body in a form that is not understood."""

    code, http_status = "unsupported-type", 415


class TooLarge(BadRequest):
    """A body beyond the bound."""

    code, http_status = "too-large", 413


class App:
    """The application of one door, over one ledger."""

    def __init__(self, source: Source, door: Door, events: BlockEvents | None = None) -> None:
        """`events`: of a running node."""
        self.source, self._events, self._hosts, self._rates = source, events, door.hosts, door.rates
        self._places, self._waiting_places = asyncio.Semaphore(_MOST_AT_ONCE), asyncio.Semaphore(_MOST_WAITING)
        self._body_bytes = 0
        """Of all bodies that are in memory."""
        self.endpoints = [one for one in ENDPOINTS if door.is_local or not one.is_local]
        routes = [
            Route(one.path, self._serve(partial(self._answer, one)), methods=[one.method]) for one in self.endpoints
        ]
        others = {
            "/v1/events": self._follow,
            "/v1/openapi.json": self._document,
            "/metrics": self._metrics,
            "/livez": self._alive,
            "/readyz": self._ready,
        }
        routes += [Route(path, self._serve(answer), methods=["GET"]) for path, answer in others.items()]
        handlers = {HTTPException: _not_found, Exception: _fault}
        self.asgi = Starlette(routes=routes, exception_handlers=handlers)

    def _serve(self, answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """With problems told as such, and a browser kept out."""

        async def served(request: Request) -> Response:
            try:
                self._check_origin(request)
                if self._rates is not None:
                    self._rates.spend(request, 1)
                answered = await answer(request)
                if self.source.node is not None:
                    self.source.node.check_sound()
                return answered
            except Problem as problem:
                return _problem(problem)
            except Refused as refused:
                return _problem(RefusedInput(refused))

        return served

    async def _answer(self, endpoint: Endpoint, request: Request) -> Response:
        async with _a_place(self._waiting_places if endpoint.waits else self._places):
            return _answered(request, await endpoint.handler(await self._asked(endpoint, request)))

    async def _follow(self, request: Request) -> Response:
        if self._events is None:
            raise NotRunning("a file has no events, a running node has; start one with: tallystick run")
        size = self._events.after(request.headers.get("last-event-id"))
        return StreamingResponse(self._events.follow(size), media_type="text/event-stream", headers=_NO_CACHE)

    async def _document(self, _request: Request) -> Response:
        return Response(_encoders[JSON](document(self.endpoints)), media_type=JSON)

    async def _metrics(self, _request: Request) -> Response:
        from tallystick.api.metrics import metrics  # noqa: PLC0415  # nobody else needs its library

        node = self.source.live()
        return Response(metrics(partial(node.status, self.source.reader)), media_type="text/plain; version=0.0.4")

    async def _alive(self, _request: Request) -> Response:
        return Response("alive\n", media_type="text/plain")

    async def _ready(self, _request: Request) -> Response:
        """Whether the node has caught up, and somebody may be sent to it."""
        status = self.source.live().status(self.source.reader)
        is_ready = status.state not in ("catching_up", "mismatch")
        text = f"{status.state}: {status.why}\n"
        return Response(text, status_code=200 if is_ready else 503, media_type="text/plain")

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

    async def _asked(self, endpoint: Endpoint, request: Request) -> Asked:
        items = request.query_params.multi_items()
        if len({name for name, _ in items}) != len(items):
            raise BadRequest("a parameter stands twice in the address")
        try:
            question = msgspec.convert(dict(items), endpoint.question, strict=False)
        except msgspec.ValidationError as error:
            raise BadRequest(f"the parameters are not understood: {error}") from None
        body = await self._body(endpoint, request) if endpoint.bodies else None
        if self._rates is not None and isinstance(body, Submission | HexSubmission):
            self._rates.spend(request, len(body.entries))
        return Asked(self.source, request.path_params, question, body)

    async def _body(self, endpoint: Endpoint, request: Request) -> Any:
        media_type = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
        kind = endpoint.bodies.get(media_type)
        if kind is None:
            raise UnsupportedType(f"{media_type!r} is not understood here; send {' or '.join(endpoint.bodies)}")
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                return _decoders[media_type](await self._read(request), type=kind)
        except TimeoutError:
            raise BadRequest(f"the body was not there within {_BODY_SECONDS:.0f} s") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadRequest(f"the body is not understood: {error}") from None

    async def _read(self, request: Request) -> bytes:
        declared = request.headers.get("content-length", "0")
        if declared.isascii() and declared.isdigit() and int(declared) > MAX_BODY_BYTES:
            raise TooLarge(f"a body of {declared} bytes, {MAX_BODY_BYTES} are allowed; send it in parts")
        body = bytearray()
        try:
            async for part in request.stream():
                body += part
                self._body_bytes += len(part)
                if len(body) > MAX_BODY_BYTES:
                    raise TooLarge(f"a body of more than {MAX_BODY_BYTES} bytes; send it in parts")
                if self._body_bytes > _MOST_BODY_BYTES:
                    raise Busy("others are submitting as much as there is room for; submit again in a second")
            return bytes(body)
        except ClientDisconnect:
            raise BadRequest("the connection ended within the body") from None  # nobody is there to read this
        finally:
            self._body_bytes -= len(body)


@asynccontextmanager
async def _a_place(at_once: asyncio.Semaphore) -> AsyncIterator[None]:
    if at_once.locked():
        raise Busy("as many requests as there may be are answered at the moment; ask again in a second")
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


def _problem(problem: Problem) -> Response:
    headers = {"Retry-After": "1"} if isinstance(problem, Busy) else {}
    if isinstance(problem, TooLarge):
        headers["Connection"] = "close"  # what follows of the body is not read
    body = _encoders[JSON](problem_view(problem))
    return Response(body, status_code=problem.http_status, media_type=_PROBLEM_JSON, headers=headers)


async def _fault(request: Request, error: Exception) -> Response:
    """A fault in this program: it is logged, and the one who asked learns no more than that."""
    logging.getLogger(__name__).error("fault", exc_info=error, extra={"fields": {"path": request.url.path}})
    return _problem(Fault("the node failed to answer this; its log says where"))


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
