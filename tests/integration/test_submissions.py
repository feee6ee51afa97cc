"""Submissions wait for room in the node's box."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from tests.builders import statements

from tallystick.host.submissions import Submissions
from tallystick.ledger.messages import Entry
from tallystick.node.limits import Limits
from tallystick.problems import Busy


def test_what_waits_for_room_when_a_node_stops_is_not_submitted() -> None:
    limits = Limits()
    full = {one.to_bytes(32, "big") for one in range(limits.box_certificates)}
    index = SimpleNamespace(place_of=lambda _: None)
    node = SimpleNamespace(box=full, limits=limits, chain=SimpleNamespace(certificate_index=index))
    submitted: list[Any] = []

    async def submit(entries: Any) -> list[None]:
        submitted.extend(entries)
        return [None] * len(submitted)

    runner: Any = SimpleNamespace(node=node, watchers=[], submit=submit)

    async def run() -> None:
        submissions = Submissions(runner)
        waiting = asyncio.create_task(submissions.submit([Entry(one) for one in statements(3)]))
        await asyncio.sleep(0)
        assert not waiting.done()
        submissions.close()
        with pytest.raises(Busy, match="about to stop; submit these again"):
            await waiting

    asyncio.run(run())
    assert submitted == []
