"""What a client checks by itself of what a door tells: hashes, signatures, and votes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from msgspec.structs import replace

from tallystick.api import views
from tallystick.api.certificate_view import Beside, certificate_view
from tallystick.ledger.block import Block, block_codec, check_form
from tallystick.ledger.certificate import certificate_codec, check_payload, payload_codec
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.keys import is_signed
from tallystick.ledger.vote import FINALIZE, Tally, check_vote_signatures, tally_codec
from tallystick.problems import DamagedStore


class Certified(views.View, frozen=True, kw_only=True):
    """A certificate of a file's very bytes."""

    certificate: views.Certificate
    finality: views.Finality | None
    checked: tuple[str, ...]
    """What was found good here."""
    claimed: tuple[str, ...]
    """What only the node that answered says."""


def check_certificate(told: views.Certificate, ledger_id: bytes) -> None:
    """Check that a certificate is what its fields say: id, signature and payload.

    Raises `DamagedStore`, with the rule that is broken.
    """
    with _explained(f"certificate {told.id[:16]}…"):
        certificate = certificate_codec.decode(bytes.fromhex(told.encoded))
        if not is_signed(certificate.signed_bytes(ledger_id), certificate.signature, certificate.issuer):
            raise Refused(Rule.C1, "its issuer did not sign it so")
        payload = payload_codec.decode(bytes.fromhex(told.payload.encoded)) if told.payload else None
        check_payload(certificate, payload)
        beside = Beside(told.place, payload, told.is_erased, told.validity, told.erasure)
        if told != certificate_view(certificate, beside, _ToldKeys(told)):
            raise Refused(Rule.B7, "its fields are told otherwise than it says them")


class _ToldKeys(NamedTuple):
    """Keys as they were told with a certificate: what the directory and an address book say of them is not checked."""

    told: views.Certificate

    def view(self, key: bytes, log_index: int | None = None) -> views.Key:
        """The issuer has a log index, whoever is accused none."""
        told = self.told.issuer if log_index is not None else self.told.offender
        return replace(told, key=key.hex()) if told is not None else views.Key(key.hex(), None)

    def is_listed(self, _key: bytes, _log_index: int) -> bool | None:
        return self.told.is_listed


class CheckedBlock(NamedTuple):
    """A block as a door told it, and what it is: its form, its signatures and its forger's were found good."""

    told: views.Block
    block: Block
    votes: Tally | None
    """For this very block, if they came with it; signed by whom they say."""


def checked_block(told: views.Block, index: int, ledger_id: bytes) -> CheckedBlock:
    """Check all that the block with this index says of itself. Raises `DamagedStore`."""
    with _explained(f"block {index}"):
        block = block_codec.decode(bytes.fromhex(told.encoded or ""))
        check_form(block, ledger_id)
        if not is_signed(block.header.signed_bytes(), block.signature, block.header.forger):
            raise Refused(Rule.B3, "its forger did not sign it so")
        if not block.index == told.index == index or block.hash.hex() != told.hash:
            raise Refused(Rule.B1, "its index or hash is told otherwise")
        return CheckedBlock(told, block, _checked_votes(told.finality, block, ledger_id))


def _checked_votes(told: views.Finality | None, block: Block, ledger_id: bytes) -> Tally | None:
    if told is None or told.encoded is None or told.by_block != block.index:
        return None
    tally = tally_codec.decode(bytes.fromhex(told.encoded))
    ballot = tally.ballot
    if (ballot.kind, ballot.epoch, ballot.block_hash) != (FINALIZE, block.header.epoch, block.hash):
        raise Refused(Rule.V2, "the votes kept with it are for something else")
    check_vote_signatures(tally, ledger_id)
    return tally


def check_place(one: views.Certificate, there: CheckedBlock, by: CheckedBlock) -> Certified:
    """Check that a certificate stands in its block, and which votes made that final. Raises `DamagedStore`.

    `by` is the block that was voted for. That one builds on the other is claimed, unless they are one; so are the
    stake of the voters, and what became of the certificate later, which take the whole chain or a proof to know.
    """
    block, place, finality = there.block, one.place, there.told.finality
    with _explained(f"block {block.index}"):
        standing = dict(enumerate(block.certificates)).get(place.position)
        if standing is None or standing.encoded.hex() != one.encoded:
            raise Refused(Rule.B7, "the certificate does not stand there")
        if (place.block_index, place.block_timestamp_ms) != (block.index, block.header.timestamp_ms):
            raise Refused(Rule.B7, "the certificate's place is told otherwise")
        checked, claimed = ["signature", "payload", "block"], ["place in the log", "validity"]
        if finality is None or by.votes is None:
            claimed.append("finality")
        else:
            voters = [member.hex() for member, _ in by.votes.signatures]
            told = finality.by_block, finality.encoded, [voter.key for voter in finality.voters]
            if told != (by.block.index, by.votes.encoded.hex(), voters):
                raise Refused(Rule.V2, "whose votes made it final is told otherwise")
            if by.block.index < block.index:
                raise Refused(Rule.V2, "the block voted for stands below it")
            checked.append("votes")
            claimed += [] if by is there else ["that the block voted for builds on it"]
            claimed.append("stake of the voters")
    return Certified(certificate=one, finality=finality, checked=tuple(checked), claimed=tuple(claimed))


@contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except Refused as refused:
        message = f"{what}, as it was told, does not hold: {refused}; ask another node, or run tallystick check"
        raise DamagedStore(message, refused) from None
    except ValueError:
        raise DamagedStore(f"{what} was told in a form that is not known here") from None
