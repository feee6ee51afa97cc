"""Certificates that left the memory are found by the file; limits are so small here that all occurs."""

import sqlite3
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.builders import FinalScribe, found, staking, statement
from tests.integration.test_store import execute

from tallystick.consensus.proof_of_stake import check_drawn
from tallystick.integrity.check import Check
from tallystick.integrity.repair import repair
from tallystick.ledger.blockchain import Blockchain
from tallystick.ledger.certificate import AnyCertificate
from tallystick.ledger.certificate_index import Found, Place
from tallystick.ledger.encoding import encode
from tallystick.network.replay import replayed
from tallystick.problems import DamagedStore, StoreError
from tallystick.storage import id_runs, kept_ids, snapshots
from tallystick.storage.id_runs import IdRuns
from tallystick.storage.sqlite_file import Database
from tallystick.storage.store import Store

FOUNDED = found(epoch_blocks=5)
LEDGER = FOUNDED.ledger_id
SMALL = {
    (snapshots, "_CERTIFICATES_IN_MEMORY"): 8,
    (snapshots, "_RUN_CERTIFICATES"): 4,
    (kept_ids, "_ROW_CERTIFICATES"): 3,
    (id_runs, "ROW_ENTRIES"): 4,
}


@pytest.fixture(autouse=True, scope="module")
def small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for (module, name), value in SMALL.items():
            patch.setattr(module, name, value)
        yield


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.create(tmp_path / "chain.db", FOUNDED) as store:
        yield store


def started(store: Store) -> Blockchain:
    """What a node starts from."""
    return replayed(FOUNDED, check_drawn, store)


def grow(scribe: FinalScribe, chain: Blockchain, store: Store, count: int) -> None:
    """A block with so many statements, and an operation when there is none."""
    made: list[AnyCertificate] = [statement(f"{chain.state.index} {one}", ledger=LEDGER) for one in range(count)]
    assert not any(one.id in chain.certificate_index for one in made)
    scribe.forge(*(made or [staking(1, at_ms=FOUNDED.created_ms + chain.state.index, ledger=LEDGER)]))
    store.append(scribe.kept[-1])
    chain.append(scribe.blocks[-1])


def lived(store: Store, blocks: int = 40, every: int = 3) -> tuple[FinalScribe, Blockchain]:
    """A chain whose oldest certificates are on runs."""
    scribe, chain = FinalScribe(FOUNDED), started(store)
    for number in range(blocks):
        grow(scribe, chain, store, number % 5)
        if number % every == 0:
            store.keep_snapshot(chain)
    store.keep_snapshot(chain)
    return scribe, chain


def assert_finds_all(chain: Blockchain, scribe: FinalScribe) -> None:
    """The chain's index says of each certificate what the blocks say, and of others nothing."""
    index, number = chain.certificate_index, 0
    for block in scribe.blocks:
        for position, one in enumerate(block.certificates):
            issuer = one.issuer if type(one).__name__ == "Statement" else None
            assert index.find(one.id) == Found(number, issuer)
            assert index.place_of(one.id) == Place(block.index, position) == index.place_at(number)
            assert index.ids(number, 1) == one.id
            assert index.with_prefix(one.id.hex()[:12]) == [Place(block.index, position)]
            other = one.id[:8] + sha256(one.id).digest()[8:]  # as far as a run knows the same
            assert other not in index and index.find(other) is None  # noqa: PT018
            assert sha256(one.id).digest() not in index
            number += 1
    ids = b"".join(one.id for block in scribe.blocks for one in block.certificates)
    assert index.ids(0, number) == ids
    assert len(index) == number
    beginnings = [index.with_prefix(f"{first:02x}") for first in range(256)]
    assert sorted(place for found_there in beginnings for place in found_there) == [
        Place(block.index, position) for block in scribe.blocks for position in range(len(block.certificates))
    ]


def in_memory(chain: Blockchain) -> int:
    """How many certificates the index has itself."""
    return len(chain.certificate_index._ids) // 32


def test_certificates_leave_the_memory_and_are_found_before_and_after_a_start(store: Store) -> None:
    scribe, chain = lived(store)
    assert in_memory(chain) <= 12 < len(chain.certificate_index)
    assert_finds_all(chain, scribe)
    with Store.open(store.path) as again:
        chain = started(again)
        assert in_memory(chain) <= 12
        assert_finds_all(chain, scribe)
        for _ in range(9):
            grow(scribe, chain, again, 4)
            again.keep_snapshot(chain)
        assert_finds_all(chain, scribe)


def test_a_start_reads_no_id_that_is_on_a_run(store: Store) -> None:
    scribe, _ = lived(store)
    execute(store.path, "UPDATE ids SET ids = zeroblob(length(ids)) WHERE last_block < 20")
    execute(store.path, "UPDATE id_runs SET entries = zeroblob(length(entries))")
    with Store.open(store.path) as again:
        chain = started(again)
        assert again.snapshot() is not None
        assert chain.state == scribe.state
        assert all(sha256(one.id).digest() not in chain.certificate_index for one in scribe.blocks[0].certificates)


def test_runs_are_merged_so_that_there_are_few_and_what_was_read_is_deleted(store: Store) -> None:
    scribe, chain = lived(store, blocks=150)
    layout = store._snapshots._runs.layout()
    on_runs = sum(size for _, size, _ in layout.runs)
    assert len(chain.certificate_index) - on_runs == in_memory(chain)
    assert len(layout.runs) <= 8, layout
    for _ in range(20):
        grow(scribe, chain, store, 1)
        store.keep_snapshot(chain)
    numbers = {
        number for number, *_ in (*store._snapshots._runs.layout().runs, *store._snapshots._runs.layout().merges)
    }
    kept = {place >> 32 for (place,) in store.database.select("SELECT place FROM id_runs")}
    assert kept - numbers <= set(store._snapshots._runs.layout().gone)
    assert_finds_all(chain, scribe)


def test_a_thread_that_reads_finds_what_is_on_runs(store: Store) -> None:
    scribe, chain = lived(store)
    found_there: list[Place | None] = []
    one = scribe.blocks[1].certificates[0]
    reads = Thread(target=lambda: found_there.append(chain.place_of(one.id)))
    reads.start()
    reads.join()
    assert found_there == [chain.place_of(one.id)] == [Place(2, 0)]


DAMAGES: dict[str, tuple[str, bool]] = {
    "marks": ("UPDATE id_runs SET marks = zeroblob(length(marks))", True),
    "bounds": ("UPDATE id_runs SET bounds = zeroblob(length(bounds))", True),
    "a row of a run gone": ("DELETE FROM id_runs WHERE place = (SELECT max(place) FROM id_runs)", True),
    "all runs gone": ("DELETE FROM id_runs", True),
    "entries": ("UPDATE id_runs SET entries = zeroblob(length(entries))", False),
    "entries that are text": ("UPDATE id_runs SET entries = 'hello'", False),
    "entries and their digest": ("UPDATE id_runs SET entries = zeroblob(12), digest = zeroblob(32)", True),
    "old ids": ("UPDATE ids SET ids = zeroblob(length(ids)) WHERE last_block < 9", False),
    "old ids that are text": ("UPDATE ids SET ids = 'hello' WHERE last_block < 9", False),
    "old issuers": ("UPDATE ids SET issuers = x'00' WHERE last_block < 9", False),
    "old counts": ("UPDATE ids SET counts = counts || counts WHERE last_block < 9", True),
    "an old row gone": ("DELETE FROM ids WHERE last_block = (SELECT min(last_block) FROM ids)", True),
    "first numbers": ("UPDATE ids SET first = first + 1 WHERE last_block < 9", True),
    "the layout": ("UPDATE snapshot SET runs = x'00'", True),
    "no layout": ("UPDATE snapshot SET runs = 7", True),
    "another layout": ("UPDATE snapshot SET runs = x'9490909001'", True),
}


@pytest.mark.parametrize(("sql", "is_seen_at_start"), DAMAGES.values(), ids=DAMAGES)
def test_damage_is_seen_at_the_start_or_when_it_is_looked_up_and_repaired(
    store: Store, sql: str, is_seen_at_start: bool
) -> None:
    scribe, _ = lived(store)
    execute(store.path, sql)
    with Store.open(store.path) as again:
        assert (again.snapshot() is None) == is_seen_at_start
        chain = started(again)
        if is_seen_at_start:
            assert_finds_all(chain, scribe)  # replayed
        else:
            with pytest.raises(DamagedStore, match="run: tallystick check --repair"):
                [chain.certificate_index.find(one.id) for block in scribe.blocks for one in block.certificates]
        report = Check(again, lambda claims: [True] * len(claims)).run()
        assert report.derived == ["snapshot"]
        repair(again, report)
        assert Check(again, lambda claims: [True] * len(claims)).run().is_sound
        chain = started(again)
        assert in_memory(chain) <= 12
        assert_finds_all(chain, scribe)


FORGED = {
    "a number": lambda entries: entries[:8] + (5).to_bytes(4) + entries[12:],
    "a number beyond": lambda entries: entries[:8] + b"\xff" * 4 + entries[12:],
}


@pytest.mark.parametrize("change", FORGED.values(), ids=FORGED)
def test_a_run_that_leads_elsewhere_is_found_by_the_check_though_its_digests_are_right(
    store: Store, change: Callable[[bytes], bytes]
) -> None:
    lived(store)
    runs = store._snapshots._runs
    run = runs._runs[-1]
    ((place, entries),) = store.database.select("SELECT place, entries FROM id_runs WHERE place = ?", (run.place(0),))
    forged = change(entries)
    assert forged != entries
    execute(
        store.path, "UPDATE id_runs SET entries = ?, digest = ? WHERE place = ?", forged, sha256(forged).digest(), place
    )
    run.hash = sha256()
    for row in store.database.select(id_runs._SELECT_ROWS, (run.place(0), run.place(1 << 32))):
        run.hash.update(b"".join((len(row[1]).to_bytes(4), *row[1:])))
    encoded = encode(runs.layout())
    state = store.database.select("SELECT encoded FROM snapshot")[0][0]
    digest = snapshots._digest_of(store._snapshots._heads.digest(), state, encoded)
    execute(store.path, "UPDATE snapshot SET runs = ?, digest = ?", encoded, digest)
    with Store.open(store.path) as again:
        assert again.snapshot() is not None
        assert Check(again, lambda claims: [True] * len(claims)).run().derived == ["snapshot"]


def test_after_a_snapshot_that_failed_runs_grow_from_what_is_in_the_file(store: Store, monkeypatch) -> None:
    scribe, chain = lived(store)
    for number in range(12):
        grow(scribe, chain, store, 4)
        failing = "INSERT INTO snapshot" if number % 3 else "INSERT INTO id_runs"
        with monkeypatch.context() as patch:
            patch.setattr(Database, "execute", _failing(failing))
            with pytest.raises(StoreError, match="no room"):
                store.keep_snapshot(chain)
        assert_finds_all(chain, scribe)
        if number % 4 == 3:
            store.keep_snapshot(chain)
            assert_finds_all(chain, scribe)
    with Store.open(store.path) as again:
        assert_finds_all(started(again), scribe)
        assert Check(again, lambda claims: [True] * len(claims)).run().is_sound


def _failing(beginning: str) -> Callable[..., None]:
    execute_well = Database.execute

    def execute_or_fail(self: Database, sql: str, values: tuple[object, ...] = ()) -> None:
        if sql.startswith(("INSERT INTO snapshot", beginning)):
            raise StoreError("no room")
        execute_well(self, sql, values)

    return execute_or_fail


class Life(RuleBasedStateMachine):
    """A node that grows, keeps snapshots or fails to, stops and starts; its index is always the blocks'."""

    @initialize()
    def begin(self) -> None:
        self.folder = TemporaryDirectory()
        self.store = Store.create(Path(self.folder.name) / "chain.db", FOUNDED)
        self.scribe, self.chain = FinalScribe(FOUNDED), started(self.store)

    @rule(counts=st.lists(st.integers(0, 9), min_size=1, max_size=4))
    def grow(self, counts: list[int]) -> None:
        for count in counts:
            grow(self.scribe, self.chain, self.store, count)

    @rule()
    def keep(self) -> None:
        self.store.keep_snapshot(self.chain)

    @precondition(lambda self: self.chain.state.index)
    @rule(beginning=st.sampled_from(["INSERT INTO ids", "INSERT INTO id_runs", "DELETE FROM snapshot", "INSERT"]))
    def fail(self, beginning: str) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Database, "execute", _failing(beginning))
            with pytest.raises(StoreError):
                self.store.keep_snapshot(self.chain)

    @rule(stops_well=st.booleans())
    def restart(self, stops_well: bool) -> None:
        if stops_well:
            self.store.keep_snapshot(self.chain)
        self.store.close()
        self.store = Store.open(self.store.path)
        self.chain = started(self.store)

    @invariant()
    def finds_what_the_blocks_have(self) -> None:
        assert_finds_all(self.chain, self.scribe)

    def teardown(self) -> None:
        assert Check(self.store, lambda claims: [True] * len(claims)).run().is_sound
        self.store.close()
        self.folder.cleanup()


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=10, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


# ---- runs alone, of ids that nobody's certificate has -----------------------------------------------------------


def select_from(database: Database) -> Callable[[str, tuple[int, ...]], list[tuple[object, ...]]]:
    return database.select


def alone() -> tuple[IdRuns, Database]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    database = Database(Path("memory"), connection)
    connection.execute("CREATE TABLE id_runs (place INTEGER PRIMARY KEY, bounds, marks, digest, entries)")
    return IdRuns(database), database


alike = st.builds(
    lambda first, mark, last, rest: first * 4 + mark + last * 2 + bytes([rest]) * 24,
    *(st.sampled_from([b"\x00", b"\x01", b"\x80", b"\xff"]), st.sampled_from([b"\x00\x00", b"\x00\x01", b"\x01\x00"])),
    *(st.sampled_from([b"\x00", b"\x02"]), st.integers(0, 255)),
)
"""Ids that begin alike, whose marks are alike, also when one byte of them is left out, and that 8 bytes do not part."""


@given(st.lists(st.lists(alike, min_size=1, max_size=40), min_size=1, max_size=12))
def test_ids_that_are_alike_in_what_a_run_knows_are_all_candidates(parts: list[list[bytes]]) -> None:
    runs, database = alone()
    ids = list(dict.fromkeys(one for part in parts for one in part))
    select, start = select_from(database), 0
    for part in parts:
        fresh = ids[start : start + len(part)]
        if fresh:
            runs.add(b"".join(fresh))
            runs.merge(len(fresh))
            runs.publish()
        start += len(fresh)
        for one in ids:
            due = [number for number, other in enumerate(ids[:start]) if other[:8] == one[:8]]
            assert sorted(runs.candidates(one, select)) == due
            assert runs.may_have(one) or not due
    assert runs.size == len(ids)
    assert runs.are_as_derived(lambda first, count: b"".join(ids[first : first + count]))


def test_of_ids_that_are_on_no_run_hardly_one_costs_a_read() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(id_runs, "ROW_ENTRIES", 2_048)
        runs, database = alone()
        for part in range(3):
            runs.add(b"".join(digest(one) for one in range(part * 20_000, (part + 1) * 20_000)))
        runs.publish()
        asked = 0
        for one in range(60_000, 80_000):
            try:
                assert not runs.candidates(digest(one), _refuses)
            except ValueError:
                assert runs.may_have(digest(one))
                asked += 1
        assert asked <= 100, asked
        select = select_from(database)
        assert all(runs.candidates(digest(one), select) == [one] for one in range(0, 60_000, 97))


def test_a_row_is_read_once_however_many_of_its_ids_begin_alike() -> None:
    runs, database = alone()
    ids = [bytes(6) + number.to_bytes(2, "big") + bytes(24) for number in range(300)]
    runs.add(b"".join(ids))
    runs.publish()
    read: list[tuple[int, ...]] = []

    def select(sql: str, values: tuple[int, ...]) -> list[tuple[object, ...]]:
        read.append(values)
        return database.select(sql, values)

    assert runs.candidates(ids[7], select) == [7]
    assert len(read) == len(set(read)) == -(-len(ids) // id_runs.ROW_ENTRIES)


def _refuses(sql: str, values: tuple[int, ...]) -> list[object]:
    return []


def digest(number: int) -> bytes:
    return sha256(number.to_bytes(8, "big")).digest()
