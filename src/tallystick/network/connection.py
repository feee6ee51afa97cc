"""One connection with a peer: how far it has come, and what is under way in either direction."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Final

import zmq

from tallystick.ledger.errors import Refused
from tallystick.ledger.messages import is_urgent
from tallystick.network.handshake import DiallerHandshake, ListenerHandshake, PeerError
from tallystick.network.sockets import AsyncSocket, SocketMonitor, TcpConnection, ZmqSocket, connect
from tallystick.network.transport import FRAME_BYTES

WINDOW_BYTES: Final = 4 * 1024 * 1024
"""So much may be under way to a peer that it has not said it took; part of the protocol's version."""

BULK_BYTES: Final = WINDOW_BYTES // 4
"""While so much is under way, bulk waits here, where what is urgent overtakes it; the rest of the window is for that.

No less than what a receiver may keep unconfirmed (`_CONFIRMED_BYTES` of any version), or both sides would wait.
"""
_CONFIRMED_BYTES: Final = WINDOW_BYTES // 8
"""A receiver confirms whenever it handed on so much."""
_TOTAL_BYTES: Final = 8


@dataclass(frozen=True)
class TransportLimits:
    """Bounds of one node's transport; counts, bytes and milliseconds, units last."""

    peers: int = 256
    """When there are as many, none is taken that this node does not dial itself."""
    opening_connections: int = 64
    """Accepted ones that have not finished the handshake; of more, the oldest of whoever has most are cut."""
    queue_bytes: int = 16 * 1024 * 1024
    """What may wait for a peer, beyond the window that is under way."""
    handshake_ms: int = 5_000
    ping_after_ms: int = 3_000
    dead_after_ms: int = 15_000
    """A peer from which no whole message came for so long is gone."""
    redial_first_ms: int = 250
    redial_last_ms: int = 30_000


class Flow:
    """Counts a connection's bytes both ways, so that either side holds back what the other does not take.

    Urgent frames leave before all others that wait; each class keeps its order.
    """

    def __init__(self, queue_bytes: int) -> None:
        """`queue_bytes`: how much may wait here beyond what is under way."""
        self._queue_bytes = queue_bytes
        self._urgent: deque[bytes] = deque()
        self._bulk: deque[bytes] = deque()
        self._queued = self._sent = self._confirmed = 0
        self._received = self._taken = self._told = 0

    def push(self, frame: bytes) -> bool:
        """Queue a frame; false when there is no room."""
        size = len(frame) + FRAME_BYTES
        if self._queued + size > self._queue_bytes:
            return False
        (self._urgent if is_urgent(frame) else self._bulk).append(frame)
        self._queued += size
        return True

    def due(self) -> Iterator[bytes]:
        """The frames that may leave now; each counts as under way."""
        while queue := self._urgent or self._bulk:
            size = len(queue[0]) + FRAME_BYTES
            under_way = self._sent - self._confirmed
            if under_way + size > WINDOW_BYTES or (queue is self._bulk and under_way >= BULK_BYTES):
                return
            self._sent += size
            self._queued -= size
            yield queue.popleft()

    def confirm(self, data: bytes) -> None:
        """The peer says how much it has taken so far. Raises `PeerError`."""
        total = int.from_bytes(data, "big")
        if len(data) != _TOTAL_BYTES or not self._confirmed <= total <= self._sent:
            raise PeerError("a confirmation of what was never sent")
        self._confirmed = total

    def receive(self, frame: bytes) -> None:
        """A frame has arrived. Raises `PeerError` when it should have waited with the peer."""
        self._received += len(frame) + FRAME_BYTES
        if self._received - self._told > WINDOW_BYTES:
            raise PeerError("more bytes under way than the window")

    def take(self, frame: bytes) -> bytes | None:
        """A frame has been handed on; the confirmation that is due, if one is."""
        self._taken += len(frame) + FRAME_BYTES
        if self._taken - self._told < _CONFIRMED_BYTES:
            return None
        self._told = self._taken
        return self._told.to_bytes(_TOTAL_BYTES, "big")


class State(Enum):
    """How far a connection has come."""

    OPENING = "opening"
    PROVEN = "proven"
    """This side dialled, has sent its proof, and waits to be welcomed."""
    OPEN = "open"
    ENDED = "ended"


class Connection:
    """One connection, from its handshake on; `Accepted` and `Dialled` know what carries it."""

    def __init__(self, queue_bytes: int) -> None:
        self.flow = Flow(queue_bytes)
        self.peer: bytes | None = None
        """Its Ed25519 key: whom this side dialled, or who said hello."""
        self.address: str | None = None
        """Where this side dialled."""
        self.tcp: TcpConnection | None = None
        self.state = State.OPENING
        self.began = self.heard = self.spoke = asyncio.get_running_loop().time()
        self.settled = asyncio.Event()
        """Open, or ended before it was."""
        self.ended = asyncio.Event()
        self.reason = ""
        """Why it ended, or is about to."""
        self.words = 0
        """How many of the transport's own messages came since the last tick."""
        self.inboxes: dict[bool, deque[bytes]] = {False: deque(), True: deque()}
        """Frames in bulk, and urgent ones, that arrived while those were paused."""
        self.paused: set[bool] = set()
        """Whether the frames that are paused are urgent."""

    def transmit(self, message: Sequence[bytes]) -> None:
        """Hand a message to ZeroMQ. Raises `zmq.ZMQError` when nobody is there."""
        raise NotImplementedError

    def close(self, grace_s: float) -> None:
        """End it, once what waits to be sent is, or after the grace."""
        raise NotImplementedError


class Accepted(Connection):
    """A peer came by itself: one of those that share a socket."""

    tcp: TcpConnection

    def __init__(
        self, router: AsyncSocket, routing_id: bytes, tcp: TcpConnection, handshake: ListenerHandshake, queue_bytes: int
    ) -> None:
        super().__init__(queue_bytes)
        self.handshake = handshake
        self.tcp = tcp
        self._router = router
        self._routing_id = routing_id

    def transmit(self, message: Sequence[bytes]) -> None:
        self._router.send([self._routing_id, *message])

    def close(self, grace_s: float) -> None:
        # The peer, told why, leaves by itself, or the TCP connection is cut.
        self.tcp.deadline = asyncio.get_running_loop().time() + grace_s


class Dialled(Connection):
    """This node dialled: a socket of its own."""

    def __init__(self, peer: bytes, address: str, handshake: DiallerHandshake, queue_bytes: int) -> None:
        super().__init__(queue_bytes)
        self.handshake = handshake
        self.peer = peer
        self.address = address
        self.genesis: bytes | None = None
        """What the peer sent, if that was all that was asked for."""

    def dial(
        self,
        context: zmq.Context[ZmqSocket],
        dealer: ZmqSocket,
        place: tuple[str, int],
        take: Callable[["Dialled", list[zmq.Frame]], None],
        fail: Callable[["Dialled", zmq.Event], None],
    ) -> None:
        """Begin, at a numeric address; the socket is closed with this. Raises `Refused` (K1) and `zmq.ZMQError`."""
        self._take = take
        self._fail = fail
        self._monitor = SocketMonitor(context, dealer, self._tcp_changed)
        self._socket = AsyncSocket(dealer, self._arrived)
        try:
            connect(dealer, self.handshake.peer, *place)
        except (Refused, zmq.ZMQError):
            self.close(0)
            raise

    def transmit(self, message: Sequence[bytes]) -> None:
        self._socket.send(message)

    def close(self, grace_s: float) -> None:
        self._monitor.close()
        self._socket.close(round(1000 * grace_s) if self.tcp else 0)
        if self.tcp:
            self.tcp.close()

    def _arrived(self, frames: list[zmq.Frame]) -> None:
        if self.tcp is None:
            self._monitor.drain()
        self._take(self, frames)

    def _tcp_changed(self, event: zmq.Event, value: int) -> None:
        if event is zmq.Event.CONNECTED:
            with suppress(OSError):
                self.tcp = TcpConnection(value)
        else:
            self._socket.drain()
            self._fail(self, event)
