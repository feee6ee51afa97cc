"""The node's copy of the chain: the blocks that peers send, judged as they arrive, and added in their turn."""

from typing import Final

from tallystick.consensus.agreement import Finalized, StateMismatch
from tallystick.ledger.block import Block, VerifiedBlock, verified
from tallystick.ledger.blockchain import Blockchain
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.finality import Finalization, check_final
from tallystick.ledger.messages import Blocks, Finalizations, Headers
from tallystick.ledger.state import State
from tallystick.node.certificate_box import CertificateBox
from tallystick.node.checkpoints import Checkpoints
from tallystick.node.events import Action, Peer, PersistBlock, ReportBlock, give_up, refuse
from tallystick.node.payload_search import PayloadSearch
from tallystick.node.sync import SetAside, Sync

RECENT_BLOCKS: Final = 256
"""How many of the latest blocks are known again by their hash."""


class ChainCopy:
    """What is final gets on it, by whichever rule (`Finality`)."""

    def __init__(
        self, chain: Blockchain, box: CertificateBox, search: PayloadSearch, sync: Sync, checkpoints: Checkpoints
    ) -> None:
        self.chain = chain
        self.checkpoints = checkpoints
        self.sync = sync
        self.finality = sync.finality
        self.finalization: Finalization | None = None
        """The votes that made the tip final, if they came with it."""
        self.mismatch: Refused | None = None
        """Why this node's state is not the ledger's; then nothing is added any more."""
        self._box = box
        self._search = search
        self._recent: dict[bytes, bytes] = {chain.state.tip.hash: b""}

    def remember(self, block_hash: bytes, signature: bytes = b"") -> None:
        """Know the block again, for a while."""
        self._recent[block_hash] = signature
        if len(self._recent) > RECENT_BLOCKS:
            del self._recent[next(iter(self._recent))]

    def knows(self, block_hash: bytes) -> bool:
        """Whether this is one of the latest blocks of the chain."""
        return block_hash in self._recent

    def has_verified(self, block: Block) -> bool:
        """Whether this very block, its forger's signature included, is one of the latest of the chain."""
        return self._recent.get(block.hash) == block.signature

    # ---- what peers send --------------------------------------------------------------------------------------

    def receive_new(self, now_ms: int, peer: Peer, block: VerifiedBlock, actions: list[Action]) -> None:
        """A block from its forger: the next one is added, an early one set aside, if that alone makes it final."""
        self.sync.heard_tip(peer, block.index, block.header.epoch)
        if self.knows(block.hash):
            return
        try:
            self.finality.check(Blocks(block.index, (block,)), now_ms)
        except Refused as refused:
            refuse(peer, refused, actions)
        else:
            self._take(now_ms, peer, SetAside(block, None), actions)

    def receive(self, now_ms: int, peer: Peer, answer: Blocks, actions: list[Action]) -> None:
        """Blocks that were asked for; their proof is looked at before anything else."""
        start, blocks = answer.start, answer.blocks
        if any(block.index != start + place for place, block in enumerate(blocks)):
            return refuse(peer, Refused(Rule.N4, f"blocks from {start} on were asked for, others came"), actions)
        if not self.sync.answered(peer, start, len(blocks), now_ms) or not blocks:
            return None  # an answer that comes after its time, or twice; or the peer has none of them
        try:
            self.finality.check(answer, now_ms)
        except Refused as refused:
            self.sync.distrust(peer, now_ms)
            return refuse(peer, refused, actions)
        self.sync.came(blocks)
        for block in blocks:
            is_proof = block is blocks[-1] and not answer.headers
            aside = SetAside(verified(block), answer.finalization if is_proof else None)
            if block.index > self.chain.state.index and not self._take(now_ms, peer, aside, actions):
                break  # the rest stands on this one
        return None

    def receive_proof(self, now_ms: int, peer: Peer, proof: Finalizations | Headers, actions: list[Action]) -> None:
        """What a peer was asked to prove of the chain ahead; where its proof ends, its claims end too."""
        if not self.sync.proof_answered(peer, proof):
            return
        try:
            has_more = self.finality.take(proof)
        except Refused as refused:
            self.sync.distrust(peer, now_ms)
            refuse(peer, refused, actions)
        else:
            if not has_more:
                self.sync.proved(peer)

    def take_set_aside(self, now_ms: int, actions: list[Action]) -> None:
        """The tip moved: blocks set aside get their turn, one after the other."""
        while candidates := self.sync.take(self.chain.state.index + 1):
            if not any(self._try(now_ms, peer, aside, actions) for peer, aside in candidates):
                break

    # ---- what gets on it --------------------------------------------------------------------------------------

    def add_agreed(self, finalized: Finalized, actions: list[Action]) -> None:
        """Add the blocks that agreement made final; the gate has passed them."""
        for block, state in zip(finalized.blocks, finalized.states, strict=True):
            is_last = block is finalized.blocks[-1]
            self._add(block, state, finalized.finalization if is_last else None, actions)

    def _take(self, now_ms: int, peer: Peer, aside: SetAside, actions: list[Action]) -> bool:
        """Add a block, or set it aside if it came early. Returns whether it may be right."""
        if aside.block.index <= self.chain.state.index + 1:
            return self._try(now_ms, peer, aside, actions)
        try:
            self.sync.set_aside(peer, aside)
        except Refused as refused:
            refuse(peer, refused, actions)
        return True

    def _try(self, now_ms: int, peer: Peer, aside: SetAside, actions: list[Action]) -> bool:
        if self.mismatch is not None:
            return False
        before, block, tally = self.chain.state, aside.block, aside.finalization
        try:
            state = self.chain.after(block)
            if tally is not None:
                check_final(before.epoch, block.header, tally)
            finalization = Finalization(tally, before.epoch) if tally is not None else None
        except Refused as refused:
            self.sync.distrust(peer, now_ms)
            refuse(peer, refused, actions)
            if self.finality.is_mismatch(refused):
                self.mismatch = refused
                actions.append(StateMismatch(refused))
            return False
        self._search.connected(peer)
        self._add(block, state, finalization, actions)
        return True

    def _add(
        self, block: VerifiedBlock, state: State, finalization: Finalization | None, actions: list[Action]
    ) -> None:
        """Publish a block: it is kept and told of, and its certificates leave the box."""
        before = self.chain.state.epoch
        self.chain.publish(block, state)
        self.remember(block.hash, block.signature)
        self.finalization = finalization
        payloads, left = self._box.tip_advanced(block.certificates, state)
        self.sync.added(block.index)
        ends_epoch = state.epoch.number != before.number
        roots = state.roots if ends_epoch else None
        members = state.epoch.members if ends_epoch and state.epoch.members != before.members else None
        oldest = state.epoch_ends[0].epoch if state.epoch_ends else state.epoch.number
        tally = finalization.tally if finalization is not None else None
        decided = tuple(state.decided.items())
        actions.extend(self.checkpoints.take_unkept())  # beside the block, so without a sync of their own
        kept = tuple(payloads.values())
        actions.append(PersistBlock(block, kept, tally, roots, members, oldest, decided, state.members_hash))
        self.finality.tip_advanced(state)
        self.checkpoints.added(state, before)
        actions.append(ReportBlock(block, forged_here=self.checkpoints.own == block.header.forger))
        give_up(left, actions)
        self._search.want_those_of(block, payloads)
