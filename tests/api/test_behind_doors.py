"""What stands behind the doors: the index that is filled, what is made once, and what a node that fails answers."""

import asyncio
import json
import threading
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.api.conftest import Doors
from tests.api.kept_ledger import Kept, kept_ledger
from tests.builders import LEDGER, payload

from tallystick.api import app as app_module
from tallystick.api import doors as doors_module
from tallystick.api.app import App, TcpDoor
from tallystick.api.doors import _search
from tallystick.api.file_source import open_file
from tallystick.api.live_node import LiveNode
from tallystick.api.openapi import document
from tallystick.api.questions import OutcomesAsked, Search
from tallystick.api.reader import Find
from tallystick.api.views import in_json
from tallystick.node.events import PersistPayload, ReportBlock
from tallystick.problems import StoreError
from tallystick.storage.search_index import Query, SearchIndex

ALL = (Query(), 1_000, 1_000)


def asked(app: App, *paths: str) -> Any:
    """At the application of a door, all at once."""
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app.asgi), base_url="http://door")
    return asyncio.gather(*map(client.get, paths))


# ---- the index ------------------------------------------------------------------------------------------------------


def hosted(kept: Kept, folder: Path) -> Any:
    """As much of a node's process as its index needs."""
    paths = SimpleNamespace(ledger_path=folder / "ledger.db", search_path=folder / "search.db")
    return SimpleNamespace(
        folder=paths, submissions=SimpleNamespace(runner=SimpleNamespace(node=kept.scribe, watchers=[]))
    )


def tell(process: Any, action: Any) -> None:
    for watch in process.submissions.runner.watchers:
        watch(action)


async def until_found(find: Find, count: int) -> None:
    async with asyncio.timeout(60):
        while (await find(*ALL))[1] < count:
            await asyncio.sleep(0.01)


def test_a_block_is_taken_in_from_the_moment_that_the_index_is_open(tmp_path: Path) -> None:
    async def fill() -> list[int]:
        async with kept_ledger(tmp_path) as kept:
            kept.forge()
            process = hosted(kept, tmp_path)
            async with _search(process) as find:
                await until_found(find, 1)
                tell(process, ReportBlock(kept.forge(), forged_here=False))
                await until_found(find, 2)
                return (await find(*ALL))[0]

    assert asyncio.run(fill()) == [1, 0]


def test_an_index_that_could_not_be_written_is_filled_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(doors_module, "_RETRY_SECONDS", 0.0)
    given: list[set[bytes]] = []
    honest, failures = SearchIndex.fill, {"refill": 1, "fill": 1}

    def fail(what: str) -> None:
        if failures[what]:
            failures[what] -= 1
            raise StoreError("the disk is full")

    def fill(index: SearchIndex, *args: Any) -> bool:
        fail("fill")
        return honest(index, *args)

    def refill(_index: SearchIndex, _store: Any, hashes: Iterable[bytes]) -> None:
        given.append(set(hashes))
        fail("refill")

    monkeypatch.setattr(SearchIndex, "fill", fill)
    monkeypatch.setattr(SearchIndex, "refill", refill)

    async def go() -> None:
        async with kept_ledger(tmp_path) as kept:
            kept.forge()
            process = hosted(kept, tmp_path)
            async with _search(process) as find:
                tell(process, PersistPayload(payload()))
                await until_found(find, 1)

    asyncio.run(go())
    assert given == [{payload().hash()}] * 3
    assert caplog.text.count("search index") == 2


def test_an_index_ahead_of_a_restored_ledger_finds_what_the_ledger_has(tmp_path: Path) -> None:
    async def search() -> tuple[list[int], int]:
        async with kept_ledger(tmp_path) as kept:
            for _ in range(3):
                kept.forge()

            async def find(query: Query, below: int, limit: int) -> tuple[list[int], int]:
                return [one for one in reversed(range(5)) if one < below][:limit], 5

            kept.reader._find = find
            page = await kept.reader.search(Search(limit=3))
            last = await kept.reader.search(Search(limit=3, cursor=int(page.next or "-1")))
            assert (last.certificates, last.next) == ([], None)
            assert page.next is None
            some = await kept.reader.search(Search(limit=2))
            assert ([one.place.log_index for one in some.certificates], some.next) == ([2, 1], "1")
            rest = await kept.reader.search(Search(limit=2, cursor=1))
            assert ([one.place.log_index for one in rest.certificates], rest.next) == ([0], None)
            assert isinstance(page.indexed, int)
            return [one.place.log_index for one in page.certificates], page.indexed

    assert asyncio.run(search()) == ([2, 1, 0], 3)


# ---- what is made once ----------------------------------------------------------------------------------------------


def test_a_door_describes_itself_once_and_beside_the_loop(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    made_by = []

    def describe(*args: Any) -> Any:
        made_by.append(threading.current_thread())
        return document(*args)

    monkeypatch.setattr(app_module, "document", describe)

    async def ask() -> Any:
        async with open_file(doors.copy) as app:
            return [*await asked(app, *["/v1/openapi.json"] * 2), *await asked(app, "/v1/openapi.json")]

    first, *others = [one.json() for one in asyncio.run(ask())]
    assert first["openapi"] == "3.1.0"
    assert others == [first] * 2
    assert len(made_by) == 1
    assert made_by[0] is not threading.main_thread()


@given(st.text())
def test_json_is_as_msgspec_makes_it_but_ascii(text: str) -> None:
    made = in_json({"text": text})
    assert made == json.dumps(msgspec.json.decode(made), separators=(",", ":")).encode()
    assert json.loads(made) == {"text": text}


# ---- a running node -------------------------------------------------------------------------------------------------


def live_node(reader: Any, **submissions: Any) -> tuple[LiveNode, asyncio.Future[None]]:
    """And what becomes done when it fails."""
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    runner = SimpleNamespace(watchers=[], failed=failed)
    process: Any = SimpleNamespace(submissions=SimpleNamespace(runner=runner, **submissions), wallet=None)
    return LiveNode(reader, process, 1_024), failed


def test_a_node_that_has_failed_answers_nothing_any_more(doors: Doors) -> None:
    async def ask() -> Any:
        async with open_file(doors.copy) as app:
            node, failed = live_node(app.reader)
            door = App(app.reader, None, node)
            (before,) = await asked(door, "/v1/ledger")
            failed.set_result(None)
            return [before, *await asked(door, "/v1/ledger")]

    before, after = asyncio.run(ask())
    assert before.status_code == 200
    assert (after.status_code, after.json()["code"], after.json()["exit_code"]) == (503, "not-running", 3)


def test_who_does_not_wait_is_not_noted_as_waiting() -> None:
    async def wait(*_: Any) -> None:
        raise AssertionError

    async def outcomes(ids: Any) -> dict[bytes, None]:
        return dict.fromkeys(ids)

    async def ask() -> list[str]:
        node, _ = live_node(None, wait=wait, outcomes=outcomes)
        return [one.state for one in (await node.outcomes(OutcomesAsked([LEDGER.hex()]))).outcomes]

    assert asyncio.run(ask()) == ["unknown"]


def test_a_door_for_everybody_lists_nobody_unless_told_to() -> None:
    assert not TcpDoor("127.0.0.1", 7180).lists
    assert TcpDoor("127.0.0.1", 7180, lists=True).lists
