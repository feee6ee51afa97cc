"""Payloads that are to be erased everywhere: what orders it, who confirmed, and what waits for a node's operator."""

from typing import TYPE_CHECKING, Final, NamedTuple

from tallystick.api import governed_views
from tallystick.ledger.certificate import AnyCertificate, Erasure, ErasureConfirmation, Motion
from tallystick.ledger.certificate_index import Place
from tallystick.ledger.changes import Erase
from tallystick.ledger.motions import Outcome
from tallystick.ledger.state import State
from tallystick.storage.decision_tables import BEFORE_ALL, ORDERS
from tallystick.storage.store import Store

if TYPE_CHECKING:
    from tallystick.api.reader import LedgerReader

MOST_WAITING: Final = 8
"""So many are told at once of those that wait for an operator."""
NOT_REACHED: Final = (
    "nodes of observers, whose operators erase by themselves; backups; exports; proofs and copies in anybody's hands"
)


class _Acting(NamedTuple):
    """An order or a confirmation, where it stands."""

    certificate: AnyCertificate
    place: Place
    log_index: int
    timestamp_ms: int
    """Of its block."""


class Erasures:
    """All of it, from what the store derived of the chain; asked on the reader's thread."""

    def __init__(self, reader: "LedgerReader", store: Store) -> None:
        self._reader, self._store = reader, store
        self._waiting: dict[bytes, None] = {}
        self._looked_through, self._waits_for = BEFORE_ALL, ""

    def of(self, target: bytes, state: State) -> governed_views.Erasure | None:
        """What is to be erased of a statement, as of a state; `None`: nothing."""
        keys = self._reader.keys
        orders, standing = list[governed_views.ErasureOrder](), set[bytes]()
        confirmed = dict[str, governed_views.ErasureConfirmed]()
        places = self._reader.decisions.places_about(target) if state.directory else []
        for place in places:
            if place.block_index > state.index:
                break
            one = self._at(place)
            certificate, by = one.certificate, keys.view(one.certificate.issuer, one.log_index)
            if isinstance(certificate, ErasureConfirmation):
                if certificate.order in standing and by.organisation is not None:  # R4: that came before
                    told = governed_views.ErasureConfirmed(
                        by, certificate.id.hex(), place.block_index, one.timestamp_ms
                    )
                    confirmed.setdefault(by.organisation, told)
            elif (since := self._stands_from(one, state)) is not None:
                standing.add(certificate.id)
                kind, since_ms = _kind(certificate), self._reader.kept(since).header.timestamp_ms
                orders.append(governed_views.ErasureOrder(certificate.id.hex(), kind, by, since, since_ms))
        if not orders:
            return None
        payload_hash = self._payload_hash(target)
        others = [one for name, one in sorted(state.directory.organisations.items()) if name not in confirmed]
        return governed_views.Erasure(
            target=target.hex(),
            payload_hash=payload_hash.hex() if payload_hash is not None else None,
            orders=orders,
            confirmed=list(confirmed.values()),
            unconfirmed=[keys.view(one.member_key) for one in others if one.member_key is not None],
            is_erased_here=payload_hash is not None and self._store.payload_tables.is_erased(payload_hash),
            not_reached=NOT_REACHED,
        )

    def _at(self, place: Place) -> _Acting:
        block = self._reader.kept(place.block_index)
        certificate, log_index = block.certificates[place.position], self._reader.log_index(place)
        return _Acting(certificate, place, log_index, block.header.timestamp_ms)

    def _payload_hash(self, target: bytes) -> bytes | None:
        one = self._reader.certificate_with(target)
        return one.payload_hash if one is not None else None

    def _stands_from(self, one: _Acting, state: State) -> int | None:
        """The block from which an order stands; `None`: it is none, or does not stand."""
        match one.certificate:
            case Erasure(issuer=issuer):
                entry = state.directory.keys.get(issuer)
                since = entry.compromised_since if entry is not None else None
                return one.place.block_index if since is None or one.log_index < since else None
            case Motion(change=Erase()) as motion:
                decided = self._reader.decisions.outcome_of(motion.id)
                has_passed = decided is not None and decided.outcome is Outcome.PASSED
                return decided.block_index if decided and has_passed and decided.block_index <= state.index else None
        return None

    # ---- all of them ------------------------------------------------------------------------------------------

    def targets(self, state: State) -> list[bytes]:
        """The statements that an order, or a motion for one, is about, the latest first."""
        places = [one for one in self._reader.decisions.places_about(ORDERS) if one.block_index <= state.index]
        return list(dict.fromkeys(target_of(self._at(one).certificate) for one in reversed(places)))

    def waiting(self, key: bytes, state: State) -> list[governed_views.Erasure]:
        """What waits for the operator of the node with this key: the oldest, a few.

        Each statement is looked at until it was carried out here; an observer's operator erases, and confirms nothing.
        """
        member = state.directory.member_of(key)
        own = member.id if member is not None else ""
        if own != self._waits_for:
            self._waits_for, self._waiting, self._looked_through = own, {}, BEFORE_ALL
        for place in self._reader.decisions.places_about(ORDERS, self._looked_through):
            if place.block_index > state.index:
                break
            self._looked_through = place
            self._waiting[target_of(self._at(place).certificate)] = None
        moved = {one.change.target for one in state.motions.open.values() if isinstance(one.change, Erase)}
        found = list[governed_views.Erasure]()
        for target in list(self._waiting):
            one = self.of(target, state)
            if one is not None and not _is_carried_out(one, own):
                found.append(one)
            elif target not in moved:
                del self._waiting[target]
            if len(found) == MOST_WAITING:
                break
        return found

    # ---- of a payload -----------------------------------------------------------------------------------------

    def covering(self, payload_hash: bytes, state: State) -> list[Place]:
        """Where the certificates that cover a payload stand, in order: all blocks are looked through."""
        return [
            Place(index, position)
            for index in self._store.blocks_with(payload_hash)
            if index <= state.index
            for position, one in enumerate(self._reader.kept(index).certificates)
            if one.payload_hash == payload_hash
        ]

    def unconfirmed(self, payload_hash: bytes, key: bytes, state: State) -> list[governed_views.Erasure]:
        """What the member with this key has not confirmed of the erasures that are about a payload."""
        member = state.directory.member_of(key)
        if member is None:
            return []
        found = [self.of(self._at(one).certificate.id, state) for one in self.covering(payload_hash, state)]
        return [one for one in found if one is not None and _waits_for(one, member.id)]


def target_of(certificate: AnyCertificate) -> bytes:
    """What an order, or a confirmation, is about; anything else is about itself."""
    match certificate:
        case Erasure(target=target) | ErasureConfirmation(target=target) | Motion(change=Erase(target=target)):
            return target
    return certificate.id


def _kind(order: AnyCertificate) -> str:
    return "motion" if isinstance(order, Motion) else "erasure"


def _waits_for(one: governed_views.Erasure, organisation: str) -> bool:
    return organisation in [key.organisation for key in one.unconfirmed]


def _is_carried_out(one: governed_views.Erasure, organisation: str) -> bool:
    return one.payload_hash is None or (one.is_erased_here and not _waits_for(one, organisation))
