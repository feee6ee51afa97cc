"""What a course node keeps beside the engine: its chain, and what turns engine structs back into course objects."""

from collections.abc import Callable, Iterable

from tallystick.course.block import Block
from tallystick.course.certificate import Certificate
from tallystick.course.ledger import GENESIS
from tallystick.course.stake import StakingOperation
from tallystick.ledger.block import Block as EngineBlock
from tallystick.ledger.block import genesis_block
from tallystick.ledger.certificate import AnyCertificate, Payload
from tallystick.ledger.certificate import StakingOperation as EngineStakingOperation
from tallystick.ledger.messages import Entry
from tallystick.ledger.state import State


class Records:
    """The accepted chain, with a course object for each block that was looked at; and what is noted of others."""

    def __init__(self, waiting: Callable[[bytes], Entry | None]) -> None:
        """`waiting` finds an entry in the box by its certificate's id."""
        self._waiting = waiting
        self._blocks: list[EngineBlock] = [genesis_block(GENESIS)]
        self._objects: list[Block | None] = [None]
        self._kept_payloads: dict[bytes, Payload] = {}
        self._classes: dict[bytes, type[Certificate]] = {}
        self._noted: dict[bytes, EngineBlock] = {}
        self._payloads: dict[bytes, Payload] = {}

    def __len__(self) -> int:
        """Blocks on the chain, the genesis block among them."""
        return len(self._objects)

    def engine_block(self, index: int) -> EngineBlock:
        """The chain's block at this index, as the engine accepted it."""
        return self._blocks[index]

    def block(self, index: int) -> Block:
        """The course object of the chain's block at this index: made at the first look, the same from then on."""
        made = self._objects[index]
        if made is None:
            made = self._objects[index] = self.course_block(self.engine_block(index))
        return made

    def has(self, block: EngineBlock) -> bool:
        """Whether this block is on the chain."""
        return block.index < len(self) and self.engine_block(block.index).hash == block.hash

    def keep(self, block: EngineBlock, payloads: Iterable[Payload] = ()) -> None:
        """Add the next block, unless `follow` did."""
        if block.index == len(self):
            self._blocks.append(block)
            self._objects.append(None)
        for payload in payloads:
            self.keep_payload(payload)

    def keep_payload(self, payload: Payload) -> None:
        """Keep what a certificate on the chain covers."""
        self._kept_payloads[payload.hash()] = payload

    def follow(self, state: State) -> None:
        """Keep noted blocks up to the state: the node added them, its actions have not been carried out yet."""
        behind, block_hash = [], state.tip.hash
        for _ in range(len(self), state.index + 1):
            block = self._noted[block_hash]
            behind.append(block)
            block_hash = block.header.parent_hash
        for block in reversed(behind):
            self.keep(block)

    # ---- what comes and goes ----------------------------------------------------------------------------------

    def note_class(self, certificate: Certificate, entry: Entry) -> None:
        """Remember of which class a certificate is, if it is a student's own."""
        if type(certificate) not in (Certificate, StakingOperation):
            self._classes.setdefault(entry.certificate.id, type(certificate))

    def note_block(self, block: Block, engine_block: EngineBlock) -> None:
        """Remember a block that is about to be judged, and what its certificates carry."""
        self._noted[engine_block.hash] = engine_block
        for certificate, entry in zip(block.certificateList, block.entries(), strict=True):
            self.note_class(certificate, entry)
            if entry.payload is not None:
                self._payloads[entry.payload.hash()] = entry.payload

    def note_forged(self, block: EngineBlock) -> None:
        """Remember a block that this node forged from its box and is about to judge."""
        self._noted[block.hash] = block
        for certificate in block.certificates:
            payload = self.entry(certificate).payload
            if payload is not None:
                self._payloads[payload.hash()] = payload

    def noted_block(self, block_hash: bytes) -> EngineBlock:
        """A block that is being judged, or waits for the ones before it."""
        return self._noted[block_hash]

    def payloads(self, hashes: Iterable[bytes]) -> tuple[Payload, ...]:
        """Those of the payloads that came along with a block."""
        return tuple([self._payloads[one] for one in hashes if one in self._payloads])

    def forget_noted(self) -> None:
        """Nothing waits for its turn any more."""
        self._noted.clear()
        self._payloads.clear()

    def learn_classes(self, other: "Records") -> None:
        """Know the classes that the other knows."""
        self._classes |= other._classes

    # ---- back to course objects -------------------------------------------------------------------------------

    def entry(self, certificate: AnyCertificate) -> Entry:
        """The certificate with its payload, which is in the box, beside the chain, or came along with a block."""
        waiting = self._waiting(certificate.id)
        if waiting is not None:
            return waiting
        if certificate.payload_hash is None:
            return Entry(certificate)
        at_hand = self._payloads.get(certificate.payload_hash)
        return Entry(certificate, at_hand or self._kept_payloads.get(certificate.payload_hash))

    def course_certificate(self, entry: Entry) -> Certificate:
        """A new object of the class that it came as."""
        usual = StakingOperation if isinstance(entry.certificate, EngineStakingOperation) else Certificate
        return self._classes.get(entry.certificate.id, usual).from_entry(entry)

    def course_block(self, block: EngineBlock) -> Block:
        """A new object."""
        entries = tuple([self.entry(certificate) for certificate in block.certificates])
        return Block.from_engine(block, entries, self.course_certificate)
