"""What nodes say to each other: a closed union, in canonical bytes."""

from typing import Annotated, Final

from msgspec import Meta, Struct

from tallystick.ledger.block import Block, Index
from tallystick.ledger.certificate import AnyCertificate, Payload
from tallystick.ledger.encoding import Codec, Digest, encode
from tallystick.ledger.params import MAX_MESSAGE_BYTES

MAX_IDS: Final = 4096
MAX_ENTRIES: Final = 8192
MAX_RANGE_BLOCKS: Final = 256

Ids = Annotated[tuple[Digest, ...], Meta(max_length=MAX_IDS)]


class Entry(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A certificate on its way, with the payload it covers unless that was erased or is not at hand."""

    certificate: AnyCertificate
    payload: Payload | None = None


class Status(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag_field="kind", tag=1):
    """Where a node stands: its ledger, its tip, and the ids of certificates waiting in its box."""

    ledger_id: Digest
    tip_index: Index
    tip_hash: Digest
    waiting: Ids


class Certificates(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag_field="kind", tag=2):
    """New certificates, or the ones that were asked for."""

    entries: Annotated[tuple[Entry, ...], Meta(min_length=1, max_length=MAX_ENTRIES)]


class CertificateRequest(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag_field="kind", tag=3):
    """Asks for certificates waiting in the peer's box."""

    ids: Ids


class NewBlock(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag_field="kind", tag=4):
    """A block just forged, passed on by every node that finds it legal."""

    block: Block


class BlockRequest(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag_field="kind", tag=5):
    """Asks for `count` blocks from index `start` on; fewer may come."""

    start: Index
    count: Annotated[int, Meta(ge=1, le=MAX_RANGE_BLOCKS)]


class Blocks(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag_field="kind", tag=6):
    """Answers a block request: consecutive blocks from index `start` on, none when the peer has none of them."""

    start: Index
    blocks: Annotated[tuple[Block, ...], Meta(max_length=MAX_RANGE_BLOCKS)]


class PayloadRequest(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag_field="kind", tag=7):
    """Asks for payloads by their hashes."""

    hashes: Ids


class Payloads(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag_field="kind", tag=8):
    """Answers a payload request with those at hand; erased ones stay away."""

    payloads: Annotated[tuple[Payload, ...], Meta(max_length=MAX_IDS)]


Message = Status | Certificates | CertificateRequest | NewBlock | BlockRequest | Blocks | PayloadRequest | Payloads

_codec: Codec[Message] = Codec(Message, MAX_MESSAGE_BYTES, "message")


def encode_message(message: Message) -> bytes:
    """The canonical bytes. What a node builds is within bounds; a peer checks."""
    return encode(message)


def decode_message(data: bytes) -> Message:
    """Raise `Refused` (E1, E2, E3) unless the bytes are a message."""
    return _codec.decode(data)
