"""What organisations may do and what comes of it, in the plainest words (`test_decisions_stateful.py`)."""

from dataclasses import dataclass, field
from typing import Any

from tallystick.ledger import certificate as kinds
from tallystick.ledger import changes
from tallystick.ledger.changes import Role
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.motions import Outcome

_DAY_MS = 86_400_000

Place = tuple[int, int, int]
"""Epoch, index and time of a block."""


@dataclass
class Key:
    """Whose a key is, from where to where it counts, and from where on what it certified is void."""

    organisation: str
    role: Role
    since: int
    until: int | None = None
    until_ms: int | None = None
    void_from: int | None = None

    def counts_at(self, log_index: int, time_ms: int) -> bool:
        is_before = self.until is None or log_index < self.until
        return self.since <= log_index and is_before and (self.until_ms is None or time_ms < self.until_ms)


@dataclass
class Organisation:
    """One organisation; without `key` it was removed."""

    title: str
    key: bytes | None
    offline: bytes | None = None
    rotating: tuple[bytes, int, int | None] | None = None
    changes: tuple[int, int] = (0, 0)
    rotated_ms: int | None = None


@dataclass
class Held:
    """One key's tokens: at stake, withdrawn and liable until a place, and the epoch from which they count."""

    staked: int
    withdrawn: list[tuple[Place, int]] = field(default_factory=list)
    since: int = 0

    def liable(self, place: Place) -> int:
        return self.staked + sum(amount for until, amount in self.withdrawn if not _reaches(place, until))


@dataclass
class Open:
    """A motion, and the last word of each key."""

    mover: str
    change: Any
    expires_ms: int
    words: dict[bytes, bool]
    said_ms: dict[bytes, int]
    has_passed: bool = False


@dataclass
class Certified:
    """A statement on the chain."""

    issuer: bytes
    holder: str | None
    log_index: int
    time_ms: int


def _reaches(place: Place, other: Place) -> bool:
    return all(one >= least for one, least in zip(place, other, strict=True))


class Model:
    """Takes certificates one after the other, or refuses them; then a block ends."""

    def __init__(self, genesis: Genesis) -> None:
        params = genesis.params
        self._epoch_blocks, self._epoch_ms = params.epoch_blocks, params.epoch_ms
        self._unbonding = (2, params.unbonding_blocks, params.unbonding_ms)
        self.anybody, self.delay_ms = int(params.anybody_certifies), params.rotation_delay_ms
        self.organisations = {one.organisation: Organisation(one.title, one.key) for one in genesis.founders}
        self.keys = {one.key: Key(one.organisation, Role(one.role), 0) for one in genesis.founders}
        self.held = {one.key: Held(one.stake) for one in genesis.founders}
        self.counting = self.weights()
        self.burned, self.burned_keys = 0, set[bytes]()
        self.successors = dict[bytes, bytes]()
        """Of a member key that which its own organisation put in its place."""
        self.motions = dict[bytes, Open]()
        self.statements = dict[bytes, Certified]()
        self.effects = dict[bytes, int]()
        self.number, self.index, self.log_size = 0, 1, 0
        self._ends = list[Place]()
        self._first_index, self._start_ms, self._now_ms = 1, genesis.created_ms, 0
        self._accused, self._new = list[bytes](), dict[bytes, Certified]()

    def weights(self) -> dict[bytes, int]:
        return {key: one.staked for key, one in self.held.items() if one.staked}

    def member(self, key: bytes) -> str | None:
        return next((name for name, one in self.organisations.items() if one.key == key), None)

    # ---- what is legal, and what it does at once ------------------------------------------------------------------

    def takes(self, one: Any, now_ms: int) -> bool:
        """Whether the next block, of this time, may hold it after what it holds already."""
        self._now_ms = now_ms
        if isinstance(one, kinds.Certified) and not self.anybody and not self._certifies(one.issuer):
            return False
        match one:
            case kinds.Statement():
                entry = self.keys.get(one.issuer)
                holder = entry.organisation if entry is not None and entry.since <= self.log_size else None
                self._new[one.id] = Certified(one.issuer, holder, self.log_size, now_ms)
                is_legal = True
            case kinds.Motion():
                is_legal = self._move(one)
            case kinds.Approval() | kinds.Objection():
                motion = self.motions.get(one.motion)
                is_legal = self.member(one.issuer) is not None and motion is not None and now_ms < motion.expires_ms
                is_legal = is_legal and motion is not None and one.timestamp_ms > motion.said_ms.get(one.issuer, 0)
                if is_legal and motion is not None:
                    motion.words[one.issuer] = isinstance(one, kinds.Approval)
                    motion.said_ms[one.issuer] = one.timestamp_ms
            case kinds.StakingOperation():
                is_legal = False
            case kinds.KeyChange():
                is_legal = self._change_keys(one.issuer, one.operation)
            case kinds.Revocation():
                is_legal = self._set_status(one.issuer, one.target, one.effect)
            case kinds.Supersession():
                stands = one.successor != one.target and one.successor not in self.effects
                stands = stands and self._acts_for(one.issuer, one.successor)
                is_legal = stands and self._set_status(one.issuer, one.target, 1)
            case _:
                is_legal = self._accuse(one.offender, one.epoch)
        self.log_size += is_legal
        return is_legal

    def _certifies(self, key: bytes) -> bool:
        entry = self.keys.get(key)
        certifying = (Role.MEMBER, Role.ISSUER)
        return entry is not None and entry.role in certifying and entry.counts_at(self.log_size, self._now_ms)

    def _move(self, motion: kinds.Motion) -> bool:
        mover, expires_ms = self.member(motion.issuer), motion.expires_ms
        is_in_time = self._now_ms < expires_ms <= self._now_ms + 90 * _DAY_MS
        if mover is None or not is_in_time or sum(one.mover == mover for one in self.motions.values()) >= 4:
            return False
        if not self._carry_out(motion.change, is_trial=True):
            return False
        self.motions[motion.id] = Open(
            mover, motion.change, expires_ms, {motion.issuer: True}, {motion.issuer: motion.timestamp_ms}
        )
        return True

    def _change_keys(self, actor: bytes, operation: Any) -> bool:
        acting = [(name, one) for name, one in self.organisations.items() if actor == (one.offline or one.key)]
        if not acting:
            return False
        ((name, own),) = acting
        epoch, count = own.changes
        count = count + 1 if epoch == self.number else 1
        if count > 8 or not self._changes_keys(name, own, operation):
            return False
        own.changes = (self.number, count)
        return True

    def _changes_keys(self, name: str, own: Organisation, operation: Any) -> bool:
        match operation:
            case changes.AddIssuer(named, key, _, until_ms) if named == name and key not in self.keys:
                self.keys[key] = Key(name, Role.ISSUER, self.log_size, None, until_ms)
            case changes.EndIssuer(key, since) if key in self.keys and self.keys[key].organisation == name:
                return self._end(self.keys[key], since)
            case changes.RotateMemberKey(named, before, after, since) if (named, before) == (name, own.key):
                if after in self.keys or (since is not None and since > self.log_size):
                    return False
                due_ms = self._now_ms + (0 if own.offline is not None else self.delay_ms)
                if own.rotated_ms is not None:
                    due_ms = max(due_ms, own.rotated_ms + self._epoch_ms)
                own.rotating = (after, due_ms, since)
            case changes.SetMemberRole(key, role) if key == own.key:
                self.keys[key].role = Role(role)
            case _:
                return False
        return True

    def _end(self, entry: Key, since: int | None) -> bool:
        if entry.until is None:
            if entry.role is not Role.ISSUER or (since is not None and since > self.log_size):
                return False
            entry.until = self.log_size
        elif since is None or since >= (entry.until if entry.void_from is None else entry.void_from):
            return False
        entry.void_from = since
        return True

    def _acts_for(self, actor: bytes, target: bytes) -> bool:
        if target not in self.statements:
            return False
        one, entry = self.statements[target], self.keys.get(actor)
        if one.holder is None or entry is None:
            return actor == one.issuer
        return entry.organisation == one.holder and entry.counts_at(self.log_size, self._now_ms)

    def _set_status(self, actor: bytes, target: bytes, effect: int) -> bool:
        if not self._acts_for(actor, target) or effect <= self.effects.get(target, 0):
            return False
        self.effects[target] = effect
        return True

    def _accuse(self, offender: bytes, epoch: int) -> bool:
        place = (self.number, self.index, self._now_ms)
        held = self.held.get(offender, Held(0))
        is_liable = epoch == self.number or any(
            end[0] == epoch and not _reaches(place, self._freed(end)) for end in self._ends
        )
        if not is_liable or offender in self._accused or not held.liable(place) or epoch < held.since:
            return False
        self._accused.append(offender)
        return True

    def _freed(self, place: Place) -> Place:
        epoch, index, time_ms = (one + more for one, more in zip(place, self._unbonding, strict=True))
        return epoch, index, time_ms

    # ---- a block's end ------------------------------------------------------------------------------------------

    def end_block(self, now_ms: int) -> dict[bytes, Outcome]:
        """What became of motions with the block."""
        self._now_ms, place = now_ms, (self.number, self.index, now_ms)
        for accused in self._accused:
            key: bytes | None = accused
            while key is not None:
                self.burned += self.held[key].liable(place)
                self.held[key] = Held(0)
                self.burned_keys.add(key)
                key = self.successors.get(key)
        self.statements |= self._new
        self._accused, self._new = [], {}
        decided = self._count()
        passed = {one: motion for one, motion in self.motions.items() if motion.has_passed}
        if passed or self._due() or self._is_over():
            for one, motion in passed.items():
                decided[one] = Outcome.PASSED if self._carry_out(motion.change) else Outcome.VOID
            for own in self._due():
                assert own.rotating is not None
                assert own.key is not None
                after, _, since = own.rotating
                own.rotating, own.rotated_ms = None, now_ms
                if after not in self.keys:
                    self.successors[own.key] = after
                    self._replace_key(own, after, since)
            self.number, self._first_index, self._start_ms = self.number + 1, self.index + 1, now_ms
            self._ends.append(place)
            self.counting = self.weights() or self.counting
        for one in decided:
            del self.motions[one]
        self.index += 1
        return decided

    def _is_over(self) -> bool:
        is_time, is_long = self._now_ms - self._start_ms >= self._epoch_ms, self.index - self._first_index + 1
        return is_time and (is_long >= self._epoch_blocks or (self.weights() or self.counting) != self.counting)

    def _due(self) -> list[Organisation]:
        all_of_them = [one for _, one in sorted(self.organisations.items())]
        return [one for one in all_of_them if one.rotating is not None and one.rotating[1] <= self._now_ms]

    def _count(self) -> dict[bytes, Outcome]:
        """All motions with every block."""
        decided, total = dict[bytes, Outcome](), sum(self.counting.values())
        for motion_id, motion in self.motions.items():
            approving, objecting = (
                sum(
                    self.counting.get(key, 0) for key, said in motion.words.items() if said is word and self.member(key)
                )
                for word in (True, False)
            )
            if motion.expires_ms <= self._now_ms:
                decided[motion_id] = Outcome.EXPIRED
            elif 3 * approving > 2 * total:
                motion.has_passed = True
            elif 3 * objecting >= total:
                decided[motion_id] = Outcome.CLOSED
        return decided

    def _carry_out(self, change: Any, *, is_trial: bool = False) -> bool:
        """Whether it is legal now; unless this is a trial, it takes effect then."""
        own = self.organisations.get(getattr(change, "organisation", ""), Organisation("", None))
        is_there = own.key is not None
        match change:
            case changes.Admit(organisation=name, title=title, key=key, role=role, stake=stake):
                is_legal = name not in self.organisations and key not in self.keys and self._is_free(name, title)
                if is_legal and not is_trial:
                    self.organisations[name] = Organisation(title, key)
                    self.keys[key] = Key(name, Role(role), self.log_size)
                    self._set_stake(key, stake)
            case changes.Remove(name, stake):
                is_last = sum(other.key is not None for other in self.organisations.values()) == 1
                is_legal = is_there and not is_last and self._staked(own) == stake and self._leaves({name: 0})
                if is_legal and not is_trial:
                    self._remove(name, own)
            case changes.SetStakes(stakes):
                wanted = {one.organisation: one.after for one in stakes}
                is_legal = all(self._may_set(one) for one in stakes) and self._leaves(wanted)
                for name in wanted if is_legal and not is_trial else ():
                    self._set_stake(self.organisations[name].key or b"", wanted[name])
            case changes.ReplaceMemberKey(_, before, after, since):
                is_legal = is_there and own.key == before and after not in self.keys and (since or 0) <= self.log_size
                if is_legal and not is_trial:
                    self._replace_key(own, after, since)
            case changes.SetOrganisationKey(name, before, after):
                is_legal = is_there and own.offline == before != after and after not in self.keys
                if is_legal and not is_trial:
                    self._set_offline(name, own, after)
            case changes.Rename(name, title_before, title):
                is_legal = is_there and own.title == title_before and self._is_free(name, title)
                if is_legal and not is_trial:
                    own.title = title
            case changes.StopRotation(_, key):
                is_legal = is_there and own.rotating is not None and own.rotating[0] == key
                if is_legal and not is_trial:
                    own.rotating = None
            case changes.SetStatus(target, effect):
                one = self.statements.get(target)
                is_gone = one is not None and one.holder is not None and self.organisations[one.holder].key is None
                is_legal = is_gone and effect > self.effects.get(target, 0)
                if is_legal and not is_trial:
                    self.effects[target] = effect
            case changes.SetParameter(name, before, after):
                attribute = {"anybody_certifies": "anybody", "rotation_delay_ms": "delay_ms"}[name]
                is_legal = getattr(self, attribute) == before
                if is_legal and not is_trial:
                    setattr(self, attribute, after)
            case _:
                raise AssertionError(f"the model knows no {change}")
        return is_legal

    def _is_free(self, own: str, title: str) -> bool:
        taken = {text.lower() for name, one in self.organisations.items() if name != own for text in (name, one.title)}
        return title.lower() not in taken and own not in taken

    def _staked(self, own: Organisation) -> int:
        return self.held.get(own.key or b"", Held(0)).staked

    def _may_set(self, one: changes.StakeChange) -> bool:
        own = self.organisations.get(one.organisation)
        if own is None or own.key is None or self._staked(own) != one.before:
            return False
        return not one.after or own.key not in self.burned_keys

    def _leaves(self, after: dict[str, int]) -> bool:
        """Whether somebody has stake after a change of some, if somebody has now."""
        now = self.weights()
        left = now | {self.organisations[one].key or b"": stake for one, stake in after.items()}
        return not now or any(left.values())

    def _remove(self, name: str, own: Organisation) -> None:
        self._set_stake(own.key or b"", 0)
        own.key = own.offline = own.rotating = None
        for entry in self.keys.values():
            if entry.organisation == name and entry.until is None:
                entry.until = self.log_size

    def _set_offline(self, name: str, own: Organisation, after: bytes | None) -> None:
        if own.offline is not None:
            self.keys[own.offline].until = self.log_size
        if after is not None:
            self.keys[after] = Key(name, Role.ORGANISATION, self.log_size)
        own.offline, own.rotating = after, None

    def _replace_key(self, own: Organisation, after: bytes, since: int | None) -> None:
        assert own.key is not None
        before, stake = self.keys[own.key], self._staked(own)
        before.until, before.void_from = self.log_size, since
        self.keys[after] = Key(before.organisation, before.role, self.log_size)
        self._set_stake(own.key, 0)
        self._set_stake(after, stake)
        own.key, own.rotating = after, None

    def _set_stake(self, key: bytes, stake: int) -> None:
        place = (self.number, self.index, self._now_ms)
        held = self.held.setdefault(key, Held(0))
        if stake > held.staked and not held.liable(place):
            held.since = self.number + 1
        elif stake < held.staked:
            held.withdrawn.append((self._freed(place), held.staked - stake))
        held.staked = stake
