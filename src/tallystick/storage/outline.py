"""A block of which the certificates stay as bytes."""

from typing import Annotated

from msgspec import Meta, Raw

from tallystick.ledger.encoding import Codec, Encoded
from tallystick.ledger.fields import Signature
from tallystick.ledger.header import Header
from tallystick.ledger.params import MAX_BLOCK_BYTES, MAX_BLOCK_CERTIFICATES


class Outline(Encoded):
    """A block whose certificates are not decoded: of many, a proof is of one."""

    header: Header
    signature: Signature
    certificates: Annotated[tuple[Raw, ...], Meta(max_length=MAX_BLOCK_CERTIFICATES)]

    @property
    def index(self) -> int:
        """As of the block."""
        return self.header.index


outline_codec: Codec[Outline] = Codec(Outline, MAX_BLOCK_BYTES, "block")
