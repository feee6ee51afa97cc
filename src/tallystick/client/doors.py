"""Where a ledger answers: a node's folder or socket, a URL, or the file of a chain; and how requests get there."""

import asyncio
import random
import re
import shlex
import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from tallystick.api import views
from tallystick.api.questions import JSON, MESSAGEPACK, Submission
from tallystick.host.local_socket import short_address
from tallystick.host.text import shown_url
from tallystick.problems import DamagedStore, ExitCode, NotInTime, NotRunning, Problem

API_SOCKET: Final = "api.sock"
_ATTEMPTS: Final = 5
_FIRST_PAUSE_S: Final = 0.1
_MOST_WAIT_S: Final = 10
_PATIENCE_S: Final = 30.0
_MOST_ANSWER_S: Final = 300.0
_MOST_ANSWER_BYTES: Final = 64 * 1024 * 1024
_MOST_PORT: Final = 65_535
_BUSY: Final = (429, 503)
_NOT_PACKED: Final = {"Accept-Encoding": "identity"}
"""What is compressed has no bound before it is opened."""

V = TypeVar("V")


class AnswerProblem(Problem):
    """What the node answered instead: its code, exit code and rule are the node's."""

    def __init__(self, told: views.Problem) -> None:
        super().__init__(told.detail)
        self.told = told
        self.code, self.http_status = told.code, told.status
        self.exit_code = ExitCode(told.exit_code) if told.exit_code in set(ExitCode) else ExitCode.FAILED


async def open_door(
    where: str | Path, stack: AsyncExitStack, on_block: Callable[[int], object]
) -> tuple[httpx.AsyncClient, bool]:
    """A connection to what `where` names, and whether that is a file: a URL, a node's folder, its socket, or a chain's.

    Raises `NotRunning` where nobody answers, `Problem` for what is none of these, `DamagedStore` for a damaged file.
    """
    if is_url(where):
        url = parsed_url(str(where), "a node", "https://node.example:7118")
        return await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=_PATIENCE_S)), False
    path = Path(where).expanduser()
    transport: httpx.AsyncBaseTransport
    if is_file := path.is_file():
        from tallystick.api.file_source import open_file  # noqa: PLC0415  # who asks a node needs none of it

        app = await stack.enter_async_context(open_file(path, on_block))
        transport = httpx.ASGITransport(app.asgi)
    else:
        transport = httpx.AsyncHTTPTransport(uds=socket_address(path), verify=False)  # no TLS: 50 ms less
    client = httpx.AsyncClient(transport=transport, base_url="http://tallystick", timeout=_PATIENCE_S)
    return await stack.enter_async_context(client), is_file


def is_url(where: str | Path) -> bool:
    """Whether it is to be asked over HTTP; a scheme has no case (RFC 3986, 3.1)."""
    return str(where).lower().startswith(("http://", "https://"))


def parsed_url(url: str, what: str, example: str) -> httpx.URL:
    """Where a node or a mirror is. Raises `Problem` for what is no URL of `what`, as the example is."""
    shown = shown_url(url)
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        raise Problem(f"{shown} is no URL; name that of {what}, as {example}") from None
    if not parsed.host or parsed.query or parsed.fragment:
        raise Problem(f"{shown} is no URL of {what}; name it without ? and #, as {example}")
    if parsed.port is not None and not 0 < parsed.port <= _MOST_PORT:
        raise Problem(f"{shown} names port {parsed.port}; ports are 1 to {_MOST_PORT:,}")
    return parsed


def socket_address(path: Path) -> str:
    """The socket of the node in a folder, where one answers. Raises `NotRunning`, `Problem`."""
    if not path.exists() and path.name != API_SOCKET:
        shown = shown_url(str(path))  # a URL that was mistyped may hold a password
        raise Problem(f"there is no {shown}; name a node's folder, its socket, a URL or the file of a chain")
    path = path / API_SOCKET if path.is_dir() else path
    address = short_address(path)
    try:  # a node that was killed leaves its socket behind
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(_PATIENCE_S)
            probe.connect(address)
    except (FileNotFoundError, ConnectionRefusedError):
        folder = path.parent
        command = f"tallystick run --data {shlex.quote(str(folder))}"
        raise NotRunning(f"no node runs in {folder}; start it with: {command}") from None
    except OSError as error:
        raise Problem(f"{path} cannot be asked: {error.strerror or error}") from None
    return address


@dataclass(frozen=True)
class Request:
    """What is asked of a door."""

    path: str
    method: str = "GET"
    query: Mapping[str, Any] = field(default_factory=dict)
    body: msgspec.Struct | None = None
    is_repeatable: bool = True
    """Whether it may be sent again when nobody knows whether it arrived."""
    wait_s: float = 0.0
    """How long the answer may take on purpose."""


async def ask(http: httpx.AsyncClient, asked: Request, kind: type[V]) -> V:
    """One answer. Raises as `ask_bytes` does, and `DamagedStore` for what is no answer."""
    response = await _asked(http, asked)
    try:
        return msgspec.json.decode(response.content, type=kind)
    except msgspec.MsgspecError:
        told = f"the answer to {response.url.path} is not known here"
        raise DamagedStore(f"{told}; is the node of another version?") from None


async def ask_bytes(http: httpx.AsyncClient, asked: Request) -> bytes:
    """What is answered. What fails on the way, or finds the node busy, is asked again, later each time.

    Raises `NotRunning`, `NotInTime`, `AnswerProblem`, `DamagedStore` for a problem that is none.
    """
    return (await _asked(http, asked)).content


async def _asked(http: httpx.AsyncClient, asked: Request) -> httpx.Response:
    request = _built(http, asked)
    for attempt in range(1, _ATTEMPTS + 1):
        wait_s = 0
        try:
            response = await _sent(http, request, asked.wait_s)
        except (httpx.TimeoutException, TimeoutError):
            raise NotInTime("the node did not answer in time; look at its log") from None
        except httpx.HTTPError as error:
            if attempt == _ATTEMPTS or not asked.is_repeatable:
                where = shown_url(str(http.base_url))
                raise NotRunning(f"the node at {where} cannot be asked: {said_of(error)}") from None
        else:
            is_busy = response.status_code in _BUSY and problem_in(response).code in ("busy", "too-many-requests")
            if attempt == _ATTEMPTS or not is_busy:
                if response.status_code != httpx.codes.OK:
                    raise problem_in(response)
                return response
            wait_s = _told_to_wait_s(response)
        await asyncio.sleep(wait_s + _FIRST_PAUSE_S * 2**attempt * random.uniform(0.5, 1.0))  # noqa: S311  no secret
    raise AssertionError("the last attempt returns or raises")


async def _sent(http: httpx.AsyncClient, request: httpx.Request, wait_s: float) -> httpx.Response:
    """The answer, bounded in size and in time: who answers need not be a node. Raises `DamagedStore`."""
    data = bytearray()
    async with asyncio.timeout(_MOST_ANSWER_S + wait_s):
        response = await http.send(request, stream=True)
        try:
            if response.headers.get("content-encoding", "identity").lower() != "identity":
                raise DamagedStore(f"what is at {request.url.host} answers compressed, though it was asked not to")
            async for piece in response.aiter_bytes():
                data += piece
                if len(data) > _MOST_ANSWER_BYTES:
                    raise DamagedStore(f"what is at {request.url.host} is no node: its answer does not end")
        finally:
            await response.aclose()
    return httpx.Response(response.status_code, headers=_plain(response.headers), content=bytes(data), request=request)


def _plain(headers: httpx.Headers) -> list[tuple[str, str]]:
    """Those that say nothing of how the body was sent."""
    sent = ("content-length", "transfer-encoding")
    return [(name, value) for name, value in headers.multi_items() if name not in sent]


def said_of(error: httpx.HTTPError) -> str:
    """What hinders a connection, in plain words: libraries say it by numbers and names of their own."""
    below: BaseException | None = error
    while below is not None:
        if isinstance(below, ssl.SSLError):
            return "its certificate (TLS) is not one that counts here, or it speaks no TLS"
        if isinstance(below, socket.gaierror):
            return "no machine of this name is known"
        below = below.__cause__ or below.__context__
    match error:
        case httpx.ConnectError():
            return "nobody answers there"
        case httpx.TimeoutException():
            return "it did not answer in time"
        case httpx.NetworkError() | httpx.RemoteProtocolError():
            return "the connection broke off"
    return "it does not speak HTTP as it should"


def _told_to_wait_s(response: httpx.Response) -> int:
    """So long a source has to wait that asked faster than it may."""
    told = response.headers.get("retry-after", "") if response.status_code == httpx.codes.TOO_MANY_REQUESTS else ""
    return min(int(told), _MOST_WAIT_S) if re.fullmatch(r"[0-9]{1,9}", told) else 0


def _built(http: httpx.AsyncClient, asked: Request) -> httpx.Request:
    is_packed = isinstance(asked.body, Submission)
    encode, media_type = (msgspec.msgpack.encode, MESSAGEPACK) if is_packed else (msgspec.json.encode, JSON)
    try:
        return http.build_request(
            asked.method,
            asked.path,
            params={name: value for name, value in asked.query.items() if value is not None},
            content=encode(asked.body) if asked.body is not None else None,
            headers={"Accept": JSON, **_NOT_PACKED, **({"Content-Type": media_type} if asked.body is not None else {})},
            timeout=httpx.Timeout(_PATIENCE_S + asked.wait_s),
        )
    except UnicodeEncodeError as error:
        raise Problem(f"{error.object!r} holds what is no character; write it in UTF-8") from None


def problem_in(response: httpx.Response) -> NotRunning | AnswerProblem:
    """The problem that a response tells of. Raises `DamagedStore` when it tells of none."""
    try:
        told = msgspec.json.decode(response.content, type=views.Problem)
        return NotRunning(told.detail) if told.code == NotRunning.code else AnswerProblem(told)
    except msgspec.MsgspecError:
        reason = f"it answered {response.status_code} in a form that is not known here"
        raise DamagedStore(f"what is at {response.url.host} is no node of this version: {reason}") from None


def segment(text: str) -> str:
    """A part of a path that is one part. Raises `Problem`."""
    if not text or "/" in text or text in (".", ".."):
        raise Problem(f"{text!r} is no name, id or key")
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise Problem(f"{text!r} holds what is no character; write it in UTF-8") from None
