"""`Block`: an index, a parent and a list of certificates, signed by the one who forged it."""

from collections.abc import Callable, Sequence
from operator import is_
from typing import ClassVar, NamedTuple, Self

from tallystick.course.certificate import HASH_EXPECTED, Certificate
from tallystick.course.fields import checked, from_hex
from tallystick.course.ledger import LEDGER_ID
from tallystick.ledger.block import Block as EngineBlock
from tallystick.ledger.certificate import AnyCertificate, certificates_hash
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.fields import UNSIGNED, ZERO_DIGEST, Index, Nonce
from tallystick.ledger.header import VERSION, Header
from tallystick.ledger.keys import Domain
from tallystick.ledger.messages import Entry


class _BlockMemo(NamedTuple):
    """An encoding, and the very attributes and certificates it was made from."""

    names: tuple[str, ...]
    values: tuple[object, ...]
    entries: tuple[Entry, ...]
    block: EngineBlock


class Block(Certificate):
    """A block as the assignment has it. Its hash and signature cover its certificates, their signatures included."""

    _block_fields: ClassVar[frozenset[str]] = frozenset({"index", "parentBlockHash", "certificateList", "nonce"})

    def __init__(
        self, issuerPublicKey: str, index: int, parentBlockHash: str, certificateList: Sequence[Certificate]
    ) -> None:
        super().__init__(issuerPublicKey)
        self.index = index
        self.parentBlockHash = parentBlockHash
        self.certificateList = list(certificateList) if isinstance(certificateList, list | tuple) else certificateList
        self.nonce = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {vars(self).get('index')} at {hex(id(self))}>"

    def describe(self) -> dict[str, object]:
        """What `Blockchain.display` prints of it."""
        described = super().describe()
        for name in self._block_fields:
            described.pop(name)
        return {
            **described,
            "index": self.index,
            "parent": self.parentBlockHash,
            "certificates": [certificate.describe() for certificate in self.certificateList],
            "nonce": self.nonce,
        }

    # ---- from and to the engine -------------------------------------------------------------------------------

    def as_entry(self) -> Entry:
        """Refuse: a block is no certificate to be put into a box or another block."""
        raise Refused(Rule.E2, "a Block is no certificate; give it to new_block")

    def entries(self) -> tuple[Entry, ...]:
        """The engine's certificates with their payloads. Raises `Refused` (E1, E2)."""
        certificates = self._attribute("certificateList")
        if not isinstance(certificates, list | tuple):
            raise Refused(Rule.E2, f"certificateList is a {type(certificates).__name__}; it has to be a list")
        for one in certificates:
            if not isinstance(one, Certificate):
                raise Refused(Rule.E2, f"certificateList holds a {type(one).__name__}; it has to hold certificates")
        return tuple([one.as_entry() for one in certificates])

    def as_engine(self) -> EngineBlock:
        """The engine's block for what this one says now. Raises `Refused` (E1, E2)."""
        entries, attributes = self.entries(), vars(self)
        names, values = tuple(attributes), tuple(attributes.values())
        memo: _BlockMemo | None = self._memo
        if (
            memo is not None
            and memo.names == names
            and len(memo.entries) == len(entries)
            and all(map(is_, memo.values, values))
            and all(map(is_, memo.entries, entries))
        ):
            return memo.block
        certificates = tuple([entry.certificate for entry in entries])
        block = EngineBlock(self._header(certificates), self._signature(), certificates)
        self._memo = _BlockMemo(names, values, entries, block)
        return block

    @classmethod
    def from_engine(cls, block: EngineBlock, entries: tuple[Entry, ...], make: Callable[[Entry], Certificate]) -> Self:
        """A new object, with new certificates made of the block's entries, that says what the engine's block does."""
        header = block.header
        self = Certificate.__new__(cls)
        self.issuerPublicKey = header.forger.hex()
        self.timestamp = header.timestamp_ms
        self.signature = "" if block.signature == UNSIGNED else block.signature.hex()
        self.index = header.index
        self.parentBlockHash = header.parent_hash.hex()
        self.certificateList = [make(entry) for entry in entries]
        self.nonce = header.nonce
        attributes = vars(self)
        self._memo = _BlockMemo(tuple(attributes), tuple(attributes.values()), entries, block)
        return self

    def signed_part(self) -> tuple[Domain, bytes]:
        """What a signature of it is for, and the bytes that it covers. Raises `Refused` (E1, E2)."""
        return Domain.BLOCK, self.as_engine().header.encoded

    def _digest(self) -> bytes:
        """The header's hash; it covers the certificates."""
        return self.as_engine().hash

    def _header(self, certificates: Sequence[AnyCertificate]) -> Header:
        uncovered = vars(self).keys() - self._engine_fields - self._block_fields
        if uncovered:
            names = ", ".join(sorted(map(str, uncovered)))
            raise Refused(Rule.E2, f"a block's hash does not cover {names}; put it into a certificate")
        index = checked("index", self._attribute("index"), Index, "it has to be a whole number, 0 or more")
        return Header(
            version=VERSION,
            ledger_id=LEDGER_ID,
            epoch=0,
            index=index,
            view=index,
            parent_hash=from_hex("parentBlockHash", self._attribute("parentBlockHash"), 32, HASH_EXPECTED),
            timestamp_ms=self._time(),
            forger=self._issuer(),
            certificates_hash=certificates_hash(certificates),
            state_root=ZERO_DIGEST,
            nonce=checked("nonce", self._attribute("nonce"), Nonce, "it has to be a whole number, 0 or more"),
        )
