"""Submissions wait for room in the node's box."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from tests.builders import statements
from tests.governed import GovernedScribe

from tallystick.host.submissions import Submissions
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
