"""The signing guard: what a key has signed on a ledger, so that no crash, backup or copy makes it contradict itself.

Slashing protection, as validators of other ledgers know it. The records stand in a small file beside the key, are
synced before what they are about is kept elsewhere or sent, and are the only home of own votes. No restore or repair of
the database touches them. docs/protocol.md, section 4, "Signing guard".
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from msgspec.structs import replace

from tallystick.ledger.checkpoint import Checkpoint, Cosignature, Seconds, cosign
from tallystick.ledger.encoding import Encoded, digest
from tallystick.ledger.fields import Digest, Index
from tallystick.ledger.header import Header
from tallystick.ledger.keys import Domain
from tallystick.ledger.vote import FINALIZE, NOTARIZE, NULLIFY, Ballot, Vote, cast
from tallystick.ledger.wallet import S, Wallet, sign

Place = tuple[int, int]
"""Epoch and view, in the order in which views follow each other."""

NOWHERE: Final[Place] = (-1, -1)


class _OnLedger(Encoded, tag_field="kind"):
    ledger_id: Digest


class _InView(_OnLedger):
    epoch: Index
    view: Index


class Signed(_InView, tag=1):
    """A header, a ballot, or both were signed in this view."""

    header_hash: Digest | None
    ballot: Ballot | None


class Floor(_InView, tag=2):
    """At or below this view nothing is signed any more: what was finalized there is stored."""


class Lost(Encoded, tag_field="kind", tag=3):
    """What was signed before is not known: on this ledger, or on any (`None`)."""

    ledger_id: Digest | None


class Recovered(_InView, tag=4):
    """The answers of others gave this floor; a later epoch has to confirm it."""


class Confirmed(_OnLedger, tag=5):
    """The epoch of the recovery went on beyond its floor: nothing that was lost can be of a later epoch."""


class LossAccepted(_OnLedger, tag=6):
    """The operator's word: go on without a quorum of others that answers."""


class Limited(_InView, tag=7):
    """After the operator's word: up to this view only `nullify`, and what others have shown of the own votes."""


class TwinSeen(_InView, tag=8):
    """Another machine signs with this key: a vote or header was seen that this guard does not hold."""


class Moved(Encoded, tag_field="kind", tag=9):
    """The key was moved to another machine, with a copy of this guard: here it signs no more."""


class Cosigned(_OnLedger, tag=10):
    """A checkpoint of the log was cosigned: never a smaller one after it, nor another root of this size."""

    size: Index
    root: Digest
    time_s: Seconds


GuardRecord = Signed | Floor | Lost | Recovered | Confirmed | LossAccepted | Limited | TwinSeen | Moved | Cosigned


def ledger_of(record: GuardRecord) -> bytes | None:
    """The ledger that a record is about; `None`: all of them."""
    return None if isinstance(record, Moved) else record.ledger_id


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


_NOTHING: Final = _Entry()


@dataclass(eq=False)
class GuardState:
    """What a guard's records of one ledger come to."""

    status: GuardStatus = GuardStatus.READY
    is_loss_accepted: bool = False
    """Whether the operator gave the word to go on without a quorum of others."""
    recovered: Place | None = None
    """The end of a recovery that no later epoch has confirmed yet."""
    final: Place = NOWHERE
    """What was finalized there is stored: at or below it nothing is signed or looked at again."""
    silent: Place = NOWHERE
    """Up to there nothing is signed, since a recovery by the answers of others."""
    limited: Place = NOWHERE
    """Up to there the operator's word holds, in the place of silence."""
    twin: Place | None = None
    """Where another machine was seen to sign with this key."""
    entries: dict[Place, _Entry] = field(default_factory=dict)
    """Above the floor, what was signed in each view."""
    cosigned: Cosigned | None = None
    """The largest log that was cosigned, at the latest time."""

    @property
    def silent_until(self) -> Place | None:
        """The last view in which it does not vote freely; `None`: it was not lost, or a later view is final."""
        until = max(self.silent, self.limited)
        return until if until > self.final else None

    @property
    def floor(self) -> Place:
        """At or below it nothing is signed."""
        return max(self.final, self.silent)

    def apply(self, record: GuardRecord) -> None:
        """Take the next record."""
        if self.status is GuardStatus.MOVED and record != Lost(None):
            return  # it signs elsewhere; only its operator's word, for all ledgers, brings it back
        if self.status is GuardStatus.TWIN and not isinstance(record, Signed | Floor | Lost | Moved | Cosigned):
            return  # whatever else was going on, only `guard recover` goes on
        match record:
            case Signed() | Cosigned():
                self._remember(record)
            case Floor(_, epoch, view):
                self.raise_floor(epoch, view)
            case Lost():
                self.status, self.is_loss_accepted, self.recovered, self.twin = GuardStatus.LOST, False, None, None
            case Recovered(_, epoch, view):
                self.status = GuardStatus.READY
                self.recovered = self.silent = (epoch, view)
            case Confirmed():
                self.status, self.recovered, self.is_loss_accepted = GuardStatus.READY, None, False
            case LossAccepted():
                self._accept_loss()
            case Limited(_, epoch, view):
                self.status, self.silent = GuardStatus.READY, NOWHERE
                self.recovered = self.limited = (epoch, view)
            case TwinSeen(_, epoch, view):
                self.status, self.twin = GuardStatus.TWIN, (epoch, view)
            case Moved():
                self.status = GuardStatus.MOVED

    def _remember(self, record: Signed | Cosigned) -> None:
        if isinstance(record, Cosigned):
            last = self.cosigned or record
            self.cosigned = max(record, last, key=lambda one: (one.size, one.time_s))
            return
        entry = self.entries.setdefault((record.epoch, record.view), _Entry())
        entry.header_hash = record.header_hash or entry.header_hash
        if record.ballot is not None and record.ballot not in entry.ballots:
            entry.ballots.append(record.ballot)

    def _accept_loss(self) -> None:
        """The operator's word. In the place of a silence it asks anew what it signed there, and is limited."""
        self.is_loss_accepted = True
        if self.silent > self.final:
            self.status, self.recovered = GuardStatus.LOST, None
            self.silent, self.limited = NOWHERE, max(self.silent, self.limited)

    def raise_floor(self, epoch: int, view: int) -> None:
        """What was finalized in this view is stored durably: nothing at or below it is signed or looked at again.

        Not synced by itself: whoever starts from that store raises it again.
        """
        if (epoch, view) > self.final:
            self.final = (epoch, view)
            self.entries = {place: entry for place, entry in self.entries.items() if place > self.final}


class SigningGuard(GuardState):
    """Signs for one key on one ledger, and remembers it. What it cannot vouch for it does not sign.

    Whoever holds it persists `take_records()` before anything that was signed leaves, or is kept elsewhere.
    """

    def __init__(
        self, wallet: Wallet | None, ledger_id: bytes, records: Iterable[GuardRecord] = (), entropy: bytes = b""
    ) -> None:
        """`records`: those of the guard file, for all ledgers; `entropy`: 32 fresh random bytes, for recovery.

        Without a wallet it is an observer's, and signs nothing.
        """
        super().__init__()
        self.wallet = wallet
        self.key = wallet.public_key if wallet is not None else b""
        self.ledger_id = ledger_id
        self._entropy = entropy
        self._new: list[GuardRecord] = []
        self.needed_in: int | None = None
        """The epoch in which the others are no quorum without this key: what it finalized there it has notarized."""
        for record in records:
            if ledger_of(record) in (None, ledger_id):
                self.apply(record)
        self._synced_floor = self.final

    # ---- what it knows ----------------------------------------------------------------------------------------

    @property
    def latest(self) -> Place:
        """The last epoch and view in which something was signed, or nothing is signed any more."""
        return max([self.floor, self.limited, *self.entries])

    def last_view(self, epoch: int) -> int:
        """The latest view of an epoch in which something was signed above the floor; 0: in none."""
        return max((view for one, view in self.entries if one == epoch), default=0)

    def has_signed(self, epoch: int, view: int, kind: int) -> bool:
        """Whether a ballot of this kind was signed in this view, above the floor."""
        return kind in [one.kind for one in self.entries.get((epoch, view), _NOTHING).ballots]

    def votes(self, epoch: int) -> list[Vote]:
        """The own votes of an epoch above the floor, to be counted and sent again; none while it does not sign."""
        if self.wallet is None or self.status is not GuardStatus.READY:
            return []
        above = (one for place, entry in sorted(self.entries.items()) if place > self.floor for one in entry.ballots)
        return [cast(self.wallet, self.ledger_id, one) for one in above if one.epoch == epoch]

    # ---- signing ----------------------------------------------------------------------------------------------

    def may_sign(self, ballot: Ballot, *, has_certificate: bool = False) -> bool:
        """Whether this ballot may be signed: the very same again always, above the floor, else nothing beside it.

        `has_certificate`: whether a certificate of the ballot's view is known; it matters below the operator's limit.
        """
        place, held = (ballot.epoch, ballot.view), self._entry(ballot).ballots
        if self.status is not GuardStatus.READY or place <= self.floor:
            return False
        if ballot in held:
            return True
        if place <= self.limited and (ballot.kind != NULLIFY or has_certificate):
            return False
        return not any(one.conflicts_with(ballot) for one in held)

    def sign(self, ballot: Ballot, *, has_certificate: bool = False) -> Vote | None:
        """The vote, remembered; `None`: it may not be signed (`may_sign`)."""
        if self.wallet is None or not self.may_sign(ballot, has_certificate=has_certificate):
            return None
        if ballot not in self._entry(ballot).ballots:
            self.note(Signed(self.ledger_id, ballot.epoch, ballot.view, None, ballot))
        return cast(self.wallet, self.ledger_id, ballot)

    def may_sign_header(self, epoch: int, view: int) -> bool:
        """Whether a header may be signed in this view: none was, and no ballot either."""
        place = (epoch, view)
        is_free = place > max(self.floor, self.limited)
        return self.status is GuardStatus.READY and is_free and place not in self.entries

    def sign_header(self, header: Header) -> bytes | None:
        """The signature over a header of this key's own, remembered; `None`: it may not be signed."""
        is_again = self._entry(header).header_hash == header.hash and self.status is GuardStatus.READY
        if self.wallet is None or not (is_again or self.may_sign_header(header.epoch, header.view)):
            return None
        if not is_again:
            self.note(Signed(self.ledger_id, header.epoch, header.view, header.hash, None))
        return self.wallet.sign(Domain.BLOCK, self.ledger_id, header.encoded)

    def cosign(self, checkpoint: Checkpoint, place: Place, time_s: int) -> Cosignature | None:
        """The cosignature of a checkpoint, remembered; `None`: it may not be signed.

        `place` is that of its block. Up to the end of a recovery nobody knows what was cosigned. The very same may be
        signed again; of one size nothing else but a later time.
        """
        if self.wallet is None or self.status is not GuardStatus.READY or place <= max(self.silent, self.limited):
            return None
        record, last = Cosigned(self.ledger_id, checkpoint.size, checkpoint.root, time_s), self.cosigned
        if record != last:
            if last is not None and record.size <= last.size:
                is_same_log = (record.size, record.root) == (last.size, last.root)
                if not is_same_log or record.time_s <= last.time_s:
                    return None
            self.note(record)
        return cosign(self.wallet, checkpoint, time_s)

    def sign_recovery(self, said: S) -> S:
        """What is said of a recovery, signed: it contradicts nothing."""
        assert self.wallet is not None, "an observer has nothing to recover, and answers nobody"
        return sign(said, self.wallet, self.ledger_id)

    def _entry(self, one: Ballot | Header) -> _Entry:
        return self.entries.get((one.epoch, one.view), _NOTHING)

    # ---- what others show -------------------------------------------------------------------------------------

    def saw(self, one: Ballot | Header) -> bool:
        """A ballot or header signed with this key was seen. Returns whether it shows a twin: another machine signs."""
        place, entry = (one.epoch, one.view), self._entry(one)
        header_hash, ballot = (None, one) if isinstance(one, Ballot) else (one.hash, None)
        is_held = ballot in entry.ballots if ballot is not None else header_hash == entry.header_hash
        if is_held or place <= self.floor or self.status in (GuardStatus.TWIN, GuardStatus.MOVED):
            return False
        is_later = self.recovered is not None and one.epoch > self.recovered[0]
        if self.status is GuardStatus.LOST or place <= self.limited or is_later:  # it may be an own one that was lost
            self.note(Signed(self.ledger_id, *place, header_hash, ballot))
            if ballot is not None and ballot.kind == FINALIZE and ballot.epoch == self.needed_in:
                self.note(Signed(self.ledger_id, *place, None, replace(ballot, kind=NOTARIZE)))
            return False
        self.note(TwinSeen(self.ledger_id, *place))
        return True

    # ---- recovery ---------------------------------------------------------------------------------------------

    def nonce(self, attempt: int) -> bytes:
        """32 bytes that nobody has seen before: an answer that holds them was made for this attempt."""
        return digest(self._entropy + attempt.to_bytes(8, "big"))

    def recover_again(self) -> None:
        """An epoch began that the key may have voted in before the loss; the operator's word still holds."""
        is_loss_accepted = self.is_loss_accepted
        self.note(Lost(self.ledger_id))
        if is_loss_accepted:
            self.note(LossAccepted(self.ledger_id))

    # ---- keeping ----------------------------------------------------------------------------------------------

    def take_records(self) -> tuple[GuardRecord, ...]:
        """What has to be synced before anything else happens, in order; each record is handed out once.

        The floor goes with votes when it was raised; by itself it is not worth a sync.
        """
        new, self._new = self._new, []
        if self.final > self._synced_floor and not all(isinstance(one, Cosigned) for one in new):
            self._synced_floor = self.final
            new = [Floor(self.ledger_id, *self._synced_floor), *new]
        return tuple(new)

    def note(self, record: GuardRecord) -> None:
        """Take a record that is made here, to be synced with the next that are handed out."""
        self.apply(record)
        self._new.append(record)
