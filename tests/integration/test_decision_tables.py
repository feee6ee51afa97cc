"""What a store keeps of decisions: it follows from the blocks, damage is found, and repair derives it anew."""

import asyncio
from pathlib import Path

import httpx
import pytest
from tests.governed import FinalGovernedScribe
from tests.integration.test_store import execute

from tallystick.api.file_source import open_file
from tallystick.integrity.check import Check
from tallystick.integrity.repair import repair
from tallystick.integrity.salvage import salvage
from tallystick.ledger.certificate_index import Place
from tallystick.ledger.changes import Rename
from tallystick.ledger.motions import Outcome
from tallystick.node.events import PersistBlock
from tallystick.storage.decision_tables import ORDERS
from tallystick.storage.store import Store


class Kept:
    """A store in which one motion passed with block 2, one was closed with block 3, and one is open."""

    def __init__(self, path: Path) -> None:
        self.path, scribe = path, FinalGovernedScribe()
        self.passed, self.closed, self.open = (
            scribe.motion(Rename("ben", "University of Ben", title, None, None), by)
            for title, by in (("Ben's", "ada"), ("Bens", "ben"), ("Benny's", "cy"))
        )
        self.one, self.other = scribe.statement("dot"), scribe.statement("dot")
        scribe.forge(self.passed, self.closed, self.open, self.one, self.other)
        scribe.forge(*(scribe.approval(self.passed, name) for name in ("ben", "cy")))
        scribe.forge(*(scribe.objection(self.closed, name) for name in ("ada", "cy")))
        scribe.forge(scribe.supersession(self.one, self.other, "dot"))
        scribe.forge(scribe.revocation(self.one, "dot"))
        self.order = scribe.erasure(self.other, "dot")
        scribe.forge(self.order)
        scribe.forge(scribe.erased(self.order, self.other, "ben"))
        with Store.create(path, scribe.genesis) as store:
            for one in scribe.kept:
                store.append(one)

    def outcomes(self) -> dict[bytes, tuple[int, Outcome]]:
        with Store.open(self.path, read_only=True) as store:
            return {one.motion: (one.block_index, one.outcome) for one in store.decision_tables.outcomes(0, 10)}


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "chain.db")


def derived(path: Path) -> list[str]:
    """What a check says of derived tables."""
    with Store.open(path, read_only=True) as store:
        report = Check(store).run()
    assert not report.rows["blocks"]
    return report.derived


def test_what_became_of_motions_is_kept_with_the_block_that_decided(kept: Kept) -> None:
    expected = {kept.passed.id: (2, Outcome.PASSED), kept.closed.id: (3, Outcome.CLOSED)}
    assert kept.outcomes() == expected
    with Store.open(kept.path, read_only=True) as store:
        tables = store.decision_tables
        assert tables.outcome_of(kept.open.id) is None
        places = {one.id: tables.places_about(one.id) for one in (kept.passed, kept.closed, kept.open, kept.one)}
        assert [len(found) for found in places.values()] == [2, 2, 0, 2]
        assert [place.block_index for place in places[kept.one.id]] == [4, 5]
        assert tables.outcomes(1, 1)[0].motion == kept.passed.id
        assert [tables.places_about(one) for one in (kept.other.id, ORDERS)] == [[(6, 0), (7, 0)], [(6, 0)]]
        assert tables.places_about(kept.other.id, Place(6, 0)) == [(7, 0)]
    assert derived(kept.path) == []


DAMAGES = {
    "an outcome is gone": "DELETE FROM decided WHERE block_index = 2",
    "another outcome": "UPDATE decided SET outcome = 3",
    "another block": "UPDATE decided SET block_index = 4",
    "no outcome": "UPDATE decided SET outcome = 99",
    "an outcome too many": "INSERT INTO decided VALUES (zeroblob(32), 3, 1)",
    "a word is gone": "DELETE FROM about WHERE block_index = 2 AND position = 0",
    "an order is gone": "DELETE FROM about WHERE block_index = 6 AND length(certificate_id) = 32",
    "a confirmation is gone": "DELETE FROM about WHERE block_index = 7",
    "a part of a state is gone": "DELETE FROM state_parts WHERE block_index = 2",
    "another part of a state": "UPDATE state_parts SET members_hash = zeroblob(32) WHERE block_index = 2",
    "a part of a state too many": "INSERT INTO state_parts VALUES (99, zeroblob(32))",
    "a word too many": "INSERT INTO about VALUES (zeroblob(32), 1, 0)",
}


@pytest.mark.parametrize("sql", DAMAGES.values(), ids=DAMAGES)
def test_damage_is_found_and_derived_anew(kept: Kept, sql: str) -> None:
    before = kept.outcomes()
    execute(kept.path, sql)
    what = {"decided": "outcomes of motions", "about": "index of decisions", "state_parts": "parts of states"}
    assert derived(kept.path) == [what[next(table for table in what if table in sql)]]
    with Store.open(kept.path) as store:
        repair(store, Check(store).run())
    assert derived(kept.path) == []
    assert kept.outcomes() == before


def test_blocks_that_go_take_their_decisions_with_them_and_bring_them_back(kept: Kept) -> None:
    scribe = Kept(kept.path.with_name("another.db"))
    execute(kept.path, "UPDATE blocks SET encoded = x'00' WHERE block_index >= 3")
    with Store.open(kept.path) as store:
        repair(store, Check(store).run())
    assert kept.outcomes() == {kept.passed.id: (2, Outcome.PASSED)}
    with Store.open(scribe.path, read_only=True) as whole, Store.open(kept.path) as store:
        for block in whole.blocks(3):
            decided = ((kept.closed.id, Outcome.CLOSED),) if block.index == 3 else ()
            part = whole.members_hash(block.index)
            store.append(PersistBlock(block, (), whole.finalization(block.index), decided=decided, members_hash=part))
    assert derived(kept.path) == []


def test_what_is_saved_of_a_damaged_file_has_its_decisions_again_after_repair(kept: Kept) -> None:
    before, target = kept.outcomes(), kept.path.with_name("saved.db")
    salvage(kept.path, target)
    kept.path = target
    assert kept.outcomes() == {}
    with Store.open(target) as store:
        repair(store, Check(store).run())
    assert kept.outcomes() == before
    assert derived(target) == []


def test_a_file_tells_of_motions_and_validity_by_what_its_check_found(kept: Kept) -> None:
    """Whoever hands the file over may have written anything into its derived tables."""
    execute(kept.path, "DELETE FROM about")
    execute(kept.path, "UPDATE decided SET outcome = 3")

    async def ask() -> None:
        async with (
            open_file(kept.path) as app,
            httpx.AsyncClient(transport=httpx.ASGITransport(app.asgi), base_url="http://file") as client,
        ):
            motions = (await client.get("/v1/motions")).json()["motions"]
            assert [(one["id"], one["state"]) for one in motions] == [
                (kept.open.id.hex(), "open"),
                (kept.closed.id.hex(), "closed"),
                (kept.passed.id.hex(), "passed"),
            ]
            assert [one["approving"] for one in motions] == [10, 10, 30]
            path = f"/v1/certificates/{kept.one.id.hex()}/validity"
            now = (await client.get(path)).json()["validity"]
            before = (await client.get(path, params={"at_ms": now["since_ms"] - 1})).json()["validity"]
            assert (now["state"], before["state"]) == ("revoked", "superseded")
            (erasure,) = (await client.get("/v1/erasures")).json()["erasures"]
            assert (erasure["target"], erasure["orders"][0]["id"]) == (kept.other.id.hex(), kept.order.id.hex())
            assert [one["member"]["organisation"] for one in erasure["confirmed"]] == ["ben"]

    asyncio.run(ask())
