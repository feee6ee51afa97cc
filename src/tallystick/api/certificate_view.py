"""How a certificate and its payload are told: of a reader, and by a client that checks what it was told."""

from typing import Final, NamedTuple

from msgspec.structs import asdict

from tallystick.api import governed_views, views
from tallystick.api.decisions import decision_view
from tallystick.api.key_book import Keys, name_of
from tallystick.api.words import reason_in_words, summary_of
from tallystick.ledger import certificate as core
from tallystick.ledger.certificate import AnyCertificate, Decision, Evidence, StakingOperation
from tallystick.ledger.encoding import encode
from tallystick.ledger.file_statement import file_statement_in
from tallystick.ledger.kinds import kind_of
from tallystick.ledger.validity import KeyState, Validity, ValidityState

_MOST_TEXT_BYTES: Final = 1024
_KEYS: Final = {
    KeyState.ENDED_AFTER: "its issuer's key ended later",
    KeyState.ENDED_BEFORE: "its issuer's key had ended before",
    KeyState.COMPROMISED_AFTER: "its issuer's key was compromised later",
    KeyState.COMPROMISED_BEFORE: "its issuer's key was compromised by then",
}
"""What is said of keys that are not in force."""


class Beside(NamedTuple):
    """What belongs to a certificate, and stands beside it."""

    place: views.Place
    payload: core.Payload | None = None
    is_erased: bool = False
    """Whether the payload was."""
    validity: governed_views.Validity | None = None
    erasure: governed_views.Erasure | None = None


def text_in(payload: core.Payload) -> str | None:
    """Its content, if it is a short text."""
    is_text = payload.media_type.startswith("text/") and len(payload.content) <= _MOST_TEXT_BYTES
    return payload.content.decode("utf-8", "replace") if is_text else None


def _payload_view(payload: core.Payload) -> views.Payload:
    """A payload, as it is told."""
    stated = file_statement_in(payload)
    return views.Payload(
        media_type=payload.media_type,
        size_bytes=len(payload.content),
        encoded=encode(payload).hex(),
        file=views.File(stated.name, stated.size_bytes, stated.sha256.hex(), stated.note) if stated else None,
        text=text_in(payload) if stated is None else None,
        subject=payload.subject,
    )


def _subject_of(one: AnyCertificate, payload: core.Payload | None) -> str | None:
    """A statement's; `None`: it stands in a payload that is not at hand."""
    if one.subject or one.payload_hash is None:
        return one.subject
    return payload.subject if payload is not None else None


def certificate_view(one: AnyCertificate, beside: Beside, keys: Keys) -> views.Certificate:
    """A whole certificate, as it is told."""
    payload = beside.payload
    return views.Certificate(
        **asdict(certificate_line(one, beside, keys)),
        subject=_subject_of(one, payload) if isinstance(one, core.Statement) else None,
        amount=one.amount if isinstance(one, StakingOperation) else None,
        offender=keys.view(one.offender) if isinstance(one, Evidence) else None,
        signature=one.signature.hex(),
        encoded=one.encoded.hex(),
        payload_hash=one.payload_hash.hex() if one.payload_hash else None,
        payload=_payload_view(payload) if payload else None,
        is_erased=beside.is_erased,
        decision=decision_view(one) if isinstance(one, Decision) else None,
        validity=beside.validity,
        erasure=beside.erasure,
    )


def certificate_line(one: AnyCertificate, beside: Beside, keys: Keys) -> views.CertificateLine:
    """A certificate, as it is told in a list."""
    log_index = beside.place.log_index
    offender = name_of(keys.view(one.offender)) if isinstance(one, Evidence) else ""
    subject = _subject_of(one, beside.payload)
    if subject is None:
        subject = "(its payload was erased)" if beside.is_erased else "(its payload is not kept here)"
    return views.CertificateLine(
        id=one.id.hex(),
        kind=kind_of(one),
        issuer=keys.view(one.issuer, log_index),
        timestamp_ms=one.timestamp_ms,
        summary=summary_of(one, subject, offender),
        place=beside.place,
        is_listed=keys.is_listed(one.issuer, log_index),
    )


def validity_view(found: Validity, at_ms: int, as_of_ms: int, successor: bytes | None) -> governed_views.Validity:
    """Whether a statement is valid, as it is told."""
    entry = found.entry
    return governed_views.Validity(
        at_ms=at_ms,
        as_of_ms=as_of_ms,
        state=found.state.value,
        since_ms=found.since_ms,
        by=entry.acting.hex() if entry is not None else None,
        by_log_index=entry.log_index if entry is not None else None,
        by_ms=entry.timestamp_ms if entry is not None else None,
        successor=successor.hex() if successor is not None else None,
        reason=found.reason.name.lower() if found.reason is not None else None,
        key=found.key.value if found.key is not None else None,
        key_since_log_index=found.key_since,
        summary=_validity_in_words(found, successor),
    )


def _validity_in_words(found: Validity, successor: bytes | None) -> str:
    said = found.state.value
    if found.state is ValidityState.NOT_YET:
        return "not yet final"
    if successor is not None:
        said = f"superseded by {successor.hex()[:12]}…"
    if found.reason is not None:
        said += f" ({reason_in_words(found.reason)})"
    if found.key in _KEYS:
        said += f"; {_KEYS[found.key]}"
    return said
