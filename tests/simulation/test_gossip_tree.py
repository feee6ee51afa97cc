"""The tree that certificates travel along, in whole networks: it reaches everybody, wastes little, and mends."""

from collections import Counter
from random import Random

import pytest
from tests.builders import MEMBERS, agreement_of, found, network_of, statement

from tallystick.ledger.messages import Certificates, Entry, decode_message
from tallystick.network.simulated import Link

NODES = 20
GENESIS = found()
"""Nobody ever forges here, so every certificate waits in the boxes that it reached."""

GOOD = Link()
LINES = {
    "good": GOOD,
    "losing 30%": Link(loss=0.3),
    "bad in every way": Link(1, 800, loss=0.3, duplication=0.3, reordering=True),
}
DEGREES = {"ring": 2, "random": 5, "mesh": NODES}


class Gossiping:
    """A network of nodes, people who hand certificates in, and a count of what is pushed."""

    def __init__(self, seed, degree, link=GOOD):
        self.network = network_of(seed, GENESIS, link, names=())
        self.names = [f"node {number}" for number in range(NODES)]
        for name in self.names:
            self.network.add(name, agreement_of(None))
        if degree < NODES:
            self.network.connect_some(degree)
        else:
            self.network.connect_all()
        self.network.run_for(1_000)
        self.chance = Random(seed)
        self.submitted = []
        self.pushed_by = Counter[str]()
        self._send = self.network.send
        self.network.send = self._count  # type: ignore[method-assign]

    def _count(self, sender, receiver, data):
        message = decode_message(data)
        if isinstance(message, Certificates):
            self.pushed_by[sender] += len(message.entries)
        self._send(sender, receiver, data)

    def feed(self, count, every_ms, away=()):
        for _ in range(count):
            issuer = self.chance.choice([*MEMBERS.values()])
            one = statement(f"number {len(self.submitted)}", issuer, GENESIS.ledger_id, at_ms=self.network.now_ms)
            self.submitted.append(one)
            self.network.submit(self.chance.choice([name for name in self.names if name not in away]), Entry(one))
            self.network.run_for(self.chance.randint(0, 2 * every_ms))

    def busiest(self):
        return max(self.names, key=self.pushed_by.__getitem__)

    def lacking(self, away=()):
        """By node: how many certificates have not reached it."""
        boxes = {name: self.network.hosts[name].node.box for name in self.names if name not in away}
        counts = {name: sum(one.id not in box for one in self.submitted) for name, box in boxes.items()}
        return {name: count for name, count in counts.items() if count}

    def reaches_everybody(self, within_ms, away=()):
        for _ in range(0, within_ms, 50):
            self.network.run_for(50)
            if not self.lacking(away):
                return True
        return False


@pytest.mark.parametrize("degree", DEGREES.values(), ids=DEGREES)
@pytest.mark.parametrize("link", LINES.values(), ids=LINES)
def test_every_certificate_reaches_every_node_though_the_busiest_crash(seed, link, degree):
    gossiping = Gossiping(seed, degree, link)
    gossiping.feed(20, 30)
    for _ in range(2):
        gossiping.reaches_everybody(600_000)
        crashed = gossiping.busiest()
        gossiping.network.crash(crashed)
        gossiping.feed(20, 30, away=[crashed])
        gossiping.network.restart(crashed)
        gossiping.pushed_by.clear()
    gossiping.feed(20, 30)
    assert gossiping.reaches_everybody(600_000), f"seed {seed}: {gossiping.lacking()}"


@pytest.mark.parametrize("degree", DEGREES.values(), ids=DEGREES)
@pytest.mark.parametrize("every_ms", [5, 100])
def test_once_settled_every_certificate_is_pushed_once_to_every_node(degree, every_ms):
    gossiping = Gossiping(1, degree)
    gossiping.feed(3_000 // every_ms, every_ms)
    assert gossiping.reaches_everybody(10_000)
    before = gossiping.pushed_by.total()
    gossiping.feed(100, every_ms)
    assert gossiping.reaches_everybody(10_000)
    least = 100 * (NODES - 1)
    assert least <= gossiping.pushed_by.total() - before <= 1.15 * least


def test_a_mesh_that_loses_the_middle_of_its_tree_mends_it_before_anything_is_announced(seed):
    gossiping = Gossiping(seed, NODES)
    gossiping.feed(20, 100)
    assert gossiping.reaches_everybody(10_000)
    crashed = gossiping.busiest()
    gossiping.network.crash(crashed)
    gossiping.network.run_for(200)
    for _ in range(10):
        gossiping.feed(1, 0, away=[crashed])
        assert gossiping.reaches_everybody(450, away=[crashed]), f"seed {seed}: {gossiping.lacking([crashed])}"


def test_a_cold_mesh_is_not_flooded(seed):
    gossiping = Gossiping(seed, NODES)
    gossiping.feed(1, 0)
    assert gossiping.reaches_everybody(10_000)
    assert gossiping.pushed_by.total() < 7 * NODES


def test_where_everybody_has_what_waits_there_is_silence(seed):
    gossiping = Gossiping(seed, 5)
    gossiping.feed(30, 30)
    assert gossiping.network.run_until_quiet(60_000)
    assert gossiping.lacking() == {}
