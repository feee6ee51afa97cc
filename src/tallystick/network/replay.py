"""Before a node's start: from what its archive kept to the chain as it stood, and a look at how it ends."""

from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

from tallystick.ledger.block import Block, check_form, check_signatures, verified
from tallystick.ledger.blockchain import Blockchain, CheckForger
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.finality import check_final, next_epoch
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.vote import check_vote_signatures
from tallystick.network.archiving import FullArchive
from tallystick.node.archive import kept_epoch
from tallystick.node.finality_proofs import TrustedBlock

TAIL_BLOCKS: Final = 16
TAIL_SIGNATURES: Final = 2_048
"""A tenth of a second's work. Of the last block the header and the votes are verified whatever it holds."""

T = TypeVar("T")


def replayed(
    genesis: Genesis, check_forger: CheckForger, archive: FullArchive, trusted_block: TrustedBlock | None = None
) -> Blockchain:
    """The kept chain: from the archive's snapshot on, or from the genesis.

    Signatures were verified before the blocks were kept, and each block is bound by hashes to the one after it. So what
    follows the snapshot passes the gate without them; they, and the votes that were kept, are verified of the last
    `TAIL_BLOCKS` (up to `TAIL_SIGNATURES`), which a crash or a failing disk has damaged sooner than others. Raises
    `Refused` when one of these blocks breaks a rule, naming it, and for another block than the trusted one (V4).
    """
    kept = (
        next(archive.hashes(trusted_block.index), None) if trusted_block is not None and trusted_block.index else None
    )
    if trusted_block is not None and kept not in (None, trusted_block.hash):
        raise Refused(Rule.V4, f"the kept block {trusted_block.index} is {kept.hex()[:16]}…, another one")
    chain = Blockchain(genesis, check_forger, archive.snapshot())
    for block in archive.blocks(chain.state.index + 1):
        _named(block.index, partial(chain.append, verified(block)))
    _check_tail(archive, chain)
    return chain


def _named(index: int, check: Callable[[], T]) -> T:
    """What `check` returns; what it refuses says of which block."""
    try:
        return check()
    except Refused as refused:
        raise Refused(refused.rule, f"the kept block {index}: {refused.reason}") from None


def _check_tail(archive: FullArchive, chain: Blockchain) -> None:
    """Look at the last blocks, from the tip back."""
    tip, signatures_left = chain.state.tip, TAIL_SIGNATURES
    if archive.finalization(tip.index + 1) is not None:
        raise Refused(Rule.B1, f"the kept block {tip.index + 1} is gone: the votes that made it final are there")
    named = tip.hash
    for index in range(tip.index, max(0, tip.index - TAIL_BLOCKS), -1):
        block = next(archive.blocks(index), None)
        if block is None or block.hash != named:
            raise Refused(Rule.B2, f"the kept block {index} is not the one that what follows names")
        signatures_left = _named(index, partial(_check_last, block, archive, chain, signatures_left))
        if signatures_left <= 0:
            break
        named = block.header.parent_hash


def _check_last(block: Block, archive: FullArchive, chain: Blockchain, signatures_left: int) -> int:
    """Verify a block, and the votes and proof of the next epoch that were kept with it; else a later block's stand."""
    ledger_id = chain.ledger_id
    check_form(block, ledger_id)
    proof = archive.final_header(block.index)
    if proof is not None:
        epoch = kept_epoch(block.header.epoch, archive, chain)
        if proof.roots is None:
            check_final(epoch, block.header, proof.finalization)
        else:
            next_epoch(epoch, proof)
        check_vote_signatures(proof.finalization, ledger_id)
        signatures_left -= len(proof.finalization.signatures)
    looked_at = {id(one) for one in block.certificates[: max(0, signatures_left)]}
    check_signatures(block, ledger_id, is_known=lambda one: id(one) not in looked_at)
    return signatures_left - len(block.certificates)
