"""A node's start: from what its archive kept to the chain as it stood."""

from tallystick.consensus.agreement import Turns
from tallystick.consensus.simplex import Simplex
from tallystick.ledger.block import Block, check_block_alone
from tallystick.ledger.blockchain import Blockchain
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.finality import check_final
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.header import Header
from tallystick.ledger.keys import is_signed
from tallystick.ledger.vote import Tally
from tallystick.node.archive import Archive
from tallystick.node.trail import Checkpoint


def replayed(
    genesis: Genesis, agreement: Turns | Simplex, archive: Archive | None, checkpoint: Checkpoint | None
) -> Blockchain:
    """The kept chain: from the archive's snapshot on, or from the genesis.

    Signatures were checked before the blocks were kept, and each block is bound by hashes to the one after it. So of
    signatures, those of the last finalization are checked again (with votes) or the tip's (lone forger), and every
    hash. Raises `Refused` when a kept block breaks a rule, and for another block than the checkpoint's (V4).
    """
    if archive is None:
        return Blockchain(genesis, agreement.check_forger)
    _check_checkpoint(archive, checkpoint)
    chain = Blockchain(genesis, agreement.check_forger, archive.snapshot())
    is_voted = isinstance(agreement, Simplex)
    proof: tuple[Epoch, Header, Tally, bytes] | None = None
    block = None
    for block in archive.blocks(chain.state.index + 1):
        check_block_alone(block, genesis.ledger_id)
        epoch = chain.state.epoch
        chain.append(block, None)
        finalization = archive.finalization(block.index) if is_voted else None
        if finalization is not None:
            proof = (epoch, block.header, finalization, chain.state.epoch.hash)
    if proof is not None:
        _check_proof(*proof)
    elif block is not None and not is_voted:
        _check_signature(block)
    return chain


def _check_checkpoint(archive: Archive, checkpoint: Checkpoint | None) -> None:
    kept = next(archive.hashes(checkpoint.index), None) if checkpoint is not None and checkpoint.index else None
    if checkpoint is not None and kept not in (None, checkpoint.hash):
        raise Refused(Rule.V4, f"the kept block {checkpoint.index} is {kept.hex()[:16]}…, another one")


def _check_signature(block: Block) -> None:
    if not is_signed(block.header.signed_bytes(), block.signature, block.header.forger):
        raise Refused(Rule.B3, f"the kept block {block.index}: the signature is not its forger's")


def _check_proof(epoch: Epoch, header: Header, finalization: Tally, next_stakes: bytes) -> None:
    check_final(epoch, header, finalization, next_stakes)
    signed = finalization.ballot.signed_bytes(header.ledger_id)
    for member, signature in finalization.signatures:
        if not is_signed(signed, signature, member):
            raise Refused(Rule.V1, f"the kept finalization of block {header.index}: not signed by {member.hex()[:16]}…")
