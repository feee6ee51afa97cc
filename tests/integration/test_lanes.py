"""Votes overtake certificates on their way through a node, and what members sent goes before what users submit."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.builders import ADA, BEN, GENESIS, statements, vote
from tests.integration.wire import Wire

from tallystick.consensus.simplex import Simplex
from tallystick.host import runner as host
from tallystick.host.guard_file import GuardFile
from tallystick.host.runner import Kept, Runner
from tallystick.ledger.keys import is_signed
from tallystick.ledger.messages import Certificates, Entry, Prune, Votes, encode_message
from tallystick.ledger.vote import NULLIFY, tally_of
from tallystick.network.replay import replayed
from tallystick.network.transport import Connected, Disconnected, Received, Transport
from tallystick.node.events import (
    Action,
    CertificatesSubmitted,
    Event,
    MessageReceived,
    SetTimer,
    Started,
    Timer,
    TimerFired,
)
from tallystick.node.node import Node
from tallystick.node.simplex_driver import SimplexDriver
from tallystick.storage.store import Store

PEER = BEN.public_key
VOTE = encode_message(Votes((tally_of([vote(NULLIFY, member=BEN)]),)))


class Told(Node):
    """Writes down what it is told."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.told: list[str] = []
        self.on_told: Callable[[str], object] = lambda what: None
        self.asks: list[Action] = []
        """What it asks for with its next answer, whatever it is told."""

    def handle(self, now_ms: int, event: Event) -> list[Any]:
        match event:
            case CertificatesSubmitted():
                self._note("submitted")
            case MessageReceived(_, checked) if isinstance(checked.message, Certificates):
                self._note(checked.message.entries[0].certificate.subject)
            case MessageReceived(_, checked):
                self._note("vote")
            case TimerFired(Timer.SYNC):
                self._note("time")
        asked, self.asks = self.asks, []
        return [*super().handle(now_ms, event), *asked]

    def _note(self, what: str) -> None:
        self.told.append(what)
        self.on_told(what)


class Desk:
    """A runner whose verdicts on claims in bulk come when the test says so, those on urgent ones at once."""

    def __init__(self, kept: Kept) -> None:
        chain = replayed(GENESIS, SimplexDriver(Simplex()).check_forger, kept.store)
        self.node = Told(chain, SimplexDriver(Simplex()), archive=kept.store)
        self.wire = Wire()
        self.held: list[asyncio.Future[None]] = []
        self.is_holding = True
        wire: Any = self.wire
        transport: Transport = wire
        self.runner = Runner(self.node, kept, transport, self._verify)

    async def _verify(self, claims: Any, *, is_urgent: bool = False) -> list[bool]:
        if not is_urgent and self.is_holding:
            self.held.append(asyncio.get_running_loop().create_future())
            await self.held[-1]
        return [is_signed(*one) for one in claims]

    def receive(self, *frames: bytes) -> None:
        for frame in frames:
            self.wire.tell(Received(PEER, frame))

    async def until(self, *told: str) -> None:
        while len(self.node.told) < len(told):
            await asyncio.sleep(0)
        assert self.node.told == list(told)


@contextmanager
def kept_in(path: Path) -> Iterator[Kept]:
    with Store.create(path / "ledger", GENESIS) as store, GuardFile.open(path / "guard", ADA.public_key) as guard_file:
        yield Kept(store, guard_file)


def at_a_desk(path: Path, story: Callable[[Desk], Awaitable[None]]) -> None:
    """Run a story with a runner that has one peer."""

    async def run() -> None:
        with kept_in(path) as kept:
            desk = Desk(kept)
            await desk.runner.start(Started(ADA.public_key, None, ()))
            desk.wire.tell(Connected(PEER, None))
            try:
                async with asyncio.timeout(60):
                    await story(desk)
                assert not desk.runner.failed.done(), desk.runner.failed.exception()
            finally:
                await desk.runner.stop()

    asyncio.run(run())


def frames(count: int) -> list[bytes]:
    """Of one certificate each, which are told apart by their subjects."""
    return [encode_message(Certificates((Entry(one),))) for one in statements(count)]


def subjects(count: int) -> list[str]:
    return [f"statement {number}" for number in range(count)]


def test_a_vote_is_handled_before_all_certificates_that_are_looked_at_or_wait(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        desk.receive(*frames(20), VOTE)
        await desk.until("vote")
        desk.is_holding = False
        for one in desk.held:
            one.set_result(None)
        await desk.until("vote", *subjects(20))

    at_a_desk(tmp_path, story)


def test_no_more_than_one_message_in_bulk_is_looked_at_before_a_vote(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        desk.receive(*frames(20), VOTE)
        await desk.until("vote")
        assert len(desk.held) <= 1

    at_a_desk(tmp_path, story)


def test_a_vote_that_came_before_a_time_was_up_is_told_before(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        desk.node.asks = [SetTimer(Timer.SYNC, 0)]
        desk.runner.handle(TimerFired(Timer.GOSSIP))
        desk.receive(VOTE)
        await desk.until("vote", "time")

    at_a_desk(tmp_path, story)


async def submitted_behind_three(desk: Desk) -> "asyncio.Task[list[Any]]":
    """A user's submission, after a member's three messages whose signatures are being verified; no later ones are."""
    desk.receive(*frames(3))
    others = statements(30)[20:]
    submitted = asyncio.create_task(desk.runner.submit([Entry(one) for one in others]))
    while len(desk.held) < 3:
        await asyncio.sleep(0)
    desk.is_holding = False
    return submitted


def test_what_a_member_sent_goes_before_what_a_user_submits_after_it(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        submitted = await submitted_behind_three(desk)
        for _ in range(100):
            await asyncio.sleep(0)
        for one in desk.held:
            one.set_result(None)
        await submitted
        assert desk.node.told == [*subjects(3), "submitted"]

    at_a_desk(tmp_path, story)


def test_a_user_waits_for_no_member_that_is_gone(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        submitted = await submitted_behind_three(desk)
        desk.wire.tell(Disconnected(PEER, "gone"))
        await submitted
        assert desk.node.told == ["submitted"]

    at_a_desk(tmp_path, story)


def test_certificates_come_to_the_node_in_their_order_whichever_is_verified_first(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        desk.receive(*frames(5))
        while len(desk.held) < 5:
            await asyncio.sleep(0)
        for one in reversed(desk.held):
            one.set_result(None)
            await asyncio.sleep(0)
        await desk.until(*subjects(5))

    at_a_desk(tmp_path, story)


def test_votes_come_while_a_peer_with_too_much_in_bulk_is_paused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "_LANE_BYTES", 2_000)

    async def story(desk: Desk) -> None:
        desk.receive(*frames(30))
        assert desk.wire.paused == [False]
        desk.receive(VOTE)
        await desk.until("vote")
        assert desk.wire.paused == [False]
        desk.is_holding = False
        for one in desk.held:
            one.set_result(None)
        await desk.until("vote", *subjects(30))
        assert desk.wire.paused == []

    at_a_desk(tmp_path, story)


def test_a_peer_with_too_many_votes_is_paused_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_LANE_BYTES", 2_000)

    async def story(desk: Desk) -> None:
        desk.receive(*[VOTE] * 30)
        assert desk.wire.paused == [True]
        await desk.until(*["vote"] * 30)
        assert desk.wire.paused == []

    at_a_desk(tmp_path, story)


def test_a_vote_is_handled_between_two_slices_of_a_submission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_SLICE_ENTRIES", 2)

    async def story(desk: Desk) -> None:
        desk.is_holding = False
        desk.node.on_told = lambda what: desk.receive(VOTE) if desk.node.told == ["submitted"] else None
        refused = await desk.runner.submit([Entry(one) for one in statements(5)])
        assert refused == [None] * 5
        assert desk.node.told == ["submitted", "vote", "submitted", "submitted"]
        assert len(desk.node.box) == 5

    at_a_desk(tmp_path, story)


def test_what_is_refused_of_a_submission_stands_where_it_was_submitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "_SLICE_ENTRIES", 2)

    async def story(desk: Desk) -> None:
        desk.is_holding = False
        good, other = statements(5), statements(5, ledger=bytes(32))
        mixed = [good[0], other[1], good[2], other[3], good[4]]
        refused = await desk.runner.submit([Entry(one) for one in mixed])
        assert [one is None for one in refused] == [True, False, True, False, True]

    at_a_desk(tmp_path, story)


def test_a_member_that_goes_on_sending_shuts_no_door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_AHEAD", 4)

    async def story(desk: Desk) -> None:
        desk.is_holding = False
        desk.receive(*frames(100))
        await desk.runner.submit([Entry(one) for one in statements(120)[119:]])
        assert 4 <= desk.node.told.index("submitted") < 50

    at_a_desk(tmp_path, story)


def flood(desk: Desk) -> None:
    """A peer sends another vote for each that is told, until nobody listens."""
    desk.node.on_told = lambda what: desk.receive(VOTE) if what == "vote" else None
    desk.receive(*[VOTE] * 20)


def test_a_flood_of_urgent_messages_holds_up_all_that_waits_once_and_not_each_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "_WAYS", 16)

    async def story(desk: Desk) -> None:
        desk.is_holding = False
        flood(desk)
        submissions = [desk.runner.submit([Entry(one)]) for one in statements(30)]
        await asyncio.gather(*submissions)
        desk.node.on_told = lambda what: None
        assert desk.node.told.count("vote") < 2_000, "each would have waited for some 70"

    at_a_desk(tmp_path, story)


def test_a_flood_of_urgent_messages_holds_up_no_timer_for_ever(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        desk.node.asks = [SetTimer(Timer.SYNC, 0)]
        flood(desk)
        while desk.node.told.count("vote") < 20_000 and "time" not in desk.node.told:
            await asyncio.sleep(0)
        desk.node.on_told = lambda what: None
        assert "time" in desk.node.told

    at_a_desk(tmp_path, story)


def test_small_messages_count_for_more_than_their_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_LANE_BYTES", 2_000)

    async def story(desk: Desk) -> None:
        desk.receive(*[encode_message(Prune())] * 40)
        assert desk.wire.paused == [True]

    at_a_desk(tmp_path, story)
