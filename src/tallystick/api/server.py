"""The doors of a running node: HTTP over a Unix socket that only its user opens, and over TCP when told to."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tallystick.problems import Problem

MAX_CONNECTIONS: Final = 1_024
_HEADER_SECONDS: Final = 10.0
_IDLE_SECONDS: Final = 75
_BACKLOG: Final = 256


class Tls(NamedTuple):
    """Files in PEM form."""

    certificate: Path
    key: Path


class _BoundedProtocol(HttpToolsProtocol):
    """A connection that has to send a request's head within a time, and is one of a bounded number."""

    def connection_made(self, transport: Any) -> None:
        """Take it, or close it at once when there are too many."""
        super().connection_made(transport)
        self._head_timer: asyncio.TimerHandle | None = None
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._head_arrived()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """The first bytes of a request are there; the others have to follow in time."""
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        """A request's head is whole; its body is timed by the application."""
        self._head_arrived()
        super().on_headers_complete()

    def _await_head(self) -> None:
        self._head_arrived()
        self._head_timer = self.loop.call_later(_HEADER_SECONDS, self.transport.abort)

    def _head_arrived(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class _Server(uvicorn.Server):
    """One whose signals are the node's own to handle."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield


class Server:
    """Serves one application at one door until it is stopped."""

    def __init__(self, app: Starlette, listening: socket.socket, tls: Tls | None = None) -> None:
        config = uvicorn.Config(
            app,
            http=_BoundedProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=_IDLE_SECONDS,
            timeout_graceful_shutdown=2,
            ssl_certfile=tls.certificate if tls else None,
            ssl_keyfile=tls.key if tls else None,
        )
        self._server = _Server(config)
        self._listening = listening
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Answer from now on."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._listening]))
        while not self._server.started and not self._task.done():
            await asyncio.sleep(0.001)

    async def stop(self) -> None:
        """Answer no more; who is being answered is cut off soon."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task


def listen_remotely(host: str, port: int) -> socket.socket:
    """A TCP socket. Raises `Problem`."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise Problem(f"the API cannot listen at {host}:{port}: {error.strerror}; name another --api") from None
