"""What a transport needs of ZeroMQ, as callbacks of the event loop: sockets, who may connect, the connections beneath.

ZeroMQ can neither end one of the connections that a socket accepted, nor say how many there are, nor how much of an
unfinished message it holds. So each connection's file descriptor, which its monitor names, is duplicated
(`TcpConnection`).
"""

import asyncio
import errno
import os
import re
import socket
import struct
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from typing import Final

import zmq
from zmq.utils import z85

from tallystick.ledger.params import MAX_MESSAGE_BYTES
from tallystick.ledger.wallet import Wallet
from tallystick.network.curve import ed25519_keys, x25519_key, x25519_secret
from tallystick.network.transport import TransportError

ZmqSocket = zmq.Socket[bytes]

_NOT_BOUND: Final = {
    errno.EADDRINUSE: "another program listens there",
    errno.EADDRNOTAVAIL: "it is no address of this machine",
    errno.EACCES: "this user may not listen at that port",
}
_MESSAGES_AT_A_TIME: Final = 64
"""Then others get their turn on the event loop."""
_CURVE_BYTES: Final = 33
"""What CURVE adds to a message (its MESSAGE command); ZeroMQ's own frame adds 2, or 9 to a long one."""
_SHORT_BYTES: Final = 255
_BACKLOG: Final = 512
_ZAP_DOMAIN: Final = b"tallystick"
_BYTES_RECEIVED_AT: Final = 128
"""Offset of `tcpi_bytes_received` (64 bits) in Linux' `struct tcp_info`."""

_ADDRESS: Final = re.compile(r"(\[(?P<ipv6>[^\]]+)\]|(?P<host>[^:\[\]]+)):(?P<port>[0-9]{1,5})")

_numbers = count()


def open_socket(context: zmq.Context[ZmqSocket], kind: int, wallet: Wallet, handshake_ms: int) -> ZmqSocket:
    """A socket that encrypts with the wallet's key, bounds what it takes and leaves reconnecting to its owner."""
    made = context.socket(kind)
    made.linger = 0
    made.maxmsgsize = MAX_MESSAGE_BYTES + _CURVE_BYTES
    made.sndhwm = 0  # how much may wait is counted in bytes, by `Flow`
    made.backlog = _BACKLOG
    made.handshake_ivl = made.connect_timeout = handshake_ms
    made.reconnect_ivl = -1
    made.curve_publickey = z85.encode(x25519_key(wallet.public_key))
    made.curve_secretkey = z85.encode(x25519_secret(wallet))
    return made


def bind(made: ZmqSocket, host: str, port: int) -> str:
    """Listen with CURVE, at a numeric address; where it listens, as "host:port". Raises `TransportError`."""
    made.curve_server = True
    made.zap_domain = _ZAP_DOMAIN
    made.router_mandatory = True
    made.ipv6 = ":" in host
    try:
        made.bind(_endpoint(host, port))
    except zmq.ZMQError as error:
        raise TransportError(why_not_bound(error)) from None
    return made.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0").removeprefix("tcp://")


def why_not_bound(error: OSError | zmq.ZMQError) -> str:
    """What keeps a socket from listening, in plain words."""
    if isinstance(error.__context__, socket.gaierror):  # `socket.create_server` raises another over it
        return "no machine of this name is known"
    code = error.errno or 0
    return _NOT_BOUND.get(code, f"the system says {zmq.strerror(code)!r}")


def connect(made: ZmqSocket, peer: bytes, host: str, port: int) -> None:
    """Dial a peer (its Ed25519 key) at a numeric address. Raises `zmq.ZMQError`, and `Refused` (K1)."""
    made.curve_serverkey = z85.encode(x25519_key(peer))
    made.ipv6 = ":" in host
    made.connect(_endpoint(host, port))


def _endpoint(host: str, port: int) -> str:
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


async def resolve(address: str, within_ms: int) -> list[tuple[str, int]]:
    """Numeric addresses for "host:port", or "[IPv6]:port". Raises `TransportError`.

    Here, because ZeroMQ would ask for names in the one thread that serves all connections.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None or int(match["port"]) > 0xFFFF:
        raise TransportError(
            f"{address!r} is no address; it has the form host:port, or [IPv6]:port, the port at most 65535"
        )
    host, port = match["ipv6"] or match["host"], match["port"]
    try:
        async with asyncio.timeout(within_ms / 1000):
            found = await asyncio.get_running_loop().getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    except TimeoutError:
        raise TransportError(f"{host} was not looked up within {within_ms} ms") from None
    except (OSError, UnicodeError):
        raise TransportError(f"no machine of the name {host} is known here") from None
    return [(str(place[0]), int(port)) for *_, place in found]


class AsyncSocket:
    """A socket that hands each message to `take`, as its frames."""

    def __init__(self, made: ZmqSocket, take: Callable[[list[zmq.Frame]], None]) -> None:
        self._socket = made
        self._take = take
        self._loop = asyncio.get_running_loop()
        self._fd: int = made.FD
        self._is_due = False
        self._loop.add_reader(self._fd, self.drain)
        self._drain_soon()

    def send(self, frames: Sequence[bytes]) -> None:
        """Hand a message to ZeroMQ. Raises `zmq.ZMQError` when nobody is there."""
        self._socket.send_multipart(frames, zmq.NOBLOCK)
        self._drain_soon()

    def drain(self) -> None:
        """Take what has arrived."""
        self._is_due = False
        is_empty = False
        try:
            for _ in range(_MESSAGES_AT_A_TIME):
                if self._socket.closed:
                    return
                self._take(self._socket.recv_multipart(zmq.NOBLOCK, copy=False))
        except zmq.Again:
            is_empty = True
        finally:
            if not is_empty and not self._socket.closed:
                self._drain_soon()

    def close(self, linger_ms: int = 0) -> None:
        """Close; what waits to be sent may take so long."""
        if not self._socket.closed:
            self._loop.remove_reader(self._fd)
            self._socket.close(linger_ms)

    def _drain_soon(self) -> None:
        # A socket's descriptor tells of news once, and any call on the socket may have used that up.
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self.drain)


class SocketMonitor:
    """Tells `take` of the connections beneath a socket: event of ZeroMQ's monitor, its value."""

    EVENTS: Final = (
        *(zmq.EVENT_ACCEPTED, zmq.EVENT_CONNECTED, zmq.EVENT_CLOSED, zmq.EVENT_DISCONNECTED),
        *(zmq.EVENT_HANDSHAKE_FAILED_AUTH, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL),
    )

    def __init__(
        self, context: zmq.Context[ZmqSocket], made: ZmqSocket, take: Callable[[zmq.Event, int], None]
    ) -> None:
        address = f"inproc://monitor-{next(_numbers)}"
        self._monitored = made
        self._take = take
        made.monitor(address, sum(self.EVENTS))
        reader = context.socket(zmq.PAIR)
        reader.linger = 0
        reader.rcvhwm = 0  # a full monitor would stop ZeroMQ's thread
        reader.connect(address)
        self._socket = AsyncSocket(reader, self._parse)

    def drain(self) -> None:
        """Hear what has happened up to now."""
        self._socket.drain()

    def close(self) -> None:
        """Hear no more; before the socket is closed."""
        if not self._monitored.closed:
            self._monitored.disable_monitor()
        self._socket.close()

    def _parse(self, frames: list[zmq.Frame]) -> None:
        event, value = struct.unpack("=HI", frames[0].bytes)
        if event in self.EVENTS:
            self._take(zmq.Event(event), value)


class ZapAuthenticator:
    """Answers ZeroMQ's question who may connect (RFC 27, ZAP) by a predicate on Ed25519 keys.

    CURVE knows a key by its X25519 form alone, which two Ed25519 keys share; the handshake tells which of them it is.
    """

    def __init__(self, context: zmq.Context[ZmqSocket], is_admitted: Callable[[bytes], bool]) -> None:
        asked = context.socket(zmq.REP)
        asked.linger = 0
        asked.bind("inproc://zeromq.zap.01")
        self._is_admitted = is_admitted
        self._socket = AsyncSocket(asked, self._answer)

    def close(self) -> None:
        """Answer no more."""
        self._socket.close()

    def _answer(self, frames: list[zmq.Frame]) -> None:
        version, request, _domain, _address, _routing_id, _mechanism, key = [frame.bytes for frame in frames]
        if any(self._is_admitted(one) for one in ed25519_keys(key)):
            self._socket.send([version, request, b"200", b"OK", key.hex().encode(), b""])
        else:
            self._socket.send([version, request, b"400", b"not admitted", b"", b""])


def authenticated_key(frame: zmq.Frame) -> bytes:
    """The X25519 key that the connection of this frame was authenticated with."""
    return bytes.fromhex(str(frame.get("User-Id")))


def descriptor(frame: zmq.Frame) -> int:
    """The file descriptor of the connection that this frame came over."""
    return int(frame.get(zmq.SRCFD))


def wire_bytes(frame: zmq.Frame) -> int:
    """What a frame takes on an encrypted connection."""
    sealed = len(frame) + _CURVE_BYTES
    return sealed + (2 if sealed <= _SHORT_BYTES else 9)


class TcpConnection:
    """One TCP connection beneath a ZeroMQ socket."""

    def __init__(self, fd: int, deadline: float | None = None) -> None:
        """`deadline`: when it is to be cut, in the event loop's time. Raises `OSError` when it is gone already."""
        duplicate = os.dup(fd)
        try:
            self._socket = socket.socket(fileno=duplicate)
        except OSError:
            os.close(duplicate)
            raise
        self.deadline = deadline
        self.is_cut = False
        self.taken_bytes = 0
        """How many of its bytes have come out of ZeroMQ."""
        try:
            self.host = str(self._socket.getpeername()[0])
        except (OSError, IndexError):
            self._socket.close()
            raise OSError("no connection of the network") from None

    @property
    def held_bytes(self) -> int:
        """Received and not yet out of ZeroMQ, be it a message without end; 0 where only Linux would tell."""
        if sys.platform != "linux":
            return 0
        try:
            info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_RECEIVED_AT + 8)
        except OSError:
            return 0
        received: int = struct.unpack_from("=Q", info, _BYTES_RECEIVED_AT)[0]
        return received - self.taken_bytes

    def cut(self) -> None:
        """End the connection; ZeroMQ notices, as it would if the peer had ended it."""
        self.is_cut = True
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the duplicate back; the connection is ZeroMQ's to close."""
        self._socket.close()


class TcpConnections:
    """The connections that a listening socket has accepted, and how many of them have yet to say who they are."""

    def __init__(self, opening_connections: int, handshake_ms: int) -> None:
        self._opening = opening_connections
        self._handshake_ms = handshake_ms
        self._by_descriptor: dict[int, TcpConnection] = {}

    def get(self, fd: int) -> TcpConnection | None:
        """The connection with this descriptor."""
        return self._by_descriptor.get(fd)

    def add(self, fd: int) -> None:
        """One more was accepted; when too many are opening, the oldest of whoever has most of them is cut."""
        self.remove(fd)
        with suppress(OSError):
            self._by_descriptor[fd] = TcpConnection(fd, asyncio.get_running_loop().time() + self._handshake_ms / 1000)
        opening = [tcp for tcp in self._by_descriptor.values() if tcp.deadline is not None and not tcp.is_cut]
        if len(opening) > self._opening:
            host, _ = Counter(tcp.host for tcp in opening).most_common(1)[0]
            next(tcp for tcp in opening if tcp.host == host).cut()

    def remove(self, fd: int) -> TcpConnection | None:
        """One is gone."""
        tcp = self._by_descriptor.pop(fd, None)
        if tcp is not None:
            tcp.close()
        return tcp

    def cut_due(self, now: float, held_bytes: int) -> None:
        """Cut those whose time is up, and those of which ZeroMQ holds more than this."""
        for tcp in self._by_descriptor.values():
            is_late = tcp.deadline is not None and now >= tcp.deadline
            if not tcp.is_cut and (is_late or tcp.held_bytes > held_bytes):
                tcp.cut()

    def close(self) -> None:
        """Give all duplicates back."""
        for fd in list(self._by_descriptor):
            self.remove(fd)
