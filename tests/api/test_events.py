"""Events of blocks: as they come, resumed where they broke off, and for many at once."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.api.conftest import Doors, body, entry
from tests.api.kept_ledger import Kept, kept_ledger

from tallystick.api import events as events_module
from tallystick.api.events import BlockEvents
from tallystick.api.reader import LedgerReader
from tallystick.client.blocking import Client
from tallystick.ledger.block import Block
from tallystick.node.events import ReportBlock
from tallystick.problems import StoreError


def lines_of(answer: httpx.Response, most: int) -> list[dict[str, Any]]:
    """The next events, with their ids."""
    events, one = [], {}
    for line in answer.iter_lines():
        name, _, value = line.partition(": ")
        if name in ("id", "event", "data"):
            one[name] = value
        elif not line and "id" in one:
            events.append(one)
            one = {}
            if len(events) == most:
                break
    return events


def test_all_blocks_come_with_the_logs_size_as_id(doors: Doors) -> None:
    with doors.remote() as remote:
        size = remote.get("/v1/ledger").json()["log_size"]
        with remote.stream("GET", "/v1/events", headers={"Last-Event-ID": "0"}) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            events = lines_of(answer, size)
        told = [json.loads(one["data"]) for one in events]
    assert [int(one["id"]) for one in events] == [one["log_size"] for one in told]
    assert [one["first_log_index"] for one in told] == [0, *(one["log_size"] for one in told[:-1])]
    assert [one["block"]["index"] for one in told] == list(range(1, len(told) + 1))
    assert {one["event"] for one in events} == {"block"}


def test_who_comes_back_misses_nothing(doors: Doors) -> None:
    with doors.remote() as remote:
        with remote.stream("GET", "/v1/events", headers={"Last-Event-ID": "3"}) as answer:
            (first,) = lines_of(answer, 1)
        assert json.loads(first["data"])["first_log_index"] == 3
        with remote.stream("GET", "/v1/events", headers={"Last-Event-ID": first["id"]}) as answer:
            (second,) = lines_of(answer, 1)
    assert json.loads(second["data"])["first_log_index"] == int(first["id"])


def test_an_id_that_is_none_is_a_problem_and_one_of_the_future_is_now(doors: Doors) -> None:
    with doors.remote() as remote:
        for bad in ("x", "-1", "9" * 30, "1e3"):
            answer = remote.get("/v1/events", headers={"Last-Event-ID": bad})
            assert (answer.status_code, answer.json()["code"]) == (400, "bad-request")
        with remote.stream("GET", "/v1/events", headers={"Last-Event-ID": "999999999"}) as answer:
            assert answer.status_code == 200


def test_two_hundred_listeners_hear_of_the_same_block(doors: Doors) -> None:
    async def listen(client: httpx.AsyncClient, heard: asyncio.Queue[str]) -> None:
        async with client.stream("GET", "/v1/events") as answer:
            heard.put_nowait("ready")
            async for line in answer.aiter_lines():
                if line.startswith("id: "):
                    heard.put_nowait(line)
                    return

    async def all_of_them() -> set[str]:
        heard: asyncio.Queue[str] = asyncio.Queue()
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=doors.url, limits=limits, timeout=60) as client:
            listeners = [asyncio.create_task(listen(client, heard)) for _ in range(200)]
            for _ in listeners:
                await heard.get()
            await client.post("/v1/certificates", json=body(entry(doors.ledger_id, "for two hundred")))
            said = {await heard.get() for _ in listeners}
            await asyncio.gather(*listeners)
            return said

    assert len(asyncio.run(all_of_them())) == 1


def test_a_client_follows_the_log(doors: Doors) -> None:
    with Client(doors.url) as client:
        size = client.ledger().log_size
        following = client.follow(size - 3)
        assert [next(following).place.log_index for _ in range(3)] == [size - 3, size - 2, size - 1]
        with doors.remote() as remote:
            remote.post("/v1/certificates", json=body(entry(doors.ledger_id, "followed")))
        assert next(following).summary == "followed"
        assert isinstance(following, Generator)
        following.close()


# ---- pacing ---------------------------------------------------------------------------------------------------------


async def ids_in(following: AsyncGenerator[bytes, None], most: int) -> list[int]:
    """Of the next events: the sizes of the log."""
    found: list[int] = []
    while len(found) < most:
        found += map(int, re.findall(rb"^id: (\d+)", await anext(following), re.MULTILINE))
    return found


async def listening(events: BlockEvents, count: int) -> list[AsyncGenerator[bytes, None]]:
    """Listeners that wait for the first block."""
    following = [events.follow(0) for _ in range(count)]
    for one in following:
        assert await anext(one) == events_module._HEARTBEAT
    return following


def forge(kept: Kept, events: BlockEvents) -> None:
    events.watch(ReportBlock(kept.forge(), forged_here=False))


def test_all_listeners_are_told_of_all_blocks_in_order_and_none_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(_reader: LedgerReader, index: int) -> Block:
        raise AssertionError(f"block {index} was at hand")

    monkeypatch.setattr(LedgerReader, "_block", read)

    async def hear() -> list[list[int]]:
        async with kept_ledger(tmp_path) as kept:
            events = BlockEvents(kept.reader, 512)
            hearing = [asyncio.create_task(ids_in(one, 100)) for one in await listening(events, 20)]
            for _ in range(100):
                forge(kept, events)
                await asyncio.sleep(0)
            return list(await asyncio.gather(*hearing))

    assert asyncio.run(hear()) == [list(range(1, 101))] * 20


def test_under_load_listeners_are_told_together_and_seldom(tmp_path: Path) -> None:
    async def hear() -> None:
        async with kept_ledger(tmp_path) as kept:
            events = BlockEvents(kept.reader, 512)
            following = await listening(events, 20)
            for _ in range(3):
                forge(kept, events)
            assert events._telling is not None
            assert await ids_in(following[0], 1) == [1, 2, 3]
            events._told_s = asyncio.get_running_loop().time() + 60  # however long the next block takes
            forge(kept, events)
            assert events._telling.when() == events._told_s + 20 / events_module._TELLS_A_SECOND
            events.close()

    asyncio.run(hear())


def test_nobody_listens_after_the_door_is_closed(tmp_path: Path) -> None:
    async def hear() -> list[list[bytes]]:
        async with kept_ledger(tmp_path) as kept:
            events = BlockEvents(kept.reader, 512)

            async def all_of(following: AsyncGenerator[bytes, None]) -> list[bytes]:
                return [one async for one in following]

            hearing = [asyncio.create_task(all_of(one)) for one in await listening(events, 3)]
            await asyncio.sleep(0)
            events.close()
            return list(await asyncio.gather(*hearing))

    assert asyncio.run(hear()) == [[]] * 3


def test_a_read_that_failed_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hear() -> list[int]:
        async with kept_ledger(tmp_path) as kept:
            honest, failures = kept.reader.line, [StoreError("the disk is slow")]

            async def line(index: int, block: Block | None = None) -> Any:
                if failures:
                    raise failures.pop()
                return await honest(index, block)

            monkeypatch.setattr(kept.reader, "line", line)
            events = BlockEvents(kept.reader, 512)
            (first,) = await listening(events, 1)
            forge(kept, events)
            with pytest.raises(StoreError):
                await anext(first)
            async with aclosing(events.follow(0)) as following:
                return await ids_in(following, 1)

    assert asyncio.run(hear()) == [1]
