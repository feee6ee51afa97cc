"""Carries a scenario out on the production node, and tells what came of it."""

import copy
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from random import Random
from typing import Any

from tests.simulation.campaign.adversary import Adversary
from tests.simulation.campaign.books import Broken
from tests.simulation.campaign.byzantine import host_of
from tests.simulation.campaign.council import Council
from tests.simulation.campaign.flooders import FLOODED_BOX
from tests.simulation.campaign.liars import Twins
from tests.simulation.campaign.roles import FILL_BOXES
from tests.simulation.campaign.scenario import (
    TIMEOUT_MS,
    WITHDRAWN,
    Crash,
    Phase,
    Restore,
    Scenario,
    draw_scenario,
    twin_of,
)
from tests.simulation.campaign.watch import Watch

from tallystick.consensus.signing_guard import GuardRecord, LossAccepted, Lost, Signed
from tallystick.ledger.certificate import AnyCertificate, Payload, issue_stake, issue_statement
from tallystick.ledger.changes import Role
from tallystick.ledger.errors import Refused
from tallystick.ledger.genesis import Allotment, Founder, make_genesis
from tallystick.ledger.messages import Entry, Votes, decode_message
from tallystick.ledger.params import Params
from tallystick.ledger.vote import NOTARIZE, Ballot
from tallystick.ledger.wallet import Wallet
from tallystick.network.memory_archive import MemoryArchive
from tallystick.network.simulated_host import SimulatedHost, member, observer
from tallystick.node.events import Action, Broadcast, PersistSigned
from tallystick.node.limits import Limits

RECOVERY_BOUND = 60
"""After healing, all that was taken is final everywhere within this many timeouts of the length then in force."""

SILENCE_MS = 4_500_000
"""A ban is lifted after an hour, and nothing else happens a quarter of an hour after all is final."""

START_MS = 1_750_000_000_000
_STRANGER = Wallet(sha256(b"stranger").digest())


@dataclass
class Outcome:
    """What a run came to."""

    seed: int
    broken: str | None = None
    trace: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    roles: list[str] = field(default_factory=list)
    simulated_ms: int = 0
    events: int = 0
    blocks: int = 0
    evidence: int = 0
    recovery: float | None = None
    digest: str = ""
    cpu_seconds: float = 0.0


class Run:
    """A scenario under way."""

    def __init__(self, scenario: Scenario, *, may_conflict: bool = False) -> None:
        self.scenario = scenario
        self.random = Random(f"run {scenario.seed}")
        self.wallets = {name: Wallet(sha256(name.encode()).digest()) for name in scenario.stakes}
        allotments = [
            Allotment(self.wallets[name].public_key, 0 if name in scenario.unreliable else 200, stake)
            for name, stake in scenario.stakes.items()
        ]
        founders = [
            Founder(name, f"University {name}", None, self.wallets[name].public_key, Role.MEMBER, stake)
            for name, stake in scenario.stakes.items()
        ]
        first: dict[str, Any] = {"founders": founders} if scenario.is_governed else {"allotments": allotments}
        genesis = make_genesis(f"seed {scenario.seed}", START_MS, params=Params(**scenario.params), **first)
        self.network = Adversary(genesis, scenario.seed, scenario.calm)
        self.watch = Watch(self.network, may_conflict=may_conflict)
        self.faults = self.network.faults
        self.doomed: set[str] = set()
        self._crash_at_vote: dict[str, tuple[int, int]] = {}
        self._to_restore: dict[str, Restore] = {}
        self.network.on_action = self._on_action
        self.is_healed = False
        self._number = 0
        self._to_withdraw = int(sum(scenario.stakes[name] for name in scenario.steady) * WITHDRAWN)
        coalition = [self.wallets[name] for name in scenario.roles]
        fills_boxes = any(issubclass(role, FILL_BOXES) for role in scenario.roles.values())
        self.limits = Limits(box_certificates=FLOODED_BOX) if fills_boxes else None
        for name in scenario.stakes:
            role = scenario.roles.get(name)
            for host in [name, twin_of(name)] if role is Twins else [name]:
                if role is not None:
                    random = Random(f"{host} {scenario.seed}")
                    self.network.make_host[host] = host_of(role, coalition, random)
                skew_ms = scenario.skews_ms.get(name, 0)
                self.network.add(host, member(self.wallets[name]), self.limits, skew_ms)
        for name in scenario.observers:
            self.network.add(name, observer, self.limits)
        self.council = Council(self) if scenario.is_governed else None

    # ---- the course of it ---------------------------------------------------------------------------------------

    def go(self) -> float:
        """All of it. Returns the recovery, in timeouts. Raises `Broken`."""
        self.begin()
        for phase in self.scenario.phases:
            self.suffer(phase)
        recovery = self.recover()
        self.fall_silent()
        self.watch.check_outcome()
        return recovery

    def begin(self) -> None:
        """Everybody meets; what users will submit, and who joins late, is put on the agenda."""
        network = self.network
        if self.scenario.is_ring:
            self.faults["ring"] += 1
            network.connect_some(2)
        else:
            network.connect_all()
        network.run_for(200)
        if self.council is not None:
            self.council.begin()
        submitted = 0
        while submitted < self.scenario.certificates:
            at_ms = network.now_ms + self.random.randint(0, max(1_000, self.scenario.chaos_ms))
            for _ in range(self.random.choice([1, 2, 6])):
                network.at(at_ms + self.random.randint(0, 60), self.submit)
                submitted += 1
        for name in self.scenario.late:
            network.at(
                network.now_ms + self.random.randint(0, max(1, self.scenario.chaos_ms)), partial(self.join, name)
            )

    def suffer(self, phase: Phase) -> None:
        """One phase."""
        network = self.network
        network.heal()
        network.relink(phase.link)
        network.held_back, network.withholds_answers = phase.held_back, phase.withholds_answers
        if phase.groups:
            network.partition(*phase.groups)
        for crash in phase.crashes:
            network.at(network.now_ms + crash.at_ms, partial(self.doom, crash))
        if phase.all_restart_at_ms is not None:
            network.at(network.now_ms + phase.all_restart_at_ms, self.restart_all)
        for restore in phase.restores:
            copy_at_ms = network.now_ms + self.random.randint(0, phase.duration_ms // 2)
            network.at(copy_at_ms, partial(self.copy, restore))
        network.run_for(phase.duration_ms)
        self._to_restore.clear()
        network.held_back, network.withholds_answers = 0, False

    def recover(self) -> float:
        """Heal, submit one certificate each, and wait for all to be final. Returns the timeouts that took."""
        network, honest = self.network, self.watch.honest
        self.is_healed = True
        if self.council is not None:
            self.council.settle()
        network.heal()
        network.relink(self.scenario.calm)
        for name in sorted(self.doomed):
            self.revive(name)
        for name in self.scenario.late:
            if name not in network.hosts:
                self.join(name)
        for name in self.random.sample(sorted(honest), min(3, len(honest))):
            network.submit(name, Entry(self.statement()))
        network.run_for(1)
        recovery, is_settled = 0.0, False
        while not is_settled and recovery <= RECOVERY_BOUND:
            timeout_ms = max(timeout_of(host) for host in honest.values() if host.agreement.wallet)
            began_ms = network.now_ms
            is_settled = network.run_until(self.watch.is_settled, TIMEOUT_MS)
            recovery += (network.now_ms - began_ms) / timeout_ms
        if not is_settled:
            places = {name: place_of(host) for name, host in honest.items()}
            raise Broken(f"not final {RECOVERY_BOUND} timeouts after healing, the last of {timeout_ms} ms: {places}")
        return recovery

    def fall_silent(self) -> None:
        """Nothing is left to do, so nothing is said; Byzantine members are stopped, for they need no reason."""
        network = self.network
        network.run_for(3_000)
        for name in [one for one in network.hosts if one not in self.watch.honest]:  # in order, for the digest
            if network.hosts[name].is_up:
                network.crash(name)
                self.faults["crashed"] -= 1
        if not network.run_until_quiet(SILENCE_MS):
            raise Broken("not silent long after all was final")
        if not self.watch.is_settled():
            raise Broken("what was taken late is not final, and all is silent")

    # ---- what goes wrong ----------------------------------------------------------------------------------------

    def doom(self, crash: Crash) -> None:
        """The host crashes at some action, and starts again later."""
        host = self.network.hosts[crash.name]
        if host.is_up and crash.name not in self.doomed:
            self.doomed.add(crash.name)
            if crash.from_vote is not None:
                self._crash_at_vote[crash.name] = (crash.from_vote, crash.actions)
            else:
                host.crash_within(crash.actions)
            self.network.at(self.network.now_ms + crash.down_ms, partial(self.revive, crash.name))

    def _on_action(self, host: SimulatedHost, action: Action) -> None:
        """Whoever is to crash at its next vote, persisted or sent, does so; the checkers look at everything."""
        restore = self._to_restore.get(host.name)
        if restore is not None and self._is_to_copy(action, restore):
            self.restore_later(self._to_restore.pop(host.name))
        if host.name in self._crash_at_vote:
            kind, actions = self._crash_at_vote[host.name]
            if any(ballot.kind == (kind or ballot.kind) for ballot in _voted_in(action)):
                del self._crash_at_vote[host.name]
                host.crash_within(actions)
        self.watch.on_action(host, action)

    @staticmethod
    def _is_to_copy(action: Action, restore: Restore) -> bool:
        """Before a vote of this kind is signed; before a notarize vote means before one's own proposal."""
        if not isinstance(action, PersistSigned):
            return False
        kinds = {ballot.kind for ballot in _voted_in(action)}
        forges = any(isinstance(one, Signed) and one.header_hash for one in action.records)
        return forges if restore.copy_before == NOTARIZE else bool(kinds) and (restore.copy_before or 0) in {0, *kinds}

    def revive(self, name: str) -> None:
        """The host starts again, stopped now if it did not crash by itself."""
        if name in self.doomed:
            self.doomed.remove(name)
            self._crash_at_vote.pop(name, None)
            if self.network.hosts[name].is_up:
                self.network.crash(name)
            self.network.restart(name)

    def restart_all(self) -> None:
        """All honest hosts stop and start at once."""
        self.faults["all restarted"] += 1
        names = list(self.watch.honest)
        for name in names:
            if self.network.hosts[name].is_up:
                self.network.crash(name)
        self.doomed.clear()
        self._crash_at_vote.clear()
        for name in names:
            self.network.restart(name)

    def copy(self, restore: Restore) -> None:
        """The copy of the database is made now, or at the next vote if so asked; it is used later."""
        if restore.copy_before is None:
            self.restore_later(restore)
        else:
            self._to_restore[restore.name] = restore

    def forget_pending_restores(self) -> None:
        """Those that wait for a vote that was not cast do not happen any more."""
        self._to_restore.clear()

    def restore_later(self, restore: Restore) -> None:
        """Make a copy of a host's archive now, and use it later."""
        host = self.network.hosts[restore.name]
        backup = copy_of(host.archive) if restore.has_old_database else None
        at_ms = self.network.now_ms + self.random.choice([self.random.randint(20, 300), self.random.randint(20, 2_500)])
        self.network.at(at_ms, partial(self.restore, restore, backup, host.guard_records))

    def restore(self, restore: Restore, backup: MemoryArchive | None, old_guard: list[GuardRecord]) -> None:
        """Stop a host and start it without its guard, from an old database, or both.

        In half of the cases it has the guard as it was when the copy was made, and its operator says that it is lost.
        """
        network, name = self.network, restore.name
        host = network.hosts[name]
        if host.is_up:
            network.crash(name)
        self.doomed.discard(name)
        self._crash_at_vote.pop(name, None)
        if restore.loses_guard:
            self.faults["lost its guard"] += 1
            word: list[GuardRecord] = [LossAccepted(self.ledger_id)] if restore.is_accepted else []
            self.faults["operator's word"] += len(word)
            set_back = old_guard if network.now_ms % 2 else []
            self.faults["older guard"] += bool(set_back)
            host.guard_records = [*set_back, Lost(None), *word]
            self.watch.lost_guard(name, set_back)
        epoch, key = host.node.state.epoch, self.wallets[name].public_key
        is_alone = epoch.is_quorum(epoch.stake(key))  # what it makes final nobody else may have: docs/reliability.md
        if backup is not None and not is_alone:
            self.faults["old database"] += 1
            host.archive = backup
            self.watch.restored(name)
        network.restart(name)
        network.submit(name, Entry(self.statement()))

    def accept_loss(self, name: str) -> None:
        """The operator of a member that lost its guard gives the word, and starts it again."""
        host = self.network.hosts[name]
        self.network.crash(name)
        host.guard_records = [*host.guard_records, LossAccepted(self.ledger_id)]
        self.network.restart(name)

    # ---- what people do -----------------------------------------------------------------------------------------

    def join(self, name: str) -> None:
        """A new node that nobody knows joins."""
        if name not in self.network.hosts:
            self.network.add(name, observer, self.limits)
            for other in list(self.network.hosts):
                if other != name:
                    self.network.connect(name, other)

    def submit(self) -> None:
        """Somebody hands a certificate in at an honest node."""
        certificate: AnyCertificate = self.statement()
        payload = None
        chance = self.random.random()
        name = self.random.choice(self.scenario.steady)
        if self.scenario.moves_stake and chance < 0.15:
            amount = self.random.randint(1, 60)
            certificate = issue_stake(self.wallets[name], self.ledger_id, self.network.now_ms, amount)
        elif self.scenario.moves_stake and chance < 0.25:
            amount = self.random.randint(1, 30)
            if amount <= self._to_withdraw:
                self._to_withdraw -= amount
                certificate = issue_stake(self.wallets[name], self.ledger_id, self.network.now_ms, -amount)
        elif chance < 0.4:
            payload = Payload(sha256(b"%d" % self._number).digest(), "", "text/plain", b"content")
            certificate = issue_statement(self.certifier(), self.ledger_id, self.network.now_ms, "covers", payload)
        self.network.submit(self.random.choice(sorted(self.watch.honest)), Entry(certificate, payload))

    def statement(self) -> AnyCertificate:
        """A new statement, like no other."""
        self._number += 1
        return issue_statement(self.certifier(), self.ledger_id, self.network.now_ms, f"number {self._number}")

    def certifier(self) -> Wallet:
        """Somebody who may certify."""
        return self.council.certifier() if self.council is not None else _STRANGER

    @property
    def ledger_id(self) -> bytes:
        return self.network.genesis.ledger_id


def _voted_in(action: Action) -> Iterable[Ballot]:
    """What is signed, or told to everybody."""
    if isinstance(action, PersistSigned):
        return [one.ballot for one in action.records if isinstance(one, Signed) and one.ballot is not None]
    is_vote = isinstance(action, Broadcast) and isinstance(action.message, Votes)
    return [tally.ballot for tally in action.message.tallies] if is_vote else ()


def timeout_of(host: SimulatedHost) -> int:
    """The timeout (ms) of the view that a host is in, by the protocol: doubled with each view from the third on."""
    simplex = host.simplex
    return min(max(30_000, 8 * TIMEOUT_MS), TIMEOUT_MS << max(0, simplex.view - simplex.views.final_view - 3))


def place_of(host: SimulatedHost) -> str:
    """Where a host stands, in short."""
    status = host.node.agreement_status()
    state = "up" if host.is_up else "down"
    guard = status.guard.value if status.guard is not None else "observes"
    where = f"block {host.node.state.index}, view {status.epoch}.{status.view}, box {len(host.node.box)}"
    return f"{state}, {guard}, {where}"


def copy_of(archive):
    """A backup: the same contents, and nothing that is written later."""
    backup = copy.copy(archive)
    vars(backup).update({name: copy.copy(value) for name, value in vars(archive).items()})
    return backup


def run_seed(seed: int) -> Outcome:
    """Run the scenario of a seed."""
    return run_scenario(draw_scenario(seed))


def run_scenario(scenario: Scenario) -> Outcome:
    """Run a scenario to its end or to what it breaks."""
    began = time.process_time()
    run = Run(scenario)
    outcome = Outcome(scenario.seed, roles=[role.__name__ for role in scenario.roles.values()])
    try:
        outcome.recovery = run.go()
    except Broken as broken:
        outcome.broken = str(broken)
    except Exception as error:  # a node raises nothing, whatever happens to it (INV-6)
        outcome.broken = f"{type(error).__name__}: {error}"
    network = run.network
    if run.council is not None:
        run.council.note_outcomes()
    outcome.faults = network.faults
    outcome.faults["clocks seconds off"] = sum(abs(skew_ms) > 500 for skew_ms in scenario.skews_ms.values())
    outcome.simulated_ms = network.now_ms - START_MS
    outcome.events, outcome.digest = network.happened, network.digest
    outcome.blocks, outcome.evidence = len(run.watch.books.blocks), run.watch.evidence()
    if outcome.broken:
        outcome.trace = [_line(*one) for one in network.latest]
    outcome.cpu_seconds = time.process_time() - began
    return outcome


def _line(now_ms: int, what: bytes, names: str, data: bytes) -> str:
    said = ""
    if what == b"arrive":
        try:
            said = repr(decode_message(data))[:160]
        except Refused as refused:
            said = str(refused)
    return f"{now_ms - START_MS:>8} ms  {what.decode()} {names}  {said}"
