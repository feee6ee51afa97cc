"""The way from one state to the next: what certificates do, one after the other, and what a block's end does.

It is pure; whether a block may follow is asked by `Blockchain.after`.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Final

from msgspec.structs import replace

from tallystick.ledger.certificate import (
    AnyCertificate,
    Approval,
    Certified,
    Erasure,
    ErasureConfirmation,
    Evidence,
    KeyChange,
    Motion,
    Objection,
    Revocation,
    StakingOperation,
    Statement,
    StatusChange,
    Supersession,
    Word,
    certificates_hash,
)
from tallystick.ledger.certificate_index import Found
from tallystick.ledger.changes import Effect, Reason
from tallystick.ledger.directory import Position, Rotation
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.fields import ZERO_DIGEST
from tallystick.ledger.header import VERSION, Header
from tallystick.ledger.merkle import Frontier, leaf_hash
from tallystick.ledger.motions import Governed, Moment, Outcome, carried_out, check_successor, moved_stake
from tallystick.ledger.params import MAX_UNBONDING_EPOCHS
from tallystick.ledger.stake import BlockContext, StakeTable
from tallystick.ledger.state import CHECKPOINT_EVERY_MS, State
from tallystick.ledger.status import StatusEntry

MAX_EARLY_ENDS: Final = 1_024
MAX_EPOCH_ENDS: Final = MAX_UNBONDING_EPOCHS + MAX_EARLY_ENDS
"""While evidence of so many epochs is legal, a decision ends an epoch only when its time is over.

Epochs that lasted their time are at most `MAX_UNBONDING_EPOCHS` of them, so decisions can end the others early.
"""


Find = Callable[[bytes], Found | None]
"""Where the certificate with this id stands, before the block in question."""


def finds_nothing(certificate_id: bytes) -> Found | None:
    """No certificate stands before the block."""
    return None


def context_of(header: Header) -> BlockContext:
    """That of the header's block."""
    return BlockContext(header.epoch, header.index, header.timestamp_ms)


class Draft:
    """A block in the making: each certificate is checked and takes effect, or is refused and changes nothing."""

    def __init__(self, base: State, context: BlockContext, find: Find) -> None:
        self._base, self._context, self._find = base, context, find
        self.governed = Governed(base.directory, base.stakes, base.params, base.status)
        self.motions = base.motions
        self._moving: list[AnyCertificate] = []
        """Staking operations and evidence: they move stake together, when the block ends."""
        self._log_index = base.log.size
        self._touched: set[bytes] = set()
        """The motions that were made, or had words, in this block."""

    @property
    def at(self) -> Position:
        """Where the next certificate would enter the log."""
        return Position(self._context.epoch, self._log_index, self._context.timestamp_ms)

    @property
    def _moment(self) -> Moment:
        return Moment(self._context, self.at, self._statement)

    def add(self, certificate: AnyCertificate) -> None:
        """The next certificate. Raises `Refused` (S9, V6, D1 to D6, M1 to M4, R1 to R4)."""
        governed = self.governed
        if not governed.params.anybody_certifies and isinstance(certificate, Certified):
            governed.directory.check_certifies(certificate.issuer, self.at)
        match certificate:
            case Statement():
                pass
            case StakingOperation():
                if governed.directory:
                    raise Refused(Rule.S9, "members decide on stakes together here: make a motion")
                self._moving.append(certificate)
            case Motion():
                self._move(certificate)
            case Approval() | Objection():
                self._check_member(certificate)
                self.motions = self.motions.heard(certificate, self.at)
                self._touched.add(certificate.motion)
            case KeyChange(operation=operation):
                directory = governed.directory.change_keys(operation, certificate.issuer, self.at, governed.params)
                self.governed = dataclasses.replace(governed, directory=directory)
            case Revocation() | Supersession():
                self._set_status(certificate)
            case Erasure():
                self._check_acts_for(certificate)
            case ErasureConfirmation():
                self._check_confirms(certificate)
            case evidence:
                self._base.check_liable(evidence, self._context)
                self._moving.append(evidence)
        self._log_index += 1

    def add_all(self, certificates: Iterable[AnyCertificate]) -> None:
        """The next certificates, in their order. Raises as `add` does."""
        is_free = self.governed.params.anybody_certifies  # of statements nothing is asked then
        for one in certificates:
            if is_free and isinstance(one, Statement):
                self._log_index += 1
            else:
                self.add(one)

    def _move(self, motion: Motion) -> None:
        self._check_member(motion)
        motions = self.motions.moved(motion, self.governed.directory, self.at)
        carried_out(motion.change, self.governed, self._moment)  # it could take effect now
        self.motions = motions
        self._touched.add(motion.id)

    def _check_member(self, certificate: Motion | Word) -> None:
        if self.governed.directory.member_of(certificate.issuer) is None:
            raise Refused(Rule.M1, f"{certificate.issuer.hex()[:16]}… is no member key of this ledger")

    def _set_status(self, change: StatusChange) -> None:
        self._check_acts_for(change)
        effect, reason = Effect.SUPERSEDED, int(Reason.UNSPECIFIED)
        if isinstance(change, Revocation):
            effect, reason = Effect(change.effect), change.reason
        else:
            self._check_successor(change)
        entry = StatusEntry(effect, reason, self._log_index, self._context.timestamp_ms, change.id)
        status = self.governed.status.after(change.target, entry)
        self.governed = dataclasses.replace(self.governed, status=status)

    def _check_acts_for(self, change: StatusChange | Erasure) -> None:
        if not self._acts_for(change.issuer, self._statement(change.target)):
            said = f"{change.issuer.hex()[:16]}… is not of the organisation that certified {change.target.hex()[:16]}…"
            raise Refused(Rule.R2, said)

    def _check_confirms(self, one: ErasureConfirmation) -> None:
        """That the order is one is for who reads it to see: what is found here tells statements from others alone."""
        if self.governed.directory.member_of(one.issuer) is None:
            raise Refused(Rule.R4, f"{one.issuer.hex()[:16]}… is no member key of this ledger")
        if one.timestamp_ms or one.subject or one.payload_hash is not None:
            raise Refused(
                Rule.R4, "a confirmation has neither time nor subject nor payload, so that there is one of it"
            )
        self._statement(one.target)
        order = self._find(one.order)
        if order is None or order.issuer is not None:
            raise Refused(Rule.R4, f"{one.order.hex()[:16]}… is no order on the chain")
        if one.order in self.motions.open:
            raise Refused(Rule.R4, f"motion {one.order.hex()[:16]}… has not passed")

    def _check_successor(self, change: Supersession) -> None:
        check_successor(change.target, change.successor, self.governed, self._statement)
        if not self._acts_for(change.issuer, self._statement(change.successor)):
            raise Refused(Rule.R2, "a statement of the same organisation has to stand in its place")

    def _acts_for(self, actor: bytes, held: tuple[Found, bytes]) -> bool:
        """Whether the key certified it itself, or is now a key of the organisation that did."""
        found, issuer = held
        directory = self.governed.directory
        holder, entry = directory.holder(issuer, found.log_index), directory.keys.get(actor)
        if entry is None or holder is None:
            return actor == issuer
        return entry.organisation == holder and entry.counts_at(self._log_index, self._context.timestamp_ms)

    def _statement(self, certificate_id: bytes) -> tuple[Found, bytes]:
        found = self._find(certificate_id)
        if found is None or found.issuer is None:
            raise Refused(Rule.R1, f"{certificate_id.hex()[:16]}… is no statement on the chain")
        return found, found.issuer

    # ---- the block's end --------------------------------------------------------------------------------------

    def finish(self, header: Header, certificates: Sequence[AnyCertificate]) -> State:
        """The state after a block with this header and the certificates added. Raises `Refused` (S1 to S8)."""
        base, context, decided = self._base, self._context, dict[bytes, Outcome]()
        if self._moving:
            self._move_stake()
            self._drop_free()
        is_first, is_over = context.index == base.epoch.first_index, self.motions.expires(header.timestamp_ms)
        if which := (self.motions.open if is_first or is_over else self._touched):
            members = self.governed.directory.member_keys
            self.motions, decided = self.motions.counted(which, base.epoch, members, header.timestamp_ms)
        epoch, ends = base.epoch, base.epoch_ends
        if self._is_last(header):
            decided |= self._carry_out(header)
            ends = tuple(one for one in (*ends, context) if not context.reaches(one.freed_from(base.params)))
            epoch = Epoch(epoch.number + 1, self._voters(), header.index + 1, header.timestamp_ms)
        governed, checkpoint_ms = self.governed, base.checkpoint_ms
        if epoch is not base.epoch or header.timestamp_ms >= checkpoint_ms + CHECKPOINT_EVERY_MS:
            checkpoint_ms = header.timestamp_ms
        return State(
            tip=header,
            stakes=governed.stakes,
            epoch=epoch,
            log=_log_after(base.log, tuple([certificate.leaf_hash for certificate in certificates])),
            headers=base.headers.extend([leaf_hash(base.tip.encoded)]),
            params=governed.params,
            epoch_ends=ends,
            voters=base.epoch.hash,
            checkpoint_ms=checkpoint_ms,
            directory=governed.directory,
            status=governed.status,
            motions=self.motions,
            decided=decided,
        )

    def _move_stake(self) -> None:
        """A key that its organisation rotated to answers for the one before: else rotating would undo evidence."""
        stakes = self.governed.stakes.after(self._moving, self._context)
        for offender in [one.offender for one in self._moving if isinstance(one, Evidence)]:
            for key in self.governed.directory.successors(offender):
                stakes = stakes.burn(key, self._context)
        self.governed = dataclasses.replace(self.governed, stakes=stakes)

    def _is_last(self, header: Header) -> bool:
        base = self._base
        if self.motions.passed or self._due(header):
            is_over = header.timestamp_ms - base.epoch.start_ms >= base.params.epoch_ms
            return is_over or len(base.epoch_ends) < MAX_EPOCH_ENDS
        return base.epoch.ends_with(header.index, header.timestamp_ms, base.params, self._voters())

    def _due(self, header: Header) -> list[tuple[str, Rotation]]:
        return [pair for pair in self.governed.directory.announced if pair[1].due_ms <= header.timestamp_ms]

    def _voters(self) -> StakeTable:
        """If nobody has stake left, the members stay."""
        stakes = self.governed.stakes
        return stakes if stakes.total_staked else self._base.epoch.stakes.under(stakes.params)

    def _carry_out(self, header: Header) -> dict[bytes, Outcome]:
        """What passed takes effect, in order of the log; then the member keys whose time has come follow."""
        decided = dict[bytes, Outcome]()
        self._drop_free()
        for motion in self.motions.passed:
            try:
                self.governed = carried_out(motion.change, self.governed, self._moment, motion.id)
                decided[motion.id] = Outcome.PASSED
            except Refused:
                decided[motion.id] = Outcome.VOID
        self.motions = self.motions.without_passed()
        for organisation_id, rotation in self._due(header):
            self._rotate(organisation_id, rotation)
        return decided

    def _drop_free(self) -> None:
        """Where motions set stakes, what evidence left over, or has finished unbonding, belongs to nobody."""
        if self.governed.directory:
            stakes = self.governed.stakes.without_free(self._context)
            self.governed = dataclasses.replace(self.governed, stakes=stakes)

    def _rotate(self, organisation_id: str, rotation: Rotation) -> None:
        """The announced key follows the member key, unless it became another's meanwhile."""
        governed = self.governed
        before = governed.directory.organisation(organisation_id).member_key
        assert before is not None, "an organisation that is not removed has one"
        try:
            directory = governed.directory.rotated(organisation_id, self.at)
            stakes = moved_stake(governed.stakes, before, rotation.key, self._context)
        except Refused:
            directory, stakes = governed.directory.forgone_rotation(organisation_id, self.at), governed.stakes
        self.governed = dataclasses.replace(governed, directory=directory, stakes=stakes)


def next_state(
    base: State, header: Header, certificates: Sequence[AnyCertificate], find: Find = finds_nothing
) -> State:
    """The state after a block on `base`, whatever its header says of it. Raises `Refused` as `Draft` does."""
    draft = Draft(base, context_of(header), find)
    draft.add_all(certificates)
    return draft.finish(header, certificates)


_log_after = lru_cache(maxsize=4)(Frontier.extend)  # a forger asks for it twice: for its header, and at the gate


def make_header(  # noqa: PLR0913, PLR0917  each is a part of the header, or what its root takes
    base: State,
    view: int,
    now_ms: int,
    forger: bytes,
    certificates: Sequence[AnyCertificate],
    find: Find = finds_nothing,
) -> Header:
    """The header of a block on `base`, dated now, or just after its parent. A root raises `Refused` as `Draft` does."""
    context = base.context(now_ms)
    draft = Header(
        version=VERSION,
        ledger_id=base.tip.ledger_id,
        epoch=context.epoch,
        index=context.index,
        view=view,
        parent_hash=base.tip.hash,
        timestamp_ms=context.timestamp_ms,
        forger=forger,
        certificates_hash=certificates_hash(certificates),
        state_root=ZERO_DIGEST,
    )
    if base.params.mint_freely:
        return draft
    return replace(draft, state_root=next_state(base, draft, certificates, find).root)
