"""Certificates of all kinds, signed, and the erasable payloads beside them."""

from collections.abc import Sequence
from typing import Annotated, Any, Final, TypeVar, cast

from msgspec import Meta
from msgspec.structs import replace

from tallystick.ledger.changes import AnyChange, AnyKeyOperation, admission_of
from tallystick.ledger.encoding import Codec, Encoded, derived, digest, encode
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.fields import NO_CONTROLS, UNSIGNED, Amount, Digest, Milliseconds, PublicKey, Signature, Subject
from tallystick.ledger.header import SignedHeader
from tallystick.ledger.keys import Domain, Verify
from tallystick.ledger.merkle import leaf_hash
from tallystick.ledger.params import MAX_CERTIFICATE_BYTES, MAX_PAYLOAD_BYTES
from tallystick.ledger.vote import Vote
from tallystick.ledger.wallet import Signable, Wallet, sign

SALT_BYTES: Final = 32


class Payload(Encoded):
    """What a certificate covers without containing it; erasing it leaves every hash and proof intact.

    The salt keeps an erased payload from being guessed from its hash.
    """

    salt: Annotated[bytes, Meta(min_length=SALT_BYTES, max_length=SALT_BYTES)]
    subject: Subject
    """Of a statement whose own is empty, so that it can be erased; of a decision, why."""
    media_type: Annotated[str, Meta(max_length=128, pattern=NO_CONTROLS)]
    content: Annotated[bytes, Meta(max_length=MAX_PAYLOAD_BYTES)]

    def hash(self) -> bytes:
        """SHA-256 of the canonical encoding; `payload_hash` of the certificate that covers it."""
        return digest(encode(self))

    @classmethod
    def about(cls, subject: str, payload: "Payload | None", salt: bytes) -> "Payload":
        """With this subject: the payload that there is, or else one of the subject alone, with this salt."""
        return cls(salt, subject, "", b"") if payload is None else replace(payload, subject=subject)


class Certificate(Signable, tag_field="kind"):
    """What all kinds have."""

    domain = Domain.CERTIFICATE

    issuer: PublicKey
    timestamp_ms: Milliseconds
    subject: Subject
    payload_hash: Digest | None

    @derived
    def id(self) -> bytes:
        """Hash of all but the signature (32 bytes): unique on a ledger."""
        return digest(self.body)

    @derived
    def leaf_hash(self) -> bytes:
        """Hash of the certificate as a leaf of the ledger's log, signature included."""
        return leaf_hash(self.encoded)


class Statement(Certificate, tag=1):
    """The issuer states something: about the subject, in the payload, or both."""

    signature: Signature = UNSIGNED


class StakingOperation(Certificate, tag=2):
    """The issuer moves its own tokens into stake (amount above zero) or out of it (below)."""

    amount: Amount
    signature: Signature = UNSIGNED


class VoteEvidence(Certificate, tag=3):
    """Two votes that no honest member signs both: whoever signed them loses its whole stake."""

    first: Vote
    second: Vote
    signature: Signature = UNSIGNED

    @property
    def offender(self) -> bytes:
        """Whose votes they are."""
        return self.first.member

    @property
    def epoch(self) -> int:
        """The votes' epoch."""
        return self.first.ballot.epoch


class ProposalEvidence(Certificate, tag=4):
    """Two headers that no honest forger signs both: whoever signed them loses its whole stake."""

    first: SignedHeader
    second: SignedHeader
    signature: Signature = UNSIGNED

    @property
    def offender(self) -> bytes:
        """Who forged them."""
        return self.first.header.forger

    @property
    def epoch(self) -> int:
        """The headers' epoch."""
        return self.first.header.epoch


class Motion(Certificate, tag=5):
    """A member moves that something be changed, and approves it."""

    change: AnyChange
    expires_ms: Milliseconds
    """By block time: a motion that was not decided by then is closed."""
    signature: Signature = UNSIGNED


class Approval(Certificate, tag=6):
    """A member's word for a motion; its last word counts."""

    motion: Digest
    signature: Signature = UNSIGNED


class Objection(Certificate, tag=7):
    """A member's word against a motion; its last word counts."""

    motion: Digest
    signature: Signature = UNSIGNED


class KeyChange(Certificate, tag=8):
    """An organisation changes its own keys, by its organisation key if it has one, else by its member key."""

    operation: AnyKeyOperation
    signature: Signature = UNSIGNED


class Revocation(Certificate, tag=9):
    """A statement is not valid any more, or never was (`Effect`); why (`Reason`)."""

    target: Digest
    effect: Annotated[int, Meta(ge=2, le=3)]
    reason: Annotated[int, Meta(ge=0, le=5)]
    signature: Signature = UNSIGNED


class Supersession(Certificate, tag=10):
    """Another statement stands in a statement's place."""

    target: Digest
    successor: Digest
    signature: Signature = UNSIGNED


class Erasure(Certificate, tag=11):
    """The organisation that certified a statement has its payload erased everywhere: an order, as a motion may be."""

    target: Digest
    signature: Signature = UNSIGNED


class ErasureConfirmation(Certificate, tag=12):
    """A member's node has erased what an order is about. Without time, subject and payload: one for a key and order."""

    order: Digest
    """An erasure, or a motion to erase that passed."""
    target: Digest
    signature: Signature = UNSIGNED


Evidence = VoteEvidence | ProposalEvidence
Word = Approval | Objection
StatusChange = Revocation | Supersession
Certified = Statement | StatusChange | Erasure
"""What only keys that may certify issue."""
Decision = Motion | Word | KeyChange | StatusChange | Erasure | ErasureConfirmation
"""What changes directory, motions or status, or has a payload erased."""
AnyCertificate = Statement | StakingOperation | Evidence | Decision
C = TypeVar("C", bound=Certificate)

certificate_codec: Codec[AnyCertificate] = Codec(AnyCertificate, MAX_CERTIFICATE_BYTES, "certificate")
payload_codec: Codec[Payload] = Codec(Payload, MAX_PAYLOAD_BYTES + 2048, "payload")


def sign_certificate(certificate: C, wallet: Wallet, ledger_id: bytes) -> C:
    """The same certificate, signed. Raises `Refused` (E1, E2; C1 another's name)."""
    certificate_codec.encode_checked(cast(AnyCertificate, certificate))
    if certificate.issuer != wallet.public_key:
        raise Refused(Rule.C1, "the issuer it names is not the wallet that signs")
    return sign(certificate, wallet, ledger_id)


def issue_statement(
    wallet: Wallet, ledger_id: bytes, timestamp_ms: int, subject: str = "", payload: Payload | None = None
) -> Statement:
    """Make and sign a statement. Raises `Refused` (E1, E2)."""
    if payload is not None:
        payload_codec.encode_checked(payload)
    unsigned = Statement(wallet.public_key, timestamp_ms, subject, payload.hash() if payload else None)
    return sign_certificate(unsigned, wallet, ledger_id)


def issue_stake(wallet: Wallet, ledger_id: bytes, timestamp_ms: int, amount: int) -> StakingOperation:
    """Make and sign a staking operation. Raises `Refused` (E2 not a whole number in range)."""
    return issue(StakingOperation, wallet, ledger_id, timestamp_ms, amount)


def issue(kind: type[C], wallet: Wallet, ledger_id: bytes, timestamp_ms: int, *fields: Any) -> C:
    """Make and sign a certificate of a kind without subject and payload, from the kind's own fields. E1, E2."""
    return sign_certificate(kind(wallet.public_key, timestamp_ms, "", None, *fields), wallet, ledger_id)


def issue_decision(  # noqa: PLR0913, PLR0917  each is a part of the certificate
    kind: type[C],
    wallet: Wallet,
    ledger_id: bytes,
    timestamp_ms: int,
    fields: Sequence[Any],
    payload: Payload | None = None,
) -> C:
    """Make and sign a decision, of a kind that has these fields; the payload says why. Raises `Refused` (E1, E2)."""
    if payload is not None:
        payload_codec.encode_checked(payload)
    covered = payload.hash() if payload is not None else None
    return sign_certificate(kind(wallet.public_key, timestamp_ms, "", covered, *fields), wallet, ledger_id)


def issue_evidence(
    wallet: Wallet, ledger_id: bytes, timestamp_ms: int, first: Vote | SignedHeader, second: Vote | SignedHeader
) -> Evidence:
    """Make and sign evidence against whoever signed both votes, or both headers."""
    if isinstance(first, Vote):
        return issue(VoteEvidence, wallet, ledger_id, timestamp_ms, first, second)
    return issue(ProposalEvidence, wallet, ledger_id, timestamp_ms, first, second)


def certificates_hash(certificates: Sequence[AnyCertificate]) -> bytes:
    """SHA-256 over the certificates' leaf hashes in order, so over their signatures too (32 bytes)."""
    return digest(b"".join([certificate.leaf_hash for certificate in certificates]))


def check_payload(certificate: AnyCertificate, payload: Payload | None) -> None:
    """Raise `Refused` (C3) for a payload that the certificate does not cover; none at all is legal (erased)."""
    if payload is None:
        return
    if certificate.payload_hash is None:
        raise Refused(Rule.C3, "the certificate covers no payload")
    if payload.hash() != certificate.payload_hash:
        raise Refused(Rule.C3, "the payload's hash is not the one in the certificate")


def check_signed(certificate: AnyCertificate, ledger_id: bytes, verify: Verify) -> None:
    """Raise `Refused` (C1) unless its issuer signed it, and (D3) the key that it brings its own admission.

    Evidence (V3; V1, B10, B3) has to show two votes, or headers, that no honest member signs both, each well signed.
    """
    if not verify(certificate.signed_bytes(ledger_id), certificate.signature, certificate.issuer):
        raise Refused(Rule.C1, f"certificate {certificate.id.hex()[:16]}…: the signature is not its issuer's")
    if isinstance(certificate, Statement):
        return
    if isinstance(certificate, VoteEvidence):
        votes = (certificate.first, certificate.second)
        if not votes[0].conflicts_with(votes[1]):
            raise Refused(Rule.V3, "an honest member may sign both of these votes")
        if not all(verify(one.ballot.signed_bytes(ledger_id), one.signature, one.member) for one in votes):
            raise Refused(Rule.V1, "a vote in the evidence is not signed by its member")
    elif isinstance(certificate, ProposalEvidence):
        headers = (certificate.first, certificate.second)
        if not headers[0].conflicts_with(headers[1]):
            raise Refused(Rule.V3, "an honest forger may sign both of these headers")
        for one in headers:
            one.check(ledger_id, verify)
    elif isinstance(certificate, Motion | KeyChange):
        change = certificate.change if isinstance(certificate, Motion) else certificate.operation
        if (admission := admission_of(change)) is not None:
            admission.check(ledger_id, verify)
