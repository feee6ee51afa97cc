"""The signing guard: what a key has signed on a ledger, so that no crash, backup or copy makes it contradict itself.

Slashing protection, as validators of other ledgers know it. The records stand in a small file beside the key, are
synced before what they are about is kept elsewhere or sent, and are the only home of own votes. No restore or repair of
the database touches them. docs/protocol.md, section 4, "Signing guard".
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from tallystick.ledger.encoding import Codec, Digest, digest
from tallystick.ledger.header import Header, Index
from tallystick.ledger.keys import Domain
from tallystick.ledger.vote import FINALIZE, NOTARIZE, NULLIFY, Ballot, Vote, cast
from tallystick.ledger.wallet import Wallet

MAX_RECORD_BYTES: Final = 512

Place = tuple[int, int]
"""Epoch and view, in the order in which views follow each other."""

_NOWHERE: Final = (-1, -1)


class Signed(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag_field="kind", tag=1):
    """A header, a ballot, or both were signed in this view."""

    ledger_id: Digest
    epoch: Index
    view: Index
    header_hash: Digest | None
    ballot: Ballot | None


class Floor(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag_field="kind", tag=2):
    """At or below this view nothing is signed any more: what was finalized there is stored."""

    ledger_id: Digest
    epoch: Index
    view: Index


class Lost(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag_field="kind", tag=3):
    """What was signed before is not known: on this ledger, or on any (`None`)."""

    ledger_id: Digest | None


class Recovered(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag_field="kind", tag=4):
    """The answers of others gave this floor; a later epoch has to confirm it."""

    ledger_id: Digest
    epoch: Index
    view: Index


class Confirmed(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag_field="kind", tag=5):
    """The epoch of the recovery went on beyond its floor: nothing that was lost can be of a later epoch."""

    ledger_id: Digest


class LossAccepted(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag_field="kind", tag=6):
    """The operator's word: go on without a quorum of others that answers."""

    ledger_id: Digest


class Limited(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag_field="kind", tag=7):
    """After the operator's word: up to this view only `nullify`, and what others have shown of the own votes."""

    ledger_id: Digest
    epoch: Index
    view: Index


class TwinSeen(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag_field="kind", tag=8):
    """Another machine signs with this key: a vote or header was seen that this guard does not hold."""

    ledger_id: Digest
    epoch: Index
    view: Index


class Moved(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag_field="kind", tag=9):
    """The key was moved to another machine, with a copy of this guard: here it signs no more."""


GuardRecord = Signed | Floor | Lost | Recovered | Confirmed | LossAccepted | Limited | TwinSeen | Moved
record_codec: Codec[GuardRecord] = Codec(GuardRecord, MAX_RECORD_BYTES, "guard record")


class GuardStatus(Enum):
    """Whether a key signs; the value is the word for it."""

    READY = "ready"
    LOST = "lost"
    TWIN = "twin"
    MOVED = "moved"


@dataclass
class _Entry:
    """What was signed in one view."""

    header_hash: bytes | None = None
    ballots: list[Ballot] = field(default_factory=list)


@dataclass
class _Ledger:
    """What the records of one ledger come to."""

    status: GuardStatus = GuardStatus.READY
    is_loss_accepted: bool = False
    recovered: Place | None = None
    floor: Place = _NOWHERE
    limit: Place = _NOWHERE
    twin: Place | None = None
    entries: dict[Place, _Entry] = field(default_factory=dict)

    def apply(self, record: GuardRecord) -> None:
        if self.status is GuardStatus.MOVED and record != Lost(None):
            return  # it signs elsewhere; only its operator's word, for all ledgers, brings it back
        if self.status is GuardStatus.TWIN and not isinstance(record, Signed | Floor | Lost | Moved):
            return  # whatever else was going on, only `guard recover` goes on
        match record:
            case Signed(_, epoch, view, header_hash, ballot):
                entry = self.entries.setdefault((epoch, view), _Entry())
                entry.header_hash = header_hash or entry.header_hash
                if ballot is not None and ballot not in entry.ballots:
                    entry.ballots.append(ballot)
            case Floor(_, epoch, view):
                self.raise_floor((epoch, view))
            case Lost():
                self.status, self.is_loss_accepted, self.recovered, self.twin = GuardStatus.LOST, False, None, None
            case Recovered(_, epoch, view):
                self.status, self.recovered = GuardStatus.READY, (epoch, view)
                self.raise_floor((epoch, view))
            case Confirmed():
                self.status, self.recovered, self.is_loss_accepted = GuardStatus.READY, None, False
            case LossAccepted():
                self.is_loss_accepted = True
            case Limited(_, epoch, view):
                self.status, self.recovered, self.limit = GuardStatus.READY, (epoch, view), (epoch, view)
            case TwinSeen(_, epoch, view):
                self.status, self.twin = GuardStatus.TWIN, (epoch, view)
            case Moved():
                self.status = GuardStatus.MOVED

    def raise_floor(self, place: Place) -> None:
        if place > self.floor:
            self.floor = place
            self.entries = {one: entry for one, entry in self.entries.items() if one > place}

    def records(self, ledger_id: bytes) -> Iterator[GuardRecord]:
        """The fewest records that come to this."""
        if self.floor != _NOWHERE:
            yield Floor(ledger_id, *self.floor)
        for place, entry in sorted(self.entries.items()):
            ballots: list[Ballot | None] = [*entry.ballots]
            for ballot in ballots or [None]:
                yield Signed(ledger_id, *place, entry.header_hash, ballot)
        is_limited = self.limit > self.floor
        if is_limited:
            yield Limited(ledger_id, *self.limit)
        if self.status is GuardStatus.LOST:
            yield Lost(ledger_id)
        elif self.recovered is None:
            yield Confirmed(ledger_id)
        elif not is_limited or self.recovered != self.limit:
            yield Recovered(ledger_id, *self.recovered)
        if self.is_loss_accepted:
            yield LossAccepted(ledger_id)
        if self.twin is not None:
            yield TwinSeen(ledger_id, *self.twin)


class SigningGuard:
    """Signs for one key on one ledger, and remembers it. What it cannot vouch for it does not sign.

    Whoever holds it persists `take_records()` before anything that was signed leaves, or is kept elsewhere.
    """

    def __init__(self, wallet: Wallet, ledger_id: bytes, records: Iterable[GuardRecord], entropy: bytes) -> None:
        """`records`: those of the guard file, for all ledgers; `entropy`: 32 fresh random bytes, for recovery."""
        self.wallet = wallet
        self.key = wallet.public_key
        self._ledger_id = ledger_id
        self._entropy = entropy
        self._new: list[GuardRecord] = []
        self._state = _Ledger()
        for record in records:
            if getattr(record, "ledger_id", None) in (None, ledger_id):
                self._state.apply(record)
        self._synced_floor = self._state.floor

    # ---- what it knows ----------------------------------------------------------------------------------------

    @property
    def status(self) -> GuardStatus:
        """Whether this key signs here."""
        return self._state.status

    @property
    def is_loss_accepted(self) -> bool:
        """Whether the operator gave the word to go on without a quorum of others."""
        return self._state.is_loss_accepted

    @property
    def floor(self) -> Place:
        """At or below this epoch and view nothing is signed."""
        return self._state.floor

    @property
    def silent_until(self) -> Place:
        """The last epoch and view in which it does not vote freely: a recovery's floor, or the operator's limit."""
        return self._state.recovered or self._state.limit

    @property
    def recovered(self) -> Place | None:
        """The floor of a recovery that no later epoch has confirmed yet."""
        return self._state.recovered

    @property
    def twin(self) -> Place | None:
        """Where another machine was seen to sign with this key."""
        return self._state.twin

    @property
    def latest(self) -> Place:
        """The last epoch and view in which something was signed, or nothing is signed any more."""
        return max([self._state.floor, *self._state.entries])

    def last_view(self, epoch: int) -> int:
        """The latest view of an epoch in which something was signed above the floor; 0: in none."""
        return max((view for one, view in self._state.entries if one == epoch), default=0)

    def has_signed(self, epoch: int, view: int, kind: int) -> bool:
        """Whether a ballot of this kind was signed in this view, above the floor."""
        entry = self._state.entries.get((epoch, view))
        return entry is not None and any(one.kind == kind for one in entry.ballots)

    def votes(self, epoch: int) -> list[Vote]:
        """The own votes of an epoch above the floor, to be counted and sent again; none while it does not sign."""
        if self.status is not GuardStatus.READY:
            return []
        ballots = [ballot for place, entry in sorted(self._state.entries.items()) for ballot in entry.ballots]
        return [cast(self.wallet, self._ledger_id, one) for one in ballots if one.epoch == epoch]

    # ---- signing ----------------------------------------------------------------------------------------------

    def may_sign(self, ballot: Ballot, *, has_certificate: bool = False) -> bool:
        """Whether this ballot may be signed: the very same again always, above the floor, else nothing beside it.

        `has_certificate`: whether a certificate of the ballot's view is known; it matters below the operator's limit.
        """
        place = (ballot.epoch, ballot.view)
        if self.status is not GuardStatus.READY or place <= self._state.floor:
            return False
        entry = self._state.entries.get(place) or _Entry()
        if ballot in entry.ballots:
            return True
        if place <= self._state.limit and (ballot.kind != NULLIFY or has_certificate):
            return False
        return not any(one.conflicts_with(ballot) for one in entry.ballots)

    def sign(self, ballot: Ballot, *, has_certificate: bool = False) -> Vote | None:
        """The vote, remembered; `None`: it may not be signed (`may_sign`)."""
        if not self.may_sign(ballot, has_certificate=has_certificate):
            return None
        entry = self._state.entries.get((ballot.epoch, ballot.view))
        if entry is None or ballot not in entry.ballots:
            self._note(Signed(self._ledger_id, ballot.epoch, ballot.view, None, ballot))
        return cast(self.wallet, self._ledger_id, ballot)

    def may_sign_header(self, epoch: int, view: int) -> bool:
        """Whether a header may be signed in this view: none was, and no ballot either."""
        place = (epoch, view)
        is_free = place > max(self._state.floor, self._state.limit)
        return self.status is GuardStatus.READY and is_free and place not in self._state.entries

    def sign_header(self, header: Header) -> bytes | None:
        """The signature over a header of this key's own, remembered; `None`: it may not be signed."""
        place, entry = (header.epoch, header.view), self._state.entries.get((header.epoch, header.view))
        is_again = entry is not None and entry.header_hash == header.hash and self.status is GuardStatus.READY
        if not is_again and not self.may_sign_header(*place):
            return None
        if not is_again:
            self._note(Signed(self._ledger_id, header.epoch, header.view, header.hash, None))
        return self.wallet.sign(Domain.BLOCK, self._ledger_id, header.encoded)

    def raise_floor(self, epoch: int, view: int) -> None:
        """What was finalized in this view is stored durably: nothing at or below it is signed or looked at again.

        Not synced by itself: whoever starts from that store raises it again.
        """
        self._state.raise_floor((epoch, view))

    # ---- what others show -------------------------------------------------------------------------------------

    def saw_ballot(self, ballot: Ballot) -> bool:
        """A vote of this key was seen. Returns whether it shows a twin: another machine that signs with this key."""
        entry = self._state.entries.get((ballot.epoch, ballot.view))
        return self._saw(ballot.epoch, ballot.view, entry is not None and ballot in entry.ballots, None, ballot)

    def saw_header(self, header: Header) -> bool:
        """A header of this key was seen. Returns whether it shows a twin."""
        entry = self._state.entries.get((header.epoch, header.view))
        is_held = entry is not None and entry.header_hash == header.hash
        return self._saw(header.epoch, header.view, is_held, header.hash, None)

    def _saw(self, epoch: int, view: int, is_held: bool, header_hash: bytes | None, ballot: Ballot | None) -> bool:
        place = (epoch, view)
        if is_held or place <= self._state.floor or self.status in (GuardStatus.TWIN, GuardStatus.MOVED):
            return False
        if self.status is GuardStatus.LOST or place <= self._state.limit:  # it may be an own one that was lost
            self._note(Signed(self._ledger_id, epoch, view, header_hash, ballot))
            if ballot is not None and ballot.kind == FINALIZE:  # whoever finalizes has notarized, or may have
                self._note(Signed(self._ledger_id, epoch, view, None, replace(ballot, kind=NOTARIZE)))
            return False
        self._note(TwinSeen(self._ledger_id, epoch, view))
        return True

    # ---- recovery ---------------------------------------------------------------------------------------------

    def nonce(self, attempt: int) -> bytes:
        """32 bytes that nobody has seen before: an answer that holds them was made for this attempt."""
        return digest(self._entropy + attempt.to_bytes(8, "big"))

    def recover(self, epoch: int, view: int) -> None:
        """Others answered: go on above this floor."""
        self._note(Recovered(self._ledger_id, epoch, view))

    def recover_again(self) -> None:
        """An epoch began that the key may have voted in before the loss; the operator's word still holds."""
        is_loss_accepted = self.is_loss_accepted
        self._note(Lost(self._ledger_id))
        if is_loss_accepted:
            self._note(LossAccepted(self._ledger_id))

    def confirm(self) -> None:
        """The epoch of the recovery went on beyond its floor."""
        self._note(Confirmed(self._ledger_id))

    def limit(self, epoch: int, view: int) -> None:
        """Go on by the operator's word: up to this view with `nullify` and what others have shown only."""
        self._note(Limited(self._ledger_id, epoch, view))

    # ---- keeping ----------------------------------------------------------------------------------------------

    def take_records(self) -> tuple[GuardRecord, ...]:
        """What has to be synced before anything else happens, in order; each record is handed out once.

        The floor goes with it when it was raised; by itself it is not worth a sync.
        """
        new, self._new = self._new, []
        if new and self._state.floor > self._synced_floor:
            self._synced_floor = self._state.floor
            new = [Floor(self._ledger_id, *self._synced_floor), *new]
        return tuple(new)

    def _note(self, record: GuardRecord) -> None:
        self._state.apply(record)
        self._new.append(record)


class GuardSummary(NamedTuple):
    """What the records of one ledger come to, for people."""

    status: GuardStatus
    floor: Place | None
    silent_until: Place | None
    """The last view in which it does not vote freely; `None`: it was not lost, or a later view is final."""
    twin: Place | None
    is_loss_accepted: bool
    views: int
    """Above the floor, those in which something was signed."""


def summaries(records: Iterable[GuardRecord]) -> dict[bytes | None, GuardSummary]:
    """What records come to, by ledger; `None` stands for every ledger that they do not name."""
    found: dict[bytes | None, GuardSummary] = {}
    for ledger_id, one in _ledgers(records).items():
        recovered = one.recovered if one.recovered and one.recovered >= one.floor else _NOWHERE
        silent_until = max(recovered, one.limit) if one.limit > one.floor else recovered
        found[ledger_id] = GuardSummary(
            one.status,
            one.floor if one.floor != _NOWHERE else None,
            silent_until if silent_until != _NOWHERE else None,
            one.twin,
            one.is_loss_accepted,
            len(one.entries),
        )
    return found


def compacted(records: Iterable[GuardRecord]) -> list[GuardRecord]:
    """The fewest records that say the same, for each ledger; a guard file is rewritten so when it has grown."""
    ledgers = _ledgers(records)
    unknown = ledgers[None]
    general: list[GuardRecord] = [Lost(None)] if unknown.status is GuardStatus.LOST else []
    own = [record for ledger_id, one in ledgers.items() if ledger_id for record in one.records(ledger_id)]
    is_moved = unknown.status is GuardStatus.MOVED
    return [*general, *own, *([Moved()] if is_moved else [])]


def _ledgers(records: Iterable[GuardRecord]) -> dict[bytes | None, _Ledger]:
    """What records come to; under `None`, for a ledger that none names: what concerns all ledgers, concerns it."""
    unknown = _Ledger()
    ledgers: dict[bytes | None, _Ledger] = {None: unknown}
    for record in records:
        ledger_id = getattr(record, "ledger_id", None)
        if ledger_id is not None:
            ledgers.setdefault(ledger_id, _Ledger(unknown.status)).apply(record)
        else:
            for one in ledgers.values():
                one.apply(record)
    return ledgers
