"""What honest organisations decide during a run: motions, words, rotations, issuer keys, revocations."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from hashlib import sha256
from random import Random
from typing import TYPE_CHECKING, Any

from tests.simulation.campaign.governed_books import GovernedBooks
from tests.simulation.campaign.scenario import Crash

from tallystick.ledger.certificate import (
    AnyCertificate,
    Approval,
    KeyChange,
    Motion,
    Objection,
    Revocation,
    Statement,
    issue,
)
from tallystick.ledger.changes import (
    AddIssuer,
    Admit,
    AnyChange,
    Effect,
    EndIssuer,
    Reason,
    Remove,
    ReplaceMemberKey,
    Role,
    RotateMemberKey,
    SetParameter,
    SetStakes,
    StakeChange,
    sign_admission,
)
from tallystick.ledger.messages import Entry
from tallystick.ledger.state import State
from tallystick.ledger.wallet import Wallet
from tallystick.network.simulated_host import member

if TYPE_CHECKING:
    from tests.simulation.campaign.run import Run

_EVERY_MS = 250
_DAY_MS = 86_400_000
_STEPS_AFTER = 24
"""So many more times members look at what is open, once all is healed."""
_NEW_HOSTS = 3


class Council:
    """Keeps whoever is not to be relied upon below a third of the stake, whichever of its motions pass."""

    def __init__(self, run: Run) -> None:
        self.run, self.random = run, Random(f"council {run.scenario.seed}")
        self._steady = list(run.scenario.steady)
        """Hosts whose keys can be counted on, whether or not they are members' now."""
        self._made: dict[bytes, int] = {}
        """Motions, each with the stake of steady members that it costs."""
        self._issuers: list[Wallet] = []
        self._new = 0

    @property
    def state(self) -> State:
        """Of the honest host that is furthest."""
        return max((host.node.state for host in self.run.watch.honest.values()), key=lambda state: state.index)

    def begin(self) -> None:
        """Put on the agenda what is moved, and when members look at what is open."""
        network, chaos_ms = self.run.network, self.run.scenario.chaos_ms
        for at_ms in range(0, chaos_ms, _EVERY_MS):
            network.at(network.now_ms + at_ms + self.random.randint(0, _EVERY_MS), self.look)
        kinds: list[Callable[[], None]] = [
            *[self._admit, self._replace, self._replace, self._remove_steady, self._remove_weak, self._set_stakes],
            *[self._set_parameter, self._rotate, self._add_issuer, self._end_issuer, self._revoke],
        ]
        for _ in range(self.random.randint(3, 9)):
            at_ms = self.random.randint(0, max(1, chaos_ms))
            network.at(network.now_ms + at_ms, self.random.choice(kinds))

    def settle(self) -> None:
        """All is healed: members look at what is open a few times more."""
        network = self.run.network
        for step in range(_STEPS_AFTER):
            network.at(network.now_ms + step * _EVERY_MS, self.look)

    # ---- who is who ---------------------------------------------------------------------------------------------

    def members(self) -> dict[str, str]:
        """Organisations whose member key is a steady host's now, each with that host."""
        directory, wallets, found = self.state.directory, self.run.wallets, dict[str, str]()
        for host in self._steady:
            organisation = directory.member_of(wallets[host].public_key)
            if organisation is not None:
                found[organisation.id] = host
        return found

    def certifier(self) -> Wallet:
        """Somebody who may certify."""
        directory = self.state.directory
        issuers = [one for one in self._issuers if one.public_key in directory.keys]
        if issuers and self.random.random() < 0.3:
            return self.random.choice(issuers)
        members = sorted(self.members().values())
        return self.run.wallets[self.random.choice(members)]

    def _stake_of(self, organisation: str) -> int:
        key = self.state.directory.organisation(organisation).member_key
        assert key is not None
        return self.state.stakes.account(key).staked

    def _may_cost(self, stake: int) -> bool:
        """Whether the weak stay below a third if this and all that is open pass, and nothing that adds."""
        steady = sum(map(self._stake_of, self.members()))
        lost = sum(cost for motion, cost in self._made.items() if not self._is_decided(motion))
        epoch = self.state.epoch
        weak = max(epoch.total, self.state.stakes.total_staked) - min(
            steady, sum(epoch.stake(self.run.wallets[host].public_key) for host in self.members().values())
        )
        return 2 * weak < steady - lost - stake

    def _is_decided(self, motion: bytes) -> bool:
        return motion in self.run.watch.books.certificates and motion not in self.state.motions.open

    def _new_host(self, organisation: str) -> Wallet | None:
        """A host with a new key, which everybody is connected with; it may crash like any other."""
        run, network = self.run, self.run.network
        if self._new == _NEW_HOSTS:
            return None
        self._new += 1
        name = f"{organisation}'s {self._new}"
        wallet = run.wallets[name] = Wallet(sha256(name.encode()).digest())
        self._steady.append(name)
        network.add(name, member(wallet), run.limits)
        for other in list(network.hosts):
            if other != name:
                network.connect(name, other)
        if self.random.random() < 0.5:
            crash = Crash(0, name, self.random.randint(0, 60), self.random.randint(50, 1_000))
            network.at(network.now_ms + self.random.randint(0, 1_500), partial(run.doom, crash))
        return wallet

    # ---- what is moved ------------------------------------------------------------------------------------------

    def _admit(self) -> None:
        name = f"new-{self._new}"
        if (wallet := self._new_host(name)) is not None:
            stake = self.random.choice([0, 50, 100])
            key, admitted = wallet.public_key, sign_admission(wallet, self.run.ledger_id, name)
            self._move(Admit(name, f"University {self._new}", None, key, Role.MEMBER, stake, admitted))

    def _replace(self) -> None:
        organisation = self.random.choice(sorted(self.members()))
        if (wallet := self._new_host(organisation)) is not None:
            before = self.run.wallets[self.members()[organisation]].public_key
            admitted = sign_admission(wallet, self.run.ledger_id, organisation)
            self._move(ReplaceMemberKey(organisation, before, wallet.public_key, None, admitted))

    def _remove_steady(self) -> None:
        members = sorted(self.members())
        organisation = self.random.choice(members)
        stake = self._stake_of(organisation)
        if len(members) > 3 and self._may_cost(stake):
            self._move(Remove(organisation, stake), stake)

    def _remove_weak(self) -> None:
        weak = [name for name in self.run.scenario.stakes if name not in self.run.scenario.steady]
        weak = [name for name in weak if self._is_there(name)]
        if weak:
            organisation = self.random.choice(weak)
            self._move(Remove(organisation, self._stake_of(organisation)))

    def _is_there(self, organisation: str) -> bool:
        return self.state.directory.organisations[organisation].member_key is not None

    def _set_stakes(self) -> None:
        organisation = self.random.choice(sorted(self.members()))
        before = self._stake_of(organisation)
        after = max(1, before + self.random.choice([-20, 30]))
        cost = max(0, before - after)
        if not cost or self._may_cost(cost):
            self._move(SetStakes((StakeChange(organisation, before, after),)), cost)

    def _set_parameter(self) -> None:
        most = self.state.params.max_block_certificates
        self._move(SetParameter("max_block_certificates", most, self.random.choice([1, 2, 4, 4096])))

    def _move(self, change: AnyChange, cost: int = 0) -> None:
        mover = self.run.wallets[self.random.choice(sorted(self.members().values()))]
        days = self.random.choice([0.00002, 1, 30])
        motion = self._issue(Motion, mover, change, self.run.network.now_ms + int(days * _DAY_MS))
        self._made[motion.id] = cost
        self.run.faults["motions"] += 1

    # ---- what an organisation does by itself ----------------------------------------------------------------------

    def _rotate(self) -> None:
        organisation, host = self.random.choice(sorted(self.members().items()))
        if (wallet := self._new_host(organisation)) is not None:
            before, after = self.run.wallets[host], wallet.public_key
            admitted = sign_admission(wallet, self.run.ledger_id, organisation)
            self._issue(KeyChange, before, RotateMemberKey(organisation, before.public_key, after, None, admitted))
            self.run.faults["rotations"] += 1

    def _add_issuer(self) -> None:
        organisation, host = self.random.choice(sorted(self.members().items()))
        wallet = Wallet(sha256(f"issuer {len(self._issuers)}".encode()).digest())
        self._issuers.append(wallet)
        admitted = sign_admission(wallet, self.run.ledger_id, organisation)
        self._issue(
            KeyChange, self.run.wallets[host], AddIssuer(organisation, wallet.public_key, "an office", None, admitted)
        )

    def _end_issuer(self) -> None:
        for wallet in self._issuers:
            entry = self.state.directory.keys.get(wallet.public_key)
            host = self.members().get(entry.organisation) if entry is not None and entry.until is None else None
            if host is not None:
                self._issue(KeyChange, self.run.wallets[host], EndIssuer(wallet.public_key, None))
                break

    def _revoke(self) -> None:
        """What somebody certified who still may."""
        keys = {self.run.wallets[host].public_key: self.run.wallets[host] for host in self.members().values()}
        blocks = self.run.watch.books.blocks
        targets = [
            one for block in blocks for one in block.certificates if isinstance(one, Statement) and one.issuer in keys
        ]
        if targets:
            target = self.random.choice(targets)
            self._issue(Revocation, keys[target.issuer], target.id, Effect.REVOKED, Reason.MISTAKE)

    # ---- words --------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Members say their word on what is open; now and then somebody crashes just when it is decided."""
        members = sorted(self.members().values())
        for motion_id, motion in list(self.state.motions.open.items()):
            if motion_id not in self._made or motion.has_passed:
                continue
            heard = {key for key, *_ in motion.words}
            silent = [host for host in members if self.run.wallets[host].public_key not in heard]
            for host in silent:
                if self.random.random() < 0.4:
                    kind = Objection if self.random.random() < 0.05 else Approval
                    self._issue(kind, self.run.wallets[host], motion_id)
            if silent and self.random.random() < 0.2 and not self.run.is_healed:
                name = self.random.choice(sorted(self.run.watch.honest))
                self.run.doom(Crash(0, name, self.random.randint(0, 60), self.random.randint(50, 1_000)))

    def _issue(self, kind: type[Any], wallet: Wallet, *fields: Any) -> AnyCertificate:
        network = self.run.network
        made: AnyCertificate = issue(kind, wallet, self.run.ledger_id, network.now_ms, *fields)
        network.submit(self.random.choice(sorted(self.run.watch.honest)), Entry(made))
        return made

    def note_outcomes(self) -> None:
        """Tell what became of motions."""
        books = self.run.watch.books
        assert isinstance(books, GovernedBooks)
        for outcome in books.outcomes:
            self.run.faults[f"motions {outcome}"] += 1
