"""The blocks above the final tip: those that are known whole, what the gate says of them, and those asked for."""

from collections.abc import Callable, Set
from dataclasses import dataclass

from tallystick.consensus.agreement import IllegalProposal, Output, RequestBlock
from tallystick.ledger.block import VerifiedBlock
from tallystick.ledger.blockchain import NOTHING, Blockchain
from tallystick.ledger.certificate import Statement
from tallystick.ledger.certificate_index import Found
from tallystick.ledger.errors import Refused
from tallystick.ledger.header import Header
from tallystick.ledger.state import State


@dataclass
class Pending:
    """A block above the final tip, whole, and passed by the gate."""

    block: VerifiedBlock
    state: State
    ids: dict[bytes, int]
    """Of each certificate its place in the block."""
    parent: "Pending | None"

    def known(self, ids: Set[bytes]) -> Set[bytes]:
        """Those of these ids whose certificates stand in this block, or one below it, down to the final tip."""
        return set[bytes]().union(*(link.ids.keys() & ids for link in self.path()))

    def find(self, certificate_id: bytes) -> Found | None:
        """Where in the log that certificate stands then, and its issuer."""
        for link in self.path():
            if (position := link.ids.get(certificate_id)) is not None:
                one = link.block.certificates[position]
                log_index = link.state.log.size - len(link.ids) + position
                return Found(log_index, one.issuer if isinstance(one, Statement) else None)
        return None

    def path(self) -> "list[Pending]":
        """The blocks from the final tip up to this one."""
        links = [self]
        while links[-1].parent is not None:
            links.append(links[-1].parent)
        return links[::-1]


class Proposals:
    """The blocks of one epoch. Which of them are kept is for `Views` to say."""

    def __init__(self, chain: Blockchain, outputs: list[Output]) -> None:
        self._chain, self._outputs = chain, outputs
        self._whole: dict[bytes, VerifiedBlock] = {}
        """By hash; whatever stands in the others stands here, too."""
        self._passed: dict[bytes, Pending] = {}
        """Each with all before it, down to the final tip."""
        self._refused: dict[bytes, Refused] = {}
        self._requested: set[bytes] = set()
        self._voted: set[bytes] = set()
        self._unpersisted: list[VerifiedBlock] = []

    def whole(self, block_hash: bytes) -> VerifiedBlock | None:
        """A block that is not final yet, if it is known whole, whatever the gate says of it."""
        return self._whole.get(block_hash)

    def refusal(self, block_hash: bytes) -> Refused | None:
        """Why the gate refused a block, if it did."""
        return self._refused.get(block_hash)

    def validate(self, block_hash: bytes) -> Pending | None:
        """The block with its state, if it and all before it down to the final tip are known whole and legal."""
        path: list[VerifiedBlock] = []
        wanted = block_hash
        while wanted not in self._passed and wanted != self._chain.state.tip.hash:
            if wanted in self._refused:
                self._refused.update((one.hash, self._refused[wanted]) for one in path)
                return None
            if (block := self._whole.get(wanted)) is None:
                self.request(wanted)
                return None
            path.append(block)
            wanted = block.header.parent_hash
        parent = self._passed.get(wanted)
        for block in reversed(path):
            base = parent.state if parent else self._chain.state
            if base.epoch.number != self._chain.state.epoch.number:
                return None  # the next epoch begins on a final block only
            try:
                state = self._chain.after(block, base, parent if parent else NOTHING)
            except Refused as refused:
                self._refused[block.hash] = refused
                self._outputs.append(IllegalProposal(block.header.forger, refused))
                return None
            places = {one.id: place for place, one in enumerate(block.certificates)}
            parent = Pending(block, state, places, parent)
            self._passed[block.hash] = parent
        return parent

    def state_after(self, block_hash: bytes) -> State | None:
        """What the final tip led to, or a block above it that was found legal."""
        if block_hash == self._chain.state.tip.hash:
            return self._chain.state
        passed = self._passed.get(block_hash)
        return passed.state if passed is not None else None

    def is_requested(self, block_hash: bytes) -> bool:
        """Whether the block is asked for."""
        return block_hash in self._requested

    def request(self, block_hash: bytes) -> None:
        """Ask for a block, once; the final tip, if it is proposed again, is there."""
        if block_hash not in self._requested and block_hash != self._chain.state.tip.hash:
            self._requested.add(block_hash)
            self._outputs.append(RequestBlock(block_hash))

    def ask_again(self) -> None:
        """Blocks that were asked for in vain are asked for anew when they are wanted."""
        self._requested = set()

    def keep(self, block: VerifiedBlock) -> None:
        """Keep a whole block."""
        self._whole[block.hash] = block

    def voted_for(self, block: VerifiedBlock) -> None:
        """This member votes for the block: it is to be persisted, once."""
        if block.hash not in self._voted:
            self._voted.add(block.hash)
            self._unpersisted.append(block)

    def take_unpersisted(self) -> list[VerifiedBlock]:
        """The blocks that are to be persisted before the votes for them leave."""
        unpersisted, self._unpersisted = self._unpersisted, []
        return unpersisted

    def forget(self, is_wanted: Callable[[Header], bool]) -> None:
        """Let go of the blocks that are not wanted any more."""
        self._whole = {one: block for one, block in self._whole.items() if is_wanted(block.header)}
        self._passed = {one: pending for one, pending in self._passed.items() if one in self._whole}
        self._refused = {one: refused for one, refused in self._refused.items() if one in self._whole}
        self._voted &= self._whole.keys()

    def tip_advanced(self) -> None:
        """The chain's tip moved: what hung from elsewhere is looked at anew."""
        self._passed = {}
