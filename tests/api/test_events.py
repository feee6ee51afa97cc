"""Events of blocks: as they come, resumed where they broke off, and for many at once."""

import asyncio
import json
from collections.abc import Generator
from typing import Any

import httpx
from tests.api.conftest import Doors, body, entry

from tallystick.client.blocking import Client


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
