"""Checking and repairing a store: every damage is found and named, and what peers have comes back only as it was."""

import dataclasses
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.builders import (
    ADA,
    BEN,
    FinalScribe,
    Scribe,
    WholeEntry,
    found,
    refuses,
    sign_block,
    staking,
    statement,
    vote,
    wallet,
    with_payload,
)
from tests.integration.test_store import certified_file, execute

from tallystick.consensus.proof_of_stake import check_drawn
from tallystick.integrity.check import Check, Report
from tallystick.integrity.repair import put_blocks, put_finalization, repair
from tallystick.integrity.salvage import salvage, salvage_in_place
from tallystick.ledger.blockchain import Blockchain
from tallystick.ledger.checkpoint import Checkpoint, Cosignature, cosign
from tallystick.ledger.encoding import encode
from tallystick.ledger.errors import Rule
from tallystick.ledger.file_statement import FileStatement, file_payload
from tallystick.ledger.messages import Entry
from tallystick.ledger.state import State
from tallystick.ledger.vote import NOTARIZE, tally_of
from tallystick.ledger.wallet import Wallet
from tallystick.network.replay import replayed
from tallystick.node.events import PersistCosignatures
from tallystick.problems import DamagedStore, StoreError
from tallystick.storage.store import Store

FOUNDED = found(epoch_blocks=4)
LEDGER = FOUNDED.ledger_id
BLOCKS = 20


def started(store: Store) -> Blockchain:
    """What a node comes to that starts from the store."""
    return replayed(FOUNDED, check_drawn, store)


def log_root(report: Report) -> bytes | None:
    """The root of the log up to the last final block, if all of it could be derived."""
    return report.final.log.root() if report.final else None


@dataclass
class Kept:
    """A store with everything in it, and what it was made from."""

    path: Path
    scribe: FinalScribe
    entries: list[WholeEntry]

    def check(self) -> Report:
        with Store.open(self.path, read_only=True) as store:
            return Check(store).run()

    def repaired(self) -> Report:
        """Repair, and check again."""
        with Store.open(self.path) as store:
            repair(store, Check(store).run())
        return self.check()


def copied(kept: Kept, folder: Path) -> Kept:
    return Kept(shutil.copyfile(kept.path, folder / kept.path.name), kept.scribe, kept.entries)


@pytest.fixture
def kept(made: Kept, tmp_path: Path) -> Kept:
    return copied(made, tmp_path)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """Twenty blocks in epochs of four, on which stakes move; payloads of files and others, some lacking, one erased."""
    scribe, entries = FinalScribe(FOUNDED), list[WholeEntry]()
    path = tmp_path_factory.mktemp("made") / "chain.db"
    with Store.create(path, FOUNDED) as store:
        for number in range(BLOCKS):
            at_ms = FOUNDED.created_ms + number
            about = file_payload(FileStatement(f"{number}.pdf", 3, bytes([number]) * 32), bytes(32))
            entry = WholeEntry(statement(f"file {number}", ledger=LEDGER, payload=about), about)
            other = with_payload(f"other {number}", ledger=LEDGER)
            entries += [entry, other]
            moving = staking(-1 if number % 2 else 1, (ADA, BEN)[number % 2], at_ms, LEDGER)
            scribe.forge(entry.certificate, other.certificate, moving)
            at_hand = [one.payload for one in (entry, other) if number % 3]
            store.append(replace(scribe.kept[-1], payloads=tuple(at_hand)))
            if number == 12:
                store.keep_snapshot(started(store))
        store.erase_payload(entries[2].payload.hash())
        draft = scribe.draft(statement("next", ledger=LEDGER))
        store.keep_votes([tally_of([vote(NOTARIZE, draft.hash, ADA, 5, 1, FOUNDED)])], [draft])
        store.keep_certificates([with_payload("waiting", ledger=LEDGER)])
    return Kept(path, scribe, entries)


def test_a_good_store_is_found_good_and_its_log_root_derived(kept: Kept) -> None:
    report = kept.check()
    assert report.is_sound, report
    assert log_root(report) == kept.scribe.state.log.root()
    assert (report.missing_blocks, report.missing_finalizations, report.last_good) == ([], [], BLOCKS)


def test_signatures_are_checked_in_batches_by_whoever_is_asked_to(kept: Kept) -> None:
    asked: list[int] = []

    def verify(claims: object) -> list[bool]:
        asked.append(len(claims))  # type: ignore[arg-type]
        return [True] * asked[-1]

    seen: list[int] = []
    with Store.open(kept.path, read_only=True) as store:
        assert Check(store, verify, seen.append).run().is_sound
    assert sum(asked) == BLOCKS * 4 + BLOCKS * 4 + 1 + 2 + 1, "of blocks, of a vote, a proposal, and what waits"
    assert seen == list(range(1, BLOCKS + 1))


def test_a_check_reads_one_state_of_a_file_that_somebody_writes_to(kept: Kept) -> None:
    scribe = FinalScribe(FOUNDED)
    for block in kept.scribe.blocks:
        scribe.chain.append(block)
    scribe.forge(statement("later", ledger=LEDGER))
    with Store.open(kept.path, read_only=True) as store, Store.open(kept.path) as node:
        with store.frozen():
            node.append(scribe.kept[-1])
            node.keep_snapshot(started(node))
            before = Check(store).run()
        assert (before.is_sound, before.tip_index) == (True, BLOCKS)
        with store.frozen():
            after = Check(store).run()
        assert (after.is_sound, after.tip_index) == (True, BLOCKS + 1)


def test_votes_and_members_of_a_block_that_is_gone_are_found_and_removed(kept: Kept) -> None:
    execute(kept.path, "DELETE FROM blocks WHERE block_index = ?", BLOCKS)
    report = kept.check()
    assert list(report.rows["finalizations"]) == [BLOCKS]
    assert not report.rows["blocks"]
    assert kept.repaired().is_sound
    with Store.open(kept.path) as store:
        store.append(kept.scribe.kept[-1])
    assert kept.check().is_sound


def test_what_no_votes_prove_final_is_left_out_of_the_log_root(kept: Kept) -> None:
    execute(kept.path, "DELETE FROM finalizations WHERE block_index > ?", BLOCKS - 2)
    report = kept.check()
    assert report.final is not None
    assert report.final.index == BLOCKS - 2
    scribe = FinalScribe(FOUNDED)
    for block in kept.scribe.blocks[: BLOCKS - 2]:
        scribe.chain.append(block)
    assert log_root(report) == scribe.state.log.root()


def set_block(index: int, make: Callable[[FinalScribe], bytes]) -> Callable[[Kept], None]:
    sql = "UPDATE blocks SET encoded = ? WHERE block_index = ?"
    return lambda kept: execute(kept.path, sql, make(kept.scribe), index)


def resigned(scribe: Scribe, index: int, **changes: object) -> bytes:
    block = scribe.blocks[index - 1]
    wallet = {ADA.public_key: ADA, BEN.public_key: BEN}.get(block.header.forger, ADA)
    return sign_block(replace(block.header, **changes), block.certificates, wallet).encoded


BLOCK_DAMAGES: dict[str, Callable[[Kept], None]] = {
    "garbage": set_block(7, lambda scribe: b"\xc1" * 300),
    "missing": lambda kept: execute(kept.path, "DELETE FROM blocks WHERE block_index = 7"),
    "another": set_block(7, lambda scribe: scribe.blocks[7].encoded),
    "signature": set_block(7, lambda scribe: replace(scribe.blocks[6], signature=bytes(64)).encoded),
    "subject": set_block(
        7,
        lambda scribe: (
            replace(
                scribe.blocks[6],
                certificates=(
                    replace(scribe.blocks[6].certificates[0], subject="x"),
                    *scribe.blocks[6].certificates[1:],
                ),
            ).encoded
        ),
    ),
    "signed anew": set_block(
        7, lambda scribe: resigned(scribe, 7, timestamp_ms=scribe.blocks[6].header.timestamp_ms + 1)
    ),
    "other parent": set_block(7, lambda scribe: resigned(scribe, 7, parent_hash=bytes(32))),
}


@pytest.mark.parametrize("damage", BLOCK_DAMAGES.values(), ids=BLOCK_DAMAGES)
@pytest.mark.parametrize("are_finalized", [True, False])
def test_a_damaged_block_is_named_alone_and_can_be_put_back(
    kept: Kept, damage: Callable[[Kept], None], are_finalized: bool
) -> None:
    if not are_finalized:  # then the block after it tells
        execute(kept.path, "DELETE FROM finalizations WHERE block_index IN (6, 7)")
    damage(kept)
    report = kept.check()
    assert list(report.rows["blocks"]) == [7], report.rows["blocks"]
    assert report.missing_blocks == [(7, 7)]
    assert log_root(report) is None
    assert not report.rows["finalizations"], report.rows["finalizations"]
    with Store.open(kept.path) as store:
        repair(store, report)
        with pytest.raises(DamagedStore, match="block 7"):
            list(store.blocks())
        put_blocks(store, [kept.scribe.blocks[6]])
    assert kept.check().is_sound, kept.check()


def test_damage_is_found_in_several_places_at_once(kept: Kept) -> None:
    for index in (2, 9, 10, 11, 19, 20):
        execute(kept.path, "UPDATE blocks SET encoded = x'c1' WHERE block_index = ?", index)
    execute(kept.path, "UPDATE finalizations SET encoded = x'c1' WHERE block_index IN (5, 8)")
    damaged = kept.entries[3].payload.hash()
    execute(kept.path, "UPDATE payloads SET encoded = x'c1' WHERE payload_hash = ?", damaged)
    report = kept.check()
    assert sorted(report.rows["blocks"]) == [2, 9, 10, 11, 19, 20]
    assert report.missing_blocks == [(2, 2), (9, 11)]
    assert report.last_good == 18
    assert sorted(report.rows["finalizations"]) == [5, 8]
    assert report.missing_finalizations == [8]
    (line,) = (one for one in report.lines if one.startswith("payload "))
    assert line.startswith(f"payload {damaged.hex():.16}…: [E2] ")
    again = kept.repaired()
    assert sorted(again.rows["blocks"]) == [2, 9, 10, 11]
    assert not again.rows["payloads"]
    assert not again.rows["finalizations"]
    with Store.open(kept.path) as store:
        assert store.tip_index == 18
        put_blocks(store, kept.scribe.blocks[8:11])
        put_blocks(store, kept.scribe.blocks[1:2])
        put_finalization(store, kept.scribe.proofs(8)[0], again.epochs[1])
        assert damaged in store.lacking(100)
        for later in kept.scribe.kept[18:]:
            store.append(later)
    assert kept.check().is_sound, kept.check()
    with Store.open(kept.path) as store:
        assert started(store).state == kept.scribe.state


def test_what_is_put_back_has_to_fit_what_surrounds_it(kept: Kept) -> None:
    execute(kept.path, "DELETE FROM blocks WHERE block_index IN (9, 10, 11)")
    blocks = kept.scribe.blocks
    other = FinalScribe(FOUNDED)
    other_blocks = [other.forge(statement(f"other {number}", ledger=LEDGER)) for number in range(12)]
    false = replace(blocks[8], signature=bytes(64))
    with Store.open(kept.path) as store:
        for wrong, rule in (
            (blocks[8:10], Rule.B1),  # leaves a gap at its end
            (blocks[7:11], Rule.B1),  # 8 is there
            (other_blocks[8:11], Rule.B2),
            ([other_blocks[8], *blocks[9:11]], Rule.B2),
            ([*blocks[8:10], other_blocks[10]], Rule.B2),
            ([false, *blocks[9:11]], Rule.B5),
        ):
            with refuses(rule):
                put_blocks(store, wrong)
            assert [row[0] for row in store.database.select("SELECT block_index FROM blocks")] == [
                *range(1, 9),
                *range(12, 21),
            ]
        put_blocks(store, blocks[9:11])
        put_blocks(store, blocks[8:9])
        put_blocks(store, [])
    assert kept.check().is_sound


def test_a_ledger_all_of_whose_votes_are_lost_is_known_to_be_one_with_votes(kept: Kept) -> None:
    execute(kept.path, "DELETE FROM finalizations")
    execute(kept.path, "DELETE FROM epoch_ends")
    report = kept.check()
    assert not report.rows["blocks"]
    assert report.missing_finalizations == [4, 8, 12, 16, 20]
    with Store.open(kept.path) as store:
        for proof in kept.scribe.proofs(4, 8, 12, 16, 20):
            put_finalization(store, proof, report.epochs[proof.header.epoch])
    report = kept.check()
    assert report.is_sound
    assert report.missing_finalizations == []


def test_a_false_finalization_is_not_put_back(kept: Kept) -> None:
    execute(kept.path, "DELETE FROM finalizations WHERE block_index = 8")
    report = kept.check()
    assert report.missing_finalizations == [8]
    assert report.is_sound, "a node that started from a trusted block has none there either"
    (proof,) = kept.scribe.proofs(8)
    unsigned = replace(
        proof.finalization, signatures=tuple((one, bytes(64)) for one, _ in proof.finalization.signatures)
    )
    few = replace(proof.finalization, signatures=proof.finalization.signatures[:2])
    with Store.open(kept.path) as store:
        for wrong, rule in (
            (replace(proof, finalization=unsigned), Rule.V1),
            (replace(proof, finalization=few), Rule.V2),
            (replace(proof, members=((ADA.public_key, 1),)), Rule.V2),
            (replace(proof, header=kept.scribe.blocks[6].header), Rule.V2),
            (kept.scribe.proofs(4)[0], Rule.V2),
        ):
            with refuses(rule):
                put_finalization(store, wrong, report.epochs[1])
        assert put_finalization(store, proof, report.epochs[1]).hash == report.epochs[2].hash
    assert kept.check().missing_finalizations == []


FINALITY_DAMAGES: dict[str, str] = {
    "garbage": "UPDATE finalizations SET encoded = x'c1' WHERE block_index = 8",
    "another's": "UPDATE finalizations SET encoded = (SELECT encoded FROM finalizations WHERE block_index = 2) "
    "WHERE block_index = 8",
    "another's of its epoch": "UPDATE finalizations SET encoded = (SELECT encoded FROM finalizations "
    "WHERE block_index = 12) WHERE block_index = 8",
}


@pytest.mark.parametrize("sql", FINALITY_DAMAGES.values(), ids=FINALITY_DAMAGES)
def test_a_damaged_finalization_is_named_and_asked_for(kept: Kept, sql: str) -> None:
    execute(kept.path, sql)
    report = kept.check()
    assert list(report.rows["finalizations"]) == [8], report
    assert report.missing_finalizations == [8]
    assert not report.rows["blocks"]
    again = kept.repaired()
    assert again.is_sound
    with Store.open(kept.path) as store:
        put_finalization(store, kept.scribe.proofs(8)[0], again.epochs[1])
    assert kept.check().missing_finalizations == []


END_DAMAGES: dict[str, str] = {
    "roots": "UPDATE epoch_ends SET roots = x'90' WHERE block_index = 8",
    "other roots": "UPDATE epoch_ends SET roots = (SELECT roots FROM epoch_ends WHERE block_index = 4) "
    "WHERE block_index = 8",
    "members": "UPDATE epoch_ends SET members = x'90' WHERE block_index = 8",
    "other members": "UPDATE epoch_ends SET members = (SELECT members FROM epoch_ends WHERE block_index = 4) "
    "WHERE block_index = 8",
    "members gone": "UPDATE epoch_ends SET members = NULL WHERE block_index = 8",
    "gone": "DELETE FROM epoch_ends WHERE block_index = 8",
    "another block's": "UPDATE epoch_ends SET block_index = 7 WHERE block_index = 8",
    "another epoch's": "UPDATE epoch_ends SET epoch = 9 WHERE block_index = 8",
    "too many": "INSERT INTO epoch_ends SELECT 77, 7, roots, members FROM epoch_ends WHERE block_index = 8",
    "all gone": "DELETE FROM epoch_ends",
}


@pytest.mark.parametrize("sql", END_DAMAGES.values(), ids=END_DAMAGES)
def test_what_is_kept_of_an_epochs_end_follows_from_the_chain_and_is_made_anew(kept: Kept, sql: str) -> None:
    execute(kept.path, sql)
    report = kept.check()
    assert report.derived == ["ends of epochs"], report
    assert not report.is_sound
    assert not report.rows["finalizations"]
    assert not report.missing_finalizations
    assert kept.repaired().is_sound
    with Store.open(kept.path) as store:
        indexes = (4, 8, 12, 16, 20)
        assert store.epoch_ends(0, 9) == list(indexes)
        assert tuple(store.final_header(index) for index in indexes) == kept.scribe.proofs(*indexes)


@pytest.mark.parametrize("sql", END_DAMAGES.values(), ids=END_DAMAGES)
def test_behind_a_damaged_block_a_false_end_of_an_epoch_is_told_when_the_block_is_back_at_the_latest(
    kept: Kept, sql: str
) -> None:
    execute(kept.path, "UPDATE blocks SET encoded = x'c1' WHERE block_index = 3")
    execute(kept.path, sql)
    report = kept.check()
    assert list(report.rows["blocks"]) == [3], report
    assert not report.rows["finalizations"]
    assert not report.missing_finalizations
    with Store.open(kept.path) as store:
        repair(store, report)
        put_blocks(store, kept.scribe.blocks[2:3])
    assert {*report.derived, *kept.check().derived} == {"ends of epochs"}
    assert kept.repaired().is_sound
    with Store.open(kept.path) as store:
        assert tuple(store.final_header(index) for index in (4, 8, 12)) == kept.scribe.proofs(4, 8, 12)


def test_behind_a_damaged_block_a_false_end_of_an_epoch_is_not_asked_for(kept: Kept) -> None:
    execute(kept.path, "UPDATE blocks SET encoded = x'c1' WHERE block_index = 3")
    execute(kept.path, "DELETE FROM finalizations WHERE block_index = 7")
    execute(kept.path, END_DAMAGES["too many"])
    report = kept.check()
    assert report.derived == ["ends of epochs"]
    assert report.missing_finalizations == []


def test_of_a_block_that_is_dropped_the_end_of_its_epoch_is_dropped_too(kept: Kept) -> None:
    set_block(20, lambda scribe: replace(scribe.blocks[19], signature=bytes(64)).encoded)(kept)
    execute(kept.path, "DELETE FROM epoch_ends WHERE block_index = 20")
    assert list(kept.check().rows["blocks"]) == [20]
    again = kept.repaired()
    assert again.is_sound, again
    assert again.tip_index == 19
    with Store.open(kept.path) as store:
        store.append(kept.scribe.kept[19])
    assert kept.check().is_sound


def test_behind_a_damaged_block_votes_are_judged_by_the_members_that_state_roots_name(kept: Kept) -> None:
    execute(kept.path, "UPDATE blocks SET encoded = x'c1' WHERE block_index = 3")
    few = kept.scribe.archive.finalization(14)
    assert few is not None
    few = replace(few, signatures=few.signatures[:2])
    execute(kept.path, "UPDATE finalizations SET encoded = ? WHERE block_index = 14", encode(few))
    report = kept.check()
    assert (list(report.rows["blocks"]), list(report.rows["finalizations"])) == ([3], [14])
    assert [report.epochs[number].hash for number in range(6)] == [
        *(kept.scribe.kept[end - 1].roots.voters for end in (4, 8, 12, 16, 20)),
        kept.scribe.state.epoch.hash,
    ]


@pytest.mark.parametrize("place", range(40, 460, 50))
def test_a_changed_byte_of_a_finalization_is_found(kept: Kept, place: int) -> None:
    with closing(sqlite3.connect(kept.path)) as connection:
        ((encoded,),) = connection.execute("SELECT encoded FROM finalizations WHERE block_index = 6").fetchall()
    changed = bytearray(encoded)
    changed[place] ^= 1
    execute(kept.path, "UPDATE finalizations SET encoded = ? WHERE block_index = 6", bytes(changed))
    report = kept.check()
    assert list(report.rows["finalizations"]) == [6] or list(report.rows["blocks"]) == [6], report


DERIVED_DAMAGES: dict[str, str] = {
    "hash": "UPDATE blocks SET block_hash = zeroblob(32) WHERE block_index = 3",
    "files": "DELETE FROM files WHERE block_index = 3",
    "a file too many": "INSERT INTO files VALUES (zeroblob(32), 3, 0, zeroblob(32))",
    "awaited": "DELETE FROM awaited WHERE block_index = 1",
    "awaited too many": "INSERT INTO awaited VALUES (zeroblob(32), 3, 0)",
    "snapshot": "UPDATE snapshot SET encoded = x'00'",
    "ids": "UPDATE ids SET ids = zeroblob(length(ids))",
}


@pytest.mark.parametrize("sql", DERIVED_DAMAGES.values(), ids=DERIVED_DAMAGES)
def test_what_is_derived_is_made_anew(kept: Kept, sql: str) -> None:
    execute(kept.path, sql)
    report = kept.check()
    assert len(report.derived) == 1, report
    assert not report.rows["blocks"]
    assert kept.repaired().is_sound
    with Store.open(kept.path) as store:
        snapshot = store.snapshot()
        assert snapshot is not None
        assert snapshot.state == kept.scribe.state


def test_a_snapshot_with_a_good_checksum_and_a_false_state_is_found(kept: Kept) -> None:
    with Store.open(kept.path) as store:
        chain = started(store)
        store.keep_snapshot(chain)
        chain.state = dataclasses.replace(chain.state, stakes=FOUNDED.stakes())
        store.keep_snapshot(chain)
    assert kept.check().derived == ["snapshot"]
    assert kept.repaired().is_sound


def test_waiting_certificates_that_nobody_signed_so_are_found(kept: Kept) -> None:
    """Whoever alters a row may hash it anew; the signature tells."""
    false = replace(statement("waits", ledger=LEDGER), signature=bytes(64))
    with Store.open(kept.path) as store:
        store.keep_certificates([Entry(false)])
    report = kept.check()
    assert list(report.rows["waiting"]) == [2]
    assert not report.is_sound
    assert kept.repaired().is_sound
    with Store.open(kept.path) as store:
        assert len(list(store.waiting())) == 1


def test_damaged_votes_and_proposals_and_waiting_certificates_go(kept: Kept) -> None:
    """Garbage, a signature that is none, and a row that stands for another view than its votes."""
    false = replace(vote(NOTARIZE, bytes(32), ADA, 5, 2, FOUNDED), signature=bytes(64))
    good = tally_of([vote(NOTARIZE, bytes(32), ADA, 5, 3, FOUNDED)])
    with Store.open(kept.path) as store:
        store.keep_votes([tally_of([false]), good, good, good], [])
    execute(kept.path, "UPDATE votes SET encoded = x'c1' WHERE number = 1")
    execute(kept.path, "UPDATE votes SET view = 7 WHERE number = 4")
    execute(kept.path, "UPDATE votes SET epoch = 4 WHERE number = 5")
    execute(kept.path, "UPDATE proposals SET encoded = x'c1'")
    execute(kept.path, "UPDATE waiting SET encoded = x'c1'")
    report = kept.check()
    assert (sorted(report.rows["votes"]), list(report.rows["proposals"]), list(report.rows["waiting"])) == (
        [1, 2, 4, 5],
        [1],
        [1],
    )
    assert not report.is_sound
    assert kept.repaired().is_sound
    with Store.open(kept.path) as store:
        assert list(store.votes(5)) == [good]
        assert (list(store.waiting()), list(store.proposals())) == ([], [])


def test_damaged_and_forged_cosignatures_are_told_and_go(kept: Kept) -> None:
    """Of a row a block: garbage, false signatures, another's place, root, size or member; the others stay."""
    logs = [(state.log.size, state.log.root()) for state in states(kept.scribe)]

    def cosigned(place: int, root: bytes | None = None, member: Wallet = ADA, **changes: Any) -> Cosignature:
        size, own = logs[place]
        return replace(cosign(member, Checkpoint(FOUNDED.origin, size, root or own), 1), **changes)

    good = [cosigned(0), cosigned(6, member=BEN)]
    between = cosign(ADA, Checkpoint(FOUNDED.origin, logs[7][0] + 1, bytes(32)), 1)
    bad = [
        cosigned(1, signature=bytes(64)),
        cosigned(2, log_signature=bytes(64)),
        cosigned(3, bytes(32)),
        cosigned(4, member=wallet("nobody")),
        between,
        cosigned(8),
        cosigned(9),
    ]
    with Store.open(kept.path) as store:
        store.keep_cosignatures(PersistCosignatures((*good, *bad), 0))
    execute(kept.path, "UPDATE cosignatures SET encoded = x'c1' WHERE size = ?", logs[8][0])
    execute(kept.path, "UPDATE cosignatures SET size = ? WHERE size = ?", logs[10][0], logs[9][0])
    report = kept.check()
    assert len(report.rows["cosignatures"]) == len(bad)
    assert sum(line.startswith("cosignature of ") for line in report.lines) == len(bad)
    assert kept.repaired().is_sound
    with Store.open(kept.path) as store:
        assert list(store.cosignatures()) == good


def states(scribe: FinalScribe) -> Iterator[State]:
    replay = FinalScribe(scribe.genesis)
    for block in scribe.blocks:
        replay.chain.append(block)
        yield replay.state


def test_a_proposal_with_a_false_signature_goes(kept: Kept) -> None:
    with Store.open(kept.path) as store:
        (draft,) = store.proposals()
        store.keep_votes([], [replace(draft, header=replace(draft.header, nonce=1))])
    report = kept.check()
    assert list(report.rows["proposals"]) == [2]
    assert kept.repaired().is_sound
    with Store.open(kept.path) as store:
        assert list(store.proposals()) == [draft]


STRANGE_KEYS = ["7", "NULL", "'text'", "x''", "1.5"]


@pytest.mark.parametrize("key", STRANGE_KEYS)
def test_rows_whose_keys_are_no_hashes_are_told_and_go(kept: Kept, key: str) -> None:
    execute(kept.path, f"UPDATE payloads SET payload_hash = {key} WHERE rowid = 1")
    execute(kept.path, f"UPDATE proposals SET block_hash = {key} WHERE rowid = 1")
    strange = 2
    if key != "NULL":
        execute(kept.path, f"INSERT INTO erased VALUES ({key})")
        strange += 1
    execute(kept.path, f"INSERT INTO awaited VALUES ({'-1' if key == 'NULL' else key}, 1, 0)")
    with Store.open(kept.path) as store:
        assert all(len(one) == 32 for one in (*store.lacking(1_000), *store.erased()))
    report = kept.check()
    assert len(report.lines) == strange, report.lines
    assert kept.repaired().is_sound


def test_an_end_of_an_epoch_whose_block_has_no_index_is_told_with_the_others_beyond_the_tip(kept: Kept) -> None:
    execute(kept.path, "INSERT INTO finalizations SELECT 21, encoded FROM finalizations WHERE block_index = 20")
    execute(kept.path, "UPDATE epoch_ends SET block_index = x'15' WHERE block_index = 8")
    execute(kept.path, "UPDATE epoch_ends SET block_index = 21 WHERE block_index = 12")
    lines = kept.check().lines
    assert [one for one in lines if "no such block" in one] == [
        "finalization of block 21: there is no such block",
        "end of epoch 1: there is no such block",
        "end of epoch 2: there is no such block",
    ]
    assert kept.repaired().is_sound
    with Store.open(kept.path) as store:
        assert store.epoch_ends(0, 9) == [4, 8, 12, 16, 20]


def test_a_gap_beside_a_row_that_holds_no_bytes_is_not_filled(kept: Kept) -> None:
    execute(kept.path, "DELETE FROM blocks WHERE block_index = 8")
    execute(kept.path, "UPDATE blocks SET encoded = 5 WHERE block_index = 7")
    with Store.open(kept.path) as store, refuses(Rule.E2):
        put_blocks(store, kept.scribe.blocks[7:8])


def test_what_is_missing_is_told_in_one_pass_over_the_blocks() -> None:
    asked = 0

    class Damaged(dict[int, str]):
        def __contains__(self, index: object) -> bool:
            nonlocal asked
            asked += 1
            return super().__contains__(index)

    report = Report(1_000)
    report.rows["blocks"] = Damaged.fromkeys(range(1, 1_001), "missing")
    report.unproven = dict.fromkeys(range(4, 1_001, 4), 0)
    assert (report.missing_blocks, report.missing_finalizations, asked) == ([], [], 2_000)


# ---- damaged pages ------------------------------------------------------------------------------------------------


def flip(path: Path, chance: random.Random, pages: int) -> list[int]:
    """Change some bytes in some pages of the file."""
    data = bytearray(path.read_bytes())
    chosen = chance.sample(range(len(data) // 4096), pages)
    for page in chosen:
        for _ in range(chance.choice((1, 3, 50, 2000))):
            data[4096 * page + chance.randrange(4096)] = chance.randrange(256)
    path.write_bytes(data)
    return chosen


@pytest.fixture
def long(made_long: Kept, tmp_path: Path) -> Kept:
    return copied(made_long, tmp_path)


@pytest.fixture(scope="module")
def made_long(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """Enough blocks for tables of several levels."""
    scribe, entries = FinalScribe(FOUNDED), list[WholeEntry]()
    path = tmp_path_factory.mktemp("made") / "long.db"
    with Store.create(path, FOUNDED) as store:
        for number in range(120):
            entry = certified_file(bytes([number]) * 32)
            entry = WholeEntry(statement(f"{number}", ledger=LEDGER, payload=entry.payload), entry.payload)
            entries.append(entry)
            more = [statement(f"{number} {place}" + "x" * 150, ledger=LEDGER) for place in range(number % 12)]
            scribe.forge(entry.certificate, *more)
            store.append(replace(scribe.kept[-1], payloads=(entry.payload,)))
    return Kept(path, scribe, entries)


@pytest.mark.parametrize("number", range(6))
def test_what_can_be_read_of_damaged_pages_is_saved_and_the_rest_named_and_put_back(
    long: Kept, number: int, seed: int
) -> None:
    chance = random.Random(f"{seed} {number}")
    pages = flip(long.path, chance, chance.choice((1, 1, 2, 5)))
    what = f"seed {seed} {number}, pages {pages}"
    target = long.path.with_name("saved.db")
    try:
        lost = salvage(long.path, target)
    except DamagedStore as damage:
        assert "genesis cannot be read" in str(damage), what  # noqa: PT017  whether it is one depends on the seed
        assert not target.exists(), what
        return
    saved = Kept(target, long.scribe, long.entries)
    report = saved.repaired()
    assert report.tip_index >= 120 - 60 * len(pages), (what, lost)
    fetch(saved, report)
    for _ in range(2):  # votes that could not be judged before those of the epoch before were put back
        if not saved.check().is_sound or saved.check().missing_finalizations:
            fetch(saved, saved.repaired())
    final = saved.check()
    assert final.is_sound, (what, final)
    assert final.missing_finalizations == [], what
    assert log_root(final) == long.scribe.state.log.root(), what


def fetch(saved: Kept, report: Report) -> None:
    """Put back all that is missing, as if peers had sent it."""
    scribe = saved.scribe
    with Store.open(saved.path) as store:
        for first, last in reversed(report.missing_blocks):
            put_blocks(store, scribe.blocks[first - 1 : last])
        for index in report.missing_finalizations:
            epoch = report.epochs.get(report.unproven[index])
            if epoch is not None:
                report.epochs[epoch.number + 1] = put_finalization(store, scribe.proofs(index)[0], epoch)
        for later in scribe.kept[store.tip_index :]:
            store.append(later)
        for entry in saved.entries:
            if entry.payload.hash() in store.lacking(1000):
                store.keep_payload(entry.payload)


def rows_of(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def test_a_file_that_was_cut_short_gives_what_is_left_of_it(long: Kept) -> None:
    data = long.path.read_bytes()
    long.path.write_bytes(data[: len(data) * 2 // 3])
    target = long.path.with_name("saved.db")
    assert salvage(long.path, target)["blocks"]
    assert 20 < rows_of(target, "blocks") < 120
    assert Kept(target, long.scribe, long.entries).repaired().last_good > 20


def test_a_file_whose_first_page_is_gone_gives_everything_else(long: Kept) -> None:
    with long.path.open("r+b") as file:
        file.write(bytes(4096))
    target = long.path.with_name("saved.db")
    assert not any(salvage(long.path, target).values())
    assert [rows_of(target, table) for table in ("blocks", "finalizations", "payloads")] == [120] * 3
    assert Kept(target, long.scribe, long.entries).repaired().is_sound


def test_damaged_pages_are_told_and_not_written_to(long: Kept) -> None:
    data = bytearray(long.path.read_bytes())
    data[4096 * 30 : 4096 * 31] = bytes(4096)
    long.path.write_bytes(data)
    with Store.open(long.path) as store:
        report = Check(store).run()
        assert report.pages
        assert not report.is_sound
        with pytest.raises(StoreError, match="has damaged pages; copy what can be read"):
            repair(store, report)


def test_however_many_damaged_files_are_kept_the_next_has_a_name(long: Kept) -> None:
    for number in range(1, 1_200):
        long.path.with_name(f"{long.path.stem}.damaged-{number}.db").touch()
    _, aside = salvage_in_place(long.path)
    assert aside.name == f"{long.path.stem}.damaged-1200.db"
    assert aside.stat().st_size
    assert long.repaired().is_sound


def test_salvage_never_overwrites(long: Kept) -> None:
    with pytest.raises(StoreError, match="exists already"):
        salvage(long.path, long.path)
    assert long.check().is_sound
