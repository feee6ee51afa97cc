"""Whether a statement was valid at a time: what was decided about it, looked up where it stands."""

from typing import TYPE_CHECKING

from tallystick.api import governed_views, views
from tallystick.api.certificate_view import validity_view
from tallystick.ledger.certificate import AnyCertificate, Motion, Revocation, Supersession
from tallystick.ledger.certificate_index import Place
from tallystick.ledger.changes import Effect, Reason, SetStatus
from tallystick.ledger.motions import Outcome
from tallystick.ledger.state import State
from tallystick.ledger.status import StatusEntry
from tallystick.ledger.validity import Stated, validity_at

if TYPE_CHECKING:
    from tallystick.api.reader import LedgerReader


def validity_of(
    reader: "LedgerReader", one: AnyCertificate, place: views.Place, state: State, at_ms: int | None = None
) -> governed_views.Validity:
    """Of a statement at a time (`None`: at the tip's), as of a state; asked on the reader's thread."""
    as_of_ms = state.tip.timestamp_ms
    at_ms = as_of_ms if at_ms is None else at_ms
    stated = Stated(one.issuer, place.log_index, place.block_timestamp_ms)
    found = validity_at(stated, state.directory.keys.get(one.issuer), _entries(reader, one.id, state, at_ms), at_ms)
    acting = reader.certificate_with(found.entry.acting) if found.entry is not None else None
    return validity_view(found, at_ms, as_of_ms, _successor(acting))


def _entries(reader: "LedgerReader", certificate_id: bytes, state: State, at_ms: int) -> list[StatusEntry]:
    """Of a statement's status: the last one, and those before it if it did not count yet."""
    last = state.status.of(certificate_id)
    if last is None:
        return []
    if last.timestamp_ms <= at_ms or last.effect is Effect.VOID:
        return [last]
    found = [_entry(reader, place) for place in reader.decisions.places_about(certificate_id)]
    before = [one for one in found if one is not None and one.log_index < last.log_index]  # the store may be ahead
    return [*sorted(before, key=lambda one: one.log_index), last]


def _entry(reader: "LedgerReader", place: Place) -> StatusEntry | None:
    """What a revocation, a supersession or a motion did, if it did something."""
    block, log_index = reader.kept(place.block_index), reader.log_index(place)
    effect, reason = Effect.SUPERSEDED, int(Reason.UNSPECIFIED)
    match one := block.certificates[place.position]:
        case Revocation():
            effect, reason = Effect(one.effect), one.reason
        case Motion(change=SetStatus() as change):
            decided = reader.decisions.outcome_of(one.id)
            if decided is None or decided.outcome is not Outcome.PASSED:
                return None
            effect, reason, block = Effect(change.effect), change.reason, reader.kept(decided.block_index)
            log_index = reader.first_of(block.index) + len(block.certificates)
        case Supersession():
            pass
        case _:
            return None
    return StatusEntry(effect, reason, log_index, block.header.timestamp_ms, one.id)


def _successor(acting: AnyCertificate | None) -> bytes | None:
    """The statement that a supersession, or a motion, puts in another's place."""
    match acting:
        case Supersession(successor=successor) | Motion(change=SetStatus(successor=successor)):
            return successor
    return None
