"""Motions that are open, the words on them, and what those that passed do to directory, stakes and parameters."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from dataclasses import replace as replaced
from enum import IntEnum
from typing import Final

from msgspec.structs import replace

from tallystick.ledger.certificate import Approval, Motion, Word
from tallystick.ledger.certificate_index import Found
from tallystick.ledger.changes import (
    Admit,
    AnyChange,
    Effect,
    Erase,
    Remove,
    Rename,
    ReplaceMemberKey,
    SetCompromised,
    SetOrganisationKey,
    SetParameter,
    SetStakes,
    SetStatus,
    StopRotation,
)
from tallystick.ledger.directory import Directory, Position
from tallystick.ledger.encoding import Encoded, derived, digest
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.fields import MAX_TIMESTAMP_MS, ZERO_DIGEST, Digest, Index, Milliseconds, PublicKey
from tallystick.ledger.genesis import check_unbonding
from tallystick.ledger.merkle import EMPTY_ROOT
from tallystick.ledger.params import CHANGEABLE, Params
from tallystick.ledger.stake import MAX_SHARED_STAKE, BlockContext, StakeTable
from tallystick.ledger.status import Status, StatusEntry

MAX_OPEN_A_MEMBER: Final = 4
MAX_OPEN_MS: Final = 90 * 86_400_000
"""How long a motion may stay open at most."""

FindStatement = Callable[[bytes], tuple[Found, bytes]]
"""Where the statement with this id stands on the chain, and its issuer; raises `Refused` (R1) if there is none."""


class Outcome(IntEnum):
    """What became of a motion."""

    PASSED = 1
    """It is in effect from the next block on."""
    CLOSED = 2
    """A third of the stake or more objects."""
    EXPIRED = 3
    VOID = 4
    """It passed, but what it changes from did not hold any more."""


class OpenMotion(Encoded):
    """A motion that waits for words, or for the end of the epoch in which it passed."""

    id: Digest
    member: PublicKey
    change: AnyChange
    expires_ms: Milliseconds
    log_index: Index
    words: tuple[tuple[PublicKey, int, Milliseconds], ...]
    """Of each member the last one, and its time: 1 approves, 0 objects; keys ascend."""
    has_passed: int = 0

    def stake(self, epoch: Epoch, word: int) -> int:
        """The stake of the keys with this word."""
        return sum(epoch.stake(key) for key, said, _ in self.words if said == word)

    def of(self, members: frozenset[bytes]) -> "OpenMotion":
        """The same without the words of keys that are no current member's: they never count again."""
        words = tuple(one for one in self.words if one[0] in members)
        return self if words == self.words else replace(self, words=words)


@dataclass(frozen=True)
class Governed:
    """What motions change."""

    directory: Directory
    stakes: StakeTable
    params: Params
    status: Status


@dataclass(frozen=True)
class Motions:
    """All open motions, by id. Methods return another one, and raise before anything is changed."""

    open: Mapping[bytes, OpenMotion] = field(default_factory=dict)

    @derived
    def root(self) -> bytes:
        """Hash of the encoded open motions, one after the other, ids ascending."""
        return digest(b"".join(self.open[one].encoded for one in sorted(self.open))) if self.open else EMPTY_ROOT

    @derived
    def passed(self) -> tuple[OpenMotion, ...]:
        """Those that take effect with the next epoch, in order of the log."""
        return tuple(sorted((one for one in self.open.values() if one.has_passed), key=lambda one: one.log_index))

    @derived
    def _next_expiry_ms(self) -> int:
        return min((one.expires_ms for one in self.open.values() if not one.has_passed), default=MAX_TIMESTAMP_MS + 1)

    def moved(self, motion: Motion, directory: Directory, at: Position) -> "Motions":
        """With another motion, which its member approves. Raises `Refused` (M3)."""
        if not at.timestamp_ms < motion.expires_ms <= at.timestamp_ms + MAX_OPEN_MS:
            raise Refused(Rule.M3, f"it has to expire within {MAX_OPEN_MS // 86_400_000} days after its block")
        mover = directory.keys[motion.issuer].organisation  # whatever its member key was when it moved them
        if sum(directory.keys[one.member].organisation == mover for one in self.open.values()) >= MAX_OPEN_A_MEMBER:
            raise Refused(Rule.M3, f"{MAX_OPEN_A_MEMBER} motions of {mover} are open")
        words = ((motion.issuer, 1, motion.timestamp_ms),)
        opened = OpenMotion(motion.id, motion.issuer, motion.change, motion.expires_ms, at.log_index, words)
        return Motions({**self.open, motion.id: opened})

    def heard(self, word: Word, at: Position) -> "Motions":
        """With a member's word, its last one. Raises `Refused` (M4)."""
        motion = self.open.get(word.motion)
        if motion is None or motion.has_passed or motion.expires_ms <= at.timestamp_ms:
            raise Refused(Rule.M4, f"motion {word.motion.hex()[:16]}… is not open")
        others = [one for one in motion.words if one[0] != word.issuer]
        if any(word.timestamp_ms <= said_ms for key, _, said_ms in motion.words if key == word.issuer):
            raise Refused(
                Rule.M4, "that member has said a word of this time, or a later one: a forger chooses no order"
            )
        words = tuple(sorted([*others, (word.issuer, int(isinstance(word, Approval)), word.timestamp_ms)]))
        return Motions({**self.open, motion.id: replace(motion, words=words)})

    def counted(
        self, which: Iterable[bytes], epoch: Epoch, members: frozenset[bytes], timestamp_ms: int
    ) -> tuple["Motions", dict[bytes, Outcome]]:
        """Some of them counted once more, by the stakes of an epoch; those are over that expired by a block's time."""
        still, decided = dict(self.open), dict[bytes, Outcome]()
        for motion in [self.open[one].of(members) for one in which if not self.open[one].has_passed]:
            if motion.expires_ms <= timestamp_ms:
                decided[motion.id] = Outcome.EXPIRED
            elif epoch.is_quorum(motion.stake(epoch, 1)):
                still[motion.id] = replace(motion, has_passed=1)
            elif 3 * motion.stake(epoch, 0) >= epoch.total:
                decided[motion.id] = Outcome.CLOSED
            else:
                still[motion.id] = motion
        for one in decided:
            del still[one]
        return Motions(still), decided

    def expires(self, timestamp_ms: int) -> bool:
        """Whether one is over by a block's time."""
        return self._next_expiry_ms <= timestamp_ms

    def without_passed(self) -> "Motions":
        """Those that go on into the next epoch."""
        return Motions({one: motion for one, motion in self.open.items() if not motion.has_passed})


@dataclass(frozen=True)
class Moment:
    """Where on the chain a change takes effect."""

    context: BlockContext
    at: Position
    """That of the next certificate."""
    statement: FindStatement


def carried_out(change: AnyChange, governed: Governed, moment: Moment, motion: bytes = ZERO_DIGEST) -> Governed:
    """What a motion (its id) leads to, from the next block on.

    Raises `Refused` (M2, D2, D4, D5; S5, S7, S8; R1, R3) for what is void, or would be illegal.
    """
    match change:
        case SetParameter():
            params = _with_parameter(governed.params, change)
            return replaced(governed, params=params, stakes=governed.stakes.under(params))
        case SetStatus():
            return _with_status(change, governed, moment, motion)
        case Admit() | Remove() | SetStakes() | ReplaceMemberKey():
            changed = _with_members(change, governed, moment)
        case Erase(target):
            moment.statement(target)  # R1; that the payload is gone is for each operator to confirm
            changed = governed
        case of_directory:
            return replaced(governed, directory=_in_directory(of_directory, governed.directory, moment))
    if changed.stakes.total_staked > MAX_SHARED_STAKE:
        raise Refused(Rule.M2, f"{changed.stakes.total_staked} tokens at stake, {MAX_SHARED_STAKE} allowed")
    if governed.stakes.total_staked and not changed.stakes.total_staked:
        raise Refused(Rule.M2, "nobody would have stake, so nothing could ever become final again")
    return changed


def _in_directory(
    change: SetOrganisationKey | Rename | StopRotation | SetCompromised, directory: Directory, moment: Moment
) -> Directory:
    """What a motion does to the directory alone."""
    match change:
        case SetOrganisationKey(organisation, before, after):
            return directory.set_organisation_key(organisation, before, after, moment.at)
        case Rename(organisation, title_before, title, domain_before, domain):
            known = directory.organisation(organisation)
            _check_holds((known.title, known.domain), (title_before, domain_before), f"the name of {organisation}")
            return directory.rename(organisation, title, domain)
        case StopRotation(organisation, key):
            return directory.stop_rotation(organisation, key)
        case SetCompromised(key, before_it, since):
            return directory.set_compromised(key, before_it, since)


def _with_members(
    change: Admit | Remove | SetStakes | ReplaceMemberKey, governed: Governed, moment: Moment
) -> Governed:
    """What a motion does to members and their stakes."""
    directory, stakes, context = governed.directory, governed.stakes, moment.context
    match change:
        case Admit():
            directory = directory.admit(change, moment.at)
            stakes = stakes.with_stake(change.key, change.stake, context)
        case Remove(organisation):
            key = _member_key(directory, organisation)
            _check_holds(stakes.account(key).staked, change.stake, f"the stake of {organisation}")
            directory, stakes = directory.remove(organisation, moment.at), stakes.with_stake(key, 0, context)
        case SetStakes(changes):
            names = [one.organisation for one in changes]
            if names != sorted(set(names)):
                raise Refused(Rule.M2, "organisations stand in ascending order, each once")
            for one in changes:
                key = _member_key(directory, one.organisation)
                _check_holds(stakes.account(key).staked, one.before, f"the stake of {one.organisation}")
                stakes = stakes.with_stake(key, one.after, context)
        case ReplaceMemberKey(organisation, before, after, compromised_since):
            _check_holds(_member_key(directory, organisation), before, f"the member key of {organisation}")
            directory = directory.replace_member_key(organisation, after, compromised_since, moment.at)
            stakes = moved_stake(stakes, before, after, context)
    return replaced(governed, directory=directory, stakes=stakes)


def _with_status(change: SetStatus, governed: Governed, moment: Moment, motion: bytes) -> Governed:
    """Only of statements whose organisation is gone: all others set their own."""
    found, issuer = moment.statement(change.target)
    name = governed.directory.holder(issuer, found.log_index)
    if name is None:
        raise Refused(Rule.M2, f"no organisation certified {change.target.hex()[:16]}…, so none is gone")
    if governed.directory.organisations[name].member_key is not None:
        raise Refused(Rule.M2, f"{name} is there, and sets the status of what it certified itself")
    if (change.successor is not None) != (change.effect == Effect.SUPERSEDED):
        raise Refused(Rule.M2, "what is superseded names a successor, and nothing else does")
    if change.successor is not None:
        check_successor(change.target, change.successor, governed, moment.statement)
    entry = StatusEntry(Effect(change.effect), change.reason, moment.at.log_index, moment.at.timestamp_ms, motion)
    return replaced(governed, status=governed.status.after(change.target, entry))


def check_successor(target: bytes, successor: bytes, governed: Governed, find: FindStatement) -> None:
    """Raise `Refused` (R1, R2) unless the successor is another statement, and neither has a status nor is void."""
    found, issuer = find(successor)
    entry = governed.directory.keys.get(issuer)
    since = entry.compromised_since if entry is not None else None
    is_void = since is not None and since <= found.log_index
    if successor == target or is_void or governed.status.of(successor) is not None:
        raise Refused(Rule.R2, "another statement that is valid has to stand in its place")


def moved_stake(stakes: StakeTable, before: bytes, after: bytes, context: BlockContext) -> StakeTable:
    """One key's stake goes to another key; as the first key's it stays liable for the unbonding time."""
    staked = stakes.account(before).staked
    return stakes.with_stake(before, 0, context).with_stake(after, staked, context)


def _with_parameter(params: Params, change: SetParameter) -> Params:
    if change.parameter not in CHANGEABLE:
        raise Refused(Rule.M2, f"no motion sets {change.parameter}; those that one may: {', '.join(CHANGEABLE)}")
    least, most = CHANGEABLE[change.parameter]
    value = getattr(params, change.parameter)
    _check_holds(value if value is None else int(value), change.before, change.parameter)
    if not least <= change.after <= most:
        raise Refused(Rule.M2, f"{change.parameter} of {change.after}, {least} to {most} allowed")
    after = bool(change.after) if isinstance(value, bool) else change.after
    changed = replace(params, **{change.parameter: after})
    try:
        check_unbonding(changed)
    except Refused as refused:
        raise Refused(Rule.M2, refused.reason) from refused
    return changed


def _member_key(directory: Directory, organisation_id: str) -> bytes:
    key = directory.organisation(organisation_id).member_key
    assert key is not None, "an organisation that is not removed has one"
    return key


def _check_holds(now: object, before: object, what: str) -> None:
    if now != before:
        raise Refused(Rule.M2, f"{what} is not what the motion changes from")
