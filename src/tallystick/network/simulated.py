"""A network in virtual time: one seeded heap of deliveries between real nodes, fed encoded bytes.

Everything that happens is an entry of the heap, so nothing recurses, and one seed gives one trace. `digest` is a
running SHA-256 over that trace: two runs that agree on it did the same things in the same order.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from itertools import combinations
from random import Random

from tallystick.consensus.signing_guard import GuardRecord, SigningGuard
from tallystick.consensus.simplex import Simplex
from tallystick.ledger.errors import Refused
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.keys import is_signed
from tallystick.ledger.messages import Certificates, Entry, Message, decode_message, encode_message
from tallystick.ledger.wallet import Wallet
from tallystick.network.simulated_dialling import Dialling, Home
from tallystick.node.agreement import Agreement
from tallystick.node.archive import Archive, MemoryArchive, answer, carry_out
from tallystick.node.events import (
    Action,
    Admit,
    Answer,
    ArchiveChange,
    Broadcast,
    CertificatesSubmitted,
    Dial,
    Disconnect,
    Event,
    Forget,
    MessageReceived,
    Multicast,
    PayloadErasureAsked,
    Peer,
    PeerConnected,
    PeerDisconnected,
    PersistSigned,
    ReadVotes,
    Report,
    ReportRefused,
    Send,
    SetTimer,
    Started,
    Timer,
    TimerFired,
    VotesRead,
)
from tallystick.node.finality_proofs import Checkpoint
from tallystick.node.intake import Intake
from tallystick.node.limits import Limits
from tallystick.node.node import Node
from tallystick.node.peer_exchange import own_record
from tallystick.node.simplex_driver import SimplexDriver

_SHARED_ENTRIES = 65_536
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


class SimulatedHost:
    """Runs one node: carries out its actions, keeps its archive, and can be crashed and restarted."""

    def __init__(
        self,
        network: SimulatedNetwork,
        name: str,
        make_agreement: MakeAgreement,
        limits: Limits | None,
        archive: Archive | None,
    ) -> None:
        self.name = name
        self.address: str | None = None
        self.archive = MemoryArchive() if archive is None else archive
        self.guard_records: list[GuardRecord] = []
        """The signing guard's file: what its records were when they were last synced."""
        self.clock_skew_ms = 0
        self.checkpoint: Checkpoint | None = None
        """What its operator trusts; takes effect with the next start."""
        self.network = network
        self._make_agreement = make_agreement
        self._limits = limits
        self._timers: dict[Timer, int] = {}
        self._actions_left: int | None = None
        self._admit = Admit(None)
        self._starts = 0
        self.is_up = False
        self.start()

    def start(self) -> None:
        """(Re)start from what the archive kept."""
        network = self.network
        self._starts += 1
        self.agreement = self._make_agreement(self)
        self.node = Node(network.genesis, self.agreement, self._limits, self.archive, self.checkpoint)
        self._intake = Intake(network.genesis.ledger_id, self.node, network.verify, network.decode)
        self._timers.clear()
        self._actions_left = None
        self._admit = Admit(self._admit.keys)
        self.is_up = True
        home = network.homes.get(self.name)
        if home is not None:
            self.address, record = home.address, None
            if home.address is not None:
                record = own_record(home.wallet, network.genesis.ledger_id, home.address, self.now_ms, self.archive)
            self.handle(Started(home.wallet.public_key, record, home.known))

    def guard(self, wallet: Wallet) -> SigningGuard:
        """The signing guard of this host's key, as its records stand."""
        entropy = sha256(f"{self.network.seed} {self.name} {self._starts}".encode()).digest()
        return SigningGuard(wallet, self.network.genesis.ledger_id, self.guard_records, entropy)

    def welcomes(self, peer: Peer) -> bool:
        """Whether a connection with this peer may begin."""
        keys, banned = self._admit.keys, self._admit.banned
        return (keys is None or peer in keys) and peer not in banned

    def crash_within(self, actions: int) -> None:
        """Crash after this many more actions, perhaps in the middle of what one event asks for."""
        self._actions_left = actions

    def stop(self) -> None:
        """Crash: all that was not persisted is gone."""
        self.is_up = False

    @property
    def now_ms(self) -> int:
        """The time by this host's own clock."""
        return max(0, self.network.now_ms + self.clock_skew_ms)

    def receive(self, peer: Peer, data: bytes) -> None:
        """Bytes arrived from a peer."""
        self.handle(MessageReceived(peer, self._intake.check(data)))

    def submit(self, entry: Entry) -> None:
        """A person hands in a certificate; a refusal is reported like any other, a crashed node hears nothing."""
        if not self.is_up:
            return
        try:
            checked = self._intake.check_entry(entry)
        except Refused as refused:
            self.network.report(self.name, ReportRefused(refused, None))
        else:
            self.handle(CertificatesSubmitted((checked,)))

    def fire(self, timer: Timer, at_ms: int) -> None:
        """A timer's time has come, unless it was set anew since."""
        if self.is_up and self._timers.get(timer) == at_ms:
            del self._timers[timer]
            self.handle(TimerFired(timer))

    def handle(self, event: Event) -> None:
        """Give the node, if it is up, an event and carry out its actions in order."""
        if not self.is_up:
            return None
        for action in self.node.handle(self.now_ms, event):
            if self._actions_left is not None:
                if self._actions_left == 0:
                    return self.network.crash(self.name)
                self._actions_left -= 1
            self.network.on_action(self, action)
            self.carry_out(action)
        return self.network.on_event(self, event)

    def carry_out(self, action: Action) -> None:
        """Do what the node asks for; a host that is to misbehave does something else."""
        network, limits = self.network, self.node.limits
        match action:
            case Send(peer, message):
                network.send(self.name, network.name_of(peer), encode_message(message))
            case Broadcast(message, but):
                network.broadcast(self.name, encode_message(message), but)
            case Multicast(peers, message):
                network.multicast(self.name, peers, encode_message(message))
            case PersistSigned(records):
                self.guard_records = [*self.guard_records, *records]
            case ReadVotes(epoch, view, late):
                read = VotesRead(late, tuple(self.archive.votes_of(epoch, view)))
                network.at(network.now_ms, lambda: self.handle(read))
            case SetTimer(timer, at_ms):
                self._timers[timer] = at_ms
                network.at(at_ms - self.clock_skew_ms, lambda: self.fire(timer, at_ms))
            case Disconnect(peer):
                network.cut(self.name, network.name_of(peer))
            case Admit():
                self._admit = action
            case Dial(peer, address):
                network.dialling.dial(self.name, peer, address)
            case Forget(peer):
                network.dialling.forget(self.name, peer)
                network.cut(self.name, network.name_of(peer))
            case _ if isinstance(action, Report):
                network.report(self.name, action)
            case _ if isinstance(action, Answer):
                if (reply := answer(self.archive, action, limits.answer_bytes)) is not None:
                    network.send(self.name, network.name_of(action.peer), encode_message(reply))
            case _ if isinstance(action, ArchiveChange):
                carry_out(action, self.archive)


MakeAgreement = Callable[[SimulatedHost], Agreement]
"""Called at every start of a host."""

MakeHost = Callable[["SimulatedNetwork", str, MakeAgreement, Limits | None, Archive | None], SimulatedHost]


def member(wallet: Wallet) -> MakeAgreement:
    """A host that takes part in Simplex with this key."""
    return lambda host: SimplexDriver(Simplex(host.guard(wallet)))


def observer(host: SimulatedHost) -> SimplexDriver:
    """A host that follows Simplex without a key."""
    return SimplexDriver(Simplex())


class SimulatedNetwork:
    """Hosts, the links between them, and the heap of what happens next."""

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
        self.decode = lru_cache(maxsize=4096)(self._decode)
        self.verify = lru_cache(maxsize=65_536)(is_signed)
        self._link = link or Link()
        self._random = Random(seed)
        self.dialling = Dialling(self)
        self._names: dict[Peer, str] = {}
        self._dialled_pairs: set[frozenset[str]] = set()
        self._trace = sha256()
        self._heap: list[tuple[int, int, Callable[[], object]]] = []
        self._scheduled = 0
        self._peers: dict[str, dict[str, Link]] = {}
        self._parted: set[frozenset[str]] = set()
        self._entries: dict[Entry, Entry] = {}
        self._last_arrival_ms: dict[tuple[str, str], int] = {}

    # ---- building -------------------------------------------------------------------------------------------

    def add(
        self,
        name: str,
        make_agreement: MakeAgreement,
        limits: Limits | None = None,
        clock_skew_ms: int = 0,
        archive: Archive | None = None,
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
        """A person hands a certificate to a node, now."""
        self._note(b"submit", name, entry.certificate.id)
        self.at(self.now_ms, lambda: self.hosts[name].submit(entry))

    def erase_payload(self, name: str, payload_hash: bytes) -> None:
        """A person has a node erase a payload, now."""
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
        copies = 1
        if link.loss and chance() < link.loss:
            copies = 0
            self.faults["lost"] += 1
        if link.duplication and chance() < link.duplication:
            copies += 1
            self.faults["duplicated"] += 1
        for _ in range(copies):
            delay_ms = link.delay_min_ms + int(chance() * (link.delay_max_ms - link.delay_min_ms + 1))
            arrival_ms = self.now_ms + delay_ms
            last_ms = self._last_arrival_ms.get((sender, receiver), 0)
            if arrival_ms < last_ms:
                if link.reordering:
                    self.faults["overtaken"] += 1
                else:
                    arrival_ms = last_ms
            self._last_arrival_ms[sender, receiver] = max(arrival_ms, last_ms)
            self.at(arrival_ms, lambda: self._arrive(sender, receiver, data))

    def broadcast(self, sender: str, data: bytes, but: Peer | None) -> None:
        """Send bytes to all peers of a node but one."""
        name = self.name_of(but)
        for receiver in [one for one in self._peers[sender] if one != name]:
            self.send(sender, receiver, data)

    def multicast(self, sender: str, receivers: Iterable[object], data: bytes) -> None:
        """Send the same bytes to several peers."""
        for receiver in receivers:
            self.send(sender, self.name_of(receiver), data)

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

    def report(self, name: str, report: Report) -> None:
        """A node tells what it accepted, added or refused."""
        self.on_report(self.now_ms, name, report)

    # ---- time -----------------------------------------------------------------------------------------------

    def at(self, time_ms: int, happen: Callable[[], object]) -> None:
        """Have something happen at a virtual time (now, if that has passed)."""
        self._scheduled += 1
        heapq.heappush(self._heap, (max(time_ms, self.now_ms), self._scheduled, happen))

    def run_for(self, duration_ms: int) -> None:
        """Let virtual time pass."""
        self.run_until(lambda: False, duration_ms)

    def run_until(self, is_done: Callable[[], bool], at_most_ms: int) -> bool:
        """Let things happen until `is_done` (asked after each) or until time is up; whether it was done."""
        end_ms = self.now_ms + at_most_ms
        while self._heap and self._heap[0][0] <= end_ms:
            self.now_ms, _, happen = heapq.heappop(self._heap)
            self.happened += 1
            happen()
            if is_done():
                return True
        self.now_ms = max(self.now_ms, end_ms)
        return is_done()

    def run_until_quiet(self, at_most_ms: int = 3_600_000) -> bool:
        """Let things happen until nothing is left to happen; whether it came to that in time."""
        return self.run_until(lambda: not self._heap, at_most_ms)

    @property
    def digest(self) -> str:
        """Hex SHA-256 over everything that happened so far."""
        return self._trace.hexdigest()

    # ---- inside ---------------------------------------------------------------------------------------------

    def _decode(self, data: bytes) -> Message:
        """Decode, handing out one object for equal certificates, so that their hashes are computed once too."""
        message = decode_message(data)
        if not isinstance(message, Certificates):
            return message
        if len(self._entries) > _SHARED_ENTRIES:
            self._entries.clear()
        return Certificates(tuple([self._entries.setdefault(entry, entry) for entry in message.entries]))

    def _arrive(self, sender: str, receiver: str, data: bytes) -> None:
        host = self.hosts[receiver]
        connected = sender not in self.hosts or (sender in self._peers[receiver] and self._is_open(sender, receiver))
        if connected:
            self._note(b"arrive", f"{sender} {receiver}", data)
            host.receive(self.peer_of(sender), data)
        else:
            self.faults["cut off"] += 1

    def _is_open(self, one: str, other: str) -> bool:
        if self._parted and frozenset((one, other)) in self._parted:
            return False
        return self.hosts[one].is_up and self.hosts[other].is_up

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
