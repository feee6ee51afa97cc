"""The transports that keep the contract, each in a world in which tests can put nodes and let time pass."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, cast

from tests.builders import GENESIS

from tallystick.ledger.messages import is_urgent
from tallystick.ledger.params import MAX_MESSAGE_BYTES
from tallystick.ledger.wallet import Wallet
from tallystick.network.connection import Flow, TransportLimits
from tallystick.network.simulated import SimulatedNetwork
from tallystick.network.simulated_host import SimulatedHost, observer
from tallystick.network.transport import Connected, Disconnected, Received, Transport, TransportError, TransportEvent
from tallystick.network.zeromq import ZeroMQTransport
from tallystick.node.events import PeerConnected, PeerDisconnected

DEADLINE_S = 20.0
LIMITS = TransportLimits(redial_first_ms=20, redial_last_ms=200, queue_bytes=4 * 1024 * 1024)


def wallet_of(number: int) -> Wallet:
    return Wallet(number.to_bytes(32, "big"))


class Station:
    """A transport in a test, and what it told."""

    def __init__(self, wallet: Wallet, transport: Transport) -> None:
        self.key = wallet.public_key
        self.transport = transport
        self.told: list[TransportEvent] = []
        self.on_told: Callable[[TransportEvent], None] = lambda event: None
        self.is_calling = False

    def on_event(self, event: TransportEvent) -> None:
        assert not self.is_calling, "told from within a call"
        self.told.append(event)
        self.on_told(event)

    def frames_from(self, other: "Station") -> list[bytes]:
        return [one.frame for one in self.told if isinstance(one, Received) and one.peer == other.key]

    def connections_with(self, other: "Station") -> list[TransportEvent]:
        return [one for one in self.told if not isinstance(one, Received) and one.peer == other.key]

    def is_connected_with(self, other: "Station") -> bool:
        happened = self.connections_with(other)
        return bool(happened) and isinstance(happened[-1], Connected)

    def reason_from(self, other: "Station") -> str:
        return next(
            one.reason for one in reversed(self.told) if isinstance(one, Disconnected) and one.peer == other.key
        )

    def dial(self, other: "Station") -> None:
        address = other.transport.listening
        assert address is not None
        self.transport.dial(other.key, address)

    def send(self, other: "Station", frame: bytes) -> None:
        self.is_calling = True
        try:
            self.transport.send(other.key, frame)
        finally:
            self.is_calling = False


class RealWorld:
    """Real sockets on this machine."""

    def __init__(self) -> None:
        self._stations: list[Station] = []

    async def station(
        self, number: int, listen: str | None = "127.0.0.1:0", limits: TransportLimits = LIMITS, admits: Any = all
    ) -> Station:
        """A started transport; `admits`: the keys it admits, or `all`."""
        wallet = wallet_of(number)
        station = Station(wallet, self.make(wallet, listen, limits))
        await station.transport.start(station.on_event)
        station.transport.admit(lambda key: admits is all or key in admits)
        self._stations.append(station)
        return station

    def make(self, wallet: Wallet, listen: str | None, limits: TransportLimits) -> Transport:
        return ZeroMQTransport(wallet, GENESIS.ledger_id, listen, limits=limits)

    async def until(self, is_so: Callable[[], object]) -> None:
        end = time.monotonic() + DEADLINE_S
        while not is_so():
            assert time.monotonic() < end, "it never came to that"
            await self.let_pass(0.005)

    async def let_pass(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def connected(self, one: Station, other: Station) -> None:
        """Have one dial the other, and wait until both know."""
        one.dial(other)
        await self.until(lambda: one.is_connected_with(other) and other.is_connected_with(one))

    async def stop(self) -> None:
        for station in self._stations:
            await station.transport.stop()


class SimulatedWorld(RealWorld):
    """The simulated network's delivery, in virtual time."""

    def __init__(self) -> None:
        super().__init__()
        self.network = SimulatedNetwork(GENESIS, seed=1)
        self.listeners: dict[str, SimulatedTransport] = {}

    def make(self, wallet: Wallet, listen: str | None, limits: TransportLimits) -> Transport:
        return SimulatedTransport(self, wallet, listen, limits)

    async def until(self, is_so: Callable[[], object]) -> None:
        assert self.network.run_until(lambda: bool(is_so()), 3_600_000), "it never came to that"

    async def let_pass(self, seconds: float) -> None:
        self.network.run_for(round(1000 * seconds))


class SimulatedTransport:
    """Keeps the contract of `Transport` with the simulated network's links beneath it; it is a host there.

    What it sends has two bytes more, so no link takes it for urgent: the order is this transport's own.
    """

    def __init__(self, world: SimulatedWorld, wallet: Wallet, listen: str | None, limits: TransportLimits) -> None:
        self.key = wallet.public_key
        self.is_up = False
        self.listening: str | None = None
        self._world = world
        self._network = world.network
        self._listen = listen
        self._limits = limits
        self._on_event: Callable[[TransportEvent], None] = lambda event: None
        self.admits: Callable[[bytes], bool] = lambda key: False
        self._dials: dict[bytes, str] = {}
        self._troubles: dict[bytes, str] = {}
        self._flows: dict[bytes, Flow] = {}
        self._inboxes: dict[tuple[bytes, bool], list[bytes]] = {}
        """By peer, and whether they are urgent."""
        self._paused: set[tuple[bytes, bool]] = set()

    async def start(self, on_event: Callable[[TransportEvent], None]) -> None:
        name, network = self.key.hex(), self._network
        if self._listen is not None:
            self.listening = self._listen if self._listen[-2:] != ":0" else f"127.0.0.1:{10_000 + len(network.hosts)}"
            if self.listening in self._world.listeners:
                raise TransportError(f"{self.listening} is taken")
            self._world.listeners[self.listening] = self
        network.make_host[name] = lambda *_: cast(SimulatedHost, self)
        network.add(name, observer)
        self._on_event = on_event
        self.is_up = True

    async def stop(self) -> None:
        self.is_up = False
        if self.listening is not None:
            self._world.listeners.pop(self.listening, None)
        for name in self._network.peers(self.key.hex()):
            self._network.cut(self.key.hex(), name)

    def admit(self, is_admitted: Callable[[bytes], bool]) -> None:
        self.admits = is_admitted
        for peer in [peer for peer in self._flows if not is_admitted(peer)]:
            self._end(peer)

    def dial(self, peer: bytes, address: str) -> None:
        if peer not in self._dials:
            self._network.at(self._network.now_ms, lambda: self._pursue(peer))
        self._dials[peer] = address

    def forget(self, peer: bytes) -> None:
        self._dials.pop(peer, None)
        self._end(peer)

    def send(self, peer: bytes, frame: bytes) -> None:
        if len(frame) > MAX_MESSAGE_BYTES:
            raise ValueError(f"a frame of {len(frame)} bytes, {MAX_MESSAGE_BYTES} allowed")
        if peer not in self._flows:
            return
        if self._flows[peer].push(frame):
            self._flush(peer)
        else:
            self._end(peer)

    def pause(self, peer: bytes, *, is_urgent: bool = False) -> None:
        self._paused.add((peer, is_urgent))

    def resume(self, peer: bytes, *, is_urgent: bool = False) -> None:
        self._paused.discard((peer, is_urgent))
        self._network.at(self._network.now_ms, lambda: self._hand_on((peer, is_urgent)))

    def troubles(self) -> dict[bytes, str]:
        return {peer: why for peer, why in self._troubles.items() if peer in self._dials and peer not in self._flows}

    # ---- what the simulated network calls --------------------------------------------------------------------

    def handle(self, event: object) -> None:
        match event:
            case PeerConnected(name) if self.is_up:
                peer = bytes.fromhex(str(name))
                self._flows[peer] = Flow(self._limits.queue_bytes)
                self._inboxes[peer, False], self._inboxes[peer, True] = [], []
                other = cast(SimulatedTransport, self._network.hosts[str(name)])
                is_own = self._dials.get(peer) == other.listening and self.key < peer
                self._on_event(Connected(peer, self._dials[peer] if is_own or self.key not in other._dials else None))
            case PeerDisconnected(name) if self.is_up:
                peer = bytes.fromhex(str(name))
                self._paused -= {(peer, False), (peer, True)}
                if self._flows.pop(peer, None) is not None:
                    self._on_event(Disconnected(peer, "the connection ended"))

    def receive(self, name: str, data: bytes) -> None:
        peer = bytes.fromhex(name)
        if peer not in self._flows:
            return
        if data[:1] == b"t":
            self._flows[peer].confirm(data[2:])
            self._flush(peer)
        else:
            self._flows[peer].receive(data[2:])
            lane = peer, is_urgent(data[2:])
            self._inboxes[lane].append(data[2:])
            self._hand_on(lane)

    def _hand_on(self, lane: tuple[bytes, bool]) -> None:
        peer, _ = lane
        while peer in self._flows and lane not in self._paused and self._inboxes[lane]:
            frame = self._inboxes[lane].pop(0)
            self._on_event(Received(peer, frame))
            taken = self._flows[peer].take(frame) if peer in self._flows else None
            if taken is not None:
                self._network.send(self.key.hex(), peer.hex(), b"t\0" + taken)

    def _flush(self, peer: bytes) -> None:
        for frame in self._flows[peer].due():
            self._network.send(self.key.hex(), peer.hex(), b"f\0" + frame)

    def _end(self, peer: bytes) -> None:
        self._network.cut(self.key.hex(), peer.hex())

    def _pursue(self, peer: bytes) -> None:
        if not self.is_up or peer not in self._dials:
            return
        if peer not in self._flows and peer.hex() not in self._network.peers(self.key.hex()):
            other = self._world.listeners.get(self._dials[peer])
            self._troubles[peer] = "nobody answers there" if other is None or other.key != peer else "not admitted"
            if other is not None and other.key == peer and self.admits(peer) and other.admits(self.key):
                self._network.connect(self.key.hex(), peer.hex())
        self._network.at(self._network.now_ms + self._limits.redial_last_ms, lambda: self._pursue(peer))


WORLDS = {"zeromq": RealWorld, "simulated": SimulatedWorld}
