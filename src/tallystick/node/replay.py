"""A node's start: from what its archive kept to the chain as it stood, and a look at how it ends."""

from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

from tallystick.consensus.agreement import Turns
from tallystick.consensus.simplex import Simplex
from tallystick.ledger.block import Block, check_block_alone
from tallystick.ledger.blockchain import Blockchain
from tallystick.ledger.certificate import check_evidence
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.finality import check_final
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.keys import is_signed
from tallystick.ledger.stake import Account, StakeTable
from tallystick.node.archive import Archive
from tallystick.node.finality_proofs import Checkpoint

TAIL_BLOCKS: Final = 16
TAIL_SIGNATURES: Final = 2_048
"""A tenth of a second's work. Of the last block the header and the votes are verified whatever it holds."""

T = TypeVar("T")


def replayed(
    genesis: Genesis, agreement: Turns | Simplex, archive: Archive | None, checkpoint: Checkpoint | None
) -> Blockchain:
    """The kept chain: from the archive's snapshot on, or from the genesis.

    Signatures were checked before the blocks were kept, and each block is bound by hashes to the one after it. So what
    follows the snapshot is replayed by all rules but signatures; those, and votes, are verified of the last
    `TAIL_BLOCKS` (up to `TAIL_SIGNATURES`), which a crash or a failing disk has damaged sooner than others. Raises
    `Refused` when one of these blocks breaks a rule, naming it, and for another block than the checkpoint's (V4).
    """
    if archive is None:
        return Blockchain(genesis, agreement.check_forger)
    _check_checkpoint(archive, checkpoint)
    chain = Blockchain(genesis, agreement.check_forger, archive.snapshot())
    for block in archive.blocks(chain.state.index + 1):
        _named(block.index, partial(check_block_alone, block, genesis.ledger_id))
        _named(block.index, partial(chain.append, block, None))
    _Tail(archive, chain, isinstance(agreement, Simplex)).check()
    return chain


def _check_checkpoint(archive: Archive, checkpoint: Checkpoint | None) -> None:
    kept = next(archive.hashes(checkpoint.index), None) if checkpoint is not None and checkpoint.index else None
    if checkpoint is not None and kept not in (None, checkpoint.hash):
        raise Refused(Rule.V4, f"the kept block {checkpoint.index} is {kept.hex()[:16]}…, another one")


def _named(index: int, check: Callable[[], T]) -> T:
    """What `check` returns; what it refuses says of which block."""
    try:
        return check()
    except Refused as refused:
        raise Refused(refused.rule, f"the kept block {index}: {refused.reason}") from None


class _Tail:
    """The last blocks of a chain, looked at from the tip back."""

    def __init__(self, archive: Archive, chain: Blockchain, is_voted: bool) -> None:
        self._archive, self._chain, self._is_voted = archive, chain, is_voted
        self._genesis, self._ledger_id = chain.genesis, chain.ledger_id
        self._signatures_left = TAIL_SIGNATURES

    def check(self) -> None:
        tip = self._chain.state.tip
        if self._archive.finalization(tip.index + 1) is not None:
            raise Refused(Rule.B1, f"the kept block {tip.index + 1} is gone: the votes that made it final are there")
        named = tip.hash
        for index in range(tip.index, max(0, tip.index - TAIL_BLOCKS), -1):
            block = next(self._archive.blocks(index), None)
            if block is None or block.hash != named:
                raise Refused(Rule.B2, f"the kept block {index} is not the one that what follows names")
            _named(index, partial(self._check_block, block))
            if self._signatures_left <= 0:
                break
            named = block.header.parent_hash

    def _check_block(self, block: Block) -> None:
        check_block_alone(block, self._ledger_id)
        header = block.header
        if not is_signed(header.signed_bytes(), block.signature, header.forger):
            raise Refused(Rule.B3, "the signature is not its forger's")
        if self._is_voted:
            self._check_votes(block)
        certificates = block.certificates[: max(0, self._signatures_left)]
        self._signatures_left -= len(certificates)
        for one in certificates:
            check_evidence(one, self._ledger_id, is_signed)
            if not is_signed(one.signed_bytes(self._ledger_id), one.signature, one.issuer):
                raise Refused(Rule.B5, f"certificate {one.id.hex()[:16]}… is not signed by its issuer")

    def _check_votes(self, block: Block) -> None:
        """Of the block's epoch, if votes were kept with it; else those of a later block stand for it."""
        finalization, epoch_of = self._archive.finalization(block.index), self._genesis.params.epoch_of
        if finalization is None:
            return
        following = self._epoch(epoch_of(block.index + 1))
        check_final(self._epoch(epoch_of(block.index)), block.header, finalization, following.hash)
        signed = finalization.ballot.signed_bytes(self._ledger_id)
        self._signatures_left -= len(finalization.signatures)
        for member, signature in finalization.signatures:
            if not is_signed(signed, signature, member):
                raise Refused(Rule.V1, f"a vote for it is not signed by {member.hex()[:16]}…")

    def _epoch(self, number: int) -> Epoch:
        """Its members are kept with the last block before it after which they changed."""
        current, length = self._chain.state.epoch, self._genesis.params.epoch_blocks
        if number == current.number:
            return current
        for end in range(number * length, 0, -length):
            members = self._archive.members(end)
            if members is not None:
                return Epoch(number, StakeTable({key: Account(0, staked) for key, staked in members}))
        return Epoch(number, self._genesis.stakes())
