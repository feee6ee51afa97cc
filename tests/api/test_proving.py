"""Proofs over HTTP: of a running node, and of a file of its ledger."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import msgspec
import pytest
from msgspec.structs import replace
from tests.api.conftest import Doors
from tests.builders import START_MS
from tests.integration.network import wait_for
from tests.ml_dsa import StandIn, verify_stand_in
from tests.proving import ProvenLedger

from tallystick.api import proving, rates
from tallystick.api import proving_views as views
from tallystick.api import questions as q
from tallystick.api.app import App, TcpDoor
from tallystick.api.file_source import open_file
from tallystick.api.proving import IsEnough, Proofs
from tallystick.api.reader import LedgerReader, Thread
from tallystick.client.blocking import Client
from tallystick.client.doors import AnswerProblem
from tallystick.host.clock import now_ms
from tallystick.ledger.bundle import read_bundle
from tallystick.ledger.certificate import Payload, issue_statement
from tallystick.ledger.checkpoint import (
    Checkpoint,
    MlDsaCosignature,
    cosigner_key,
    parse_checkpoint,
    subtree_bytes,
)
from tallystick.ledger.encoding import encode
from tallystick.ledger.note import parse_note
from tallystick.node.checkpoints import Countersigned
from tallystick.problems import DamagedStore, NotYet
from tallystick.proof.verify import Demand, Verdict, verify
from tallystick.storage.search_index import Query
from tallystick.storage.store import Store

JSON = {"Accept": "application/json"}
WAIT = {"wait_ms": 20_000}


def verdict(proof: str, ledger_id: bytes) -> Verdict:
    return verify(read_bundle(proof.encode()), Demand(now_ms(), ledger_id))


def test_a_proof_comes_as_a_text_and_as_a_view(doors: Doors) -> None:
    path = f"/v1/certificates/{doors.ids[0]}/proof"
    with doors.remote() as client:
        text = client.get(path, params=WAIT)
        view = client.get(path, headers=JSON).json()["proof"]
        packed = msgspec.msgpack.decode(client.get(path, headers={"Accept": "application/vnd.msgpack"}).content)
    assert text.headers["content-type"].startswith("text/plain")
    assert verdict(text.text, doors.ledger_id).certificate.id.hex() == doors.ids[0]
    assert (view["id"], view["members"], view["payload"]) == (doors.ids[0], None, None)
    assert packed["proof"].keys() == view.keys()
    assert verdict(view["proof"], doors.ledger_id).document is not None


def test_a_batch_is_proven_at_one_checkpoint(doors: Doors) -> None:
    unknown = "ab" * 32
    with doors.remote() as client:
        answer = client.post("/v1/proofs", json={"ids": [*doors.ids, unknown], **WAIT}).json()
        none = client.post("/v1/proofs", json={"ids": []})
        many = client.post("/v1/proofs", json={"ids": [unknown] * 1_025})
    assert [one["id"] for one in answer["proofs"]] == doors.ids
    assert [(one["id"], one["code"]) for one in answer["left_out"]] == [(unknown, "not-there")]
    heads = {verdict(one["proof"], doors.ledger_id).header.hash for one in answer["proofs"]}
    assert len(heads) == 1
    assert (none.status_code, many.status_code) == (400, 400)


def test_the_checkpoint_is_a_signed_note(doors: Doors) -> None:
    with doors.remote() as client:
        client.get(f"/v1/certificates/{doors.ids[-1]}/proof", params=WAIT)
        text = client.get("/v1/checkpoint").text
        view = client.get("/v1/checkpoint", headers=JSON).json()
    note = parse_note(text)
    assert parse_checkpoint(note.text)[:2] == (view["origin"], view["log_size"])
    assert view["log_size"] >= len(doors.ids)
    assert [one["stake"] for one in view["members"]] == [view["total_stake"]]
    assert view["status_ms"] == view["members"][0]["time_ms"]


def test_problems_say_what_is_in_the_way(doors: Doors) -> None:
    with doors.remote(**JSON) as client:
        later = client.get(f"/v1/certificates/{doors.ids[0]}/proof", params={"since": 99, **WAIT})
        unknown = client.get(f"/v1/certificates/{'ab' * 32}/proof")
    assert (later.status_code, later.json()["code"]) == (400, "bad-request")
    assert "epoch 99 is later than the checkpoint" in later.json()["detail"]
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not-there")


def test_a_file_of_the_ledger_proves_the_same(doors: Doors, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask() -> None:
        transport = httpx.ASGITransport
        async with (
            open_file(copy) as app,
            httpx.AsyncClient(transport=transport(app.asgi), base_url="http://f") as http,
        ):
            proof = await http.get(f"/v1/certificates/{doors.ids[0]}/proof")
            assert verdict(proof.text, doors.ledger_id).certificate.id.hex() == doors.ids[0]
            status_ms = (await http.get("/v1/checkpoint", headers=JSON)).json()["status_ms"]
            monkeypatch.setattr(proving, "now_ms", lambda: status_ms + 59_000)
            assert (await http.get("/v1/checkpoint", params={"fresh": True})).status_code == 200
            monkeypatch.setattr(proving, "now_ms", lambda: status_ms + 61_000)
            fresh = await http.get("/v1/checkpoint", params={"fresh": True}, headers=JSON)
            assert (fresh.status_code, fresh.json()["code"]) == (503, "not-running")

    asyncio.run(ask())


def test_a_client_proves_one_and_many(doors: Doors) -> None:
    for where in (doors.node.folder.path, doors.url):
        with Client(where) as client:
            one = client.prove(doors.ids[0][:16], fresh=True)
            assert verdict(one.proof, doors.ledger_id).certificate.id.hex() == doors.ids[0]
            made = client.proofs([*doors.ids, doors.ids[0], "ab" * 32])
            assert list(made) == doors.ids
            assert client.checkpoint().log_size >= len(doors.ids)
            with pytest.raises(AnswerProblem, match="later than the checkpoint"):
                client.proofs(doors.ids, since=99)


@pytest.fixture
def copy(doors: Doors, tmp_path: Path) -> Path:
    """Of the node's file, when a checkpoint of all that it has was kept: a moment after it was signed."""

    def is_kept() -> bool:
        with Store.open(doors.node.folder.ledger_path, read_only=True) as store:
            return any(one.size >= len(doors.ids) for one in store.cosignatures())

    wait_for(is_kept, "a checkpoint of all is kept")
    path = tmp_path / "copy.db"
    with doors.local() as http:
        assert http.post("/v1/backup", json={"path": str(path)}).status_code == 200
    return path


def test_a_client_takes_no_proof_of_something_else(doors: Doors, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Proofs._view

    def changed(**fields: str) -> None:
        monkeypatch.setattr(Proofs, "_view", lambda self, at, files: replace(made(self, at, files), **fields))

    with Client(copy) as client:
        assert list(client.proofs(doors.ids[:2])) == doors.ids[:2]
        changed(id=doors.ids[1])
        with pytest.raises(DamagedStore, match="another certificate"):
            client.proofs(doors.ids[:1])
        changed(proof="none")
        with pytest.raises(DamagedStore, match="is none"):
            client.prove(doors.ids[0])


def test_an_answer_is_bounded_and_the_client_asks_for_the_rest(
    doors: Doors, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proving, "_AT_ONCE", 2)
    monkeypatch.setattr(proving, "_MOST_ANSWER_CHARACTERS", 10)
    with Client(copy) as client:
        assert set(client.proofs(doors.ids)) == set(doors.ids)


def test_a_client_stops_where_a_node_tells_of_what_it_was_not_asked_or_of_nothing(
    doors: Doors, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many, later = Proofs.many, 2_000

    def telling(*left_out: str, proofs: list[views.Proof] | None = None) -> None:
        async def told(self: Proofs, asked: q.ProofsAsked) -> views.Proofs:
            nonlocal later
            later -= 1
            assert later, "it is asked for ever"
            given = proofs if proofs is not None else (await many(self, asked)).proofs
            codes = [views.LeftOut(one, code, "") for code in left_out for one in asked.ids]
            return views.Proofs(proofs=given, left_out=codes)

        monkeypatch.setattr(Proofs, "many", told)

    with Client(copy) as client:
        kept = [views.Proof(id=doors.ids[0], proof=client.prove(doors.ids[0]).proof, members=None, payload=None)]
        telling(proofs=kept)
        with pytest.raises(DamagedStore, match=f"another certificate than it was asked for, {doors.ids[0][:16]}…"):
            client.proofs(doors.ids[1:])
        telling("more", proofs=[])
        with pytest.raises(DamagedStore, match="there is no proof in it"):
            client.proofs(doors.ids)
        telling("more")
        assert set(client.proofs(doors.ids)) == set(doors.ids)
        telling("not-yet", proofs=[])
        assert client.proofs(doors.ids) == {}, "a file gets no other checkpoint"


# ---- without a node --------------------------------------------------------------------------------------------------


class Coming:
    """Checkpoints that come one after the other, whenever somebody waits or asks for a fresh one."""

    def __init__(self, *later: Countersigned) -> None:
        self.newest: Countersigned | None = None
        self.epoch_end: Countersigned | None = None
        self.later = list(later)
        self.asked = 0

    async def wait(self, is_enough: IsEnough, wait_ms: int) -> None:
        while wait_ms and self.later and not is_enough(self.newest):
            self.newest = self.later.pop(0)

    def ask_fresh(self) -> None:
        self.asked += 1


@asynccontextmanager
async def reading(ledger: ProvenLedger, coming: Coming) -> AsyncIterator[LedgerReader]:
    async def find(query: Query, below: int, limit: int) -> tuple[list[int], int]:
        raise AssertionError("nothing is searched")

    async with AsyncExitStack() as stack:
        thread = stack.enter_context(Thread("reads"))
        store = await thread.opened(stack, Store.open, ledger.store.path, read_only=True)
        yield await thread(LedgerReader, ledger.scribe.chain, store, thread, find, coming)


def test_what_no_checkpoint_covers_yet_is_waited_for_or_told(tmp_path: Path) -> None:
    ledger = ProvenLedger(tmp_path / "chain.db")
    said = [ledger.scribe.statement() for _ in range(2)]
    at = []
    for one in said:
        ledger.forge(one)
        at.append(ledger.countersigned())
    ids = [one.id.hex() for one in said]

    async def ask() -> None:
        async with reading(ledger, Coming(*at)) as reader:
            soon = r"is not known here: members countersign within seconds.*still proves: .*`tallystick prove --chain`"
            with pytest.raises(NotYet, match=soon):
                await reader.proof(ids[0])
            proof = (await reader.proof(ids[0], wait_ms=1)).proof.proof
            assert verdict(proof, ledger.genesis.ledger_id).certificate == said[0]
            with pytest.raises(NotYet, match="covers 1 certificates of the log"):
                await reader.proof(ids[1])
            some = await reader.proofs(q.ProofsAsked(ids))
            assert [one.id for one in some.proofs] == ids[:1]
            assert [(one.id, one.code) for one in some.left_out] == [(ids[1], "not-yet")]
            every = await reader.proofs(q.ProofsAsked(ids, wait_ms=1))
            assert [one.id for one in every.proofs] == ids

    asyncio.run(ask())


def test_at_an_epochs_end_that_members_cosigned_by_ml_dsa_the_proof_holds_what_they_signed(tmp_path: Path) -> None:
    ledger = ProvenLedger(tmp_path / "chain.db")
    key, scribe = StandIn("ada"), ledger.scribe
    said = [scribe.statement() for _ in range(2)]
    ledger.forge(scribe.ml_dsa("ada", key.public_key), said[0])
    at, origin = ledger.countersigned(), ledger.genesis.origin
    head = Checkpoint(origin, at.state.log.size, at.state.log.root())
    member = scribe.member_key("ada")
    message = subtree_bytes(cosigner_key(origin, member).name, 7, head)
    at = at._replace(ml_dsa=(MlDsaCosignature(head.size, head.root, member, 7, key.sign(message)),))
    ledger.forge(said[1])

    async def ask() -> None:
        coming = Coming(ledger.countersigned())
        async with reading(ledger, coming) as reader:
            with pytest.raises(NotYet, match=r"cosigned by ML-DSA-44 is not known here: .* leave out --ml-dsa"):
                await reader.proof(said[0].id.hex(), wait_ms=1, ml_dsa=True)
            coming.epoch_end = at
            with pytest.raises(NotYet, match="covers 2 certificates of the log"):
                await reader.proof(said[1].id.hex(), ml_dsa=True)
            proof = (await reader.proof(said[0].id.hex(), ml_dsa=True)).proof.proof
        demand = Demand(now_ms(), ledger.genesis.ledger_id, verify_ml_dsa=verify_stand_in)
        found = verify(read_bundle(proof.encode()), demand)
        assert (found.ml_dsa.signed, found.ml_dsa_stake, found.total_stake) == ((member,), 10, 40)
        unchecked = verdict(proof, ledger.genesis.ledger_id)
        assert (unchecked.ml_dsa.signed, unchecked.ml_dsa.unchecked, unchecked.ml_dsa_stake) == ((), (member,), 0)

    asyncio.run(ask())


def test_a_file_says_that_it_keeps_nothing_by_ml_dsa(copy: Path, doors: Doors) -> None:
    with Client(copy) as client, pytest.raises(AnswerProblem, match="ask a running node"):
        client.prove(doors.ids[0], ml_dsa=True)


class Answering(Coming):
    """A fresh one comes only to who asks for it, and then at once."""

    def ask_fresh(self) -> None:
        super().ask_fresh()
        self.newest = self.later.pop(0)

    async def wait(self, is_enough: IsEnough, wait_ms: int) -> None:
        assert is_enough(self.newest), "it was not asked for"


def test_where_none_covers_it_one_is_asked_for_at_once(tmp_path: Path) -> None:
    ledger = ProvenLedger(tmp_path / "chain.db")
    said = [ledger.scribe.statement() for _ in range(2)]
    at = []
    for one in said:
        ledger.forge(one)
        at.append(ledger.countersigned(time_s=now_ms() // 1000))

    async def ask() -> None:
        coming = Answering(*at)
        async with reading(ledger, coming) as reader:
            for asked, one in ((1, said[0]), (1, said[0]), (2, said[1]), (2, said[0])):
                proof = (await reader.proof(one.id.hex(), fresh=True, wait_ms=60_000)).proof.proof
                assert (verdict(proof, ledger.genesis.ledger_id).certificate, coming.asked) == (one, asked)

    asyncio.run(ask())


def test_what_was_countersigned_over_a_minute_ago_is_asked_for_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = ProvenLedger(tmp_path / "chain.db")
    ledger.forge()
    started_s = START_MS // 1000
    coming = Coming(*(ledger.countersigned(time_s=started_s + later) for later in (0, 70)))
    coming.newest = coming.later.pop(0)

    async def ask() -> None:
        async with reading(ledger, coming) as reader:
            for now_s, asked, time_s in ((59, 0, 0), (60, 1, 70), (129, 1, 70), (130, 2, 70)):
                monkeypatch.setattr(proving, "now_ms", lambda now_s=now_s: 1000 * (started_s + now_s))
                found = await reader.checkpoint(fresh=True)
                assert (coming.asked, found.status_ms) == (asked, 1000 * (started_s + time_s)), now_s

    asyncio.run(ask())


def test_each_proof_of_a_batch_counts_against_the_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "_PER_SECOND", 1.0)
    ledger = ProvenLedger(tmp_path / "chain.db")
    ledger.forge()
    ids = [f"{number:064x}" for number in range(1_024)]

    async def ask() -> None:
        coming = Coming()
        coming.newest = ledger.countersigned()
        async with reading(ledger, coming) as reader:
            transport = httpx.ASGITransport(App(reader, TcpDoor("node", 80)).asgi)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://node:80", headers={"Host": "node:80"}
            ) as http:
                told = [await http.post("/v1/proofs", json={"ids": ids}) for _ in range(5)]
        assert [one.status_code for one in told] == [200] * 4 + [429]
        assert told[-1].json()["code"] == "too-many-requests"
        assert int(told[-1].headers["retry-after"]) > 60

    asyncio.run(ask())


def test_a_text_that_is_nothing_without_the_rest_is_not_given_alone(tmp_path: Path) -> None:
    ledger = ProvenLedger(tmp_path / "chain.db")
    payload = Payload(bytes(32), "", "text/plain", bytes(60_000))
    one = issue_statement(ledger.scribe.key("ada"), ledger.genesis.ledger_id, START_MS, "", payload)
    ledger.forge(one, payloads=[payload])

    async def ask() -> None:
        async with reading(ledger, Coming(ledger.countersigned())) as reader:
            transport = httpx.ASGITransport(App(reader).asgi)
            async with httpx.AsyncClient(transport=transport, base_url="http://node") as http:
                path = f"/v1/certificates/{one.id.hex()}/proof?wait_ms=1"
                text = await http.get(path)
                assert (text.status_code, text.json()["code"]) == (406, "not-one-text")
                view = (await http.get(path, headers=JSON)).json()["proof"]
                assert view["payload"] == encode(payload).hex()

    asyncio.run(ask())
