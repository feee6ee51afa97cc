"""A member that is not heard costs the others a few delta once, however it went, until it is heard again."""

from itertools import pairwise

import pytest
from tests.builders import MEMBERS, wallet
from tests.simulation.test_agreement import DELTA_MS, Assembly

from tallystick.network.simulated import Home, Link, SimulatedNetwork
from tallystick.node.events import ReportBlock

SEVEN = {**MEMBERS, "eve": wallet("eve"), "fay": wallet("fay"), "gus": wallet("gus")}
ABSENT = "dot"
QUICK_MS = 100
"""Far longer than a view takes over these links with everybody there."""


def known_by_keys(members):
    """Makes a network whose hosts prove their keys to each other, as real ones do, so that a link is its member's."""

    def make(*more):
        network = SimulatedNetwork(*more)
        network.homes.update({name: Home(key, None) for name, key in members.items()})
        return network

    return make


class Watched(Assembly):
    """Members with quick links, one of whom may fall silent while its links stay; and when blocks became final."""

    def __init__(self, seed, members=MEMBERS):
        super().__init__(
            seed, Link(1, 2), members, network=known_by_keys(members), epoch_blocks=4_000, unbonding_blocks=8_000
        )
        self.blocks, self.is_mute = [], False
        send = self.network.send
        self.network.send = lambda sender, *more: None if self.is_mute and sender == ABSENT else send(sender, *more)
        self.network.on_report = self._note
        self.connect()

    def _note(self, now_ms, name, report):
        if name == "ada" and isinstance(report, ReportBlock):
            self.blocks.append((now_ms, report.block.header.forger))

    def stood_still_ms(self, duration_ms):
        """How long no block came, in sum, while certificates kept coming for so long; pauses that are short apart."""
        began_ms, before = self.network.now_ms, len(self.blocks)
        self.submit(duration_ms // 40, every_ms=40, to=[one for one in self.members if one != ABSENT])
        times = [began_ms, *(at_ms for at_ms, _ in self.blocks[before:]), self.network.now_ms]
        pauses = [later - earlier for earlier, later in pairwise(times)]
        return sum(one for one in pauses if one > QUICK_MS)

    @property
    def has_forged(self):
        """Whether the member that was absent forged one of the last blocks."""
        return self.members[ABSENT].public_key in [forger for _, forger in self.blocks[-50:]]


@pytest.mark.parametrize("members", [MEMBERS, SEVEN], ids=["four", "seven"])
def test_a_member_that_is_mute_and_connected_is_waited_for_once(seed, members):
    watched = Watched(seed, members)
    assert watched.stood_still_ms(500) == 0
    watched.is_mute = True
    assert watched.stood_still_ms(2_500) <= 4 * DELTA_MS, "in all of its turns together"
    assert not watched.has_forged
    watched.is_mute = False
    assert watched.stood_still_ms(1_500) <= 4 * DELTA_MS
    assert watched.has_forged
    watched.settle().check_chains()


def test_a_member_whose_machine_stopped_is_waited_for_once_and_forges_when_it_is_back(seed):
    watched = Watched(seed)
    watched.network.hosts[ABSENT].stop()  # nobody is told
    assert watched.stood_still_ms(2_500) <= 4 * DELTA_MS
    watched.network.restart(ABSENT)
    watched.stood_still_ms(1_500)
    assert watched.has_forged
    watched.settle().check_chains()


def test_a_member_whose_links_ended_is_not_waited_for(seed):
    watched = Watched(seed)
    watched.network.crash(ABSENT)
    assert watched.stood_still_ms(1_500) == 0
    watched.network.restart(ABSENT)
    watched.stood_still_ms(1_500)
    assert watched.has_forged
