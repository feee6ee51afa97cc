"""Crash points: every write and sync of the store, lost, torn or kept, opened again and compared.

What `append`, `keep_votes` and the others returned for is there; of what came after, a whole change or nothing.
"""

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import pytest
from msgspec.structs import replace
from tests.builders import ADA, BEN, FinalScribe, WholeEntry, found, staking, statement, vote, with_payload
from tests.integration.fault_disk import Disk, Mark, Sync, Write
from tests.integration.test_store import certified_file

from tallystick.consensus.proof_of_stake import check_drawn
from tallystick.integrity.check import Check
from tallystick.integrity.repair import repair
from tallystick.ledger.encoding import encode
from tallystick.ledger.vote import NOTARIZE, tally_of
from tallystick.network.replay import replayed
from tallystick.problems import StoreError, StoreFailed
from tallystick.storage import id_runs, kept_ids, snapshots
from tallystick.storage.log_tiles import Tree
from tallystick.storage.sqlite_file import connect
from tallystick.storage.store import Store

FOUNDED = found(epoch_blocks=3)
LEDGER = FOUNDED.ledger_id

Change = Callable[[Store], object]


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Certificates leave the memory after a few blocks, for runs that are merged."""
    monkeypatch.setattr(snapshots, "_CERTIFICATES_IN_MEMORY", 4)
    monkeypatch.setattr(snapshots, "_RUN_CERTIFICATES", 2)
    monkeypatch.setattr(kept_ids, "_ROW_CERTIFICATES", 3)
    monkeypatch.setattr(id_runs, "ROW_ENTRIES", 2)


def ids_on(store: Store) -> list[bytes]:
    """The ids of all certificates in its blocks."""
    return [one.id for block in store.blocks() for one in block.certificates]


def contents(store: Store) -> dict[str, Any]:
    """All that a store keeps."""
    snapshot = store.snapshot()
    return {
        "blocks": [block.encoded for block in store.blocks()],
        "finalizations": [store.finalization(index) for index in range(store.tip_index + 2)],
        "ends of epochs": [store.epoch_end(index) for index in range(store.tip_index + 2)],
        "votes": [encode(one) for epoch in range(4) for one in store.votes(epoch)],
        "proposals": sorted(block.hash for block in store.proposals()),
        "waiting": list(store.waiting()),
        "erased": list(store.erased()),
        "lacking": sorted(store.lacking(1_000)),
        "payloads": store.database.select("SELECT payload_hash FROM payloads ORDER BY payload_hash"),
        "snapshot": snapshot and snapshot.state,
        "places": [snapshot.certificate_index.find(one) for one in ids_on(store)] if snapshot else [],
        "runs": store.database.select("SELECT place, digest FROM id_runs"),
        "roots": [
            store.hash_tiles.root(Tree.LOG, sum(len(block.certificates) for block in store.blocks())),
            store.hash_tiles.root(Tree.HEADERS, store.tip_index + 1),
        ],
    }


def changes() -> list[Change]:
    """A node's life in small: votes, blocks with payloads, late payloads, an erasure, snapshots, a batch, a repair."""
    scribe = FinalScribe(FOUNDED)
    found_changes: list[Change] = []
    for number in range(7):
        entry = certified_file(bytes([number]) * 32)
        about = WholeEntry(statement(f"file {number}", ledger=LEDGER, payload=entry.payload), entry.payload)
        other = with_payload(f"other {number}" + "x" * 3_000 * (number % 3), ledger=LEDGER)
        moving = staking(1, at_ms=FOUNDED.created_ms + number, ledger=LEDGER)
        draft = scribe.draft(about.certificate, other.certificate, moving)
        epoch, view = number // 3, number % 3 + 1
        tallies = [tally_of([vote(NOTARIZE, draft.hash, one, epoch, view, FOUNDED)]) for one in (ADA, BEN)]
        scribe.forge(about.certificate, other.certificate, moving)
        kept = replace(scribe.kept[-1], payloads=(about.payload,), oldest_epoch=max(0, epoch - 1))
        found_changes += [
            partial(Store.keep_certificates, entries=[other]),
            partial(Store.keep_votes, tallies=tallies, blocks=[draft]),
            partial(Store.append, kept=kept),
        ]
        if number == 2:
            found_changes.append(partial(Store.erase_payload, payload_hash=about.payload.hash()))
        if number >= 3:
            found_changes.append(keep_snapshot)
        if number == 4:
            found_changes.append(partial(in_one_batch, scribe=scribe))
    return found_changes


def keep_snapshot(store: Store) -> None:
    store.keep_snapshot(replayed(FOUNDED, check_drawn, store))


def in_one_batch(store: Store, scribe: FinalScribe) -> None:
    late = with_payload("late", ledger=LEDGER)
    with store.batch():
        for number in range(3):
            store.keep_certificates([with_payload(f"in a batch {number}", ledger=LEDGER)])
        store.keep_certificates([late])
        store.forget_certificate(late.certificate.id)


def lived(path: Path, disk: Disk) -> list[dict[str, Any]]:
    """Live that life on a disk; what is kept after each change, and a mark in the log where it was durable."""
    states = []
    store = Store.create(path, FOUNDED, connect_to=disk.connect)
    states.append(contents(store))
    disk.log.append(Mark(len(states)))
    for change in changes():
        change(store)
        states.append(contents(store))
        disk.log.append(Mark(len(states)))
    store.close()
    return states


@pytest.mark.parametrize("kept", ["lost", "torn", "kept"])
def test_after_a_power_cut_at_any_write_or_sync_everything_durable_is_there_and_nothing_is_half(
    tmp_path: Path, kept: Any, seed: int
) -> None:
    disk = Disk()
    states = lived(tmp_path / "chain.db", disk)
    assert states[-1]["runs"] and states[-1]["runs"][0][0] >> 32 > 1, "runs were made, merged and deleted"  # noqa: PT018
    chance = random.Random(f"{seed} {kept}")
    tried = 0
    for point in disk.crash_points():
        marks = [event.what for event in disk.log[:point] if isinstance(event, Mark)]
        if not marks or (kept == "kept" and seed > 1):
            continue  # before `create` returned there is no store yet; and all kept is the same with every seed
        folder = tmp_path / "after"
        folder.mkdir()
        for name, data in disk.after_crash(point, kept, chance).items():
            (folder / name).write_bytes(data)
        what = f"seed {seed}, {kept}, after {point} of {len(disk.log)} events"
        looking = connect if tried % 16 == 0 else Disk(is_quick=True).connect
        with Store.open(folder / "chain.db", connect_to=looking) as store:
            found_again = contents(store)
            due = [states[marks[-1] - 1], *states[marks[-1] : marks[-1] + 1]]
            assert found_again in due, (what, differing(found_again, due))
            if tried % 16 == 0:
                report = Check(store, lambda claims: [True] * len(claims)).run()
                assert report.is_sound, (what, report)
                repair(store, report)
                assert contents(store)["blocks"] == found_again["blocks"], what
        tried += 1
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    assert tried > 100 or seed > 1


def differing(one: dict[str, Any], others: list[dict[str, Any]]) -> list[str]:
    return [name for other in others for name in one if one[name] != other[name]]


def test_the_store_syncs_before_it_returns(tmp_path: Path) -> None:
    disk = Disk()
    lived(tmp_path / "chain.db", disk)
    unsynced: set[str] = set()
    for event in disk.log:
        match event:
            case Write(name, _, data) if data is not None:
                unsynced.add(name)
            case Sync(name, _):
                unsynced.discard(name)
            case Mark():
                assert "chain.db-wal" not in unsynced, "returned before its log was on the disk"


def fail_at(number: int, kind: type, error: Callable[[], Exception]) -> Callable[[Any], None]:
    """Let the write or sync with this number, and all after it, fail."""
    seen = 0

    def before(event: Any) -> None:
        nonlocal seen
        seen += isinstance(event, kind)
        if seen >= number and isinstance(event, kind):
            raise error()

    return before


FAULTS: dict[str, tuple[type, Callable[[], Exception]]] = {
    "sync": (Sync, lambda: apsw.IOError("the sync failed")),
    "write": (Write, lambda: apsw.IOError("the write failed")),
    "full": (Write, lambda: apsw.FullError("no room")),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("number", [1, 2, 3, 5, 8, 13, 21])
def test_after_a_write_or_sync_that_failed_the_store_refuses_everything_and_the_file_is_whole(
    tmp_path: Path, name: str, number: int
) -> None:
    disk, path, states = Disk(), tmp_path / "chain.db", []
    kind, error = FAULTS[name]
    store = Store.create(path, FOUNDED, connect_to=disk.connect)
    states.append(contents(store))
    disk.before = fail_at(number, kind, error)
    life = changes()
    failure: StoreError | None = None
    for change in life:
        try:
            change(store)
        except StoreError as raised:
            failure = raised
            break
        states.append(contents(store))
    assert isinstance(failure, StoreFailed), failure
    advice = "disk is full; make room" if name == "full" else "the disk reports an error"
    assert advice in str(failure)
    for refused in (life[0], lambda store: list(store.blocks()), lambda store: store.keep_payload(payload())):
        with pytest.raises(StoreFailed):
            refused(store)
    store.close()
    with Store.open(path) as again:
        found_again = contents(again)
        following = expected_after(tmp_path / "without.db", len(states))
        assert found_again in (states[-1], following)


def expected_after(path: Path, count: int) -> dict[str, Any]:
    """What the first so many changes come to on a disk without faults."""
    with Store.create(path, FOUNDED) as store:
        for change in changes()[:count]:
            change(store)
        return contents(store)


def payload() -> Any:
    return with_payload("more").payload
