"""A mirror at a node's doors: the same files as `export` writes, for ever the same, and no others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest
from tests.api.conftest import Doors
from tests.mirrors import grow, publish, read_whole
from tests.proving import ProvenLedger

from tallystick.api import mirror
from tallystick.api.app import App
from tallystick.api.proving import IsEnough
from tallystick.api.reader import LedgerReader, Thread
from tallystick.node.checkpoints import Countersigned
from tallystick.storage.mirror import ENTRIES, HEADERS, IDS, Part, state_path, tile_path
from tallystick.storage.search_index import Query
from tallystick.storage.store import Store

WAIT: Final = {"wait_ms": 20_000}


def at_door(client: httpx.Client, path: str) -> bytes:
    answer = client.get(f"/{path}")
    assert answer.status_code == 200, (path, answer.text)
    return answer.content


def test_a_whole_mirror_is_read_at_both_doors(doors: Doors) -> None:
    with doors.local() as local, doors.remote() as remote:
        local.get(f"/v1/certificates/{doors.ids[-1]}/proof", params=WAIT)
        near = read_whole(lambda path: at_door(local, path))
        far = read_whole(lambda path: at_door(remote, path))
    assert (near.checkpoint, near.state, near.entries) == (far.checkpoint, far.state, far.entries)
    assert len(near.entries) >= len(doors.ids)


def test_caches_are_told_what_never_changes(doors: Doors) -> None:
    with doors.remote() as client:
        client.get(f"/v1/certificates/{doors.ids[-1]}/proof", params=WAIT)
        for_ever = {"cache-control": "public, max-age=31536000, immutable", "content-type": "application/octet-stream"}
        short = {"cache-control": "public, max-age=1", "content-type": "text/plain; charset=utf-8"}
        whole = read_whole(lambda path: at_door(client, path))
        size = whole.checkpoint.size
        for path, headers in (
            ("checkpoint", short),
            (tile_path(0, 0, 2), for_ever),
            (Part(ENTRIES, 0, 2).path, for_ever),
            (Part(HEADERS, 0, whole.state.header.index).path, for_ever),
            (Part(IDS, 0, size).path, for_ever),
            (state_path(size), for_ever),
        ):
            body, head = client.get(f"/{path}"), client.head(f"/{path}")
            assert head.content == b""
            for answer in (body, head):
                assert answer.status_code == 200
                assert {name: answer.headers[name] for name in headers} == headers
                assert answer.headers["content-length"] == str(len(body.content))
        assert client.post("/checkpoint").status_code == 405


def test_what_a_mirror_does_not_have_is_told_and_not_kept_by_caches(doors: Doors) -> None:
    with doors.remote() as client:
        for path in (
            "tile/0/000", "tile/0/000.p/200", "tile/1/000.p/1", "tile/0/001.p/1", "tile/0/x999/999", "tile/entries/000",
            "tallystick/ids/000", "tallystick/headers/x001/000", "tallystick/tile/0/000", "tallystick/state/1",
            "tile/", "tile/0", "tile/0/0", "tile/0/000.p/0", "tile/0/000.p/01", "tile/0/000/", "tile/7/000",
            "tile/0/x000/000", "tile/0/..%2f0/000", "tile/entries/%00", "tallystick/", "tallystick/secret",
            "tile/0/" + "x001/" * 500 + "000",
        ):  # fmt: skip
            answer = client.get(f"/{path}")
            assert answer.status_code == 404, path
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["cache-control"] == "no-store"
        told = client.get("/tile/0/000").json()
    assert told["code"] == "no-such-file"
    assert "by the newest checkpoint, not 256" in told["detail"]


def test_a_door_lets_nobody_in_by_another_name(doors: Doors) -> None:
    with doors.remote(host="evil.example.com") as client:
        assert client.get("/checkpoint").status_code == 403
        assert client.get("/tile/0/000.p/1").status_code == 403


class Told:
    """Checkpoints as a test tells them."""

    def __init__(self) -> None:
        self.newest: Countersigned | None = None
        self.epoch_end: Countersigned | None = None

    async def wait(self, _is_enough: IsEnough, _wait_ms: int) -> None:
        pass

    def ask_fresh(self) -> None:
        pass


async def _find(_query: Query, _below: int, _limit: int) -> tuple[list[int], int]:
    raise AssertionError("nothing is searched")


@asynccontextmanager
async def served(ledger: ProvenLedger, told: Told) -> AsyncIterator[httpx.AsyncClient]:
    async with AsyncExitStack() as stack:
        read = stack.enter_context(Thread("reads"))
        store = await read.opened(stack, Store.open, ledger.store.path, read_only=True)
        reader = await read(LedgerReader, ledger.scribe.chain, store, read, _find, told)
        transport = httpx.ASGITransport(App(reader).asgi)
        yield await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://node"))


def test_a_door_serves_what_export_writes_and_no_more_than_its_checkpoint_covers(tmp_path: Path) -> None:
    ledger, told = ProvenLedger(tmp_path / "ledger.db"), Told()

    async def ask() -> None:
        async with served(ledger, told) as http:
            assert (await http.get("/checkpoint")).status_code == 503
            assert (await http.get("/tile/0/000.p/1")).headers["retry-after"] == "1"
            for counts in ((1,), (0, 254, 1), (1, 400, 3), (1,) * 270):
                grow(ledger, *counts)
                publish(ledger, tmp_path / "mirror")
                before = told.newest
                if before is not None:
                    size = before.state.log.size + 1
                    assert (await http.get(f"/tile/entries/{size // 256:03d}.p/{size % 256}")).status_code == 404
                told.newest = ledger.countersigned()
                assert (await http.get("/checkpoint")).status_code == 200
                for path in (tmp_path / "mirror").rglob("*"):
                    name = str(path.relative_to(tmp_path / "mirror"))
                    if path.is_file() and name not in ("checkpoint", ".tallystick-ledger"):
                        answer = await http.get(f"/{name}")
                        assert (answer.status_code, answer.content) == (200, path.read_bytes()), name
            newest = ledger.scribe.state.log.size
            assert (await http.get(f"/{state_path(newest - 1)}")).status_code == 404

    asyncio.run(ask())


def test_what_costs_much_is_made_for_checkpoints_alone_and_counts_for_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, told = ProvenLedger(tmp_path / "ledger.db"), Told()
    spent = list[float]()
    grow(ledger, 5, 5, 5)
    told.newest = ledger.countersigned()

    async def ask() -> None:
        async with served(ledger, told) as http:
            answer = await http.get("/tallystick/ids/000.p/14")
            assert (answer.status_code, answer.json()["code"]) == (404, "no-such-file")
            monkeypatch.setattr(App, "_spend", lambda _app, _request, cost: spent.append(cost))
            for _ in range(2):
                for path in ("tallystick/ids/000.p/15", "tallystick/headers/000.p/3", "tile/0/000.p/7"):
                    assert (await http.get(f"/{path}")).status_code == 200

    asyncio.run(ask())
    assert spent == [1, 40, 1, 10, 1, 0, 1, 1, 1], "what is at hand costs no more than any request"


def test_what_is_at_hand_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "_MOST_BYTES_AT_HAND", 5_000)
    ledger, told = ProvenLedger(tmp_path / "ledger.db"), Told()
    grow(ledger, 200)
    told.newest = ledger.countersigned()

    async def ask() -> None:
        async with served(ledger, told) as http:
            asked = {width: (await http.get(f"/tile/0/000.p/{width}")).content for width in range(1, 201)}
            again = {width: (await http.get(f"/tile/0/000.p/{width}")).content for width in range(1, 201)}
            assert again == asked == {width: asked[200][: 32 * width] for width in asked}

    asyncio.run(ask())
