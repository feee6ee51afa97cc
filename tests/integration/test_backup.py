"""A backup of a store in use: one moment of it, whole, in one file that opens."""

from pathlib import Path

import pytest
from tests.builders import GENESIS, FinalScribe, keep, statement
from tests.integration.test_store import blocks_of, keep_final

from tallystick.integrity.checked_chain import CheckedChain
from tallystick.ledger.certificate import Payload
from tallystick.problems import StoreError
from tallystick.storage import sqlite_file
from tallystick.storage.sqlite_file import copy_database
from tallystick.storage.store import Store

BIG = [Payload(bytes([number]) * 32, "", "text/plain", bytes(60_000)) for number in range(100)]


def filled(path: Path, scribe: FinalScribe) -> Store:
    store = Store.create(path, GENESIS)
    for number, payload in enumerate(BIG):
        keep_final(store, scribe, statement(f"big {number}", payload=payload), payload=payload)
    return store


def test_a_backup_is_the_store_as_it_was_when_it_began_though_blocks_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scribe, target = FinalScribe(GENESIS), tmp_path / "backup.db"
    heard: list[tuple[int, int]] = []
    with filled(tmp_path / "chain.db", scribe) as store:
        before = blocks_of(store)

        def on_copied(status: int, left: int, pages: int) -> None:
            heard.append((left, pages))
            assert not target.exists() or not target.read_bytes(), "nobody takes a part of it for the whole"
            keep(store, scribe.forge(), [])

        monkeypatch.setattr(sqlite_file, "_on_copied", on_copied)
        copy_database(store.path, target)
        assert len(heard) > 1
        assert heard[-1][0] == 0
        assert store.tip_index == len(before) + len(heard)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup.db", "chain.db"]
    with Store.open(target) as restored:
        assert blocks_of(restored) == before
        assert CheckedChain(restored).state.index == len(before)
        for block in scribe.blocks[len(before) :]:
            keep(restored, block, [])
        assert restored.payload(BIG[7].hash()) == BIG[7]


def test_a_backup_never_overwrites(tmp_path: Path) -> None:
    target = tmp_path / "backup.db"
    target.write_text("mine")
    with Store.create(tmp_path / "chain.db", GENESIS) as store, pytest.raises(StoreError, match="exists already"):
        copy_database(store.path, target)
    assert target.read_text() == "mine"


def test_a_backup_that_is_broken_off_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def on_copied(status: int, left: int, pages: int) -> None:
        raise KeyboardInterrupt

    with filled(tmp_path / "chain.db", FinalScribe(GENESIS)) as store:
        with monkeypatch.context() as broken:
            broken.setattr(sqlite_file, "_on_copied", on_copied)
            with pytest.raises(KeyboardInterrupt):
                copy_database(store.path, tmp_path / "backup.db")
        assert not [path for path in tmp_path.iterdir() if path.name.startswith("backup")]
        copy_database(store.path, tmp_path / "backup.db")


def test_a_backup_to_where_nothing_can_be_written_is_refused_with_advice(tmp_path: Path) -> None:
    nowhere = pytest.raises(StoreError, match="name a file in a folder that exists")
    with Store.create(tmp_path / "chain.db", GENESIS) as store, nowhere:
        copy_database(store.path, tmp_path / "nowhere" / "backup.db")


def test_a_backup_passes_by_what_is_named_like_an_unfinished_one(tmp_path: Path) -> None:
    mine = tmp_path / "backup.db.unfinished"
    mine.write_text("mine")
    (tmp_path / "backup.db.unfinished-journal").mkdir()
    with Store.create(tmp_path / "chain.db", GENESIS) as store:
        copy_database(store.path, tmp_path / "backup.db")
    assert mine.read_text() == "mine"
    Store.open(tmp_path / "backup.db").close()


@pytest.mark.parametrize("suffix", ["-journal", "-wal", "-shm"])
def test_a_backup_does_not_go_beside_the_log_of_another_database(tmp_path: Path, suffix: str) -> None:
    """SQLite would carry that one over into it."""
    (tmp_path / f"backup.db{suffix}").write_text("another's")
    with (
        Store.create(tmp_path / "chain.db", GENESIS) as store,
        pytest.raises(StoreError, match=f"backup.db{suffix} exists already"),
    ):
        copy_database(store.path, tmp_path / "backup.db")
    assert not (tmp_path / "backup.db").exists()


def test_a_disk_that_fails_at_the_end_of_a_backup_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        raise OSError(5, "Input/output error")

    with Store.create(tmp_path / "chain.db", GENESIS) as store:
        for name in ("sync", "sync_folder"):
            with monkeypatch.context() as failing:
                failing.setattr(sqlite_file, name, fail)
                with pytest.raises(StoreError, match=r"cannot be .*: Input/output error"):
                    copy_database(store.path, tmp_path / "backup.db")
            assert not [path for path in tmp_path.iterdir() if path.name.startswith("backup")]
