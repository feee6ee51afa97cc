"""Proposals name certificates by their ids: who lacks some lets gossip bring them, and then asks, for those alone."""

from collections import defaultdict

import pytest
from tests.builders import GENESIS, LEDGER, MEMBERS, assert_agreed, statement

from tallystick.ledger.messages import Certificates, Entry, ProposalCertificates, ProposalRequest, decode_message
from tallystick.network.simulated import Link, SimulatedNetwork
from tallystick.network.simulated_host import member

HOP_MS = 20


class Members:
    """Members that forge at once, so that a proposal overtakes its certificates; and who asked whom for what, when."""

    def __init__(self, seed, link=None, is_lost=lambda sender, receiver, message: False):
        self.network, self.statements, self.asked = (
            SimulatedNetwork(GENESIS, seed, link or Link(HOP_MS, HOP_MS)),
            [],
            defaultdict(list),
        )
        for name, wallet in MEMBERS.items():
            self.network.add(name, member(wallet))
        self.network.connect_all()
        self.network.run_for(200)
        self._is_lost = is_lost
        self.network.send, self._send = self._watched, self.network.send

    def _watched(self, sender, receiver, data):
        message = decode_message(data)
        if isinstance(message, ProposalRequest):
            self.asked[sender, message.block_hash].append((self.network.now_ms, receiver, message.ids))
        if not self._is_lost(sender, receiver, message):
            self._send(sender, receiver, data)

    def submit(self, count, every_ms, to=tuple(MEMBERS)):
        for _ in range(count):
            one = statement(f"number {len(self.statements)}", ledger=LEDGER)
            self.network.submit(to[len(self.statements) % len(to)], Entry(one))
            self.statements.append(one)
            self.network.run_for(every_ms)

    def settle(self):
        """All that was handed in is soon final at all that are up, and then there is silence."""
        nodes = [host.node for host in self.network.hosts.values() if host.is_up]
        ids = [one.id for one in self.statements]
        is_done = self.network.run_until(
            lambda: all(node.chain.place_of(one) for node in nodes for one in ids), 240_000
        )
        assert is_done, (self.network.seed, [node.state.index for node in nodes])


def test_what_gossip_is_about_to_bring_is_not_asked_for(seed):
    members = Members(seed)
    members.submit(20, every_ms=200)
    members.settle()
    assert members.asked == {}
    members.network.run_until_quiet(600_000)
    assert_agreed(members.network, *members.statements)


def test_what_gossip_does_not_bring_is_asked_of_the_sender_alone(seed):
    lost = {Certificates}
    members = Members(seed, is_lost=lambda sender, receiver, message: type(message) in lost)
    members.submit(8, every_ms=400)
    lost.clear()  # or what waits at one member alone waits until that one is drawn, which may be never
    members.settle()
    assert members.asked
    for requests in members.asked.values():
        ((_, _, ids),) = requests
        assert ids


def test_when_the_sender_does_not_answer_everybody_is_asked(seed):
    """With Cy away nothing is final before Dot has the block, so the others still have it as a proposal."""
    answered = set()

    def is_lost(sender, receiver, message):
        if receiver == "dot" and isinstance(message, ProposalCertificates) and message.block_hash not in answered:
            answered.add(message.block_hash)
            return True
        return receiver == "dot" and isinstance(message, Certificates)

    members = Members(seed, is_lost=is_lost)
    members.network.crash("cy")
    members.submit(6, every_ms=2_000, to=["ada"])
    members.settle()
    assert {name for name, _ in members.asked} == {"dot"}
    delta_ms = GENESIS.params.delta_ms
    for (_, block_hash), ((first_ms, _, ids), *others) in members.asked.items():
        assert ids, block_hash.hex()
        assert {(at_ms - first_ms, receiver) for at_ms, receiver, _ in others} == {
            (delta_ms, name) for name in ("ada", "ben", "cy")
        }


@pytest.mark.parametrize("loss", [0.1, 0.3])
def test_proposals_are_completed_over_lines_that_lose(seed, loss):
    members = Members(seed, Link(HOP_MS, 3 * HOP_MS, loss=loss))
    members.submit(20, every_ms=100)
    members.settle()
    members.network.run_until_quiet(600_000)
    assert_agreed(members.network, *members.statements)
