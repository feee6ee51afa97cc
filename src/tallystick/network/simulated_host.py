"""One node of the simulated network: carries out its actions, keeps its archive and its signing guard."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from hashlib import sha256
from itertools import takewhile
from typing import TYPE_CHECKING

from tallystick.consensus.signing_guard import GuardRecord, SigningGuard
from tallystick.consensus.simplex import Simplex
from tallystick.ledger.errors import Refused
from tallystick.ledger.messages import Entry, Message
from tallystick.ledger.wallet import Wallet
from tallystick.network.archiving import FullArchive, answer, carry_out, own_record
from tallystick.network.memory_archive import MemoryArchive
from tallystick.network.replay import replayed
from tallystick.node import events
from tallystick.node.agreement import Agreement
from tallystick.node.epoch_ends import MlDsa
from tallystick.node.finality_proofs import TrustedBlock
from tallystick.node.intake import Intake
from tallystick.node.limits import Limits
from tallystick.node.node import Node
from tallystick.node.simplex_driver import SimplexDriver

if TYPE_CHECKING:
    from tallystick.network.simulated import SimulatedNetwork


class SimulatedHost:
    """Runs one node: carries out its actions, keeps its archive, and can be crashed and restarted."""

    def __init__(
        self,
        network: SimulatedNetwork,
        name: str,
        make_agreement: MakeAgreement,
        limits: Limits | None,
        archive: FullArchive | None,
    ) -> None:
        self.name = name
        self.address: str | None = None
        self.archive = MemoryArchive() if archive is None else archive
        self.guard_records: list[GuardRecord] = []
        """The signing guard's file: what its records were when they were last synced."""
        self.clock_skew_ms = 0
        self.trusted_block: TrustedBlock | None = None
        """What its operator trusts; takes effect with the next start."""
        self.ml_dsa: MlDsa | None = None
        """What its machine has for ML-DSA-44; likewise."""
        self.network = network
        self._make_agreement = make_agreement
        self._limits = limits
        self._timers: dict[events.Timer, int] = {}
        self._actions_left: int | None = None
        self._admit = events.Admit(None)
        self._starts = 0
        self.is_up = False
        self.start()

    def start(self) -> None:
        """(Re)start from what the archive kept."""
        network = self.network
        self._starts += 1
        self.agreement = self._make_agreement(self)
        chain = replayed(network.genesis, self.agreement.check_forger, self.archive, self.trusted_block)
        self.node = Node(chain, self.agreement, self._limits, self.archive, self.trusted_block, self.ml_dsa)
        self._intake = Intake(network.genesis.ledger_id, self.node.knowledge, network.verify, network.decode)
        self._timers.clear()
        self._actions_left = None
        self._admit = events.Admit(self._admit.keys)
        self.is_up = True
        home = network.homes.get(self.name)
        if home is not None:
            self.address, record = home.address, None
            if home.address is not None:
                record = own_record(home.wallet, network.genesis.ledger_id, home.address, self.now_ms, self.archive)
            self.handle(events.Started(home.wallet.public_key, record, home.known))

    @property
    def simplex(self) -> Simplex:
        """What decides, for a member of Simplex or an observer."""
        assert isinstance(self.agreement, SimplexDriver)
        return self.agreement.simplex

    def guard(self, wallet: Wallet) -> SigningGuard:
        """The signing guard of this host's key, as its records stand."""
        entropy = sha256(f"{self.network.seed} {self.name} {self._starts}".encode()).digest()
        return SigningGuard(wallet, self.network.genesis.ledger_id, self.guard_records, entropy)

    def welcomes(self, peer: events.Peer) -> bool:
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

    def receive(self, peer: events.Peer, data: bytes) -> None:
        """Bytes arrived from a peer."""
        self.handle(events.MessageReceived(peer, self._intake.check(peer, data)))

    def submit(self, entry: Entry) -> None:
        """A user submits a certificate; a refusal is reported like any other, a crashed node hears nothing."""
        if not self.is_up:
            return
        try:
            entry.check_form()
            checked = self._intake.check_entry(self.network.share(entry))
        except Refused as refused:
            self.network.on_report(self.network.now_ms, self.name, events.ReportRefused(refused, None))
        else:
            self.handle(events.CertificatesSubmitted((checked,)))

    def fire(self, timer: events.Timer, at_ms: int) -> None:
        """A timer's time has come, unless it was set anew since."""
        if self.is_up and self._timers.get(timer) == at_ms:
            del self._timers[timer]
            self.handle(events.TimerFired(timer))

    def handle(self, event: events.Event) -> None:
        """Give the node, if it is up, an event and carry out its actions in order."""
        if not self.is_up:
            return None
        network = self.network
        for action in self._as_synced(self.node.handle(self.now_ms, event)):
            if self._actions_left is not None:
                if self._actions_left == 0:
                    return network.crash(self.name)
                self._actions_left -= 1
            network.on_action(self, action)
            self.carry_out(action)
        return network.on_event(self, event)

    def _as_synced(self, actions: list[events.Action]) -> list[events.Action]:
        """What may be synced at the same time comes in either order, by how often the host has started."""
        if self._starts % 2:
            return actions
        for place, action in enumerate(actions):
            if isinstance(action, events.PersistSigned) and action.is_beside:
                kept = takewhile(events.is_archive_change, actions[place + 1 :])
                end = place + 1 + sum(1 for _ in kept)
                return [*actions[:place], *actions[place + 1 : end], action, *self._as_synced(actions[end:])]
        return actions

    def carry_out(self, action: events.Action) -> None:
        """Do what the node asks for; a host that is to misbehave does something else."""
        network = self.network
        match action:
            case report if events.is_report(report):
                network.on_report(network.now_ms, self.name, report)
            case change if events.is_archive_change(change):
                carry_out(change, self.archive)
            case events.Multicast(peers, message):
                self._send(peers, message)
            case events.Send(peer, message):
                self._send([peer], message)
            case events.SetTimer(timer, at_ms):
                self._timers[timer] = at_ms
                network.at(at_ms - self.clock_skew_ms, partial(self.fire, timer, at_ms))
            case events.Broadcast(message, but):
                self._send([one for one in network.peers(self.name) if one != network.name_of(but)], message)
            case events.PersistSigned(records):
                self.guard_records = [*self.guard_records, *records]
            case events.ReadVotes(late):
                read = events.VotesRead(late, tuple(self.archive.votes_of(late.ballot.epoch, late.ballot.view)))
                network.at(network.now_ms, partial(self.handle, read))
            case events.Disconnect() | events.Admit() | events.Dial() | events.Forget():
                self._update_connections(action)
            case events.SendKept(peer, request):
                if (reply := answer(self.archive, request, self.node.limits.answer_bytes)) is not None:
                    self._send([peer], reply)

    def _send(self, peers: Iterable[events.Peer], message: Message) -> None:
        data = self.network.encode(message)
        for peer in peers:
            self.network.send(self.name, self.network.name_of(peer), data)

    def _update_connections(self, action: events.Disconnect | events.Admit | events.Dial | events.Forget) -> None:
        network = self.network
        match action:
            case events.Admit():
                self._admit = action
            case events.Dial(peer, address):
                network.dialling.dial(self.name, peer, address)
            case events.Forget(peer):
                network.dialling.forget(self.name, peer)
                network.cut(self.name, network.name_of(peer))
            case events.Disconnect(peer):
                network.cut(self.name, network.name_of(peer))


MakeAgreement = Callable[[SimulatedHost], Agreement]
"""Called at every start of a host."""

MakeHost = Callable[["SimulatedNetwork", str, MakeAgreement, Limits | None, FullArchive | None], SimulatedHost]


def member(wallet: Wallet) -> MakeAgreement:
    """A host that takes part in Simplex with this key."""
    return lambda host: SimplexDriver(Simplex(host.guard(wallet)))


def observer(host: SimulatedHost) -> SimplexDriver:
    """A host that follows Simplex without a key."""
    return SimplexDriver(Simplex())
