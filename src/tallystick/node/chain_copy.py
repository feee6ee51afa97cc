"""The node's copy of the chain: the blocks that peers send, judged as they arrive, and added in their turn."""

from typing import Final

from tallystick.consensus.agreement import Finalized
from tallystick.ledger.block import Block
from tallystick.ledger.blockchain import Blockchain, State
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.finality import Members, check_final
from tallystick.ledger.messages import Blocks, Finalizations, Headers
from tallystick.ledger.vote import Tally
from tallystick.ledger.wallet import Wallet
from tallystick.node.certificate_box import CertificateBox
from tallystick.node.events import (
    Action,
    ForgetCertificate,
    Peer,
    PersistBlock,
    ReportBlock,
    ReportRefused,
    refuse,
)
from tallystick.node.finality_proofs import Checkpoint, FinalityProofs
from tallystick.node.limits import Limits
from tallystick.node.payload_search import PayloadSearch
from tallystick.node.sync import SetAside, Sync

RECENT_BLOCKS: Final = 256
"""How many of the latest blocks are known again by their hash."""


class ChainCopy:
    """With `votes` (Simplex) only final blocks get on it; without, those that the lone forger signed."""

    def __init__(self, chain: Blockchain, box: CertificateBox, search: PayloadSearch, limits: Limits) -> None:
        self.chain = chain
        self.finalization: Tally | None = None
        """The votes that made the tip final, if they came with it."""
        self.proofs: FinalityProofs | None = None
        self.sync = Sync(limits)
        self._box = box
        self._search = search
        self._limits = limits
        self._own: bytes | None = None
        self._epoch = chain.state.epoch
        self._recent: dict[bytes, None] = {chain.state.tip.hash: None}

    def follow_votes(self, checkpoint: Checkpoint | None, wallet: Wallet | None) -> None:
        """From here on only what votes made final, or the trusted checkpoint names, is taken (Simplex).

        `wallet` is what this node forges with, if it does.
        """
        self.proofs = FinalityProofs(self.chain.state, self.chain.genesis.params, self._limits.range_blocks, checkpoint)
        self.sync = Sync(self._limits, self.proofs)
        self._own = wallet.public_key if wallet else None

    def remember(self, block_hash: bytes) -> None:
        """Know the block again, for a while."""
        self._recent[block_hash] = None
        if len(self._recent) > RECENT_BLOCKS:
            del self._recent[next(iter(self._recent))]

    def knows(self, block_hash: bytes) -> bool:
        """Whether this is one of the latest blocks of the chain."""
        return block_hash in self._recent

    @property
    def state(self) -> State:
        """The state at the tip."""
        return self.chain.state

    @property
    def counts_votes(self) -> bool:
        """Whether votes count here yet: below a trusted checkpoint, keys sold since could make up another history."""
        return self.proofs is not None and not self.proofs.is_below_checkpoint

    # ---- what peers send: each returns whether the tip moved --------------------------------------------------

    def receive_new(self, now_ms: int, peer: Peer, block: Block, actions: list[Action]) -> bool:
        """A block that its forger's word makes final: the next one is added, an early one set aside."""
        if self.proofs is not None:
            refuse(peer, Refused(Rule.V2, f"block {block.index} comes without a finalization"), actions)
            return False
        self.sync.heard_tip(peer, block.index)
        if block.index > self.state.index + 1:
            self._set_aside(peer, SetAside(block, None), actions)
            return False
        return not self.knows(block.hash) and self._try(now_ms, peer, SetAside(block, None), actions)

    def receive(self, now_ms: int, peer: Peer, answer: Blocks, actions: list[Action]) -> bool:
        """Blocks that were asked for; with votes, their proof is looked at before anything else."""
        start, blocks = answer.start, answer.blocks
        if any(block.index != start + place for place, block in enumerate(blocks)):
            refuse(peer, Refused(Rule.N4, f"blocks from {start} on were asked for, others came"), actions)
            return False
        if not self.sync.answered(peer, start, len(blocks), now_ms) or not blocks:
            return False  # an answer that comes after its time, or twice; or the peer has none of them
        if self.proofs is not None:
            try:
                self.proofs.check(blocks, answer.headers, answer.finalization)
            except Refused as refused:
                self.sync.distrust(peer, now_ms)
                refuse(peer, refused, actions)
                return False
        before = self.state.index
        for block in blocks:
            is_proof = block is blocks[-1] and not answer.headers
            aside = SetAside(block, answer.finalization if is_proof else None)
            if block.index > self.state.index + 1:
                self._set_aside(peer, aside, actions)
            elif block.index == self.state.index + 1 and not self._try(now_ms, peer, aside, actions):
                break  # the rest stands on this one
        return self.state.index > before

    def receive_proof(self, now_ms: int, peer: Peer, proof: Finalizations | Headers, actions: list[Action]) -> None:
        """What a peer was asked to prove of the chain ahead; where its proof ends, its claims end too."""
        asked = self.sync.proof_asked(peer)
        if self.proofs is None or asked is None or not self.proofs.fits(proof, asked):
            return
        self.sync.proof_answered()
        try:
            if isinstance(proof, Headers):
                self.proofs.pin(proof.headers)
                has_no_more = not proof.headers
            else:
                proven = self.proofs.extend(proof.proofs)
                is_tip = proven % self.chain.genesis.params.epoch_blocks > 0
                has_no_more = is_tip or self.proofs.horizon < asked
        except Refused as refused:
            self.sync.distrust(peer, now_ms)
            refuse(peer, refused, actions)
        else:
            if has_no_more:
                self.sync.proved(peer, self.proofs.horizon)

    def take_set_aside(self, now_ms: int, actions: list[Action]) -> None:
        """The tip moved: blocks set aside get their turn, one after the other."""
        while candidates := self.sync.take(self.state.index + 1):
            index = self.state.index
            for peer, aside in candidates:
                if self.state.index == index:
                    self._try(now_ms, peer, aside, actions)
            if self.state.index == index:
                break

    # ---- what gets on it --------------------------------------------------------------------------------------

    def add_own(self, now_ms: int, block: Block, actions: list[Action]) -> None:
        """Add a block that this node forged alone. Raises `Refused`, and then nothing changed."""
        self.chain.append(block, now_ms)
        self._settle(block, None, None, actions)

    def add_agreed(self, finalized: Finalized, actions: list[Action]) -> None:
        """Add the blocks that agreement made final."""
        for block, state in zip(finalized.blocks, finalized.states, strict=True):
            self.chain.publish(block, state)
            is_last = block is finalized.blocks[-1]
            self._settle(block, None, finalized.finalization if is_last else None, actions)

    def _try(self, now_ms: int, peer: Peer, aside: SetAside, actions: list[Action]) -> bool:
        try:
            if self.proofs is None:
                self.chain.append(aside.block, now_ms)
            else:
                self._append_final(aside)
        except Refused as refused:
            self.sync.distrust(peer, now_ms)
            refuse(peer, refused, actions)
            return False
        self._settle(aside.block, peer, aside.finalization, actions)
        return True

    def _append_final(self, aside: SetAside) -> None:
        """Add a block that finalizations proved. Raises `Refused`, V5 too: it leads to other stakes than voters saw."""
        state = self.chain.after(aside.block, None)
        if aside.finalization is not None:
            try:
                check_final(self.state.epoch, aside.block.header, aside.finalization, state.epoch.hash)
            except Refused as refused:
                raise Refused(Rule.V5, refused.reason) from None
        self.chain.publish(aside.block, state)

    def _settle(self, block: Block, peer: Peer | None, finalization: Tally | None, actions: list[Action]) -> None:
        """A block was published: it is kept and told of, and its certificates leave the box."""
        self.remember(block.hash)
        self.finalization = finalization
        payloads, left = self._box.settle(block.certificates, self.state.stakes, block.index + 1)
        self.sync.added(block.index)
        actions.append(PersistBlock(block, tuple(payloads.values()), finalization, self._new_members()))
        if self.proofs is not None:
            self.proofs.moved(self.state)
        is_own = peer is None if self.proofs is None else self._own == block.header.forger
        actions.append(ReportBlock(block, forged_here=is_own))
        for certificate_id, refused in left:
            actions += [ForgetCertificate(certificate_id), ReportRefused(refused, None, certificate_id)]
        if peer is not None:
            self._search.connected(peer)
        self._search.want_those_of(block, payloads)

    def _new_members(self) -> Members | None:
        """Who votes from the next block on, if that is other than before."""
        before, self._epoch = self._epoch, self.state.epoch
        return self._epoch.members if self.proofs is not None and self._epoch.hash != before.hash else None

    def _set_aside(self, peer: Peer, aside: SetAside, actions: list[Action]) -> None:
        try:
            self.sync.set_aside(peer, aside)
        except Refused as refused:
            refuse(peer, refused, actions)
