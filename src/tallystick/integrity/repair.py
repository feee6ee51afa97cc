"""Mending the file of a chain: what is derived is made anew, what is damaged goes, and what peers send is put back.

After `repair` the store holds nothing that is not as it was written, but it may have gaps. `put_blocks` and
`put_finalization` close them, each in one transaction, and only with what the rest of the file proves.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from tallystick.host.batches import Claim
from tallystick.host.claims import claimed
from tallystick.host.verification import verify_in_line
from tallystick.integrity.check import Report, Verify
from tallystick.ledger.block import Block, block_codec, check_form, check_signatures, genesis_block
from tallystick.ledger.blockchain import check_follows
from tallystick.ledger.encoding import encode
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.finality import FinalHeader, next_epoch
from tallystick.ledger.merkle import leaf_hash
from tallystick.ledger.vote import check_vote_signatures
from tallystick.problems import StoreError
from tallystick.storage.sqlite_file import decode_column
from tallystick.storage.store import EpochEnd, Store


def repair(store: Store, report: Report) -> None:
    """Remove what is damaged, and derive anew what is derived. Raises `StoreError`; then the file is as it was.

    Damaged blocks at the end go, and the chain ends before them. What else is missing is `report.missing_blocks` and
    `report.missing_finalizations`; payloads the node looks for by itself.
    """
    if report.pages:  # a write could damage more
        raise StoreError(f"{store.path} has damaged pages; copy what can be read of it to a new file first")
    database, last = store.database, report.last_good
    with store.batch():
        for table in ("blocks", "finalizations", "epoch_ends", "state_parts"):
            database.execute(f"DELETE FROM {table} WHERE block_index > ?", (last,))  # noqa: S608
        for table, rows in report.rows.items():
            database.execute_many(f"DELETE FROM {table} WHERE rowid = ?", [(row,) for row in rows])  # noqa: S608
        database.execute_many("DELETE FROM epoch_ends WHERE block_index = ?", [(index,) for index in report.ends])
        for index, end in report.ends.items():
            if end is not None and index <= last:
                store.keep_epoch_end(index, end)
        store.tip_index = last
        _derive_anew(store, report)
    if report.chain is not None:
        store.keep_snapshot(report.chain)


def _derive_anew(store: Store, report: Report) -> None:
    """What is derived, where it is not what it should be, or what it derives from changed; within a transaction."""
    database, last = store.database, report.last_good
    if "hashes of blocks" in report.derived:
        hashes = ((one.hash, leaf_hash(one.header.encoded), one.index) for one in _kept_blocks(store))
        database.execute_many("UPDATE blocks SET block_hash = ?, header_leaf = ? WHERE block_index = ?", hashes)
    if "index of files and payloads" in report.derived or report.rows["blocks"] or report.rows["payloads"]:
        store.payload_tables.rebuild(_kept_blocks(store))
    store.decision_tables.cut(last)
    if "index of decisions" in report.derived or report.rows["blocks"]:
        store.decision_tables.rebuild(_kept_blocks(store))
    if "outcomes of motions" in report.derived:
        store.decision_tables.rebuild_outcomes(report.decided)
    if "parts of states" in report.derived:
        store.keep_state_parts(1, report.members_hashes)
    if "tiles of hashes" in report.derived or report.rows["blocks"]:
        store.hash_tiles.rebuild()
    if store.snapshot() is None or "snapshot" in report.derived:
        store.drop_snapshot()


def put_blocks(store: Store, blocks: Sequence[Block], verify: Verify = verify_in_line) -> None:
    """Put fetched blocks into a gap; they come one after the other and reach to its end.

    Raises `Refused` (B1, B2, those of a block by itself, B3, B5) unless the block after the gap, and the one before it
    if there is one, are bound to them by their hashes; then nothing has changed.
    """
    if not blocks:
        return
    first, last, ledger_id = blocks[0].index, blocks[-1].index, store.genesis.ledger_id
    following = _kept(store, last + 1)
    if following is None or any(_kept(store, index) is not None for index in range(first, last + 1)):
        raise Refused(Rule.B1, f"blocks {first} to {last} do not fill the end of a gap")
    before = _kept(store, first - 1)
    for parent, block in pairwise((*([before] if before else []), *blocks, following)):
        check_follows(block.header, parent.header)
    claims: list[Claim] = []
    for block in blocks:
        check_form(block, ledger_id)
        check_signatures(block, ledger_id, claimed(claims.append))
    if not all(verify(claims)):
        raise Refused(Rule.B5, f"a signature in blocks {first} to {last} is not good")
    with store.batch():
        for block in blocks:
            store.add_block(block)
            store.payload_tables.add_block(block, ())
            store.decision_tables.add_block(block, {})
        store.hash_tiles.catch_up()


def put_finalization(store: Store, proof: FinalHeader, epoch: Epoch, verify: Verify = verify_in_line) -> Epoch:
    """Put back a fetched finalization of an epoch's last block, and return the epoch that follows.

    `epoch` is the one that the block is in. Raises `Refused` (V1, V2, B2 another block than the kept one).
    """
    index = proof.header.index
    block = _kept(store, index)
    if block is None or block.header != proof.header:
        raise Refused(Rule.B2, f"the kept block {index} is another one, or missing")
    following = next_epoch(epoch, proof)
    claims: list[Claim] = []
    check_vote_signatures(proof.finalization, store.genesis.ledger_id, claimed(claims.append))
    if not all(verify(claims)):
        raise Refused(Rule.V1, f"a vote for block {index} is not signed by its member")
    with store.batch():
        kept = (index, encode(proof.finalization))
        store.database.execute("INSERT OR REPLACE INTO finalizations VALUES (?, ?)", kept)
        if proof.roots is not None:
            store.keep_epoch_end(index, EpochEnd(proof.header.epoch, proof.roots, proof.members))
    return following


def _kept(store: Store, index: int) -> Block | None:
    if index == 0:
        return genesis_block(store.genesis)
    rows = store.database.select("SELECT encoded FROM blocks WHERE block_index = ?", (index,))
    return decode_column(block_codec, rows[0][0]) if rows else None


def _kept_blocks(store: Store) -> Iterator[Block]:
    """All blocks, gaps passed over."""
    return (block for index in range(1, store.tip_index + 1) if (block := _kept(store, index)) is not None)
