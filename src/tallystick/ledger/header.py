"""Headers: what a forger signs of a block, and what two of them prove against it."""

from typing import Final

from tallystick.ledger.encoding import Encoded, derived, digest
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.fields import Digest, Index, Milliseconds, Nonce, PublicKey, Signature, Version
from tallystick.ledger.keys import Domain, Verify, signed_bytes

VERSION: Final = 1


class Header(Encoded):
    """What a forger signs."""

    version: Version
    ledger_id: Digest
    epoch: Index
    index: Index
    view: Index
    """The attempt in which the forger was drawn; for the lone forger, the index."""
    parent_hash: Digest
    timestamp_ms: Milliseconds
    forger: PublicKey
    certificates_hash: Digest
    state_root: Digest
    """Hash of the `StateRoots` after the block."""
    nonce: Nonce = 0

    @derived
    def hash(self) -> bytes:
        """The block's hash: SHA-256 of the encoded header, 32 bytes."""
        return digest(self.encoded)

    def signed_bytes(self) -> bytes:
        """The message under the forger's signature."""
        return signed_bytes(Domain.BLOCK, self.ledger_id, self.encoded)


class SignedHeader(Encoded):
    """A block without its certificates: enough to show what its forger signed."""

    header: Header
    signature: Signature

    def conflicts_with(self, other: "SignedHeader") -> bool:
        """Whether no honest forger signs both (rule V3): two blocks in one view."""
        mine, theirs = self.header, other.header
        return mine != theirs and (mine.forger, mine.epoch, mine.view) == (theirs.forger, theirs.epoch, theirs.view)

    def check(self, ledger_id: bytes, verify: Verify) -> None:
        """Raise `Refused` (B10, B3) unless the header is for this ledger, and signed by its forger."""
        header = self.header
        if header.ledger_id != ledger_id:
            raise Refused(Rule.B10, f"ledger {header.ledger_id.hex()[:16]}…, this is {ledger_id.hex()[:16]}…")
        if not verify(header.signed_bytes(), self.signature, header.forger):
            raise Refused(Rule.B3, f"block {header.index}: the signature is not its forger's")
