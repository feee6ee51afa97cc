"""The index of a ledger's certificates: what it finds, that it is made anew at will, and that erased words leave it."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from sys import getrefcount
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace
from tests.builders import ADA, BEN, GENESIS, LEDGER, START_MS, Scribe, keep, staking, statement

from tallystick.api import doors
from tallystick.api.reader import Find
from tallystick.ledger.certificate import Payload, issue_statement
from tallystick.ledger.file_statement import FileStatement, file_payload
from tallystick.node.events import Action, ErasePayload, ReportBlock
from tallystick.problems import StoreError
from tallystick.storage.search_index import BLOCKS_AT_ONCE, Query, SearchIndex
from tallystick.storage.store import Store

ALL = 1_000
"""Above every log index here."""
NOTE = "confidential grade"
STATED = file_payload(FileStatement("Bridge-Report.pdf", 7, b"h" * 32, NOTE), b"s" * 32)
FILE = Payload.about("Lovelace", STATED, b"")
"""It has a subject, too."""
TEXT = Payload(b"t" * 32, "", "text/plain", b"hello")


@dataclass(frozen=True)
class Kept:
    store: Store
    scribe: Scribe
    path: Path
    """Of the index."""

    def append(self, *certificates, payloads=()):
        keep(self.store, self.scribe.forge(*certificates), payloads)

    def index(self) -> SearchIndex:
        return SearchIndex(self.path, LEDGER)


def said(subject: str, payload: Payload | None = None, issuer=ADA):
    return issue_statement(issuer, LEDGER, START_MS, subject, payload)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    """Certificates 0 to 4, in three blocks."""
    with Store.create(tmp_path / "ledger.db", GENESIS) as store:
        made = Kept(store, Scribe(), tmp_path / "search.db")
        made.append(said("Bridge report", FILE), said("Diplôme de Zoë Müller", issuer=BEN), payloads=[FILE])
        made.append(staking(1), said("a report, unsigned"))
        made.append(said("note", TEXT), payloads=[TEXT])
        yield made


def test_blocks_at_hand_are_not_read(kept: Kept) -> None:
    with closing(kept.index()) as index:
        blocks = {block.index: block for block in kept.store.blocks()}
        with Store.create(kept.path.with_name("empty.db"), GENESIS) as empty:
            for payload in (FILE, TEXT):
                empty.keep_payload(payload)
            while index.fill(empty, len(blocks), blocks):
                pass
        assert index.find(Query("report"), ALL, 9) == [3, 0]
        assert index.find(Query("hello"), ALL, 9) == index.find(Query("", since_ms=START_MS * 9), ALL, 9) == []


def test_of_the_blocks_at_hand_the_latest_are_held(kept: Kept) -> None:
    news = doors._News()
    for index in range(1, 60):
        header = replace(kept.scribe.blocks[0].header, index=index)
        news.watch(ReportBlock(replace(kept.scribe.blocks[0], header=header), forged_here=False))
    assert list(news.recent) == list(range(60 - BLOCKS_AT_ONCE, 60))
    assert news.came.is_set()


def fill(kept: Kept, index: SearchIndex) -> None:
    while index.fill(kept.store, kept.scribe.state.index, {}):
        pass


@pytest.fixture
def index(kept: Kept) -> Iterator[SearchIndex]:
    made = kept.index()
    fill(kept, made)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (Query(), [4, 3, 2, 1, 0]),
        (Query("report"), [3, 0]),
        (Query("REPORT bridge"), [0]),
        (Query("diplome zoe muller"), [1]),
        (Query("rep"), []),
        (Query("rep", is_prefix=True), [3, 0]),
        (Query("a rep", is_prefix=True), [3]),
        (Query("repo", is_prefix=True), [3, 0]),
        (Query("repor", is_prefix=True), [3, 0]),
        (Query("report", is_prefix=True), [3, 0]),
        (Query("repx", is_prefix=True), []),
        (Query("bridge-report.pdf"), [0]),
        (Query("confidential"), [0]),
        (Query('") OR words : "note'), []),
        (Query("note*"), [4]),
        (Query("###"), []),
        (Query("\0"), []),
        (Query("NEAR(a b)"), []),
        (Query(issuer=BEN.public_key), [1]),
        (Query("report", issuer=BEN.public_key), []),
        (Query(kind="stake"), [2]),
        (Query(kind="statement", text="report"), [3, 0]),
        (Query(media_type="text/plain"), [4]),
        (Query(sha256=b"h" * 32), [0]),
        (Query(sha256=b"x" * 32), []),
        (Query(first_block=2), [4, 3, 2]),
        (Query(last_block=1), [1, 0]),
        (Query(first_block=2, last_block=2, text="report"), [3]),
        (Query(first_block=9), []),
        (Query(last_block=0), []),
        (Query(since_ms=0), [4, 3, 2, 1, 0]),
        (Query(until_ms=0), []),
    ],
)
def test_what_is_found(index: SearchIndex, query: Query, found: list[int]) -> None:
    assert index.find(query, ALL, 10) == found


def test_times_are_those_of_blocks_both_ends_included(kept: Kept, index: SearchIndex) -> None:
    times = [block.header.timestamp_ms for block in kept.scribe.blocks]
    assert index.find(Query(since_ms=times[1], until_ms=times[1]), ALL, 10) == [3, 2]
    assert index.find(Query(since_ms=times[1] + 1), ALL, 10) == [4]


def test_pages_stay_as_they_are_while_the_ledger_grows(kept: Kept, index: SearchIndex) -> None:
    first = index.find(Query("report"), ALL, 1)
    kept.append(said("another report"))
    fill(kept, index)
    assert first == [3]
    assert index.find(Query("report"), first[-1], 1) == [0]
    assert index.find(Query("report"), ALL, 1) == [5]


def test_it_tells_how_far_it_is_and_goes_on_from_there(kept: Kept) -> None:
    index = kept.index()
    assert (index.size, index.last_block) == (0, 0)
    fill(kept, index)
    assert (index.size, index.last_block) == (5, 3)
    index.close()
    again = kept.index()
    assert (again.size, again.last_block) == (5, 3)
    again.close()


@pytest.mark.parametrize("damage", ["gone", "no database", "another ledger's", "another format"])
def test_it_is_made_anew_where_it_cannot_be_used(kept: Kept, damage: str) -> None:
    index = kept.index()
    fill(kept, index)
    if damage == "another format":
        index._connection.execute("PRAGMA user_version = 99")
    index.close()
    match damage:
        case "gone":
            kept.path.unlink()
        case "no database":
            kept.path.write_bytes(b"x" * 5_000)
        case "another ledger's":
            SearchIndex(kept.path, b"o" * 32).close()
    index = kept.index()
    assert index.size == 0
    fill(kept, index)
    assert index.find(Query("report"), ALL, 10) == [3, 0]
    index.close()


def test_a_name_that_cannot_be_freed_for_it_is_told(kept: Kept) -> None:
    kept.path.mkdir()
    with pytest.raises(StoreError, match=r"cannot be removed: .*; move it away"):
        kept.index()


def test_a_payload_that_comes_later_is_found_then(kept: Kept, index: SearchIndex) -> None:
    late = file_payload(FileStatement("late.txt", 3, b"l" * 32, "belated"), b"u" * 32)
    kept.append(said("without it", late))
    fill(kept, index)
    assert index.find(Query("belated"), ALL, 10) == []
    assert index.lacking() == [late.hash()]
    kept.store.keep_payload(late)
    index.refill(kept.store, index.lacking())
    assert index.find(Query("belated"), ALL, 10) == [5]
    assert index.find(Query("without"), ALL, 10) == [5]
    assert index.lacking() == []


def traces(kept: Kept) -> list[str]:
    """Of the file statement, in the index and its log."""
    files = [one for one in kept.path.parent.glob("search.db*") if one.exists()]
    words = (b"confidential", b"Bridge-Report", b"pdf", b"Lovelace", b"lovelace")
    return [f"{word!r} in {one.name}" for one in files for word in words if word in one.read_bytes()]


def test_an_erased_payload_leaves_no_trace_in_the_file_or_its_log(kept: Kept, index: SearchIndex) -> None:
    assert traces(kept)
    assert index.find(Query("lovelace"), ALL, 10) == [0]
    kept.store.erase_payload(FILE.hash())
    index.refill(kept.store, [FILE.hash()])
    assert traces(kept) == []
    assert index.find(Query("confidential"), ALL, 10) == index.find(Query("lovelace"), ALL, 10) == []
    assert index.find(Query(sha256=b"h" * 32), ALL, 10) == []
    assert index.find(Query("bridge report"), ALL, 10) == [0]
    index.refill(kept.store, [FILE.hash()])
    assert index.find(Query("bridge report"), ALL, 10) == [0]


def test_who_only_looks_sees_what_is_filled_meanwhile(kept: Kept, index: SearchIndex) -> None:
    looking = SearchIndex(kept.path, LEDGER, read_only=True)
    kept.append(statement("fresh"))
    assert looking.find(Query("fresh"), ALL, 10) == []
    fill(kept, index)
    assert looking.find(Query("fresh"), ALL, 10) == [5]
    looking.close()


@pytest.mark.parametrize("is_closed", [False, True])
def test_traces_that_a_reader_keeps_in_the_log_go_with_the_next_filling_after_it(kept: Kept, is_closed: bool) -> None:
    index, looking = kept.index(), SearchIndex(kept.path, LEDGER, read_only=True)
    fill(kept, index)
    index._connection.execute("PRAGMA busy_timeout = 10")
    looking._connection.execute("BEGIN")
    assert looking.find(Query("confidential"), ALL, 10) == [0]
    kept.store.erase_payload(FILE.hash())
    index.refill(kept.store, [FILE.hash()])
    fill(kept, index)
    assert traces(kept)
    if is_closed:
        index.close()
    looking.close()
    if is_closed:
        assert traces(kept)
        index = kept.index()
    fill(kept, index)
    assert traces(kept) == []
    index.close()


def test_a_damaged_payload_keeps_no_other_in_the_index(kept: Kept, index: SearchIndex) -> None:
    with closing(sqlite3.connect(kept.store.path)) as connection, connection:
        connection.execute("UPDATE payloads SET encoded = x'c1' WHERE payload_hash = ?", [TEXT.hash()])
    kept.store.erase_payload(FILE.hash())
    index.refill(kept.store, [TEXT.hash(), FILE.hash()])
    assert index.find(Query("confidential"), 5, 10) == []
    assert index.find(Query(media_type="text/plain"), 5, 10) == []


# ---- beside a running node --------------------------------------------------------------------------------------


@asynccontextmanager
async def searching(kept: Kept) -> AsyncIterator[tuple[Find, Callable[[Action], None]]]:
    """What a node has of its index, as long as it runs."""
    folder = SimpleNamespace(ledger_path=kept.store.path, search_path=kept.path)
    node = SimpleNamespace(state=kept.scribe.state, chain=kept.scribe.chain)
    watchers: list[Callable[[Action], None]] = []
    submissions = SimpleNamespace(runner=SimpleNamespace(node=node, watchers=watchers))
    hosted: Any = SimpleNamespace(folder=folder, submissions=submissions)
    async with doors._search(hosted) as find:
        async with asyncio.timeout(60):
            while (await find(Query(), 5, 1))[1] < 5:
                await asyncio.sleep(0.01)
        (watch,) = watchers
        yield find, watch


def test_what_was_erased_while_the_index_was_not_filled_leaves_it_at_the_next_start(kept: Kept) -> None:
    async def run() -> None:
        async with searching(kept) as (find, _):
            assert await find(Query("confidential"), 5, 10) == ([0], 5)
        kept.store.erase_payload(FILE.hash())
        async with searching(kept) as (find, _), asyncio.timeout(60):
            while (await find(Query("confidential"), 5, 10))[0]:
                await asyncio.sleep(0.01)

    asyncio.run(run())
    assert traces(kept) == []


def test_what_is_erased_just_before_a_node_stops_leaves_the_index_with_it(kept: Kept) -> None:
    async def run() -> None:
        async with searching(kept) as (_, watch):
            kept.store.erase_payload(FILE.hash())
            watch(ErasePayload(FILE.hash()))

    asyncio.run(run())
    assert traces(kept) == []


def test_a_block_that_the_index_has_taken_in_is_held_no_longer(kept: Kept) -> None:
    block = next(kept.store.blocks())
    before = getrefcount(block)

    async def run() -> None:
        async with searching(kept) as (_, watch), asyncio.timeout(60):
            watch(ReportBlock(block, forged_here=False))
            while getrefcount(block) > before:
                await asyncio.sleep(0.01)

    asyncio.run(run())
