"""How a certificate and its payload are told: of a reader, and by a client that checks what it was told."""

from collections.abc import Mapping
from typing import Final

from msgspec.structs import asdict

from tallystick.api import views
from tallystick.ledger import certificate as core
from tallystick.ledger.certificate import AnyCertificate, Evidence, ProposalEvidence, StakingOperation
from tallystick.ledger.encoding import encode
from tallystick.storage.file_statement import file_statement_in

_MOST_TEXT_BYTES: Final = 1024


def _kind_of(certificate: AnyCertificate) -> str:
    """The certificate's kind, in a word."""
    if isinstance(certificate, Evidence):
        return "evidence"
    return "stake" if isinstance(certificate, StakingOperation) else "statement"


def _summary_of(certificate: AnyCertificate, names: Mapping[bytes, str]) -> str:
    """What a certificate says, in a few words."""
    if isinstance(certificate, Evidence):
        what = "forged blocks" if isinstance(certificate, ProposalEvidence) else "signed votes"
        offender = names.get(certificate.offender) or f"{certificate.offender.hex()[:12]}…"
        return f"shows that {offender} {what} that conflict"
    if not isinstance(certificate, StakingOperation):
        return certificate.subject
    return f"withdraws {-certificate.amount} from stake" if certificate.amount < 0 else f"stakes {certificate.amount}"


def _payload_view(payload: core.Payload) -> views.Payload:
    """A payload, as it is told."""
    stated = file_statement_in(payload)
    is_text = stated is None and payload.media_type.startswith("text/") and len(payload.content) <= _MOST_TEXT_BYTES
    return views.Payload(
        media_type=payload.media_type,
        size_bytes=len(payload.content),
        encoded=encode(payload).hex(),
        file=views.File(stated.name, stated.size_bytes, stated.sha256.hex(), stated.note) if stated else None,
        text=payload.content.decode("utf-8", "replace") if is_text else None,
    )


def certificate_view(
    one: AnyCertificate, payload: core.Payload | None, place: views.Place, names: Mapping[bytes, str]
) -> views.Certificate:
    """A whole certificate, as it is told."""
    return views.Certificate(
        **asdict(certificate_line(one, place, names)),
        subject=one.subject if isinstance(one, core.Statement) else None,
        amount=one.amount if isinstance(one, StakingOperation) else None,
        offender=key_view(one.offender, names) if isinstance(one, Evidence) else None,
        signature=one.signature.hex(),
        encoded=one.encoded.hex(),
        payload_hash=one.payload_hash.hex() if one.payload_hash else None,
        payload=_payload_view(payload) if payload else None,
    )


def certificate_line(one: AnyCertificate, place: views.Place, names: Mapping[bytes, str]) -> views.CertificateLine:
    """A certificate, as it is told in a list."""
    return views.CertificateLine(
        one.id.hex(), _kind_of(one), key_view(one.issuer, names), one.timestamp_ms, _summary_of(one, names), place
    )


def key_view(key: bytes, names: Mapping[bytes, str]) -> views.Key:
    """A key, with its name."""
    return views.Key(key.hex(), names.get(key))
