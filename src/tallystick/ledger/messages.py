"""What nodes say to each other: a closed union, in canonical bytes."""

from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Final, TypeGuard, TypeVar, get_args

from msgspec import Meta

from tallystick.ledger.address import AddressRecord
from tallystick.ledger.block import Block
from tallystick.ledger.certificate import AnyCertificate, Payload, certificate_codec, payload_codec
from tallystick.ledger.checkpoint import Cosignature, MlDsaCosignature
from tallystick.ledger.encoding import Codec, Encoded, encode
from tallystick.ledger.fields import UNSIGNED, Digest, Index, PublicKey, Signature
from tallystick.ledger.finality import FinalHeader
from tallystick.ledger.header import Header
from tallystick.ledger.keys import Domain
from tallystick.ledger.params import MAX_BLOCK_CERTIFICATES, MAX_CERTIFICATE_BYTES, MAX_MESSAGE_BYTES, MAX_PAYLOAD_BYTES
from tallystick.ledger.vote import Tally
from tallystick.ledger.wallet import Signable

T = TypeVar("T")

MAX_IDS: Final = 4096
MAX_ENTRIES: Final = 8192
MAX_RANGE_BLOCKS: Final = 256
MAX_HEADERS: Final = 1024
MAX_TALLIES: Final = 1024
MAX_PROOFS: Final = 256
MAX_ADDRESSES: Final = 1024
MAX_COSIGNATURES: Final = 1024
MAX_ML_DSA_COSIGNATURES: Final = 64

Ids = Annotated[tuple[Digest, ...], Meta(max_length=MAX_IDS)]
HeaderList = Annotated[tuple[Header, ...], Meta(max_length=MAX_HEADERS)]


class Entry(Encoded):
    """A certificate on its way, with the payload it covers unless that was erased or is not at hand."""

    certificate: AnyCertificate
    payload: Payload | None = None

    def check_form(self) -> None:
        """Hold an entry that was made here to all that a peer will hold it to. Raises `Refused` (E1, E2, E3)."""
        certificate_codec.encode_checked(self.certificate)
        if self.payload is not None:
            payload_codec.encode_checked(self.payload)


entry_codec: Codec[Entry] = Codec(Entry, MAX_CERTIFICATE_BYTES + MAX_PAYLOAD_BYTES + 2048, "entry")


class _Message(Encoded, tag_field="kind"):
    """Base of all: an array that begins with its number."""


class Status(_Message, tag=1):
    """Where a node stands: its ledger, its tip, and the ids of certificates waiting in its box."""

    ledger_id: Digest
    epoch: Index
    """That of the next block."""
    tip_index: Index
    tip_hash: Digest
    waiting: Ids


class Certificates(_Message, tag=2):
    """New certificates, or the ones that were asked for."""

    entries: Annotated[tuple[Entry, ...], Meta(min_length=1, max_length=MAX_ENTRIES)]


class CertificateRequest(_Message, tag=3):
    """Asks for certificates waiting in the peer's box."""

    ids: Ids


class NewBlock(_Message, tag=4):
    """A block just forged, passed on by every node that finds it legal."""

    block: Block


class BlockRequest(_Message, tag=5):
    """Asks for `count` blocks from index `start` on; fewer may come."""

    start: Index
    count: Annotated[int, Meta(ge=1, le=MAX_RANGE_BLOCKS)]


class Blocks(_Message, tag=6):
    """Answers a block request: consecutive blocks from index `start` on, none when the peer has none of them."""

    start: Index
    blocks: Annotated[tuple[Block, ...], Meta(max_length=MAX_RANGE_BLOCKS)]
    headers: HeaderList = ()
    """Those that follow the last block, up to the one that proves it: by votes, or by the asker's trusted block."""
    finalization: Tally | None = None
    """Votes that make the last header, or else the last block, final; the lone forger needs none."""


class PayloadRequest(_Message, tag=7):
    """Asks for payloads by their hashes."""

    hashes: Ids


class Payloads(_Message, tag=8):
    """Answers a payload request with those at hand; erased ones stay away."""

    payloads: Annotated[tuple[Payload, ...], Meta(max_length=MAX_IDS)]


class Prune(_Message, tag=19):
    """What the peer pushed was known already: it need not push certificates over this link until it is asked to."""


class Votes(_Message, tag=9):
    """A member's vote, certificates of votes, or all votes that a member behind may lack."""

    tallies: Annotated[tuple[Tally, ...], Meta(min_length=1, max_length=MAX_TALLIES)]


class RecoveryRequest(_Message, Signable, tag=10):
    """A member lost its signing guard, and asks all others how far they have come and what they hold of its votes.

    An answer names the nonce, 32 fresh random bytes, so no old answer, and none to others, passes for it.
    """

    domain = Domain.RECOVERY

    member: PublicKey
    nonce: Digest
    signature: Signature = UNSIGNED


class RecoveryResponse(_Message, Signable, tag=11):
    """Answers a recovery request: the member's view, the certificate by which it entered it, the asker's votes."""

    domain = Domain.RECOVERY

    member: PublicKey
    asker: PublicKey
    nonce: Digest
    epoch: Index
    view: Index
    entered_by: Tally | None
    """For view 1: the finalization of the last epoch's last block; in epoch 0 nothing."""
    votes: Annotated[tuple[Tally, ...], Meta(max_length=MAX_TALLIES)]
    signature: Signature = UNSIGNED


class Proposal(_Message, tag=12):
    """A block as its header and the ids of its certificates, in order.

    `ids` is `None` for a block that is proposed again in a later view: most members have it. `parent_view` tells in
    which view the parent, or the block proposed again, was notarized: whoever lacks certificates since, asks for them.
    """

    view: Index
    parent_view: Index | None
    header: Header
    signature: Signature
    ids: Annotated[tuple[Digest, ...], Meta(max_length=MAX_BLOCK_CERTIFICATES)] | None


class ProposalRequest(_Message, tag=13):
    """Asks for a proposal, or for those of its certificates that are named."""

    block_hash: Digest
    ids: Ids


class ProposalCertificates(_Message, tag=14):
    """Answers a proposal request that names certificates."""

    block_hash: Digest
    certificates: Annotated[tuple[AnyCertificate, ...], Meta(max_length=MAX_BLOCK_CERTIFICATES)]


class FinalizationRequest(_Message, tag=15):
    """Asks for proof of the last blocks of epochs, from this epoch on, and of the tip."""

    epoch: Index


class Finalizations(_Message, tag=16):
    """Answers a finalization request: the last blocks of consecutive epochs, and the tip if there is room for it."""

    proofs: Annotated[tuple[FinalHeader, ...], Meta(max_length=MAX_PROOFS)]


class HeaderRequest(_Message, tag=17):
    """Asks for the `count` headers that end with index `last`."""

    last: Index
    count: Annotated[int, Meta(ge=1, le=MAX_HEADERS)]


class Headers(_Message, tag=18):
    """Answers a header request, in the order of the chain; none when the peer has none of them."""

    headers: HeaderList


class ViewCertificateRequest(_Message, tag=21):
    """Asks for the notarizations and nullifications of these views of an epoch; they come as votes, newest first."""

    epoch: Index
    first: Index
    last: Index


class Addresses(_Message, tag=20):
    """Where nodes can be reached: what the peer knows, when it connects; later, what is new."""

    records: Annotated[tuple[AddressRecord, ...], Meta(min_length=1, max_length=MAX_ADDRESSES)]


class Cosignatures(_Message, tag=22):
    """What members signed of checkpoints: the sender's own, what is new, or what is known of the newest."""

    cosignatures: Annotated[tuple[Cosignature, ...], Meta(min_length=1, max_length=MAX_COSIGNATURES)]


class CosignatureRequest(_Message, tag=23):
    """Asks for the newest cosignatures, and all members to cosign an idle tip anew."""


class MlDsaCosignatures(_Message, tag=24):
    """What members signed of the checkpoint at an epoch's end by ML-DSA-44, too."""

    cosignatures: Annotated[tuple[MlDsaCosignature, ...], Meta(min_length=1, max_length=MAX_ML_DSA_COSIGNATURES)]


Spread = Status | Certificates | NewBlock | Prune | Addresses | Cosignatures | MlDsaCosignatures
"""What nodes tell each other unasked."""
Said = Votes | Proposal | ProposalCertificates | RecoveryRequest | RecoveryResponse
"""What members say to each other to agree."""
Kept = BlockRequest | PayloadRequest | FinalizationRequest | HeaderRequest | ViewCertificateRequest
"""Requests for what the peer's host keeps."""
Answer = Blocks | Payloads | Finalizations | Headers
Request = RecoveryRequest | CertificateRequest | ProposalRequest | CosignatureRequest | Kept
Message = Spread | Said | Request | Answer

_SAID: Final = frozenset(get_args(Said))
_REQUESTS: Final = frozenset(get_args(Request))


def is_said(message: Message) -> TypeGuard[Said]:
    """`isinstance`, which asks each class of a union in turn, as one look-up: every message is asked."""
    return type(message) in _SAID


def is_request(message: Message) -> TypeGuard[Request]:
    """Likewise."""
    return type(message) in _REQUESTS


encode_message: Final[Callable[[Message], bytes]] = encode
"""The canonical bytes. What a node builds is within bounds; a peer checks."""

_codec: Codec[Message] = Codec(Message, MAX_MESSAGE_BYTES, "message")
decode_message: Final = _codec.decode
"""Raises `Refused` (E1, E2, E3) unless the bytes are a message."""

_URGENT: Final = frozenset({3, 5, 7, 9, 10, 11, 12, 13, 14, 15, 17, 19, 21, 22, 23})
"""Numbers of the messages by which members agree, and of all requests: small, or waited for. The others go in bulk."""


def is_urgent(data: bytes) -> bool:
    """Whether these bytes of a message overtake what goes in bulk; its number, after the array's head, tells."""
    return len(data) > 1 and data[1] in _URGENT


def _encoded_bytes(item: object) -> int:
    return len(encode(item))


def in_parts(
    items: Iterable[T],
    most: int,
    most_bytes: int = MAX_MESSAGE_BYTES // 2,
    size_of: Callable[[T], int] = _encoded_bytes,
) -> Iterator[tuple[T, ...]]:
    """Cut into what messages hold: `most` items, near `most_bytes` (one item may exceed it); other fields need room."""
    part: list[T] = []
    room_bytes = 0
    for item in items:
        size_bytes = size_of(item)
        if part and (size_bytes > room_bytes or len(part) == most):
            yield tuple(part)
            part = []
        room_bytes = (room_bytes if part else most_bytes) - size_bytes
        part.append(item)
    if part:
        yield tuple(part)


def certificates_in_parts(entries: Iterable[Entry], most_bytes: int) -> Iterator[Certificates]:
    """The entries in messages near this size."""
    return (Certificates(part) for part in in_parts(entries, MAX_ENTRIES, most_bytes, _entry_bytes))


def _entry_bytes(entry: Entry) -> int:
    """About its size; of a certificate it is known."""
    return len(entry.certificate.encoded) + (len(encode(entry.payload)) if entry.payload is not None else 2)


def votes_in_parts(tallies: Iterable[Tally]) -> list[Votes]:
    """The tallies in messages that are not too big."""
    return [Votes(part) for part in in_parts(tallies, MAX_TALLIES)]
