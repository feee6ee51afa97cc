"""Proposals name certificates by their ids: who lacks some lets gossip bring them, and then asks, for those alone."""

from collections import defaultdict

import pytest
from tests.simulation.test_agreement import DELTA_MS, Assembly

from tallystick.ledger.messages import Certificates, ProposalCertificates, ProposalRequest, decode_message
from tallystick.network.simulated import Link

HOP_MS = 20


def assembled(seed, is_lost=lambda sender, receiver, message: False):
    """Members that forge at once, so that a proposal overtakes its certificates; and who asked whom for what, when."""
    assembly = Assembly(seed, Link(HOP_MS, HOP_MS)).connect()
    network, asked = assembly.network, defaultdict(list)
    send = network.send

    def watched(sender, receiver, data):
        message = decode_message(data)
        if isinstance(message, ProposalRequest):
            asked[sender, message.block_hash].append((network.now_ms, receiver, message.ids))
        if not is_lost(sender, receiver, message):
            send(sender, receiver, data)

    network.send = watched
    return assembly, asked


def test_what_gossip_is_about_to_bring_is_not_asked_for(seed):
    assembly, asked = assembled(seed)
    assembly.submit(20, every_ms=200)
    assembly.settle()
    assert asked == {}


def test_what_gossip_does_not_bring_is_asked_of_the_sender_alone(seed):
    lost = {Certificates}
    assembly, asked = assembled(seed, lambda sender, receiver, message: type(message) in lost)
    assembly.submit(8, every_ms=400)
    lost.clear()  # or what waits at one member alone waits until that one is drawn, which may be never
    assembly.settle()
    assembly.check_chains()
    assert asked
    for requests in asked.values():
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

    assembly, asked = assembled(seed, is_lost)
    assembly.network.crash("cy")
    assembly.submit(6, every_ms=1_000, to=["ada"])
    assembly.settle()
    assert {name for name, _ in asked} == {"dot"}
    for (_, block_hash), ((first_ms, _, ids), *others) in asked.items():
        assert ids, block_hash.hex()
        *everybody, (_, _, rest) = others
        assert {(at_ms - first_ms, receiver, asked_for) for at_ms, receiver, asked_for in everybody} == {
            (DELTA_MS, name, ()) for name in ("ada", "ben", "cy")
        }
        assert set(rest) <= set(ids), "and of those that have it one"


@pytest.mark.parametrize("loss", [0.1, 0.3])
def test_proposals_are_completed_over_lines_that_lose(seed, loss):
    assembly = Assembly(seed, Link(HOP_MS, 3 * HOP_MS, loss=loss)).connect()
    assembly.submit(20, every_ms=100)
    assembly.settle()
    assembly.check_chains()
    assembly.check_votes()
