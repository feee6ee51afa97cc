"""Checkpoints of the log that members countersign: which, when, and what is known of them.

docs/protocol.md, section 4, "Checkpoints".
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tallystick.ledger.checkpoint import Checkpoint, Cosignature, MlDsaCosignature, status_time
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.keys import Verify
from tallystick.ledger.messages import MAX_COSIGNATURES, CosignatureRequest, Cosignatures, in_parts
from tallystick.ledger.params import MAX_GENESIS_MEMBERS
from tallystick.ledger.state import State
from tallystick.node.agreement import Agreement
from tallystick.node.archive import Archive
from tallystick.node.events import Action, Broadcast, Peer, PersistCosignatures, ReportRefused
from tallystick.node.limits import Allowances, Limits

ANEW_AFTER_S: Final = 60
"""A member cosigns the same log anew at most so often."""
MAX_AHEAD_S: Final = 60
"""A cosignature may be dated so far past a node's clock."""

_ANSWERS_FIRST_MS: Final = 5
"""A block that was named is cosigned so long after it is final: who waits for it is told before that sync."""
_LATER_TIMES: Final = 4
"""Of a member, beside one a minute: peers may tell older ones first."""
_MISSED_AFTER: Final = 3
"""So many delta after the tip became final what its members cosigned has come, or was missed."""
_MOST_ASKED: Final = 3
"""So often peers are asked for what a tip lacks of a quorum."""

_CANDIDATES: Final = 8
"""Blocks whose states are held, for cosignatures that come; beside the tip and the newest countersigned one."""


class Countersigned(NamedTuple):
    """A checkpoint with the cosignatures of more than 2/3 of the stake of its block's epoch."""

    state: State
    """After the checkpoint's block."""
    voters: Epoch
    """The epoch of that block."""
    cosignatures: tuple[Cosignature, ...]
    """Keys ascending."""
    ml_dsa: tuple[MlDsaCosignature, ...] = ()
    """Likewise, at an epoch's end; each by the key that the state's directory has of its member."""

    @property
    def is_complete(self) -> bool:
        """Whether all voters cosigned."""
        return len(self.cosignatures) == len(self.voters.members)


@dataclass
class Candidate:
    """A block whose log may become a countersigned checkpoint."""

    state: State
    voters: Epoch
    cosignatures: dict[bytes, Cosignature] = field(default_factory=dict)
    """By member: the one of the latest time."""
    stake: int = 0
    """Of those members."""

    @property
    def size(self) -> int:
        """Of the log."""
        return self.state.log.size

    @property
    def root(self) -> bytes:
        """Of the log."""
        return self.state.log.root()

    @property
    def is_epoch_end(self) -> bool:
        """Whether the block is the last of its epoch."""
        return self.state.epoch.number != self.state.tip.epoch

    @property
    def is_countersigned(self) -> bool:
        """Whether members with more than 2/3 of the stake cosigned."""
        return self.voters.is_quorum(self.stake)

    def count(self, one: Cosignature) -> None:
        """Take a member's, in the place of an earlier one."""
        if one.member not in self.cosignatures:
            self.stake += self.voters.stake(one.member)
        self.cosignatures[one.member] = one

    @property
    def since_s(self) -> int:
        """The latest time since which a quorum has cosigned; 0: none has."""
        signed = ((one.time_s, self.voters.stake(one.member)) for one in self.cosignatures.values())
        return status_time(signed, self.voters.total)

    @property
    def in_order(self) -> tuple[Cosignature, ...]:
        """Keys ascending."""
        return tuple(self.cosignatures[member] for member in sorted(self.cosignatures))


class Checkpoints:
    """The blocks that members cosign, what was heard of those, and this node's own part in it."""

    def __init__(self, genesis: Genesis, state: State, agreement: Agreement, limits: Limits) -> None:
        self._origin, self._state, self._agreement = genesis.origin, state, agreement
        self.own = agreement.wallet.public_key if agreement.wallet is not None else None
        """The key that this node forges and cosigns with, if it does."""
        self._allowances = Allowances(limits.cosignatures_per_second, MAX_GENESIS_MEMBERS)
        self._rate = limits.cosignatures_per_second
        self._later = Allowances(1 / ANEW_AFTER_S, _LATER_TIMES)
        """By member: later times of a log, by this node's clock, whatever they claim."""
        self.own_latest: Cosignature | None = None
        """The latest that this node made since it started."""
        self._candidates: dict[int, Candidate] = {}
        """By size of the log, ascending: the newest countersigned one, later ones, the tip."""
        self._ahead: dict[bytes, Cosignature] = {}
        """By member: of a larger log than this node's, to be looked at when it gets there."""
        self._fresh: list[Cosignature] = []
        """Others' that were ahead, and turned out to be of this log: to be passed on."""
        self._strange: list[Refused] = []
        """Likewise, but of another log: to be reported."""
        self._unkept: dict[tuple[int, bytes], Cosignature] = {}
        self._dropped: list[int] = []
        """Sizes of which cosignatures may be kept, for nothing: they never became a quorum."""
        self._unkept_since_ms: int | None = None
        self._named: int | None = None
        """The size at the newest block that the chain names, until it is cosigned."""
        self._named_ms: int | None = None
        """When that block became final; `None`: in this event."""
        self._idle_since_ms: int | None = None
        """Since when the tip has stayed, and nothing has waited."""
        self._owes_tip = False
        """Whether this node's key has stake in the tip's epoch, and has not cosigned it yet."""
        self._asked_ms: int | None = None
        """When peers were last asked to cosign an idle tip anew."""
        self._asked_for_tip = 0
        """How often peers were asked for what was missed of the tip."""
        self._missed_ms: int | None = None
        """When peers were last asked for what was missed."""

    def resume(self, archive: Archive | None, epoch: Epoch) -> None:
        """Begin with the tip; `epoch` is its own. What was kept counts if it is of the tip, and signed."""
        self._hold(self._state, epoch)
        if archive is None or (tip := self._tip) is None:
            return
        for one in archive.cosignatures():
            is_of_tip = (one.size, one.root) == (tip.size, tip.root) and tip.voters.stake(one.member) > 0
            if is_of_tip and one.is_signed(self._origin):
                tip.count(one)
                self._owes_tip = self._owes_tip and one.member != self.own

    # ---- what others may ask ----------------------------------------------------------------------------------

    @property
    def newest(self) -> Countersigned | None:
        """The newest checkpoint that is countersigned, as far as it is known since the start."""
        found = self._countersigned
        return Countersigned(found.state, found.voters, found.in_order) if found is not None else None

    @property
    def epoch_end(self) -> Candidate | None:
        """The newest block at hand that is the last of its epoch."""
        return next((one for one in self._newest_first() if one.is_epoch_end), None)

    @property
    def log_size(self) -> int:
        """Of this node's log."""
        return self._state.log.size

    def ml_dsa_key(self, member: bytes) -> bytes | None:
        """The ML-DSA-44 key that a member with stake has now."""
        return self._state.directory.ml_dsa_key(member) if self._has_stake(member) else None

    def told(self) -> Iterator[Cosignatures]:
        """What a peer may lack: of the newest countersigned checkpoint, and of the newest that has cosignatures."""
        latest = next((one for one in self._newest_first() if one.cosignatures), None)
        sizes = {one.size: one for one in (self._countersigned, latest) if one is not None}
        for one in sizes.values():
            yield from (Cosignatures(part) for part in in_parts(one.in_order, MAX_COSIGNATURES))

    def wants(self, one: Cosignature) -> bool:
        """Whether it is worth verifying: of a member, of a log that is looked at, and new or much later."""
        if one.size > self._state.log.size:
            held = self._ahead.get(one.member)
            return self._has_stake(one.member) and (held is None or one.size > held.size)
        candidate = self._candidates.get(one.size)
        if candidate is None or not candidate.voters.stake(one.member):
            return False
        held = candidate.cosignatures.get(one.member)
        return held is None or one.time_s >= held.time_s + ANEW_AFTER_S

    def is_signed(self, one: Cosignature, verify: Verify) -> bool:
        """Whether both signatures are the member's, for this ledger's log."""
        return one.is_signed(self._origin, verify)

    def _has_stake(self, member: bytes) -> bool:
        """In this epoch, or at the tip, so perhaps in the next."""
        return self._state.epoch.stake(member) > 0 or self._state.stakes.account(member).staked > 0

    @property
    def _tip(self) -> Candidate | None:
        return self._candidates.get(self._state.log.size)

    @property
    def _countersigned(self) -> Candidate | None:
        return next((one for one in self._newest_first() if one.is_countersigned), None)

    def _newest_first(self) -> Iterator[Candidate]:
        return (self._candidates[size] for size in reversed(self._candidates))

    # ---- what happens -----------------------------------------------------------------------------------------

    def added(self, state: State, epoch: Epoch) -> None:
        """A block of this epoch became final, with this state after it."""
        if state.epoch.number != self._state.epoch.number:
            self._ahead = {member: one for member, one in self._ahead.items() if state.epoch.stake(member)}
        self._state, self._idle_since_ms, self._asked_for_tip = state, None, 0
        self._hold(state, epoch)
        if state.has_checkpoint:
            self._named, self._named_ms = state.log.size, None

    def _hold(self, state: State, epoch: Epoch) -> None:
        size = state.log.size
        if not size or size in self._candidates:
            return
        before = next(self._newest_first(), None)
        if before is not None and not before.cosignatures and not before.state.has_checkpoint:
            del self._candidates[before.size]
        self._candidates[size] = tip = Candidate(state, epoch)
        self._owes_tip = self._may_cosign(tip)
        for one in [one for one in self._ahead.values() if one.size <= size]:
            del self._ahead[one.member]
            if one.size < size or not tip.voters.stake(one.member):
                continue
            if one.root == tip.root:
                self._count(tip, one)
                self._fresh.append(one)
            else:
                self._strange.append(_strange(one))
        self._make_room()

    def _make_room(self) -> None:
        """Let go of what is older than the newest countersigned one, and of the oldest that are too many."""
        newest = self._countersigned
        since = newest.size if newest is not None else 0
        later = [size for size in self._candidates if size > since and size != self._state.log.size]
        for size in [one for one in self._candidates if one < since] + later[:-_CANDIDATES]:
            if self._candidates.pop(size).cosignatures and size > since:
                self._dropped.append(size)

    def _count(self, candidate: Candidate, one: Cosignature) -> None:
        candidate.count(one)
        if one.member == self.own and candidate is self._tip:
            self._owes_tip = False
        self._unkept[one.size, one.member] = one

    def receive(self, now_ms: int, peer: Peer, said: Cosignatures, actions: list[Action]) -> tuple[Cosignature, ...]:
        """Count what a peer tells; signatures are good. Returns what was new of this node's own log.

        One refusal a message is reported.
        """
        new, refusals = [], list[Refused]()
        for one in filter(self.wants, said.cosignatures):
            if not self._allowances.take(now_ms, peer):
                refusals.append(Refused(Rule.N11, f"more than {self._rate} new ones a second"))
                break
            candidate = self._candidates.get(one.size)
            if one.time_s > now_ms // 1000 + MAX_AHEAD_S:
                ahead_s = one.time_s - now_ms // 1000
                dated = f"dated {ahead_s} s ahead of this node's clock, {MAX_AHEAD_S} s allowed"
                refusals.append(Refused(Rule.N12, dated))
            elif candidate is None:
                self._ahead[one.member] = one
            elif one.root != candidate.root:
                refusals.append(_strange(one))
            elif one.member not in candidate.cosignatures or self._later.take(now_ms, one.member):
                self._count(candidate, one)
                new.append(one)
        actions.extend(ReportRefused(one, peer) for one in refusals[:1])
        if new:
            self._make_room()
        return tuple(new)

    def settle(self, now_ms: int, is_idle: bool, is_behind: bool, actions: list[Action]) -> int | None:
        """After each event: cosign what is due, and have kept what is to be kept. Returns when there is more to do.

        `is_idle`: nothing waits for a block. `is_behind`: a longer chain comes, so this one's log is old.
        """
        if self._strange:
            actions.extend(ReportRefused(one, None) for one in self._strange)
            self._strange = []
        naming_ms = None if self._named is None or is_behind else self._cosign_named(now_ms, self._named, actions)
        if not is_idle:
            self._idle_since_ms = None
        elif self._idle_since_ms is None:
            self._idle_since_ms = now_ms
        if self._owes_tip and not is_behind and self._has_settled(now_ms):
            self._cosign(now_ms, self._tip, actions)
        cosigning_ms = self._due_ms(now_ms, self._idle_since_ms if self._owes_tip else None)
        asking_ms = self._ask_for_missed(now_ms, actions) if not is_behind else None
        keeping_ms = self._keep(now_ms, actions) if self._unkept else None
        return min([one for one in (naming_ms, cosigning_ms, asking_ms, keeping_ms) if one is not None], default=None)

    def _cosign_named(self, now_ms: int, size: int, actions: list[Action]) -> int | None:
        """Cosign the newest named block, once those who wait for it were told. Returns when, if that is later."""
        if self._named_ms is None:
            self._named_ms = now_ms
        if now_ms < (due_ms := self._named_ms + _ANSWERS_FIRST_MS):
            return due_ms
        self._named = None
        self._cosign(now_ms, self._candidates.get(size), actions)
        return None

    def _ask_for_missed(self, now_ms: int, actions: list[Action]) -> int | None:
        """Ask peers for what a tip lacks that should be countersigned by now; once a minute, a few times.

        Nobody may have it: members may be down for long. Returns when, if that is later.
        """
        tip = self._tip
        if tip is None or tip.is_countersigned or self._idle_since_ms is None or self._asked_for_tip >= _MOST_ASKED:
            return None
        if not self._agreement.has_cosigners:
            return None
        due_ms = self._idle_since_ms + _MISSED_AFTER * self._delta_ms
        for asked_ms in (self._asked_ms, self._missed_ms):
            due_ms = due_ms if asked_ms is None else max(due_ms, asked_ms + 1000 * ANEW_AFTER_S)
        if due_ms > now_ms:
            return due_ms
        self._missed_ms = now_ms
        self._asked_for_tip += 1
        actions.append(Broadcast(CosignatureRequest()))
        return now_ms + 1000 * ANEW_AFTER_S if self._asked_for_tip < _MOST_ASKED else None

    def _keep(self, now_ms: int, actions: list[Action]) -> int | None:
        """Have kept what has waited for delta in vain for a block. Returns when it will have."""
        if self._unkept_since_ms is None:
            self._unkept_since_ms = now_ms
        if (due_ms := self._due_ms(now_ms, self._unkept_since_ms)) is None:
            actions.extend(self.take_unkept())
        return due_ms

    def _due_ms(self, now_ms: int, since_ms: int | None) -> int | None:
        """When delta will be over, if it is not."""
        due_ms = None if since_ms is None else since_ms + self._delta_ms
        return due_ms if due_ms is not None and due_ms > now_ms else None

    @property
    def _delta_ms(self) -> int:
        return self._state.params.delta_ms

    def _has_settled(self, now_ms: int) -> bool:
        """Whether nothing has waited for delta since the tip became final."""
        return self._idle_since_ms is not None and now_ms >= self._idle_since_ms + self._delta_ms

    def _may_cosign(self, candidate: Candidate) -> bool:
        """Whether this node is a member of the block's epoch."""
        return self.own is not None and candidate.voters.stake(self.own) > 0

    def _cosign(self, now_ms: int, candidate: Candidate | None, actions: list[Action]) -> None:
        """Cosign a block's log, if this member may, and has not within the last minute; tell everybody."""
        if candidate is None or self.own is None or not self._may_cosign(candidate):
            return
        time_s, held = now_ms // 1000, candidate.cosignatures.get(self.own)
        if held is not None and time_s < held.time_s + ANEW_AFTER_S:
            return
        tip = candidate.state.tip
        checkpoint = Checkpoint(self._origin, candidate.size, candidate.root)
        signed = self._agreement.cosign(checkpoint, (tip.epoch, tip.view), time_s, actions)
        if signed is not None:
            self.own_latest = signed
            self._count(candidate, signed)
            actions.append(Broadcast(Cosignatures((signed,))))
            self._make_room()

    def ask_anew(self, now_ms: int, peer: Peer | None, is_behind: bool, actions: list[Action]) -> None:
        """A user, or a peer, wants an idle tip cosigned anew. First, once a minute, others are asked too."""
        tip = self._tip
        if tip is None or not self._has_settled(now_ms):
            return
        lately_ms = now_ms - 1000 * ANEW_AFTER_S
        if (self._asked_ms is None or self._asked_ms <= lately_ms) and 1000 * tip.since_s <= lately_ms:
            self._asked_ms = now_ms
            actions.append(Broadcast(CosignatureRequest(), but=peer))
        if not is_behind:
            self._cosign(now_ms, tip, actions)

    # ---- what follows -----------------------------------------------------------------------------------------

    def take_fresh(self) -> tuple[Cosignature, ...]:
        """Others' that were ahead of this node, and are to be passed on now."""
        if not self._fresh:
            return ()
        fresh, self._fresh = self._fresh, []
        return tuple(fresh)

    def take_unkept(self) -> Iterable[PersistCosignatures]:
        """What was not kept yet: with the next block, or when there is none for delta."""
        if not self._unkept:
            return ()
        held = tuple(one for (size, _), one in self._unkept.items() if size in self._candidates)
        since, dropped = self._countersigned, tuple(self._dropped)
        self._unkept, self._dropped, self._unkept_since_ms = {}, [], None
        return (PersistCosignatures(held, since.size if since is not None else 0, dropped),)


def _strange(one: Cosignature) -> Refused:
    """A member, or this node, is on another history."""
    member = f"{one.member.hex()[:16]}…"
    return Refused(Rule.N10, f"{member} countersigned another log of {one.size} certificates than this node's")
