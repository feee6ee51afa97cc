"""What a client checks by itself of what a door tells: hashes, signatures, and votes."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import NamedTuple

from tallystick.api import views
from tallystick.api.certificate_view import kind_of, payload_view, summary_of
from tallystick.ledger.block import Block, block_codec, check_form
from tallystick.ledger.certificate import (
    AnyCertificate,
    Evidence,
    Payload,
    StakingOperation,
    Statement,
    certificate_codec,
    check_payload,
    payload_codec,
)
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.keys import is_signed
from tallystick.ledger.vote import FINALIZE, check_vote_signatures, tally_codec
from tallystick.problems import DamagedStore
from tallystick.storage.file_statement import FileStatement, file_statement_in


class Certified(NamedTuple):
    """A certificate of a file, with what was found good here and what the door merely claims."""

    certificate: views.Certificate
    statement: FileStatement
    block: views.Block
    checked: tuple[str, ...]
    claimed: tuple[str, ...]

    def with_all_checked(self) -> "Certified":
        """The same, from a file of which every hash, signature, vote and rule was checked here."""
        return self._replace(checked=(*self.checked, *self.claimed), claimed=())


def check_certificate(told: views.Certificate, ledger_id: bytes) -> FileStatement | None:
    """Check that a certificate is what its fields say: id, signature and payload. What it states of a file, if it does.

    Raises `DamagedStore`, with the rule that is broken.
    """
    with _explained(f"certificate {told.id[:16]}…"):
        certificate = certificate_codec.decode(bytes.fromhex(told.encoded))
        if not is_signed(certificate.signed_bytes(ledger_id), certificate.signature, certificate.issuer):
            raise Refused(Rule.C1, "its issuer did not sign it so")
        payload = payload_codec.decode(bytes.fromhex(told.payload.encoded)) if told.payload else None
        check_payload(certificate, payload)
        if not _is_told_so(told, certificate, payload):
            raise Refused(Rule.B7, "its fields are told otherwise than it says them")
        return file_statement_in(payload) if payload else None


def _is_told_so(told: views.Certificate, certificate: AnyCertificate, payload: Payload | None) -> bool:
    said = {
        "id": certificate.id.hex(),
        "kind": kind_of(certificate),
        "timestamp_ms": certificate.timestamp_ms,
        "summary": summary_of(certificate),
        "subject": certificate.subject if isinstance(certificate, Statement) else None,
        "amount": certificate.amount if isinstance(certificate, StakingOperation) else None,
        "signature": certificate.signature.hex(),
        "payload_hash": certificate.payload_hash.hex() if certificate.payload_hash else None,
        "payload": payload_view(payload) if payload else None,
    }
    offender = certificate.offender.hex() if isinstance(certificate, Evidence) else None
    keys = told.issuer.key, told.offender.key if told.offender else None
    is_said = all(getattr(told, name) == value for name, value in said.items())
    return is_said and keys == (certificate.issuer.hex(), offender)


def check_block(
    one: views.Certificate, statement: FileStatement, told: views.Block, by_block: views.Block, ledger_id: bytes
) -> Certified:
    """Check that a certificate stands in its block, and which votes made that final. Raises `DamagedStore`.

    `by_block` is the block that was voted for. That one builds on the other is claimed, unless they are one; so is the
    stake of the voters, which takes the whole chain or a proof to know.
    """
    with _explained(f"block {told.index}"):
        block = _decoded(told, ledger_id)
        position = one.place.position
        if bytes.fromhex(one.encoded) not in (certificate.encoded for certificate in block.certificates[position:][:1]):
            raise Refused(Rule.B7, "the certificate does not stand there")
        if (one.place.block_index, one.place.block_timestamp_ms) != (block.index, block.header.timestamp_ms):
            raise Refused(Rule.B7, "the certificate's place is told otherwise")
        checked, claimed = ["signature", "payload", "block"], ["place in the log"]
        if told.finality is None or by_block.finality is None or by_block.finality.encoded is None:
            return Certified(one, statement, told, tuple(checked), (*claimed, "finality"))
        final = _decoded(by_block, ledger_id)
        tally = tally_codec.decode(bytes.fromhex(by_block.finality.encoded))
        ballot = tally.ballot
        if (ballot.kind, ballot.epoch, ballot.block_hash) != (FINALIZE, final.header.epoch, final.hash):
            raise Refused(Rule.V2, "the votes kept with it are for something else")
        check_vote_signatures(tally, ledger_id)
        if final.hash != block.hash:
            claimed.append("that the block voted for builds on it")
        return Certified(one, statement, told, (*checked, "votes"), (*claimed, "stake of the voters"))


def _decoded(told: views.Block, ledger_id: bytes) -> Block:
    block = _checked(told.encoded or "", ledger_id)
    if (block.index, block.hash.hex()) != (told.index, told.hash):
        raise Refused(Rule.B1, "its index or hash is told otherwise")
    return block


@lru_cache(maxsize=4)
def _checked(encoded: str, ledger_id: bytes) -> Block:
    """Kept for a while: files that are certified together often stand in one block."""
    block = block_codec.decode(bytes.fromhex(encoded))
    check_form(block, ledger_id)
    if not is_signed(block.header.signed_bytes(), block.signature, block.header.forger):
        raise Refused(Rule.B3, "its forger did not sign it so")
    return block


@contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except Refused as refused:
        message = f"{what}, as it was told, does not hold: {refused}; ask another node, or run tallystick check"
        raise DamagedStore(message, refused) from None
    except ValueError:
        raise DamagedStore(f"{what} was told in a form that is not known here") from None
