"""The one step between the network and the node: from bytes to a checked message, or to refusals.

Bounds, form, what is known already, signatures, in that order: the cheap checks first.
"""

from collections.abc import Callable
from typing import Protocol

from tallystick.ledger.block import Block, check_block_alone
from tallystick.ledger.certificate import AnyCertificate, certificate_codec, check_payload, payload_codec
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.keys import is_signed
from tallystick.ledger.messages import Blocks, Certificates, Entry, Message, NewBlock, decode_message
from tallystick.node.events import CheckedEntry, CheckedMessage


class Knowledge(Protocol):
    """What a node knows already, so that nothing is verified twice."""

    def has_verified(self, certificate: AnyCertificate) -> bool:
        """Whether these very bytes, signature included, were verified before."""

    def knows_block(self, block_hash: bytes) -> bool:
        """Whether a block with this hash was accepted before."""

    def awaits_blocks(self, start: int) -> bool:
        """Whether blocks from this index on were asked for and have not come."""


class Intake:
    """Checks what can be checked without the chain. `verify` and `decode` stand open for workers and for caches."""

    def __init__(
        self,
        ledger_id: bytes,
        knowledge: Knowledge,
        verify: Callable[[bytes, bytes, bytes], bool] = is_signed,
        decode: Callable[[bytes], Message] = decode_message,
    ) -> None:
        self._ledger_id = ledger_id
        self._knowledge = knowledge
        self._verify = verify
        self._decode = decode

    def check(self, data: bytes) -> CheckedMessage:
        """Check a peer's bytes. Never raises: what is illegal comes back as refusals (E*, C1, C3, B3 to B10)."""
        try:
            message = self._decode(data)
        except Refused as refused:
            return CheckedMessage(None, (refused,))
        match message:
            case Certificates(entries):
                return self._check_entries(entries)
            case NewBlock(block):
                return self._check_blocks(message, (block,))
            case Blocks(start, blocks):
                if not self._knowledge.awaits_blocks(start):
                    return CheckedMessage(None)  # an answer that comes late, twice, or unasked is not worth a look
                return self._check_blocks(message, blocks)
            case _:
                return CheckedMessage(message)

    def check_entry(self, entry: Entry) -> CheckedEntry:
        """Check a person's certificate, which no decoder has seen yet. Raises `Refused` (E1, E2, C3, C1)."""
        certificate_codec.encode_checked(entry.certificate)
        if entry.payload is not None:
            payload_codec.encode_checked(entry.payload)
        self._check_decoded(entry)
        return CheckedEntry(entry)

    def check_block(self, block: Block) -> None:
        """Check a block by itself. Raises `Refused` (E4, B10, B9, B7, B3, B5)."""
        check_block_alone(block, self._ledger_id)
        if self._knowledge.knows_block(block.hash):
            return
        if not self._verify(block.header.signed_bytes(), block.signature, block.header.forger):
            raise Refused(Rule.B3, f"block {block.index}: the signature is not its forger's")
        for certificate in block.certificates:
            try:
                self._check_signature(certificate)
            except Refused as refused:
                raise Refused(Rule.B5, str(refused)) from refused

    def _check_entries(self, entries: tuple[Entry, ...]) -> CheckedMessage:
        good, refusals = [], []
        has_verified = self._knowledge.has_verified  # most of what gossip brings was heard from another side before
        for entry in [entry for entry in entries if not has_verified(entry.certificate)]:
            try:
                self._check_decoded(entry)
            except Refused as refused:
                refusals.append(refused)
            else:
                good.append(entry)
        return CheckedMessage(Certificates(tuple(good)) if good else None, tuple(refusals))

    def _check_decoded(self, entry: Entry) -> None:
        check_payload(entry.certificate, entry.payload)
        self._check_signature(entry.certificate)

    def _check_blocks(self, message: Message, blocks: tuple[Block, ...]) -> CheckedMessage:
        try:
            for block in blocks:
                self.check_block(block)
        except Refused as refused:
            return CheckedMessage(None, (refused,))
        return CheckedMessage(message)

    def _check_signature(self, certificate: AnyCertificate) -> None:
        if self._knowledge.has_verified(certificate):
            return
        if not self._verify(certificate.signed_bytes(self._ledger_id), certificate.signature, certificate.issuer):
            raise Refused(Rule.C1, f"certificate {certificate.id.hex()[:16]}…: the signature is not its issuer's")
