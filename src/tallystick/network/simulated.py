"""A network in virtual time: one seeded queue of deliveries between real nodes, fed encoded bytes.

Everything that happens is an entry of the queue, so nothing recurses, and one seed gives one trace. `digest` is a
running SHA-256 over that trace: two runs that agree on it did the same things in the same order.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import sha256
from heapq import heappop, heappush
from itertools import combinations
from random import Random

from tallystick.ledger.genesis import Genesis
from tallystick.ledger.keys import is_signed
from tallystick.ledger.messages import (
    MAX_ENTRIES,
    Certificates,
    Entry,
    Message,
    decode_message,
    encode_message,
    is_urgent,
)
from tallystick.ledger.params import MAX_MESSAGE_BYTES
from tallystick.ledger.wallet import Wallet
from tallystick.network.archiving import FullArchive
from tallystick.network.simulated_host import MakeAgreement, MakeHost, SimulatedHost
from tallystick.node.events import Action, Event, PayloadErasureAsked, Peer, PeerConnected, PeerDisconnected, Report
from tallystick.node.limits import Limits

_HANDSHAKE_MS = 20
_FIRST_WAIT_MS = 100
_LONGEST_WAIT_MS = 30_000
_SHARED_ENTRIES = 65_536
_MESSAGES = 4096
"""Of so many messages but those of certificates it is remembered what they decode to: all nodes tell of one block."""
_LATEST = 16


@dataclass(frozen=True)
class Link:
    """How one direction of a connection treats messages; probabilities from 0 to 1."""

    delay_min_ms: int = 10
    delay_max_ms: int = 50
    loss: float = 0.0
    duplication: float = 0.0
    reordering: bool = False
    """Whether a message may overtake an earlier one."""


@dataclass(frozen=True)
class Home:
    """Of a host that dials: its key, where it listens (`None`: nowhere), and whom its operator named, and where."""

    wallet: Wallet
    address: str | None
    known: tuple[tuple[bytes, str], ...] = ()


class _Frame(bytes):
    """Bytes of a message on their way to several nodes, with what they decode to once that is known."""

    message: Message | None = None


@dataclass(eq=False)
class _Dial:
    address: str


class Dialling:
    """What every host dials: until it is forgotten, again with back-off whenever there is no connection."""

    def __init__(self, network: SimulatedNetwork) -> None:
        self._network = network
        self._dials: defaultdict[str, dict[Peer, _Dial]] = defaultdict(dict)

    def dial(self, name: str, peer: Peer, address: str) -> None:
        """A host dials a peer; a later address replaces an earlier one."""
        dial = self._dials[name][peer] = _Dial(address)
        self._try_at(self._network.now_ms + _HANDSHAKE_MS, name, peer, dial, _FIRST_WAIT_MS)

    def forget(self, name: str, peer: Peer) -> None:
        """A host dials a peer no more."""
        self._dials[name].pop(peer, None)

    def stop(self, name: str) -> None:
        """A host crashed."""
        self._dials[name].clear()

    def ended(self, name: str, peer: Peer) -> None:
        """A connection ended: a host that dialled it dials again."""
        if peer in self._dials[name]:
            self.dial(name, peer, self._dials[name][peer].address)

    def _try_at(self, at_ms: int, name: str, peer: Peer, dial: _Dial, wait_ms: int) -> None:
        self._network.at(at_ms, lambda: self._try(name, peer, dial, wait_ms))

    def _try(self, name: str, peer: Peer, dial: _Dial, wait_ms: int) -> None:
        network = self._network
        if self._dials[name].get(peer) is dial and not network.join(name, peer, dial.address):
            self._try_at(network.now_ms + wait_ms, name, peer, dial, min(2 * wait_ms, _LONGEST_WAIT_MS))


class SimulatedNetwork:
    """Hosts, the links between them, and the queue of what happens next."""

    def __init__(self, genesis: Genesis, seed: int, link: Link | None = None, start_ms: int | None = None) -> None:
        self.genesis = genesis
        self.seed = seed
        self.now_ms = genesis.created_ms + 1 if start_ms is None else start_ms
        self.hosts: dict[str, SimulatedHost] = {}
        self.happened = 0
        self.make_host: dict[str, MakeHost] = {}
        """By name: hosts that are made otherwise than by `SimulatedHost`, because they misbehave."""
        self.homes: dict[str, Home] = {}
        """By name: hosts that dial, and how they are found; takes effect with the host's next start."""
        self.faults: Counter[str] = Counter()
        """How often what went wrong, by its name."""
        self.latest: deque[tuple[int, bytes, str, bytes]] = deque(maxlen=_LATEST)
        """The end of the trace: time (ms), what, who, encoded bytes."""
        self.on_report: Callable[[int, str, Report], None] = lambda now_ms, name, report: None
        self.on_action: Callable[[SimulatedHost, Action], None] = lambda host, action: None
        """Told of every action just before a host carries it out."""
        self.on_event: Callable[[SimulatedHost, Event], None] = lambda host, event: None
        """Told of every event after a host carried out all that followed from it."""
        # Every node decodes and verifies; equal bytes give equal results, so that is done once for all of them.
        self.verify = lru_cache(maxsize=65_536)(is_signed)
        self._link = link or Link()
        self._random = Random(seed)
        self.dialling = Dialling(self)
        self._names: dict[Peer, str] = {}
        self._dialled_pairs: set[frozenset[str]] = set()
        self._trace = sha256()
        self._times: list[int] = []
        """A heap of the times at which something is to happen (ms), each once."""
        self._happening: dict[int, deque[Callable[[], object]]] = {}
        """What that is, by its time, in the order in which it was scheduled."""
        self._peers: dict[str, dict[str, Link]] = {}
        self._parted: set[frozenset[str]] = set()
        self._entries: dict[Entry, Entry] = {}
        self._shared: set[int] = set()
        """The identities of those."""
        self._decoded: dict[bytes, Message] = {}
        self._last_arrival_ms: dict[tuple[str, str, bool], int] = {}
        """By sender, receiver, and whether it is urgent: those overtake the others, as with any transport."""

    # ---- building -------------------------------------------------------------------------------------------

    def add(
        self,
        name: str,
        make_agreement: MakeAgreement,
        limits: Limits | None = None,
        clock_skew_ms: int = 0,
        archive: FullArchive | None = None,
    ) -> SimulatedHost:
        """Add a node, not connected yet. `make_agreement` is called again at every restart."""
        make_host = self.make_host.get(name, SimulatedHost)
        self._peers[name] = {}
        host = make_host(self, name, make_agreement, limits, archive)
        host.clock_skew_ms = clock_skew_ms
        self.hosts[name] = host
        self._names[self.peer_of(name)] = name
        return host

    def connect(self, one: str, other: str, link: Link | None = None) -> None:
        """Connect two nodes in both directions."""
        self._peers[one][other] = self._peers[other][one] = link or self._link
        self._tell_both(one, other, PeerConnected)

    def relink(self, link: Link) -> None:
        """From now on all connections, and those to come, treat messages so."""
        self._link = link
        for peers in self._peers.values():
            for peer in peers:
                peers[peer] = link

    def peers(self, name: str) -> list[str]:
        """Whom a node is connected with, were they all up and nothing parted."""
        return list(self._peers[name])

    def connect_all(self) -> None:
        """Connect every node with every other."""
        for one, other in combinations(self.hosts, 2):
            if other not in self._peers[one]:
                self.connect(one, other)

    def connect_some(self, degree: int) -> None:
        """Connect the nodes in a ring, and each with random others until it has about `degree` peers."""
        names = list(self.hosts)
        for place, name in enumerate(names):
            self.connect(name, names[(place + 1) % len(names)])
        for name in names:
            while len(self._peers[name]) < min(degree, len(names) - 1):
                other = names[self._random.randrange(len(names))]
                if other != name and other not in self._peers[name]:
                    self.connect(name, other)

    # ---- what happens to it ---------------------------------------------------------------------------------

    def submit(self, name: str, entry: Entry) -> None:
        """A user submits a certificate at a node, now."""
        self._note(b"submit", name, entry.certificate.id)
        self.at(self.now_ms, lambda: self.hosts[name].submit(entry))

    def erase_payload(self, name: str, payload_hash: bytes) -> None:
        """A user has a node erase a payload, now."""
        self.hosts[name].handle(PayloadErasureAsked(payload_hash))

    def inject(self, sender: str, receiver: str, data: bytes) -> None:
        """Bytes reach a node from a peer that is no node of this network: a stranger's, or forged by the test."""
        self.at(self.now_ms, lambda: self._arrive(sender, receiver, data))

    def partition(self, *groups: Iterable[str]) -> None:
        """Part the groups: what is on its way between them is lost, and both sides notice."""
        self.faults["parted"] += 1
        for one_group, other_group in combinations([list(group) for group in groups], 2):
            for one in one_group:
                for other in other_group:
                    self._parted.add(frozenset((one, other)))
                    if other in self._peers[one]:
                        self._tell_both(one, other, PeerDisconnected)
                        self._hang_up(one, other)

    def heal(self) -> None:
        """End all partitions; the parted peers reconnect."""
        parted, self._parted = self._parted, set()
        for one, other in sorted(sorted(pair) for pair in parted):
            if other in self._peers[one]:
                self._tell_both(one, other, PeerConnected)

    def crash(self, name: str) -> None:
        """Stop a node without warning; its peers notice."""
        self._note(b"crash", name, b"")
        self.faults["crashed"] += 1
        self.hosts[name].stop()
        self.dialling.stop(name)
        for peer in list(self._peers[name]):
            self._tell(peer, PeerDisconnected(self.peer_of(name)))
            self._hang_up(name, peer)

    def restart(self, name: str) -> None:
        """Start a crashed node from what it had persisted."""
        self._note(b"restart", name, b"")
        self.hosts[name].start()
        for peer in list(self._peers[name]):
            if self._is_open(name, peer):
                self._tell_both(name, peer, PeerConnected)

    # ---- what hosts ask of it -------------------------------------------------------------------------------

    def send(self, sender: str, receiver: str, data: bytes) -> None:
        """Put bytes on the way to a peer, as the link between them treats them."""
        link = self._peers[sender].get(receiver)
        if link is None or not self._is_open(sender, receiver) or sender == receiver:
            return
        chance = self._random.random
        copies, lane = 1, (sender, receiver, is_urgent(data))
        if link.loss and chance() < link.loss:
            copies = 0
            self.faults["lost"] += 1
        if link.duplication and chance() < link.duplication:
            copies += 1
            self.faults["duplicated"] += 1
        for _ in range(copies):
            delay_ms = link.delay_min_ms + int(chance() * (link.delay_max_ms - link.delay_min_ms + 1))
            arrival_ms = self.now_ms + delay_ms
            last_ms = self._last_arrival_ms.get(lane, 0)
            if arrival_ms < last_ms:
                if link.reordering:
                    self.faults["overtaken"] += 1
                else:
                    arrival_ms = last_ms
            self._last_arrival_ms[lane] = max(arrival_ms, last_ms)
            self.at(arrival_ms, partial(self._arrive, sender, receiver, data))

    def encode(self, message: Message) -> bytes:
        """The bytes to be sent. A message made of nothing but decoded certificates is known to decode to itself."""
        frame = _Frame(encode_message(message))
        if (
            isinstance(message, Certificates)
            and self._shared.issuperset(map(id, message.entries))
            and 0 < len(message.entries) <= MAX_ENTRIES
            and len(frame) <= MAX_MESSAGE_BYTES
        ):
            frame.message = message
        return frame

    def decode(self, data: bytes) -> Message:
        """What intake makes of bytes. Raises `Refused` (E1, E2, E3)."""
        if not isinstance(data, _Frame):
            return self._decode(data)
        if data.message is None:
            data.message = self._decode(data)
        return data.message

    def share(self, entry: Entry) -> Entry:
        """The one object for all equal entries that were decoded, or held to their form: each is hashed once."""
        if len(self._entries) > _SHARED_ENTRIES:
            self._entries.clear()
            self._shared.clear()
        entry = self._entries.setdefault(entry, entry)
        self._shared.add(id(entry))
        return entry

    def peer_of(self, name: str) -> Peer:
        """What its peers know a host by: its name, or, if it dials, the key that it proves to have."""
        home = self.homes.get(name)
        return name if home is None else home.wallet.public_key

    def name_of(self, peer: Peer) -> str:
        """The name of the host that its peers know so."""
        return self._names.get(peer) or str(peer)

    def join(self, name: str, peer: Peer, address: str) -> bool:
        """A host dials another there. Returns whether they are connected now."""
        one, other = self.hosts[name], self.hosts.get(self.name_of(peer))
        if other is None or other.address != address or not self._is_open(name, other.name):
            return False
        if not one.welcomes(peer) or not other.welcomes(self.peer_of(name)):
            return False
        if other.name not in self._peers[name]:
            self._dialled_pairs.add(frozenset((name, other.name)))
            self.connect(name, other.name)
        return True

    def cut(self, name: str, peer: str) -> None:
        """A node ended the connection with a peer for good."""
        if self._peers[name].pop(peer, None) is not None:
            self._peers[peer].pop(name, None)
            self._tell_both(name, peer, PeerDisconnected)
            self._hang_up(name, peer)

    # ---- time -----------------------------------------------------------------------------------------------

    def at(self, time_ms: int, happen: Callable[[], object]) -> None:
        """Have something happen at a virtual time (now, if that has passed)."""
        time_ms = max(time_ms, self.now_ms)
        happening = self._happening.get(time_ms)
        if happening is None:
            happening = self._happening[time_ms] = deque()
            heappush(self._times, time_ms)
        happening.append(happen)

    def run_for(self, duration_ms: int) -> None:
        """Let virtual time pass."""
        self.run_until(lambda: False, duration_ms)

    def run_until(self, is_done: Callable[[], bool], at_most_ms: int) -> bool:
        """Let things happen until `is_done` (asked after each) or until time is up; whether it was done."""
        end_ms, times = self.now_ms + at_most_ms, self._times
        while times and times[0] <= end_ms:
            self.now_ms = times[0]
            happening = self._happening[self.now_ms]
            happen = happening.popleft()
            if not happening:
                del self._happening[heappop(times)]
            self.happened += 1
            happen()
            if is_done():
                return True
        self.now_ms = max(self.now_ms, end_ms)
        return is_done()

    def run_until_quiet(self, at_most_ms: int = 3_600_000) -> bool:
        """Let things happen until nothing is left to happen; whether it came to that in time."""
        return self.run_until(lambda: not self._times, at_most_ms)

    @property
    def digest(self) -> str:
        """Hex SHA-256 over everything that happened so far."""
        return self._trace.hexdigest()

    # ---- inside ---------------------------------------------------------------------------------------------

    def _decode(self, data: bytes) -> Message:
        if (known := self._decoded.get(data)) is not None:
            return known
        message = decode_message(data)
        if isinstance(message, Certificates):
            return Certificates(tuple([self.share(entry) for entry in message.entries]))
        self._decoded[data] = message
        if len(self._decoded) > _MESSAGES:
            del self._decoded[next(iter(self._decoded))]
        return message

    def _arrive(self, sender: str, receiver: str, data: bytes) -> None:
        host = self.hosts[receiver]
        connected = sender not in self.hosts or (sender in self._peers[receiver] and self._is_open(sender, receiver))
        if connected:
            self._note(b"arrive", f"{sender} {receiver}", data)
            host.receive(self.peer_of(sender), data)
        else:
            self.faults["cut off"] += 1

    def _is_open(self, one: str, other: str) -> bool:
        hosts = self.hosts
        if not (hosts[one].is_up and hosts[other].is_up):
            return False
        return not self._parted or frozenset((one, other)) not in self._parted

    def _tell_both(self, one: str, other: str, event: type[PeerConnected] | type[PeerDisconnected]) -> None:
        self._tell(one, event(self.peer_of(other)))
        self._tell(other, event(self.peer_of(one)))

    def _hang_up(self, one: str, other: str) -> None:
        """A connection ended; one that was dialled is gone, and is dialled again."""
        pair = frozenset((one, other))
        if pair in self._dialled_pairs:
            self._dialled_pairs.discard(pair)
            self._peers[one].pop(other, None)
            self._peers[other].pop(one, None)
            self.dialling.ended(one, self.peer_of(other))
            self.dialling.ended(other, self.peer_of(one))

    def _tell(self, name: str, event: Event) -> None:
        self.at(self.now_ms, lambda: self.hosts[name].handle(event))

    def _note(self, what: bytes, names: str, data: bytes) -> None:
        self.latest.append((self.now_ms, what, names, data))
        self._trace.update(b"%d %s %s %d %b" % (self.now_ms, what, names.encode(), len(data), data))
