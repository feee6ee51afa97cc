"""Nodes on different machines: ZeroMQ with CURVE encryption, keyed by each node's own Ed25519 key.

One ROUTER socket takes all who dial this node, one DEALER goes to each node that it dials. A message of one part is a
frame; one of two parts is the transport's own, its kind and its body. docs/protocol.md says what they mean.
"""

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import zmq

from tallystick.ledger.encoding import digest
from tallystick.ledger.errors import Refused
from tallystick.ledger.messages import is_urgent
from tallystick.ledger.params import MAX_MESSAGE_BYTES
from tallystick.ledger.wallet import Wallet
from tallystick.network import sockets
from tallystick.network.connection import WINDOW_BYTES, Accepted, Connection, Dialled, State, TransportLimits
from tallystick.network.dialling import NOT_ADMITTED, Dialling
from tallystick.network.handshake import NONCE_BYTES, DiallerHandshake, ListenerHandshake, PeerError
from tallystick.network.transport import (
    Connected,
    Disconnected,
    NobodyAnswers,
    Received,
    TransportError,
    TransportEvent,
)

HELLO, ANSWER, PROOF, WELCOME, GENESIS = b"hello", b"answer", b"proof", b"welcome", b"genesis"
TAKEN, PING, END = b"taken", b"ping", b"end"

_TICK_S: Final = 0.25
_LATE_S: Final = 1.0
"""After a tick so late this process stood still, and silence is not the peers' fault."""
_GRACE_S: Final = 0.5
"""A peer that is told why a connection ends has so long to hear it."""
_FAREWELL_MS: Final = 200
_HELD_BYTES: Final = WINDOW_BYTES + 1024 * 1024
"""More of a connection's bytes than this within ZeroMQ is a message without end: the window bounds what is honest."""
_WORD_BYTES: Final = 1_024
_WORDS_A_TICK: Final = 1_000
"""At a gigabyte a second, 500 confirmations are due in a tick."""
_REASON_CHARACTERS: Final = 300
_MAX_SOCKETS: Final = 8_192
"""Of a context; three for each peer that is dialled. ZeroMQ's default is 1,023."""
_INBOX_AT_A_TIME: Final = 64
_CROSSED: Final = "another connection with the same peer came first"
_GONE: Final = "the connection broke"
_NOBODY: Final = "nobody answers there"
_FAILURES: Final = {
    zmq.Event.CLOSED: _NOBODY,
    zmq.Event.HANDSHAKE_FAILED_AUTH: "the peer does not admit this node's key",
    zmq.Event.HANDSHAKE_FAILED_PROTOCOL: "whoever answers there is no node",
}

_log = logging.getLogger(__name__)


class ZeroMQTransport:
    """Keeps the contract of `Transport` over TCP."""

    def __init__(
        self,
        wallet: Wallet,
        ledger_id: bytes,
        listen: str | None = None,
        genesis: bytes | None = None,
        limits: TransportLimits | None = None,
    ) -> None:
        """`listen`: "host:port", port 0 for any. `genesis`: its encoding, for admitted nodes that begin with it."""
        self.limits = limits or TransportLimits()
        self._wallet = wallet
        self._ledger_id = ledger_id
        self._listen = listen
        self._genesis = genesis
        self.listening: str | None = None
        self._context: zmq.Context[sockets.ZmqSocket] = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, _MAX_SOCKETS)
        self._router: sockets.AsyncSocket | None = None
        self._monitor: sockets.SocketMonitor | None = None
        self._authenticator: sockets.ZapAuthenticator | None = None
        self._tcp_connections = sockets.TcpConnections(self.limits.opening_connections, self.limits.handshake_ms)
        self._ticker: asyncio.TimerHandle | None = None
        self._ticked = 0.0
        self._is_admitted: Callable[[bytes], bool] = lambda key: False
        self._on_event: Callable[[TransportEvent], None] | None = None
        self._unreported: deque[TransportEvent] = deque()
        self._connections: set[Connection] = set()
        """All that have not ended."""
        self._peers: dict[bytes, Connection] = {}
        """Those that are open."""
        self._accepted: dict[bytes, Accepted] = {}
        """By routing id, until the TCP connection is gone."""
        self._dialling = Dialling(self.limits, self._peers, self._may_be_peer, self._connect)

    # ---- the contract ---------------------------------------------------------------------------------------

    async def start(self, on_event: Callable[[TransportEvent], None]) -> None:
        loop = asyncio.get_running_loop()
        if self._listen is not None:
            try:
                self._listen_at(*(await sockets.resolve(self._listen, self.limits.handshake_ms))[0])
            except (TransportError, zmq.ZMQError) as error:
                await self.stop()
                raise TransportError(f"cannot listen at {self._listen}: {error}") from None
        self._on_event = on_event
        self._ticked = loop.time()
        self._ticker = loop.call_later(_TICK_S, self._tick)

    async def stop(self) -> None:
        self._on_event = None
        if self._ticker is not None:
            self._ticker.cancel()
        await self._dialling.stop()
        for connection in list(self._connections):
            self._end(connection, "the node stops")
        if self._monitor is not None and self._authenticator is not None and self._router is not None:
            self._monitor.close()
            self._authenticator.close()
            self._router.close(_FAREWELL_MS)
        await asyncio.to_thread(self._context.term)
        self._tcp_connections.close()

    def admit(self, is_admitted: Callable[[bytes], bool]) -> None:
        self._is_admitted = is_admitted
        for connection in list(self._connections):
            if connection.peer is not None and not is_admitted(connection.peer):
                self._end(connection, NOT_ADMITTED)
        self._dialling.admission_changed()

    def dial(self, peer: bytes, address: str) -> None:
        self._dialling.dial(peer, address)

    def forget(self, peer: bytes) -> None:
        self._dialling.forget(peer)
        for connection in self._all_with(peer):
            self._end(connection, "no connection with this peer is wanted any more")

    def send(self, peer: bytes, frame: bytes) -> None:
        if len(frame) > MAX_MESSAGE_BYTES:
            raise ValueError(f"a frame of {len(frame)} bytes, {MAX_MESSAGE_BYTES} allowed")
        connection = self._peers.get(peer)
        if connection is None:
            return
        if connection.flow.push(frame):
            self._flush(connection)
        else:
            self._end(connection, f"too slow: {self.limits.queue_bytes} bytes wait, and there is no room for more")

    def pause(self, peer: bytes, *, is_urgent: bool = False) -> None:
        if peer in self._peers:
            self._peers[peer].paused.add(is_urgent)

    def resume(self, peer: bytes, *, is_urgent: bool = False) -> None:
        connection = self._peers.get(peer)
        if connection is not None and is_urgent in connection.paused:
            connection.paused.discard(is_urgent)
            asyncio.get_running_loop().call_soon(self._empty_inbox, connection, is_urgent)

    def troubles(self) -> dict[bytes, str]:
        return self._dialling.troubles()

    # ---- events ---------------------------------------------------------------------------------------------

    def _report_soon(self, event: TransportEvent) -> None:
        self._unreported.append(event)
        asyncio.get_running_loop().call_soon(self._report_all)

    def _report_all(self) -> None:
        while self._unreported and self._on_event is not None:
            self._on_event(self._unreported.popleft())

    def _hand_on(self, connection: Connection, frame: bytes) -> None:
        """Tell of a frame, after all that happened before it, and let the peer send as much again."""
        self._report_all()
        if connection.state is not State.OPEN:
            return
        if (lane := is_urgent(frame)) in connection.paused:
            connection.inboxes[lane].appendleft(frame)
            return
        assert connection.peer is not None
        if self._on_event is not None:
            self._on_event(Received(connection.peer, frame))
        taken = connection.flow.take(frame)
        if taken is not None:
            self._transmit(connection, [TAKEN, taken])

    def _empty_inbox(self, connection: Connection, lane: bool) -> None:
        inbox = connection.inboxes[lane]
        for _ in range(_INBOX_AT_A_TIME):
            if not inbox or lane in connection.paused or connection.state is not State.OPEN:
                return
            self._hand_on(connection, inbox.popleft())
        asyncio.get_running_loop().call_soon(self._empty_inbox, connection, lane)

    # ---- messages -------------------------------------------------------------------------------------------

    def _take_routed(self, frames: list[zmq.Frame]) -> None:
        routing_id, first = frames[0].bytes, frames[1]
        key = sockets.authenticated_key(first)
        connection = self._accepted.get(routing_id)
        # A routing id is of the peer's choosing, so by itself it says nothing about who sent this.
        if connection is None or connection.handshake.x25519_key != key:
            connection = self._accept(routing_id, first, key)
        if connection is not None:
            self._take(connection, frames[1:])

    def _accept(self, routing_id: bytes, first: zmq.Frame, key: bytes) -> Accepted | None:
        """Whoever says hello becomes a connection; anything else is what a former one left behind."""
        assert self._router is not None
        assert self._monitor is not None
        self._monitor.drain()
        tcp = self._tcp_connections.get(sockets.descriptor(first))
        is_known = routing_id in self._accepted or any(one.tcp is tcp for one in self._accepted.values())
        if tcp is None or is_known or first.bytes != HELLO:
            return None
        handshake = ListenerHandshake(self._wallet, self._ledger_id, os.urandom(NONCE_BYTES), key)
        connection = Accepted(self._router, routing_id, tcp, handshake, self.limits.queue_bytes)
        self._accepted[routing_id] = connection
        self._connections.add(connection)
        return connection

    def _take(self, connection: Connection, frames: list[zmq.Frame]) -> None:
        if connection.tcp is not None:
            connection.tcp.taken_bytes += sum(map(sockets.wire_bytes, frames))
        connection.heard = asyncio.get_running_loop().time()
        if connection.state is State.ENDED:
            return
        try:
            if len(frames) == 1:
                self._take_frame(connection, frames[0].bytes)
            elif len(frames) == 2:
                self._take_word(connection, frames[0].bytes, frames[1].bytes)
            else:
                raise PeerError(f"a message of {len(frames)} parts")
        except PeerError as error:
            self._end(connection, str(error))

    def _take_frame(self, connection: Connection, frame: bytes) -> None:
        if connection.state is not State.OPEN:
            raise PeerError("a frame before the handshake is done")
        connection.flow.receive(frame)
        lane = is_urgent(frame)
        if lane in connection.paused or connection.inboxes[lane]:
            connection.inboxes[lane].append(frame)
        else:
            self._hand_on(connection, frame)

    def _take_word(self, connection: Connection, kind: bytes, body: bytes) -> None:
        connection.words += 1
        if connection.words > _WORDS_A_TICK or (len(kind) + len(body) > _WORD_BYTES and kind != GENESIS):
            raise PeerError(f"more than {_WORDS_A_TICK} words in {_TICK_S} s, or one of more than {_WORD_BYTES} bytes")
        match connection.state, kind:
            case _, b"end":
                self._end(connection, f"the peer says: {_readable(body)}", is_told=True)
            case State.OPEN, b"taken":
                connection.flow.confirm(body)
                self._flush(connection)
            case State.OPEN, b"ping":
                pass
            case State.OPENING, b"hello" if isinstance(connection, Accepted):
                self._answer(connection, body)
            case State.OPENING, b"proof" if isinstance(connection, Accepted):
                self._welcome(connection, connection.handshake.check(body))
            case State.OPENING, b"answer" if isinstance(connection, Dialled):
                self._prove(connection, body)
            case State.PROVEN, b"welcome":
                self._open(connection)
            case State.PROVEN, b"genesis" if isinstance(connection, Dialled) and connection.handshake.wants_genesis:
                connection.genesis = body
                self._end(connection, "the genesis has arrived")
            case _:
                raise PeerError(f"{_readable(kind)!r} where it means nothing")

    def _transmit(self, connection: Connection, message: Sequence[bytes]) -> None:
        try:
            connection.transmit(message)
            connection.spoke = asyncio.get_running_loop().time()
        except zmq.ZMQError:
            self._end(connection, _GONE, is_told=True)

    def _flush(self, connection: Connection) -> None:
        for frame in connection.flow.due():
            self._transmit(connection, [frame])
            if connection.state is not State.OPEN:
                return

    # ---- from the handshake to the end ----------------------------------------------------------------------

    def _answer(self, connection: Accepted, hello: bytes) -> None:
        answer = connection.handshake.answer(hello)
        connection.peer = connection.handshake.peer
        self._transmit(connection, [ANSWER, answer])

    def _prove(self, connection: Dialled, answer: bytes) -> None:
        proof = connection.handshake.prove(answer)
        connection.state = State.PROVEN
        self._transmit(connection, [PROOF, proof])

    def _welcome(self, connection: Accepted, wants_genesis: bool) -> None:
        peer = connection.peer
        assert peer is not None
        if not self._is_admitted(peer):
            raise PeerError(NOT_ADMITTED)
        if wants_genesis:
            if self._genesis is None:
                raise PeerError("this node gives out no genesis")
            return self._transmit(connection, [GENESIS, self._genesis])
        if peer not in self._dialling and peer not in self._peers and len(self._peers) >= self.limits.peers:
            raise PeerError(f"no room: {len(self._peers)} peers are connected already")
        # Both have dialled, and each knows that the other has: what the lower key has dialled stays.
        is_crossed = any(one.state is State.PROVEN for one in self._all_with(peer))
        if is_crossed and self._wallet.public_key < peer:
            raise PeerError(_CROSSED)
        self._transmit(connection, [WELCOME, b""])
        return self._open(connection)

    def _open(self, connection: Connection) -> None:
        if connection.state is State.ENDED:
            return
        assert connection.peer is not None
        # All others end here, on both sides, so a dialler proves itself only while it has no other connection: what
        # there is on this side is lost to it, or has crossed with this one.
        for other in self._all_with(connection.peer):
            if other is not connection:
                self._end(other, "the peer has connected anew" if other.state is State.OPEN else _CROSSED)
        connection.state = State.OPEN
        if connection.tcp is not None:
            connection.tcp.deadline = None
        self._peers[connection.peer] = connection
        connection.settled.set()
        self._report_soon(Connected(connection.peer, connection.address))

    def _end(self, connection: Connection, reason: str, is_told: bool = False) -> None:
        """End a connection, and say why to the other side unless it is gone, or said so itself (`is_told`)."""
        state, connection.state = connection.state, State.ENDED
        if state is State.ENDED:
            return
        self._connections.discard(connection)
        if not is_told:
            with suppress(zmq.ZMQError):
                connection.transmit([END, reason.encode()])
        connection.close(0.0 if is_told else _GRACE_S)
        for inbox in connection.inboxes.values():
            inbox.clear()
        connection.reason = reason
        connection.settled.set()
        connection.ended.set()
        if connection.peer is not None and state is State.OPEN:
            del self._peers[connection.peer]
            self._report_soon(Disconnected(connection.peer, reason))
        elif isinstance(connection, Accepted):
            who = "somebody" if connection.peer is None else connection.peer.hex()
            _log.info("no connection with %s, which dialled from %s: %s", who, connection.tcp.host, reason)
        if connection.peer is not None and (state is State.OPEN or isinstance(connection, Dialled)):
            self._dialling.note(connection.peer, reason)

    def _all_with(self, peer: bytes) -> list[Connection]:
        return [connection for connection in self._connections if connection.peer == peer]

    # ---- sockets and TCP connections ------------------------------------------------------------------------

    def _listen_at(self, host: str, port: int) -> None:
        """Raises `TransportError`, `zmq.ZMQError`."""
        router = sockets.open_socket(self._context, zmq.ROUTER, self._wallet, self.limits.handshake_ms)
        self._authenticator = sockets.ZapAuthenticator(self._context, self._may_be_peer)
        self._monitor = sockets.SocketMonitor(self._context, router, self._router_changed)
        self._router = sockets.AsyncSocket(router, self._take_routed)
        self.listening = sockets.bind(router, host, port)

    def _may_be_peer(self, key: bytes) -> bool:
        return self._is_admitted(key)

    def _connect(self, peer: bytes, address: str, place: tuple[str, int], wants_genesis: bool = False) -> Dialled:
        """Begin a connection with a peer. Raises `Refused` (K1) and `zmq.ZMQError`."""
        handshake = DiallerHandshake(self._wallet, self._ledger_id, peer, os.urandom(NONCE_BYTES), wants_genesis)
        dealer = sockets.open_socket(self._context, zmq.DEALER, self._wallet, self.limits.handshake_ms)
        connection = Dialled(peer, address, handshake, self.limits.queue_bytes)
        connection.dial(self._context, dealer, place, self._take, self._dialled_failed)
        self._connections.add(connection)
        with suppress(zmq.ZMQError):  # it has failed already: why, the socket's monitor is about to tell
            connection.transmit([HELLO, handshake.hello()])
        return connection

    def _dialled_failed(self, connection: Dialled, event: zmq.Event) -> None:
        reason = _FAILURES.get(event, _GONE)
        if event is zmq.Event.DISCONNECTED and connection.state is State.OPENING:
            reason = "whoever answers there has another key, is no node, or has no room"
        self._end(connection, reason, is_told=True)

    def _router_changed(self, event: zmq.Event, fd: int) -> None:
        if event is zmq.Event.ACCEPTED:
            self._tcp_connections.add(fd)
        elif event is zmq.Event.DISCONNECTED:
            tcp = self._tcp_connections.remove(fd)
            if self._router is not None:
                self._router.drain()
            for routing_id, connection in list(self._accepted.items()):
                if connection.tcp is tcp:
                    del self._accepted[routing_id]
                    self._end(connection, _GONE, is_told=True)

    def _tick(self) -> None:
        loop, limits = asyncio.get_running_loop(), self.limits
        now = loop.time()
        stood_still = now - self._ticked > _LATE_S
        self._ticked = now
        self._ticker = loop.call_later(_TICK_S, self._tick)
        for connection in list(self._connections):
            connection.words = 0
            if stood_still:
                connection.heard = now
            if connection.tcp is not None and connection.tcp.held_bytes > _HELD_BYTES:
                self._end(connection, "a message without end")
                connection.tcp.cut()
            elif connection.state is not State.OPEN:
                if now - connection.began > limits.handshake_ms / 1000:
                    self._end(connection, f"no answer within {limits.handshake_ms} ms")
            elif now - connection.heard > limits.dead_after_ms / 1000:
                self._end(connection, f"silent for {limits.dead_after_ms} ms")
            elif now - connection.spoke > limits.ping_after_ms / 1000:
                self._transmit(connection, [PING, b""])
        self._tcp_connections.cut_due(now, _HELD_BYTES)


async def fetch_genesis(wallet: Wallet, ledger_id: bytes, peer: bytes, address: str, timeout_ms: int) -> bytes:
    """The encoded genesis of a ledger, from a node that admits the wallet's key.

    Raises `NobodyAnswers` when it does not come in time, `TransportError` when it is not the one that the ledger's id
    is the hash of.
    """
    transport = ZeroMQTransport(wallet, ledger_id, limits=TransportLimits(handshake_ms=timeout_ms))
    await transport.start(lambda event: None)
    reason, late = "", f"it did not come within {timeout_ms} ms"
    try:
        async with asyncio.timeout(timeout_ms / 1000):
            for place in await sockets.resolve(address, timeout_ms):
                connection = transport._connect(peer, address, place, wants_genesis=True)
                await connection.settled.wait()
                if connection.genesis is not None and digest(connection.genesis) == ledger_id:
                    return connection.genesis
                reason = connection.reason if connection.genesis is None else "what came is another ledger's"
    except TimeoutError:
        reason = late
    except (Refused, zmq.ZMQError) as error:
        reason = str(error)
    finally:
        await transport.stop()
    kind = NobodyAnswers if reason in (_NOBODY, late) else TransportError
    raise kind(f"no genesis from {address}: {reason}")


def _readable(data: bytes) -> str:
    """A peer's words, fit for a log: one line, of bounded length."""
    text = data.decode(errors="replace")[:_REASON_CHARACTERS]
    return "".join(character if character.isprintable() else "?" for character in text)
