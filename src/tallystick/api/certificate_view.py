"""How a certificate and its payload are told: of a reader, and by a client that checks what it was told."""

from typing import Final

from tallystick.api import views
from tallystick.ledger import certificate as core
from tallystick.ledger.certificate import AnyCertificate, Evidence, ProposalEvidence, StakingOperation
from tallystick.ledger.encoding import encode
from tallystick.storage.file_statement import file_statement_in

_MOST_TEXT_BYTES: Final = 1024


def kind_of(certificate: AnyCertificate) -> str:
    """The certificate's kind, in a word."""
    if isinstance(certificate, Evidence):
        return "evidence"
    return "stake" if isinstance(certificate, StakingOperation) else "statement"


def summary_of(certificate: AnyCertificate) -> str:
    """What a certificate says, in a few words."""
    if isinstance(certificate, Evidence):
        what = "forged blocks" if isinstance(certificate, ProposalEvidence) else "signed votes"
        return f"shows that {certificate.offender.hex()[:12]}… {what} that conflict"
    if not isinstance(certificate, StakingOperation):
        return certificate.subject
    return f"withdraws {-certificate.amount} from stake" if certificate.amount < 0 else f"stakes {certificate.amount}"


def payload_view(payload: core.Payload) -> views.Payload:
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
