"""The ASGI application: it lets requests in, bounds them, and answers with views or problems (RFC 9457)."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from hashlib import sha256
from math import ceil
from typing import TYPE_CHECKING, Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tallystick.api.asked import Bodies, TooLarge, parameters
from tallystick.api.live_node import LiveNode
from tallystick.api.openapi import document
from tallystick.api.problem_view import problem_view
from tallystick.api.proving_views import Text
from tallystick.api.questions import JSON, MESSAGEPACK, PLAIN_TEXT, HexSubmission, ProofsAsked, Submission
from tallystick.api.rates import Rates, TooManyRequests
from tallystick.api.reader import LedgerReader
from tallystick.api.routes import ENDPOINTS, Endpoint
from tallystick.api.verify_page import page_bytes, page_headers
from tallystick.api.views import in_json
from tallystick.ledger.errors import Refused
from tallystick.problems import Busy, ExitCode, NotAllowed, NotRunning, NotYet, Problem, RefusedInput

if TYPE_CHECKING:  # a file's reader does without
    from tallystick.api.server import Tls
    from tallystick.api.witnessing import WitnessDoor

_MOST_AT_ONCE: Final = 256
_OCTETS: Final = "application/octet-stream"
_FOR_EVER: Final = {"Cache-Control": "public, max-age=31536000, immutable"}
_FOR_A_MOMENT: Final = {"Cache-Control": "public, max-age=1"}

Serve = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class TcpDoor:
    """A door for everybody: reads and signed submissions alone."""

    host: str
    port: int
    names: tuple[str, ...] = ()
    """What it is called, besides its address, with or without a port."""
    tls: "Tls | None" = None
    proxy: str | None = None
    """The address of a proxy in front of it, whose `X-Forwarded-For` counts."""
    lists: bool = False
    """Whether it may be searched, which lists people."""
    witness: "WitnessDoor | None" = None
    """Cosigns others' logs there."""

    @cached_property
    def hosts(self) -> frozenset[str]:
        """The names it is reached by, with their ports, in lower case."""
        names = {f"{self.host}:{self.port}", f"localhost:{self.port}", *self.names}
        names |= {f"{name}:{self.port}" for name in self.names}
        return frozenset(name.lower() for name in names)


class Fault(Problem):
    """A fault in this program."""

    code, exit_code, http_status = "fault", ExitCode.FAILED, 500


class NoSuchRoute(Problem):
    """There is no such route."""

    code, http_status = "no-such-route", 404


class NoSuchMethod(Problem):
    """The route does not take this method."""

    code, http_status = "no-such-method", 405


class App:
    """The application of one door, over one ledger."""

    def __init__(self, reader: LedgerReader, tcp: TcpDoor | None = None, node: LiveNode | None = None) -> None:
        """`tcp`: if it is for everybody; the node's own socket, and a file, are their user's. `node`: if it runs."""
        self.reader, self._tcp, self._node = reader, tcp, node
        self._rates = Rates(tcp.proxy) if tcp is not None else None
        self._places = asyncio.Semaphore(_MOST_AT_ONCE)
        self._waiting_places = asyncio.Semaphore(node.most_waiting if node else 1)
        self._bodies = Bodies()
        self._endpoints = [one for one in ENDPOINTS if tcp is None or not one.is_local]
        self._described: asyncio.Task[bytes] | None = None
        routes: list[tuple[str, str, Serve]] = [
            ("GET", "/tile/{rest:path}", self._mirrored),
            ("GET", "/tallystick/{rest:path}", self._mirrored),
            ("GET", "/checkpoint", self._checkpoint),
            *((one.method, one.path, partial(self._answer, one)) for one in self._endpoints),
            ("GET", "/v1/events", self._follow),
            ("GET", "/v1/openapi.json", self._document),
            ("GET", "/verify", self._page),
            ("GET", "/metrics", self._metrics),
            ("GET", "/livez", self._alive),
            ("GET", "/readyz", self._ready),
        ]
        if tcp is not None and tcp.witness is not None:
            routes += tcp.witness.routes(self._bodies, self._spend)
        self.asgi = Starlette(
            routes=[Route(path, self._serve(answer), methods=[method]) for method, path, answer in routes],
            exception_handlers={HTTPException: _not_found, Exception: _fault},
        )

    def _serve(self, answer: Serve) -> Serve:
        """With problems told as such, and a browser kept out."""

        async def served(request: Request) -> Response:
            try:
                self._check_origin(request)
                self._spend(request, 1)
                answered = await answer(request)
                if self._node is not None:
                    self._node.check_sound()
                return answered
            except Problem as problem:
                return _problem(problem)
            except Refused as refused:
                return _problem(RefusedInput(refused))

        return served

    async def _answer(self, endpoint: Endpoint, request: Request) -> Response:
        if endpoint.lists and self._tcp is not None and not self._tcp.lists:
            raise NotAllowed("this door lists nobody; look certificates up by their id, or by a file's SHA-256")
        asked = parameters(endpoint, request)
        body = await self._bodies.read(endpoint, request) if endpoint.bodies else None
        async with _a_place(self._waiting_places if endpoint.waits else self._places):  # not while a body is on its way
            if isinstance(body, Submission | HexSubmission):
                self._spend(request, len(body.entries))
            elif isinstance(body, ProofsAsked):
                self._spend(request, len(body.ids))
            asked_of = self._live() if endpoint.is_live else self.reader
            return _answered(request, await endpoint.answered(asked_of, asked, body))

    async def _follow(self, request: Request) -> Response:
        events = self._live().events
        size = events.after(request.headers.get("last-event-id"))
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        return StreamingResponse(events.follow(size), media_type="text/event-stream", headers=headers)

    async def _mirrored(self, request: Request) -> Response:
        """A file of the ledger's mirror, which never changes."""
        mirror, path = self.reader.mirror, request.scope["path"][1:]
        data = mirror.at_hand(path)
        if data is None:
            self._spend(request, mirror.cost(path))
            async with _a_place(self._places):
                data = await mirror.file(path)
        return Response(data, media_type=_OCTETS, headers=_FOR_EVER)

    async def _checkpoint(self, _request: Request) -> Response:
        """The mirror's newest checkpoint."""
        return Response(await self.reader.mirror.checkpoint(), media_type=PLAIN_TEXT, headers=_FOR_A_MOMENT)

    async def _document(self, _request: Request) -> Response:
        if self._described is None:  # made once, in a thread: it is read from the sources
            make = asyncio.to_thread(lambda: in_json(document(self._endpoints)))
            self._described = asyncio.create_task(make)
        return Response(await asyncio.shield(self._described), media_type=JSON)

    async def _page(self, request: Request) -> Response:
        """The page that verifies in a browser; it asks nothing of this node."""
        body = page_bytes()
        headers = {**page_headers(), "ETag": f'"{sha256(body).hexdigest()[:32]}"'}
        if headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(body, media_type="text/html", headers=headers)

    async def _metrics(self, _request: Request) -> Response:
        from tallystick.api.metrics import metrics  # noqa: PLC0415  # nobody else needs its library

        return Response(metrics(await self._live().status()), media_type="text/plain; version=0.0.4")

    async def _alive(self, _request: Request) -> Response:
        return Response("alive\n", media_type="text/plain")

    async def _ready(self, _request: Request) -> Response:
        """Whether the node has caught up, and somebody may be sent to it."""
        status = await self._live().status()
        code = 503 if status.state in ("catching_up", "mismatch") else 200
        return Response(f"{status.state}: {status.why}\n", code, media_type="text/plain")

    def _live(self) -> LiveNode:
        if self._node is None:
            raise NotRunning("a file does not tell this, a running node does; start one with: tallystick run")
        return self._node

    def _spend(self, request: Request, cost: float) -> None:
        if self._rates is not None:
            self._rates.spend(request, cost)

    def _check_origin(self, request: Request) -> None:
        """A page in a browser may neither reach the node by another name (DNS rebinding) nor from another site."""
        if self._tcp is None:
            return  # a browser cannot reach it
        host = request.headers.get("host", "").lower()
        if host not in self._tcp.hosts:
            raise NotAllowed(f"host {host!r} is not one of this node's; name it with --api-host")
        origin = request.headers.get("origin")
        if origin is not None and origin.lower().partition("://")[2] != host:
            raise NotAllowed(f"pages of {origin!r} may not ask this node")


@asynccontextmanager
async def _a_place(at_once: asyncio.Semaphore) -> AsyncIterator[None]:
    if at_once.locked():
        raise Busy("as many requests as there may be are answered at the moment; ask again in a second")
    async with at_once:
        yield


def _answered(request: Request, answer: msgspec.Struct) -> Response:
    accepted = request.headers.get("accept", "")
    media_type = MESSAGEPACK if MESSAGEPACK in accepted else JSON
    if isinstance(answer, Text) and media_type != MESSAGEPACK and JSON not in accepted:
        media_type, body = PLAIN_TEXT, answer.text.encode()
    else:
        body = msgspec.msgpack.encode(answer) if media_type == MESSAGEPACK else in_json(answer)
    headers = {}
    if request.method == "GET":
        headers = {"ETag": f'"{sha256(body).hexdigest()[:32]}"', "Vary": "Accept", "Cache-Control": "no-cache"}
        if headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
    return Response(body, media_type=media_type, headers=headers)


def _problem(problem: Problem, given: Mapping[str, str] | None = None) -> Response:
    headers = {
        "Cache-Control": "no-store",
        **(given or {}),
        **({"Retry-After": "1"} if isinstance(problem, Busy | NotYet) else {}),
    }
    if isinstance(problem, TooManyRequests):
        headers["Retry-After"] = str(ceil(problem.wait_s))
    if isinstance(problem, TooLarge):
        headers["Connection"] = "close"  # what follows of the body is not read
    body = in_json(problem_view(problem))
    return Response(body, problem.http_status, headers, media_type="application/problem+json")


async def _fault(request: Request, error: Exception) -> Response:
    """A fault in this program: it is logged, and the one who asked learns no more than that."""
    logging.getLogger(__name__).error("fault", exc_info=error, extra={"path": request.url.path})
    return _problem(Fault("the node failed to answer this; its log says where"))


async def _not_found(_request: Request, error: Exception) -> Response:
    """What Starlette refuses by itself."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        return _problem(NoSuchMethod("this method is not for this address"), error.headers)
    return _problem(NoSuchRoute("this address answers nothing"))
