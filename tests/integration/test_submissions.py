"""Submissions wait for room in the node's box, and hold nobody up while old certificates are looked up."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from tests.builders import Bench, Scribe, statement, statements
from tests.governed import GovernedScribe
from tests.kept_elsewhere import KeptElsewhere

from tallystick.api.log_place import LogPlace
from tallystick.api.proving import Proofs
from tallystick.api.questions import MOST_PROOFS, ProofsAsked
from tallystick.host.submissions import Submissions, Waiting
from tallystick.ledger.certificate import AnyCertificate
from tallystick.ledger.certificate_index import CertificateIndex
from tallystick.ledger.messages import Entry
from tallystick.node.limits import Limits
from tallystick.problems import Busy


def at_full_box(submitted: list[Any]) -> Submissions:
    """Those of a node whose box is full; it takes what is submitted all the same."""
    limits = Limits()
    full = {one.to_bytes(32, "big") for one in range(limits.box_certificates)}
    chain = SimpleNamespace(certificate_index=CertificateIndex(), place_of=lambda _: None)
    node = SimpleNamespace(box=full, limits=limits, chain=chain)

    async def submit(entries: Any) -> list[None]:
        submitted.extend(entries)
        return [None] * len(submitted)

    runner: Any = SimpleNamespace(node=node, watchers=[], submit=submit)
    return Submissions(runner)


def test_what_members_decide_by_waits_for_no_room() -> None:
    scribe, submitted = GovernedScribe(), list[Any]()
    motion = scribe.motion(scribe.remove("dot"))
    moves: list[AnyCertificate] = [motion, scribe.approval(motion, "ben"), scribe.add_issuer("office")]

    async def run() -> None:
        async with asyncio.timeout(10):
            await at_full_box(submitted).submit([Entry(one) for one in moves])

    asyncio.run(run())
    assert submitted == [Entry(one) for one in moves]


def test_what_waits_for_room_when_a_node_stops_is_not_submitted() -> None:
    submitted: list[Any] = []

    async def run() -> None:
        submissions = at_full_box(submitted)
        waiting = asyncio.create_task(submissions.submit([Entry(one) for one in statements(3)]))
        await asyncio.sleep(0)
        assert not waiting.done()
        submissions.close()
        with pytest.raises(Busy, match="about to stop; submit these again"):
            await waiting

    asyncio.run(run())
    assert submitted == []


# ---- old certificates -----------------------------------------------------------------------------------------------

MOST_A_TURN = 64
OLD = statements(1_000)


@pytest.fixture
def file() -> KeptElsewhere:
    """What has the ids of the chain."""
    return KeptElsewhere([one.id for one in OLD])


@pytest.fixture
def node(file: KeptElsewhere) -> Any:
    """A node whose chain is in its file."""
    scribe = Scribe()
    scribe.forge(*OLD)
    node = Bench(blocks=scribe.blocks).node
    node.chain.certificate_index.let_go(file, len(OLD))
    return node


def submissions_at(node: Any, submitted: list[Any]) -> Submissions:
    async def submit(entries: Any) -> list[None]:
        submitted.extend(entries)
        for one in entries:
            node.box.add(one, 0)
        return [None] * len(entries)

    runner: Any = SimpleNamespace(node=node, watchers=[], submit=submit)
    return Submissions(runner)


def most_read_in_a_turn(file: KeptElsewhere, ask: Callable[[], Awaitable[Any]]) -> tuple[int, Any]:
    """How often the file is read, at most, before the loop serves others; and what was answered."""

    async def run() -> tuple[int, Any]:
        asking, most = asyncio.ensure_future(ask()), 0
        while not asking.done():
            before = len(file.read)
            await asyncio.sleep(0)
            most = max(most, len(file.read) - before)
        return most, asking.result()

    return asyncio.run(run())


def test_what_was_certified_long_ago_and_is_submitted_again_is_looked_up_a_few_at_a_time(
    file: KeptElsewhere, node: Any
) -> None:
    new, submitted = statement("new"), list[Any]()
    submissions = submissions_at(node, submitted)
    given = [Entry(one) for one in [*OLD, new]]
    most, outcomes = most_read_in_a_turn(file, lambda: submissions.submit(given))
    assert most <= MOST_A_TURN
    assert submitted == [Entry(new)]
    assert outcomes == [*(node.chain.place_of(one.id) for one in OLD), Waiting()]


def test_what_memory_tells_of_waits_for_no_turn(file: KeptElsewhere, node: Any) -> None:
    new = [statement(f"new {number}") for number in range(1_000)]
    submissions, turns = submissions_at(node, []), 0

    async def run() -> None:
        nonlocal turns
        asking = asyncio.ensure_future(submissions.submit([Entry(one) for one in new]))
        while not asking.done():
            turns += 1
            await asyncio.sleep(0)

    asyncio.run(run())
    assert file.read == []
    assert turns < 5


def test_outcomes_of_long_ago_are_looked_up_a_few_at_a_time(file: KeptElsewhere, node: Any) -> None:
    submissions = submissions_at(node, [])
    most, outcomes = most_read_in_a_turn(file, lambda: submissions.outcomes([one.id for one in OLD]))
    assert most <= MOST_A_TURN
    assert outcomes == {one.id: node.chain.place_of(one.id) for one in OLD}


def test_certificates_to_be_proven_are_looked_up_a_few_at_a_time(file: KeptElsewhere, node: Any) -> None:
    def place_of(certificate_id: bytes) -> LogPlace:
        place = node.chain.place_of(certificate_id)
        return LogPlace(place, node.chain.certificate_index.number_of(place))

    async def nothing(*_: object) -> None:
        pass

    empty = SimpleNamespace(state=SimpleNamespace(log=SimpleNamespace(size=0)))
    checkpoints: Any = SimpleNamespace(newest=empty, ask_fresh=lambda: None, wait=nothing)
    store: Any = SimpleNamespace(genesis=node.chain.genesis)
    reader: Any = SimpleNamespace(place_of=place_of, certificate_index=node.chain.certificate_index)
    thread: Any = nothing
    proofs = Proofs(reader, store, thread, checkpoints)
    asked = ProofsAsked([one.id.hex() for one in OLD[:MOST_PROOFS]])
    most, answer = most_read_in_a_turn(file, lambda: proofs.many(asked))
    assert most <= MOST_A_TURN
    assert [one.id for one in answer.left_out] == asked.ids
