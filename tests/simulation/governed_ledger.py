"""A simulated ledger with a directory, and what its organisations decide: used by scenarios of `test_governed.py`."""

from collections.abc import Iterable
from functools import partial
from typing import Any

from tests.builders import START_MS, wallet

from tallystick.consensus.signing_guard import Signed
from tallystick.ledger.certificate import (
    AnyCertificate,
    Approval,
    KeyChange,
    Motion,
    Objection,
    Statement,
    issue,
    issue_statement,
)
from tallystick.ledger.changes import Admit, AnyChange, AnyKeyOperation, Remove, ReplaceMemberKey, Role, sign_admission
from tallystick.ledger.genesis import Founder, make_genesis
from tallystick.ledger.messages import Entry
from tallystick.ledger.params import Params
from tallystick.ledger.state import State
from tallystick.ledger.wallet import Wallet
from tallystick.network.simulated import Home, Link, SimulatedNetwork
from tallystick.network.simulated_host import SimulatedHost, member
from tallystick.node.events import Disconnect, PersistSigned, Report, ReportRefused

DAY_MS = 86_400_000
STAKE = 10
SEVEN = ("ada", "ben", "cy", "dot", "eve", "fay", "gus")
EPOCHS = {"epoch_blocks": 100, "epoch_ms": 600_000, "delta_ms": 300}


class GovernedLedger:
    """One host a member, each named like the organisation or key that it runs for."""

    def __init__(self, seed: int, *names: str, link: Link | None = None, dials: bool = False, **params: Any) -> None:
        self.keys = {name: wallet(name) for name in SEVEN}
        founders = [
            Founder(name, f"University of {name}", None, self.keys[name].public_key, Role.MEMBER, STAKE)
            for name in names
        ]
        chosen = Params(**{"anybody_certifies": False, **EPOCHS, **params})
        self.network = SimulatedNetwork(make_genesis("governed", START_MS, (), chosen, founders), seed, link)
        self.dials = dials
        self.said: list[tuple[str, Report]] = []
        self.signed: dict[str, list[tuple[int, int]]] = {}
        """By host: when, and for which epoch, its key signed something."""
        self.cut_off: list[tuple[str, object]] = []
        self.network.on_report = lambda now_ms, name, report: self.said.append((name, report))
        self.network.on_action = self._on_action
        self._number = 0
        for name in names:
            self.add(name)
        self.network.run_for(1_000)

    def _on_action(self, host: SimulatedHost, action: object) -> None:
        if isinstance(action, PersistSigned):
            epochs = [one.epoch for one in action.records if isinstance(one, Signed)]
            self.signed.setdefault(host.name, []).extend((self.network.now_ms, epoch) for epoch in epochs)
        elif isinstance(action, Disconnect):
            self.cut_off.append((host.name, action.peer))

    # ---- who is there -------------------------------------------------------------------------------------------

    def key(self, name: str) -> Wallet:
        """The key of this name, made when it is first asked for."""
        return self.keys.setdefault(name, wallet(name))

    def add(self, name: str, **more: Any) -> SimulatedHost:
        """Start the host of a key, whatever the ledger says of that key yet."""
        network = self.network
        if self.dials:
            known = tuple((home.wallet.public_key, home.address or "") for home in network.homes.values())
            network.homes[name] = Home(self.key(name), f"{name.replace(' ', '-')}:1", known)
        host = network.add(name, member(self.key(name)), **more)
        if not self.dials:
            network.connect_all()
        return host

    @property
    def up(self) -> dict[str, SimulatedHost]:
        return {name: host for name, host in self.network.hosts.items() if host.is_up}

    @property
    def state(self) -> State:
        """Of the host that is furthest."""
        return max((host.node.state for host in self.up.values()), key=lambda state: state.index)

    def stakes(self) -> dict[str, int]:
        """Who votes, by the names of keys."""
        names = {one.public_key: name for name, one in self.keys.items()}
        return {names[key]: stake for key, stake in self.state.epoch.members}

    def knows_everywhere(self, name: str) -> bool:
        """Whether all hosts that are up have the block that admits this key."""
        key = self.key(name).public_key
        return all(key in host.node.state.directory.keys for host in self.up.values())

    def rules(self) -> set[str]:
        """By which rules something was refused so far."""
        return {one.refused.rule.name for _, one in self.said if isinstance(one, ReportRefused)}

    # ---- what they do -------------------------------------------------------------------------------------------

    def submit(self, certificate: AnyCertificate, at: str | None = None) -> AnyCertificate:
        self.network.submit(at or next(iter(self.up)), Entry(certificate))
        return certificate

    def statement(self, by: str, at: str | None = None) -> Statement:
        self._number += 1
        one = issue_statement(self.key(by), self.network.genesis.ledger_id, self.network.now_ms, f"no. {self._number}")
        self.submit(one, at)
        return one

    def issue(self, kind: type[Any], by: str, *fields: Any, at: str | None = None) -> Any:
        one = issue(kind, self.key(by), self.network.genesis.ledger_id, self.network.now_ms, *fields)
        return self.submit(one, at)

    def move(self, change: AnyChange, by: str, at: str | None = None) -> Motion:
        expires_ms = self.network.now_ms + 30 * DAY_MS
        made: Motion = self.issue(Motion, by, change, expires_ms, at=at)
        return made

    def approve(self, motion: Motion, *names: str, at: str | None = None) -> list[Approval]:
        return [self.issue(Approval, name, motion.id, at=at) for name in names]

    def object(self, motion: Motion, *names: str) -> list[Objection]:
        return [self.issue(Objection, name, motion.id) for name in names]

    def change_keys(self, operation: AnyKeyOperation, by: str) -> KeyChange:
        made: KeyChange = self.issue(KeyChange, by, operation)
        return made

    def admission(self, name: str, organisation: str) -> bytes:
        return sign_admission(self.key(name), self.network.genesis.ledger_id, organisation)

    def admit(self, name: str, stake: int = STAKE) -> Admit:
        key = self.key(name).public_key
        return Admit(name, f"University of {name}", None, key, Role.MEMBER, stake, self.admission(name, name))

    def remove(self, name: str) -> Remove:
        key = self.state.directory.organisation(name).member_key
        assert key is not None
        return Remove(name, self.state.stakes.account(key).staked)

    def replace(self, name: str, successor: str) -> ReplaceMemberKey:
        before = self.state.directory.organisation(name).member_key
        assert before is not None
        admitted = self.admission(successor, name)
        return ReplaceMemberKey(name, before, self.key(successor).public_key, None, admitted)

    # ---- what comes of it ---------------------------------------------------------------------------------------

    def is_final(self, *certificates: AnyCertificate, at: Iterable[str] = ()) -> bool:
        """Whether all of these are on the chain of all hosts that are up, or of those named."""
        hosts = [self.network.hosts[name] for name in at] or list(self.up.values())
        return all(host.node.chain.place_of(one.id) is not None for host in hosts for one in certificates)

    def settles(self, *certificates: AnyCertificate, within_ms: int = 20_000, at: Iterable[str] = ()) -> bool:
        return self.network.run_until(partial(self.is_final, *certificates, at=tuple(at)), within_ms)

    def decide(self, change: AnyChange, *names: str, within_ms: int = 20_000) -> bool:
        """A motion that all of these approve, the first by making it. Whether it took effect at all hosts in time."""
        motion = self.move(change, names[0])
        if not self.settles(motion, within_ms=within_ms):
            return False
        epoch, index = self.state.epoch.number, self.state.index
        approvals = self.approve(motion, *names[1:])
        if approvals and not self.settles(*approvals, within_ms=within_ms):
            return False
        epochs = {host.node.state.epoch.number for host in self.up.values()}
        is_over = all(motion.id not in host.node.state.motions.open for host in self.up.values())
        return is_over and (len(names) == 1 or self.state.index > index) and min(epochs) >= epoch

    def assert_agreed(self) -> None:
        """All hosts that are up have one chain and one state, and nobody was cut off."""
        assert len({host.node.state.tip.hash for host in self.up.values()}) == 1, self.network.seed
        assert len({host.node.state.roots.hash for host in self.up.values()}) == 1, self.network.seed
