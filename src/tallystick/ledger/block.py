"""Blocks: a signed header over a list of certificates."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, cast

from msgspec import Meta

from tallystick.ledger.certificate import AnyCertificate, certificates_hash, check_signed
from tallystick.ledger.encoding import Codec, Encoded
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.fields import UNSIGNED, Signature
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.header import VERSION, Header, SignedHeader
from tallystick.ledger.keys import Verify, is_signed
from tallystick.ledger.params import MAX_BLOCK_BYTES, MAX_BLOCK_CERTIFICATES
from tallystick.ledger.state import genesis_state


class Block(Encoded):
    """A header, its forger's signature, and the certificates that the header covers, in order."""

    header: Header
    signature: Signature
    certificates: Annotated[tuple[AnyCertificate, ...], Meta(max_length=MAX_BLOCK_CERTIFICATES)]

    @property
    def hash(self) -> bytes:
        """The block's hash is its header's."""
        return self.header.hash

    @property
    def index(self) -> int:
        """Place on the chain; the genesis block's is 0."""
        return self.header.index

    @property
    def signed_header(self) -> SignedHeader:
        """What the forger signed, and its signature."""
        return SignedHeader(self.header, self.signature)


block_codec: Codec[Block] = Codec(Block, MAX_BLOCK_BYTES, "block")


if TYPE_CHECKING:  # `NewType`, in other words, which mypy cannot make of a struct

    class VerifiedBlock(Block, frozen=True):
        """A block whose signatures are known to be good: they were verified, made here, or kept by this node."""

else:
    VerifiedBlock = Block


def verified(block: Block) -> VerifiedBlock:
    """The same block, marked. Only verification, forging, and reading back what this node kept may call this."""
    return cast(VerifiedBlock, block)


def genesis_block(genesis: Genesis) -> Block:
    """Block 0: derived from the genesis, unsigned, without certificates; every node makes its own."""
    return Block(genesis_state(genesis).tip, UNSIGNED, ())


def check_signatures(
    block: Block,
    ledger_id: bytes,
    verify: Verify = is_signed,
    is_known: Callable[[AnyCertificate], bool] = lambda certificate: False,
) -> None:
    """Raise `Refused` (B10, B3, B5) unless the signatures, but for those in certificates that are known, are good."""
    block.signed_header.check(ledger_id, verify)
    for one in block.certificates:
        try:
            if not is_known(one):
                check_signed(one, ledger_id, verify)
        except Refused as refused:
            raise Refused(Rule.B5, str(refused)) from refused


def check_form(block: Block, ledger_id: bytes) -> None:
    """What a block shows without its chain and without signatures. Raises `Refused` (E4, B10, B7, B9)."""
    header = block.header
    if header.version != VERSION:
        raise Refused(Rule.E4, f"block of version {header.version}, {VERSION} is known")
    if header.ledger_id != ledger_id:
        raise Refused(Rule.B10, f"ledger {header.ledger_id.hex()[:16]}…, this is {ledger_id.hex()[:16]}…")
    check_certificates_hash(block)
    if len(block.encoded) > MAX_BLOCK_BYTES:
        raise Refused(Rule.B9, f"{len(block.encoded)} bytes, {MAX_BLOCK_BYTES} allowed")


def check_certificates_hash(block: Block) -> None:
    """Raise `Refused` (B7) unless the header covers these certificates, signatures included."""
    if certificates_hash(block.certificates) != block.header.certificates_hash:
        raise Refused(Rule.B7, "the header's hash over the certificates is not theirs")
