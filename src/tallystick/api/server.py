"""The doors of a running node: HTTP over a Unix socket that only its user opens, and over TCP when told to."""

import asyncio
import errno
import logging
import resource
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tallystick.api.rates import source_of
from tallystick.host.logs import note
from tallystick.network.sockets import why_not_bound
from tallystick.problems import Problem

MAX_CONNECTIONS: Final = 1_024
_OWN_FILES: Final = 1_024
"""Open files that are not a door's connections: peers, the store, workers."""
_DOORS: Final = 2
_HEAD_SECONDS: Final = 10.0
_IDLE_SECONDS: Final = 75
_KEEP_ALIVE_SECONDS: Final = 60
"""Shorter than that: who asks nothing more is no slow client."""
_TELL_SECONDS: Final = 5.0
_BACKLOG: Final = 1_024
_MOST_HEAD_BYTES: Final = 64 * 1024
"""Beyond what arrives at once."""
_MOST_HEADERS: Final = 256
_MOST_PIPELINED: Final = 16
_IPV6_SITE_BITS: Final = 48
"""What one customer often gets."""
_BYTES_FRAMED: Final = 8
"""A byte of a body in a chunk of its own takes no more."""


class Tls(NamedTuple):
    """Files in PEM form."""

    certificate: Path
    key: Path


def room_for_connections() -> int:
    """How many a door may hold, after this process was allowed as many open files as that takes, or as it may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DOORS * MAX_CONNECTIONS + _OWN_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        if soft < wanted:
            room = max(soft // (2 * _DOORS), 1)
            note(logging.WARNING, "few open files", allowed=soft, wanted=wanted, connections=room)
            return room
    return MAX_CONNECTIONS


class _Connection(socket.socket):
    """One that was accepted; its door learns when it is closed."""

    def __init__(self, accepted: socket.socket, door: "_Listening", address: str) -> None:
        super().__init__(fileno=accepted.detach())
        self.source, self.site = source_of(address), source_of(address, _IPV6_SITE_BITS)
        self._door = door

    def end(self) -> None:
        """Let the event loop, once it looks, see the end of it."""
        with suppress(OSError):
            self.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the descriptor back."""
        self._door.forget(self)
        super().close()


class _Listening(socket.socket):
    """Holds a bounded number of connections: a new one takes the place of one that keeps it waiting.

    That is of the site that has most, an IPv4 address or an IPv6 /48, of that the source, an address or a /64, that has
    most, and of these the one that has done so the longest: who opens many loses them, and others at its site. Who has
    very many addresses or /48s gets the room that these have, others' too. Behind a proxy, or at the node's own socket,
    all are of one source. It counts from the moment of accepting, so a TLS handshake without end is one of them.
    """

    def __init__(self, listening: socket.socket, most: int) -> None:
        super().__init__(fileno=listening.detach())
        self.waiting: dict[int, Callable[[], None]] = {}
        """What ends a connection, by its descriptor, the one that has kept the node waiting the longest first."""
        self._most = most
        self._open: dict[int, _Connection] = {}
        """By their descriptors."""
        self._by_source: Counter[str] = Counter()
        self._by_site: Counter[str] = Counter()
        self._is_full = False
        self._cut: Counter[str] = Counter()
        self._telling: asyncio.TimerHandle | None = None

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection; when there was no room for the last one, the event loop has to go round first."""
        if self._is_full:
            self._is_full = False
            raise BlockingIOError
        try:
            accepted, address = super().accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE) and self._make_room():
                raise BlockingIOError from None
            raise
        self._is_full = len(self._open) >= self._most
        if self._is_full and not self._make_room():
            accepted.close()
            self.count("crowded")
            raise BlockingIOError
        one = _Connection(accepted, self, address[0] if isinstance(address, tuple) else "")
        self._open[one.fileno()] = one
        self._by_source[one.source] += 1
        self._by_site[one.site] += 1
        self.waiting[one.fileno()] = one.end
        return one, address

    def _make_room(self) -> bool:
        if not self.waiting:
            return False
        fd = max(self.waiting, key=self._crowding)  # the first of the largest
        self.waiting.pop(fd)()
        self.count("crowded")
        return True

    def _crowding(self, fd: int) -> tuple[int, int]:
        """How many are of the connection's site, and of its source."""
        one = self._open[fd]
        return self._by_site[one.site], self._by_source[one.source]

    def forget(self, one: _Connection) -> None:
        """It is closed."""
        self.waiting.pop(one.fileno(), None)
        if self._open.pop(one.fileno(), None) is not None:
            for held, group in ((self._by_source, one.source), (self._by_site, one.site)):
                held[group] -= 1
                if not held[group]:
                    del held[group]

    def count(self, reason: str) -> None:
        """A connection was cut; it is told soon, with those that follow."""
        self._cut[reason] += 1
        if self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(_TELL_SECONDS, self.tell)

    def tell(self) -> None:
        """Write down how many were cut since the last time."""
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
            note(logging.WARNING, "connections cut", **self._cut)
            self._cut.clear()


class _BoundedProtocol(HttpToolsProtocol):
    """A connection whose other end may not keep the node waiting for long, nor have it hold much."""

    def __init__(self, *args: Any, door: _Listening, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._door = door
        self._timer: asyncio.TimerHandle | None = None
        self._unread = 0
        """Bytes that came and belong to no body, in this head or after it."""

    def connection_made(self, transport: Any) -> None:
        """Take it."""
        super().connection_made(transport)
        self._socket = transport.get_extra_info("socket")
        self._await(_HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Part of a request."""
        self._unread += len(data)
        super().data_received(data)
        if self._unread > _MOST_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(f"The head of a request has at most {_MOST_HEAD_BYTES} bytes.")

    def on_message_begin(self) -> None:
        """The first bytes of a request are there; the others have to follow in time."""
        if len(self.pipeline) >= _MOST_PIPELINED:
            raise ValueError
        super().on_message_begin()
        self._unread = 0
        self._await(_HEAD_SECONDS)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Of the head, or after the body."""
        if len(self.headers) >= _MOST_HEADERS:
            raise ValueError
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """A request's head is whole; its body is timed by the application that reads it."""
        super().on_headers_complete()
        self._unread = 0
        self._await(_IDLE_SECONDS)

    def on_body(self, body: bytes) -> None:
        """Part of a body, which the application bounds."""
        super().on_body(body)
        self._unread = max(0, self._unread - _BYTES_FRAMED * len(body))

    def on_message_complete(self) -> None:
        """A request is whole: it is the node's turn."""
        super().on_message_complete()
        if self.cycle.response_complete:
            self._await(_IDLE_SECONDS)
        else:
            self._go_on()

    def on_response_complete(self) -> None:
        """An answer is given; another request may follow."""
        super().on_response_complete()
        if self._timer is None and self.cycle.response_complete:
            self._await(_IDLE_SECONDS)

    def pause_writing(self) -> None:
        """An answer is not taken."""
        super().pause_writing()
        self._await(_IDLE_SECONDS)

    def resume_writing(self) -> None:
        """It is."""
        super().resume_writing()
        if not self.cycle.response_complete:
            self._go_on()

    def send_400_response(self, msg: str) -> None:
        """It is no request: say so, and end it."""
        self._door.count("malformed")
        super().send_400_response(msg)
        self._await(_HEAD_SECONDS)

    def _await(self, seconds: float) -> None:
        """From now on the other end keeps the node waiting, and may for so long, if only to take the last answer."""
        self._go_on()
        if (fd := self._socket.fileno()) != -1:
            self._door.waiting[fd] = self.transport.abort
            self._timer = self.loop.call_later(seconds, self._cut)

    def _go_on(self) -> None:
        """The other end keeps nobody waiting."""
        self._stop_timer()
        self._door.waiting.pop(self._socket.fileno(), None)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _cut(self) -> None:
        self._door.count("slow")
        self.transport.abort()


class _Server(uvicorn.Server):
    """One whose signals are the node's own to handle."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and bound what is accepted."""
        loop, tls = asyncio.get_running_loop(), self.config.ssl
        self.servers = []
        for door in sockets or []:
            assert isinstance(door, _Listening)
            take = partial(_BoundedProtocol, self.config, self.server_state, {}, door=door)
            handshake_s = _HEAD_SECONDS if tls else None
            served = await loop.create_server(
                take, sock=door, ssl=tls, backlog=_BACKLOG, ssl_handshake_timeout=handshake_s
            )
            self.servers.append(served)
        self.started = True


class Server:
    """Serves one application at one door until it is stopped."""

    def __init__(self, app: Starlette, listening: socket.socket, most: int, tls: Tls | None = None) -> None:
        """`most`: connections at once. Raises `Problem` when the files of `tls` cannot be used."""
        self._listening = _Listening(listening, most)
        self._task: asyncio.Task[None] | None = None
        config = uvicorn.Config(
            app,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level=logging.ERROR,
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=2,
            ssl_certfile=tls.certificate if tls else None,
            ssl_keyfile=tls.key if tls else None,
        )
        try:
            config.load()
        except OSError as error:  # `ssl.SSLError` is one
            assert tls is not None
            self._listening.close()
            is_form = isinstance(error, ssl.SSLError)
            reason = "they are not a certificate and its key in PEM form" if is_form else error.strerror
            files = f"--tls-cert {tls.certificate} and --tls-key {tls.key}"
            raise Problem(f"{files} cannot be used: {reason}") from None
        self._server = _Server(config)

    async def start(self) -> None:
        """Answer from now on. Raises what keeps it from that."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._listening]))
        while not self._server.started and not self._task.done():
            await asyncio.sleep(0.001)
        if self._task.done():
            self._task.result()

    async def stop(self) -> None:
        """Answer no more; who is being answered is cut off soon."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task
        self._listening.tell()
        self._listening.close()


def listen_remotely(host: str, port: int) -> socket.socket:
    """A TCP socket. Raises `Problem`."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise Problem(f"the API cannot listen at {host}:{port}: {why_not_bound(error)}; name another --api") from None
