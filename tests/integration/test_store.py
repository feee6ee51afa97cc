"""The store: it keeps what it was given, all at once or not at all, and finds out when somebody changed it."""

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.builders import (
    ADA,
    BEN,
    GENESIS,
    MEMBERS,
    STRANGER,
    FinalScribe,
    Scribe,
    WholeEntry,
    assert_agreed,
    found,
    keep,
    network_of,
    payload,
    sign_anything,
    sign_block,
    statement,
    statements,
    with_payload,
)

from tallystick.client.blocking import Client
from tallystick.integrity.checked_chain import CheckedChain
from tallystick.ledger.block import Block
from tallystick.ledger.certificate import AnyCertificate, Payload
from tallystick.ledger.encoding import encode
from tallystick.ledger.errors import Rule
from tallystick.ledger.file_statement import FileStatement, file_payload
from tallystick.ledger.messages import (
    Entry,
)
from tallystick.network.archiving import FullArchive, sign_address
from tallystick.network.simulated_host import member
from tallystick.problems import DamagedStore, StoreError
from tallystick.storage.store import Store

FILE = FileStatement("report.pdf", 3, bytes(range(32)))
SALT = bytes(32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chain.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store.create(path, GENESIS) as store:
        yield store


def execute(path: Path, sql: str, *values: object) -> None:
    """What somebody with a SQLite tool does behind the store's back."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(sql, values)


def blocks_of(archive: FullArchive) -> list[bytes]:
    return [block.encoded for block in archive.blocks()]


def keep_final(
    archive: FullArchive, scribe: FinalScribe, *certificates: AnyCertificate, payload: Payload | None = None
) -> None:
    """Have the next block kept with votes that make it final, and a payload."""
    block = scribe.forge(*certificates)
    keep(archive, block, [payload] if payload else [], finalization=scribe.kept[-1].finalization)


def certified_file(salt: bytes = SALT) -> WholeEntry:
    about = file_payload(FILE, salt)
    return WholeEntry(statement("File report.pdf", payload=about), about)


# ---- what the store adds --------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", [b"no record", "text", None], ids=str)
def test_an_address_that_somebody_overwrote_is_left_out_and_can_be_learnt_again(path: Path, row: object) -> None:
    record = sign_address(ADA, GENESIS.ledger_id, "ada:1", 1)
    with Store.create(path, GENESIS) as store:
        store.keep_address(record)
    execute(path, "UPDATE addresses SET encoded = coalesce(?, 0)", row)
    with Store.open(path) as store:
        assert list(store.addresses()) == []
        store.keep_address(record)
        assert list(store.addresses()) == [record]


def test_everything_is_there_after_closing_and_opening_again(path: Path) -> None:
    scribe, entry, erased = Scribe(), with_payload("kept"), with_payload("erased")
    with Store.create(path, GENESIS) as store:
        keep(store, scribe.forge(entry.certificate, erased.certificate), [entry.payload, erased.payload])
        store.erase_payload(erased.payload.hash())
        store.remember_names({ADA.public_key: "Ada"})
    assert not path.with_name("chain.db-wal").exists(), "a closed chain is one file, fit to be copied"
    with Store.open(path, read_only=True) as store:
        assert store.genesis == GENESIS
        assert store.tip_index == 1
        assert blocks_of(store) == [scribe.blocks[0].encoded]
        assert store.payload(entry.payload.hash()) == entry.payload
        assert list(store.erased()) == [erased.payload.hash()]
        assert store.names() == {ADA.public_key: "Ada"}


@pytest.mark.parametrize("key", [7, None, "text"])
def test_a_name_of_what_is_no_key_is_left_out(path: Path, key: object) -> None:
    with Store.create(path, GENESIS) as store:
        store.remember_names({ADA.public_key: "Ada"})
        execute(path, "INSERT INTO names VALUES (?, 'Ben')", key)
        assert store.names() == {ADA.public_key: "Ada"}


def test_a_node_that_crashed_goes_on_from_its_store(store: Store, seed: int) -> None:
    network = network_of(seed, names=())
    for name, wallet in MEMBERS.items():
        network.add(name, member(wallet), archive=store if name == "ada" else None)
    network.connect_all()
    certificates = statements(40)
    for certificate in certificates[:20]:
        network.submit("ada", Entry(certificate))
    network.run_until_quiet()
    network.crash("ada")
    network.run_for(1_000)
    network.restart("ada")
    for certificate in certificates[20:]:
        network.submit("ada", Entry(certificate))
    network.run_until_quiet()
    assert_agreed(network, *certificates)
    assert CheckedChain(store).state.tip == network.hosts["ada"].node.state.tip


def test_a_block_that_does_not_come_next_changes_nothing(store: Store) -> None:
    first, second, third = Scribe().forge_many(3)
    keep(store, first, [])
    for wrong in (first, third):
        with pytest.raises(StoreError, match="does not come next"):
            keep(store, wrong, [])
    assert store.tip_index == 1
    keep(store, second, [])
    assert blocks_of(store) == [first.encoded, second.encoded]


def breaking_off(store: Store) -> Callable[[Block, Iterable[Payload]], None]:
    """What happens when the process gets into trouble after the last change of a transaction."""
    add_block = store.payload_tables.add_block

    def add(block: Block, payloads: Iterable[Payload]) -> None:
        add_block(block, payloads)
        raise RuntimeError("the process is in trouble")

    return add


def test_a_block_is_kept_with_all_its_payloads_or_not_at_all(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = with_payload("one")
    block = Scribe().forge(entry.certificate)

    with monkeypatch.context() as trouble:
        trouble.setattr(store.payload_tables, "add_block", breaking_off(store))
        with pytest.raises(RuntimeError):
            keep(store, block, [entry.payload])
    assert store.tip_index == 0
    assert blocks_of(store) == []
    assert store.payload(entry.payload.hash()) is None
    keep(store, block, [entry.payload])
    assert blocks_of(store) == [block.encoded]


def test_a_full_disk_is_told_and_changes_nothing(store: Store) -> None:
    scribe = Scribe()
    keep(store, scribe.forge(), [])
    store.database.connection.execute("PRAGMA max_page_count = 1")
    big = Payload(SALT, "", "text/plain", bytes(60_000))
    with pytest.raises(StoreError, match="disk is full; make room"):
        keep(store, scribe.forge(statement("big", payload=big)), [big])
    assert store.tip_index == 1
    assert len(blocks_of(store)) == 1


def test_erased_bytes_are_not_left_in_the_file_nor_taken_again(path: Path) -> None:
    secret = Payload(SALT, "Ada Lovelace, BSc", "text/plain", b"born on 1 April 1970 " * 400)
    with Store.create(path, GENESIS) as store:
        keep_final(store, FinalScribe(GENESIS), statement("diploma", payload=secret), payload=secret)
        for trace in (b"1 April 1970", b"Ada Lovelace"):
            assert any(trace in file.read_bytes() for file in path.parent.iterdir())
        store.erase_payload(secret.hash())
        for trace in (b"1 April 1970", b"Ada Lovelace"):
            assert not any(trace in file.read_bytes() for file in path.parent.iterdir())
        store.keep_payload(secret)
        assert store.payload(secret.hash()) is None
        CheckedChain(store)


def secret_kept(path: Path, store: Store) -> tuple[bytes, Callable[[], list[str]]]:
    """The hash of a payload that is kept, and what tells in which files it can be read."""
    secret = Payload(SALT, "Ada Lovelace, BSc", "text/plain", b"born on 1 April 1970 " * 400)
    keep_final(store, FinalScribe(GENESIS), statement("diploma", payload=secret), payload=secret)
    store.database.connection.execute("PRAGMA busy_timeout = 10")
    return secret.hash(), lambda: [one.name for one in path.parent.iterdir() if b"1 April 1970" in one.read_bytes()]


def test_erased_bytes_that_a_reader_keeps_in_the_log_go_with_the_next_change_after_it(path: Path) -> None:
    with Store.create(path, GENESIS) as store:
        secret, traces = secret_kept(path, store)
        with Store.open(path, read_only=True) as reader, reader.frozen():
            store.erase_payload(secret)
            store.remember_names({ADA.public_key: "Ada"})
            assert traces() == ["chain.db-wal"]
        store.remember_names({ADA.public_key: "Ada Lovelace"})
        assert traces() == []


def test_erased_bytes_in_a_log_that_was_left_behind_go_when_the_store_is_opened(path: Path) -> None:
    store = Store.create(path, GENESIS)
    secret, traces = secret_kept(path, store)
    with Store.open(path, read_only=True) as reader, reader.frozen():
        store.erase_payload(secret)
        store.close()
    assert traces() == ["chain.db-wal"]
    with Store.open(path):
        assert traces() == []


def test_block_by_index(store: Store) -> None:
    for block in Scribe().forge_many(3):
        keep(store, block, [])
    second = store.block(2)
    assert second is not None
    assert second.index == 2
    assert store.block(0) is store.block(4) is store.block(-1) is None


# ---- the index of files ---------------------------------------------------------------------------------------


def test_a_file_is_found_by_its_hash_whenever_its_payload_came(store: Store) -> None:
    scribe, early, late = Scribe(), certified_file(), certified_file(bytes([1]) * 32)
    keep(store, scribe.forge(statement("something else"), early.certificate), [early.payload])
    keep(store, scribe.forge(late.certificate), [])
    assert store.payload_tables.places_of_file(FILE.sha256) == [(1, 1, early.payload.hash())]
    store.keep_payload(late.payload)
    both = [(1, 1, early.payload.hash()), (2, 0, late.payload.hash())]
    assert store.payload_tables.places_of_file(FILE.sha256) == both
    execute(store.path, "DELETE FROM files")
    assert store.payload_tables.places_of_file(FILE.sha256) == []
    with store.batch():
        store.payload_tables.rebuild(store.blocks())
    assert store.payload_tables.places_of_file(FILE.sha256) == both
    store.erase_payload(early.payload.hash())
    assert store.payload_tables.places_of_file(FILE.sha256) == both[1:]


def test_a_payload_that_only_claims_to_be_about_a_file_is_kept_and_not_indexed(store: Store) -> None:
    odd = Payload(SALT, "", "application/vnd.tallystick.file", b"not a file statement")
    keep_final(store, FinalScribe(GENESIS), statement("odd", payload=odd), payload=odd)
    assert store.payload(odd.hash()) == odd
    assert store.database.select("SELECT * FROM files") == []
    assert CheckedChain(store)._files == {}


# ---- files that are no store ----------------------------------------------------------------------------------


def a_store(path: Path) -> None:
    with Store.create(path, GENESIS) as store:
        for block in Scribe().forge_many(3):
            keep(store, block, [])


def of_version(version: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        a_store(path)
        execute(path, f"PRAGMA user_version = {version}")

    return make


def without_a_table(path: Path) -> None:
    a_store(path)
    execute(path, "DROP TABLE blocks")


def without_genesis(path: Path) -> None:
    a_store(path)
    execute(path, "DELETE FROM genesis")


def odd_genesis(path: Path) -> None:
    a_store(path)
    execute(path, "UPDATE genesis SET encoded = x'00'")


def truncated(path: Path) -> None:
    a_store(path)
    os.truncate(path, path.stat().st_size // 2)


UNUSABLE: list[tuple[Callable[[Path], object], str]] = [
    (lambda path: None, "there is no file .*; check its name"),
    (lambda path: path.mkdir(), "is a directory; name the file of a chain"),
    (os.mkfifo, "is not a regular file"),
    (lambda path: path.write_bytes(b""), "is empty; name the file of a chain"),
    (lambda path: path.write_text("Dear diary, today I did nothing at all."), "is not a database"),
    (lambda path: path.write_bytes(b"SQLite format 3\x00" + b"\xff" * 5000), "is damaged, or only a part"),
    (lambda path: execute(path, "CREATE TABLE songs (title)"), "is the database of another program"),
    (of_version(99), "has format 99, this program knows format 8; use the version that wrote it"),
    (of_version(6), "has format 6, this program knows format 8; use the version that wrote it, or move it away"),
    (truncated, "is damaged, or only a part of a file; check and repair it"),
    (without_a_table, "is damaged"),
    (without_genesis, "its genesis is missing"),
    (odd_genesis, r"its genesis was altered: \[E2\]"),
]


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize(("make", "message"), UNUSABLE)
def test_what_is_no_store_is_refused_with_advice(
    path: Path, make: Callable[[Path], object], message: str, read_only: bool
) -> None:
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(StoreError, match=message):
        Store.open(path, read_only=read_only)
    assert (path.read_bytes() if path.is_file() else None) == before


def test_an_existing_file_is_never_made_anew(path: Path) -> None:
    path.write_text("mine")
    with pytest.raises(StoreError, match="exists already; name another file"):
        Store.create(path, GENESIS)
    assert path.read_text() == "mine"


def test_a_store_in_a_folder_that_is_not_there_is_refused(path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot be made: .*; name a file in a folder that exists"):
        Store.create(path / "chain.db", GENESIS)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_store_that_may_not_be_written_says_so(path: Path) -> None:
    a_store(path)
    path.chmod(0o400)
    with pytest.raises(StoreError, match="may not be written by you"):
        Store.open(path)


def test_a_store_opened_to_read_cannot_be_written(path: Path) -> None:
    a_store(path)
    with Store.open(path, read_only=True) as store, pytest.raises(StoreError, match="may not be written"):
        store.keep_payload(payload())


def test_a_store_that_another_process_writes_to_says_so(store: Store) -> None:
    store.database.connection.execute("PRAGMA busy_timeout = 10")
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="in use by another process; try again"):
            keep(store, Scribe().forge(), [])
        other.execute("ROLLBACK")
    keep(store, Scribe().forge(), [])


def test_a_store_in_use_is_not_deleted(path: Path) -> None:
    a_store(path)
    with Store.open(path) as mine:
        mine.keep_payload(payload())
        other = Store.open(path)
        other.database.connection.execute("PRAGMA busy_timeout = 10")
        with pytest.raises(StoreError, match="in use by another process"):
            other.delete()
        other.close()
        assert mine.payload(payload().hash()) == payload()
    Store.open(path).delete()
    assert list(path.parent.iterdir()) == []


# ---- a store that somebody changed ----------------------------------------------------------------------------


def kept(path: Path) -> tuple[Scribe, Entry]:
    """A store of three blocks; the second has a certificate with a payload."""
    scribe, entry = FinalScribe(GENESIS), with_payload("diploma")
    with Store.create(path, GENESIS) as store:
        keep_final(store, scribe)
        keep_final(store, scribe, entry.certificate, statement("more"), payload=entry.payload)
        keep_final(store, scribe)
    return scribe, entry


def put(path: Path, block: Block) -> None:
    execute(path, "UPDATE blocks SET encoded = ? WHERE block_index = 2", block.encoded)


def resigned(block: Block, **changes: object) -> Block:
    return sign_block(replace(block.header, **changes), block.certificates, STRANGER)


TAMPERINGS: list[tuple[str, Callable[[Path, Block], None], Rule]] = [
    ("garbage", lambda path, _: execute(path, "UPDATE blocks SET encoded = x'c1' WHERE block_index = 2"), Rule.E2),
    ("text", lambda path, _: execute(path, "UPDATE blocks SET encoded = 'hello' WHERE block_index = 2"), Rule.E2),
    ("too long", lambda path, _: execute(path, "UPDATE blocks SET encoded = zeroblob(2000000)"), Rule.E1),
    (
        "trailing byte",
        lambda path, block: execute(path, "UPDATE blocks SET encoded = ? WHERE block_index = 2", block.encoded + b"\0"),
        Rule.E2,
    ),
    ("row gone", lambda path, _: execute(path, "DELETE FROM blocks WHERE block_index = 2"), Rule.B1),
    (
        "rows exchanged",
        lambda path, _: execute(path, "UPDATE blocks SET encoded = (SELECT encoded FROM blocks WHERE block_index = 1)"),
        Rule.B1,
    ),
    (
        "subject changed",
        lambda path, block: put(
            path, replace(block, certificates=(replace(block.certificates[0], subject="x"), *block.certificates[1:]))
        ),
        Rule.B7,
    ),
    ("certificate gone", lambda path, block: put(path, replace(block, certificates=block.certificates[:1])), Rule.B7),
    ("signature changed", lambda path, block: put(path, replace(block, signature=bytes(64))), Rule.B3),
    (
        "another's signature",
        lambda path, block: put(path, replace(block, signature=resigned(block).signature)),
        Rule.B3,
    ),
    (
        "forged by a stranger",
        lambda path, block: put(path, resigned(block, forger=STRANGER.public_key)),
        Rule.B4,
    ),
    (
        "other parent",
        lambda path, block: put(path, resigned(block, forger=STRANGER.public_key, parent_hash=bytes(32))),
        Rule.B2,
    ),
    (
        "other genesis",
        lambda path, _: execute(path, "UPDATE genesis SET encoded = ?", encode(found(ADA, BEN))),
        Rule.B10,
    ),
    (
        "payload changed",
        lambda path, _: execute(path, "UPDATE payloads SET encoded = ?", encode(payload("x"))),
        Rule.C3,
    ),
    ("payload garbage", lambda path, _: execute(path, "UPDATE payloads SET encoded = x'c1'"), Rule.E2),
]


@pytest.mark.parametrize(("tamper", "rule"), [pytest.param(how, rule, id=name) for name, how, rule in TAMPERINGS])
def test_a_tampered_row_is_found_and_named_with_its_rule(
    path: Path, tamper: Callable[[Path, Block], None], rule: Rule
) -> None:
    scribe, _ = kept(path)
    tamper(path, scribe.blocks[1])
    with Store.open(path, read_only=True) as store, pytest.raises(DamagedStore, match=r"altered: \[") as caught:
        CheckedChain(store)
    assert caught.value.refused is not None
    assert caught.value.refused.rule is rule, caught.value


def test_a_certificate_signed_by_another_is_found_even_in_a_well_forged_block(path: Path) -> None:
    false = sign_anything(statement("not Ada's"), STRANGER)
    with Store.create(path, GENESIS) as store:
        keep_final(store, FinalScribe(GENESIS), false)
        with pytest.raises(DamagedStore, match=r"block 1 .*\[B5\].*\[C1\]"):
            CheckedChain(store)


def test_every_changed_byte_of_the_kept_blocks_is_found(path: Path) -> None:
    kept(path)
    with closing(sqlite3.connect(path)) as connection:
        (encoded,) = connection.execute("SELECT encoded FROM blocks WHERE block_index = 2").fetchone()
    for place in range(0, len(encoded), 7):
        changed = bytearray(encoded)
        changed[place] ^= 1
        execute(path, "UPDATE blocks SET encoded = ? WHERE block_index = 2", bytes(changed))
        with Store.open(path, read_only=True) as store, pytest.raises(DamagedStore):
            CheckedChain(store)


def test_a_checked_chain_tells_where_a_file_is_stated(path: Path) -> None:
    scribe, entry = FinalScribe(GENESIS), certified_file()
    with Store.create(path, GENESIS) as store:
        keep_final(store, scribe, *statements(5))
        keep_final(store, scribe, statement("first"), entry.certificate, payload=entry.payload)
        checked = CheckedChain(store)
        assert checked.state.log == scribe.state.log
        assert checked.state.log.root() == scribe.state.log.root()
        ((stated, place),) = checked.stating(FILE.sha256)
        assert (stated, place) == (FILE, (2, 1))
        assert [*store.blocks()][place.block_index - 1].certificates[place.position] == entry.certificate
        assert checked.chain.certificate_index.number_of(place) == 6
        assert checked.stating(bytes(32)) == []
        assert checked.stating(FILE.sha256[:-1]) == []
    with Client(path) as client:
        (found,) = client.statements_of(replace(FILE, name="renamed.pdf"))
        assert (found.id, found.place.log_index) == (entry.certificate.id.hex(), 6)
        assert client.statements_of(replace(FILE, sha256=bytes(32))) == []
        assert client.statements_of(replace(FILE, size_bytes=4)) == []


# ---- several changes at once ----------------------------------------------------------------------------------


def test_changes_in_a_batch_are_kept_together_or_not_at_all(store: Store) -> None:
    scribe, entry = Scribe(), with_payload("one")
    with store.batch():
        store.keep_certificates([entry])
        keep(store, scribe.forge(), [])
    assert (store.tip_index, list(store.waiting())) == (1, [entry])

    def half_wrong() -> None:
        with store.batch():
            keep(store, scribe.forge(entry.certificate), [])
            keep(store, scribe.blocks[0], [])

    with pytest.raises(StoreError, match="does not come next"):
        half_wrong()
    assert (store.tip_index, list(store.waiting())) == (1, [entry])
    keep(store, scribe.blocks[1], [])
    assert blocks_of(store) == [block.encoded for block in scribe.blocks]


def test_a_change_that_fails_within_a_batch_undoes_all_of_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    scribe, entry = Scribe(), with_payload("one")

    def keep_both() -> None:
        with store.batch():
            store.keep_certificates([Entry(statement("waits"))])
            keep(store, scribe.forge(entry.certificate), [entry.payload])

    with monkeypatch.context() as trouble:
        trouble.setattr(store.payload_tables, "add_block", breaking_off(store))
        with pytest.raises(RuntimeError):
            keep_both()
    assert list(store.waiting()) == []
    keep(store, scribe.blocks[0], [])
    assert blocks_of(store) == [scribe.blocks[0].encoded]
    assert store.payload(entry.payload.hash()) is None
    assert store.lacking(10) == [entry.payload.hash()]
