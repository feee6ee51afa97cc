"""What every transport keeps, whatever carries it: one suite, run against each of them."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import pytest
from tests.conformance.worlds import WORLDS, RealWorld

from tallystick.ledger.messages import is_urgent
from tallystick.ledger.params import MAX_MESSAGE_BYTES
from tallystick.network.connection import TransportLimits
from tallystick.network.transport import Connected, Disconnected, Received, TransportError

Story = Callable[[RealWorld], Awaitable[None]]


@pytest.fixture(params=WORLDS)
def in_a_world(request) -> Callable[[Story], None]:
    """Runs a story in a world of its own."""

    def run(story: Story) -> None:
        async def whole() -> None:
            world = WORLDS[request.param]()
            try:
                await story(world)
            finally:
                await world.stop()

        asyncio.run(whole())

    return run


def test_a_dialled_peer_connects_and_each_side_knows_who_the_other_is(in_a_world):
    async def story(world):
        ada, ben = await world.station(1), await world.station(2)
        await world.connected(ada, ben)
        assert ada.told == [Connected(ben.key, ben.transport.listening)]
        assert ben.told == [Connected(ada.key, None)]

    in_a_world(story)


@pytest.mark.parametrize("numbers", [(1, 2), (2, 1)], ids=["lower first", "higher first"])
def test_two_that_dial_each_other_at_once_have_one_connection(in_a_world, numbers):
    async def story(world):
        ada, ben = [await world.station(number) for number in numbers]
        ada.dial(ben)
        ben.dial(ada)
        await world.until(lambda: ada.is_connected_with(ben) and ben.is_connected_with(ada))
        for number in range(20):
            ada.send(ben, b"%d" % number)
            ben.send(ada, b"%d" % number)
            await world.let_pass(0.02)
        await world.until(lambda: len(ada.frames_from(ben)) == len(ben.frames_from(ada)) == 20)
        for one, other in ((ada, ben), (ben, ada)):
            assert len(one.connections_with(other)) == 1
        (at_ada,), (at_ben,) = ada.connections_with(ben), ben.connections_with(ada)
        assert (at_ada.address is None) != (at_ben.address is None)  # one and the same

    in_a_world(story)


def test_frames_arrive_whole_and_in_order_both_ways(in_a_world):
    async def story(world):
        random = Random(7)
        ada, ben = await world.station(1), await world.station(2)
        await world.connected(ada, ben)
        frames = [random.randbytes(random.choice((0, 1, 200, 300, 5_000, 70_000))) for _ in range(300)]
        for number, frame in enumerate(frames):
            ada.send(ben, frame)
            ben.send(ada, frame[::-1])
            if number % 40 == 39:
                await world.until(lambda sent=number: len(ben.frames_from(ada)) > sent - 30)
        await world.until(lambda: len(ben.frames_from(ada)) == len(ada.frames_from(ben)) == len(frames))
        for came, sent in (ben.frames_from(ada), frames), (ada.frames_from(ben), [frame[::-1] for frame in frames]):
            assert sorted(came, key=is_urgent) == sorted(sent, key=is_urgent)  # which keeps the order within each class

    in_a_world(story)


def test_the_largest_frame_arrives_and_a_larger_one_is_an_error_of_the_sender(in_a_world):
    async def story(world):
        ada, ben = await world.station(1), await world.station(2)
        await world.connected(ada, ben)
        largest = Random(1).randbytes(MAX_MESSAGE_BYTES)
        with pytest.raises(ValueError, match="bytes"):
            ada.send(ben, largest + b"x")
        for frame in (largest, b"after"):
            ada.send(ben, frame)
        await world.until(lambda: len(ben.frames_from(ada)) == 2)
        assert ben.frames_from(ada) == [largest, b"after"]
        assert ada.is_connected_with(ben)

    in_a_world(story)


def test_much_more_than_the_window_and_the_queue_gets_through_to_a_peer_that_keeps_up(in_a_world):
    async def story(world):
        ada, ben = await world.station(1), await world.station(2)
        await world.connected(ada, ben)
        for number in range(40):
            ada.send(ben, bytes([number, 0]) * 500_000)
            await world.until(lambda sent=number: len(ben.frames_from(ada)) > sent - 3)
        await world.until(lambda: len(ben.frames_from(ada)) == 40)
        assert [frame[0] for frame in ben.frames_from(ada)] == list(range(40))

    in_a_world(story)


def test_what_is_sent_to_nobody_is_nobodys(in_a_world):
    async def story(world):
        ada, ben = await world.station(1), await world.station(2)
        ada.send(ben, b"before there is a connection")
        await world.connected(ada, ben)
        ada.send(ben, b"first")
        await world.until(lambda: ben.frames_from(ada))
        assert ben.frames_from(ada) == [b"first"]

    in_a_world(story)


def test_a_peer_that_falls_behind_is_closed_while_another_gets_all(in_a_world):
    async def story(world):
        ada, ben, cem = await world.station(1), await world.station(2), await world.station(3)
        await world.connected(ada, ben)
        await world.connected(ada, cem)
        ben.transport.pause(ada.key)
        for number in range(60):
            frame = bytes([number, 0]) * 250_000
            if len(ada.connections_with(ben)) == 1:
                ada.send(ben, frame)
            ada.send(cem, frame)
            await world.until(lambda sent=number: len(cem.frames_from(ada)) > sent - 3)
        await world.until(lambda: Disconnected in map(type, ada.told) and Disconnected in map(type, ben.told))
        await world.until(lambda: len(cem.frames_from(ada)) == 60)
        assert ben.frames_from(ada) == []
        assert len(cem.connections_with(ada)) == 1
        assert all(one.peer == ben.key for one in ada.told if isinstance(one, Disconnected))

    in_a_world(story)


def test_a_paused_peer_waits_and_slows_down_while_others_go_on(in_a_world):
    async def story(world):
        ada, ben, cem = await world.station(1), await world.station(2), await world.station(3)
        await world.connected(ben, ada)
        await world.connected(cem, ada)
        ada.transport.pause(ben.key)
        frames = [bytes([number, 0]) * 300_000 for number in range(8)]  # more than the window
        for frame in frames:
            ben.send(ada, frame)
            cem.send(ada, frame)
            await world.until(lambda sent=frame: sent in ada.frames_from(cem))
        assert ada.frames_from(ben) == []
        assert ben.is_connected_with(ada)
        ada.send(ben, b"the other way is open")
        await world.until(lambda: ben.frames_from(ada))
        ada.transport.resume(ben.key)
        await world.until(lambda: len(ada.frames_from(ben)) == len(frames))
        assert ada.frames_from(ben) == frames

    in_a_world(story)


BULK, URGENT = bytes([0x92, 2]), bytes([0x92, 9])
"""How messages with certificates, and those with votes, begin."""


def test_an_urgent_frame_overtakes_ten_mebibytes_in_bulk(in_a_world):
    async def story(world):
        ada, ben = await world.station(1, limits=TransportLimits()), await world.station(2)
        await world.connected(ada, ben)
        in_bulk = [BULK + bytes([number]) + bytes(1024 * 1024) for number in range(10)]
        urgent = [URGENT + bytes([number]) for number in range(3)]
        for frame in (*in_bulk, *urgent):
            ada.send(ben, frame)
        await world.until(lambda: len(ben.frames_from(ada)) == len(in_bulk) + len(urgent))
        assert ben.frames_from(ada) == [in_bulk[0], *urgent, *in_bulk[1:]]

    in_a_world(story)


def test_urgent_frames_come_from_a_paused_peer_however_many(in_a_world):
    async def story(world):
        ada, ben = await world.station(1), await world.station(2)
        await world.connected(ben, ada)
        ada.transport.pause(ben.key)
        in_bulk = [BULK + bytes([number]) + bytes(1_000_000) for number in range(4)]
        for frame in in_bulk:
            ben.send(ada, frame)
        urgent = [URGENT + bytes([number]) + bytes(300_000) for number in range(40)]
        for number, frame in enumerate(urgent):
            ben.send(ada, frame)
            await world.until(lambda sent=number: len(ada.frames_from(ben)) > sent)
        assert ada.frames_from(ben) == urgent
        ada.transport.resume(ben.key)
        await world.until(lambda: len(ada.frames_from(ben)) == len(urgent) + len(in_bulk))
        assert ada.frames_from(ben)[len(urgent) :] == in_bulk

    in_a_world(story)


def test_one_may_pause_in_the_middle_of_being_told(in_a_world):
    async def story(world):
        ada, ben = await world.station(1), await world.station(2)
        await world.connected(ben, ada)
        ada.on_told = lambda event: ada.transport.pause(ben.key)
        for number in range(10):
            ben.send(ada, b"%d" % number)
        for expected in range(1, 11):
            await world.until(lambda count=expected: len(ada.frames_from(ben)) >= count)
            await world.let_pass(0.02)
            assert ada.frames_from(ben) == [b"%d" % number for number in range(expected)]
            ada.transport.resume(ben.key)

    in_a_world(story)


def test_frames_keep_their_order_when_a_pause_comes_in_between(in_a_world):
    async def story(world):
        ada, ben, cem = await world.station(1), await world.station(2), await world.station(3)
        await world.connected(ben, ada)
        await world.connected(cem, ada)
        ada.transport.pause(ben.key)
        frames = [b"%d" % number for number in range(10)]
        for frame in frames:
            ben.send(ada, frame)
        await world.let_pass(0.2)
        ada.on_told = lambda event: ada.transport.pause(ben.key) if isinstance(event, Disconnected) else None
        ada.transport.resume(ben.key)
        ada.transport.forget(cem.key)
        await world.until(lambda: not ada.is_connected_with(cem))
        ada.transport.resume(ben.key)
        await world.until(lambda: len(ada.frames_from(ben)) == len(frames))
        assert ada.frames_from(ben) == frames

    in_a_world(story)


def test_a_forgotten_peer_is_disconnected_and_dialled_no_more(in_a_world):
    async def story(world):
        ada, ben = await world.station(1), await world.station(2)
        await world.connected(ada, ben)
        ada.transport.forget(ben.key)
        await world.until(lambda: not ada.is_connected_with(ben) and not ben.is_connected_with(ada))
        await world.let_pass(0.5)
        assert [type(one) for one in ben.told] == [Connected, Disconnected]
        assert ben.reason_from(ada)
        await world.connected(ada, ben)

    in_a_world(story)


def test_who_is_admitted_no_longer_is_cut_off_and_comes_back_when_admitted_again(in_a_world):
    async def story(world):
        ada, ben, cem = await world.station(1), await world.station(2), await world.station(3)
        await world.connected(ben, ada)
        await world.connected(cem, ada)
        ada.transport.admit(lambda key: key == cem.key)
        await world.until(lambda: not ada.is_connected_with(ben) and not ben.is_connected_with(ada))
        await world.let_pass(0.5)
        assert len(ada.connections_with(ben)) == 2  # however often it has dialled since
        cem.send(ada, b"still here")
        await world.until(lambda: ada.frames_from(cem))
        ada.transport.admit(lambda key: True)
        await world.until(lambda: ada.is_connected_with(ben))
        assert len(cem.connections_with(ada)) == 1

    in_a_world(story)


@pytest.mark.parametrize("who", ["dialler", "dialled"])
def test_nobody_is_a_peer_of_one_that_does_not_admit_it(in_a_world, who):
    async def story(world):
        ada = await world.station(1, admits=() if who == "dialler" else all)
        ben = await world.station(2, admits=() if who == "dialled" else all)
        ada.dial(ben)
        await world.until(lambda: ben.key in ada.transport.troubles())
        await world.let_pass(0.3)
        assert ada.told == ben.told == []
        assert "admit" in ada.transport.troubles()[ben.key]

    in_a_world(story)


def test_a_peer_that_went_and_came_back_is_connected_again(in_a_world):
    async def story(world):
        ada, ben = await world.station(1), await world.station(2)
        await world.connected(ada, ben)
        address = ben.transport.listening
        await ben.transport.stop()
        await world.until(lambda: not ada.is_connected_with(ben))
        await world.until(lambda: ben.key in ada.transport.troubles())
        again = await world.station(2, listen=address)
        await world.until(lambda: ada.is_connected_with(again) and again.is_connected_with(ada))
        assert ben.key not in ada.transport.troubles()
        ada.send(again, b"welcome back")
        await world.until(lambda: again.frames_from(ada))
        assert [type(one) for one in ada.told] == [Connected, Disconnected, Connected]

    in_a_world(story)


def test_a_later_address_replaces_an_earlier(in_a_world):
    async def story(world):
        ada, ben, cem = await world.station(1), await world.station(2), await world.station(3)
        ada.transport.dial(ben.key, cem.transport.listening)  # where another lives
        await world.until(lambda: ben.key in ada.transport.troubles())
        assert ada.told == cem.told == []
        await world.connected(ada, ben)
        assert ada.told == [Connected(ben.key, ben.transport.listening)]

    in_a_world(story)


def test_after_stop_nothing_is_told_and_the_peers_know(in_a_world):
    async def story(world):
        ada, ben = await world.station(1), await world.station(2)
        await world.connected(ada, ben)
        for _ in range(50):
            ben.send(ada, b"on its way")
        await ada.transport.stop()
        told = len(ada.told)
        await world.until(lambda: not ben.is_connected_with(ada))
        ben.send(ada, b"to nobody")
        await world.let_pass(0.3)
        assert len(ada.told) == told

    in_a_world(story)


def test_an_address_that_is_taken_is_refused(in_a_world):
    async def story(world):
        ada = await world.station(1)
        with pytest.raises(TransportError, match=r"\d"):
            await world.station(2, listen=ada.transport.listening)

    in_a_world(story)


def test_whoever_listens_to_nobody_can_dial(in_a_world):
    async def story(world):
        ada, ben = await world.station(1, listen=None), await world.station(2)
        assert ada.transport.listening is None
        await world.connected(ada, ben)
        ben.send(ada, b"back along the same line")
        await world.until(lambda: ada.frames_from(ben))

    in_a_world(story)


def test_what_is_told_may_be_answered_at_once(in_a_world):
    async def story(world):
        ada, ben = await world.station(1), await world.station(2)

        def echo(event):
            if isinstance(event, Received) and len(event.frame) < 50:
                ben.transport.send(event.peer, event.frame + b".")

        def answer(event):
            if isinstance(event, Received):
                ada.transport.send(event.peer, event.frame + b"!")

        ada.on_told, ben.on_told = answer, echo
        await world.connected(ada, ben)
        ada.send(ben, b"")
        await world.until(lambda: len(ben.frames_from(ada)) == 26)
        assert ben.frames_from(ada)[-1] == b".!" * 25

    in_a_world(story)


def test_ten_in_a_full_mesh_each_reach_each(in_a_world):
    async def story(world):
        stations = [await world.station(number) for number in range(1, 11)]
        for one in stations:
            for other in stations:
                if one is not other:
                    one.dial(other)
        pairs = [(one, other) for one in stations for other in stations if one is not other]
        await world.until(lambda: all(one.is_connected_with(other) for one, other in pairs))
        for one, other in pairs:
            one.send(other, one.key)
        await world.until(lambda: all(other.frames_from(one) == [one.key] for one, other in pairs))
        assert all(len(one.connections_with(other)) == 1 for one, other in pairs)

    in_a_world(story)
