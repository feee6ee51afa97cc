"""Peers that lie, stall, flood and send rubbish: they cost time, never correctness, and never memory without end."""

import gc
import tracemalloc

import pytest
from tests.builders import (
    ADA,
    STRANGER,
    Bench,
    Scribe,
    assert_agreed,
    cut_off,
    found,
    long_chain,
    of_kind,
    rules,
    statement,
    statements,
    tips,
)
from tests.simulation.roles import (
    Boaster,
    Counterfeiter,
    EmptyHanded,
    Foreigner,
    Muddler,
    Repeater,
    Silent,
    Tantalizer,
    Trickler,
    stray_block,
)
from tests.simulation.test_simulated_network import GENESIS, LEDGER, feed, late_joiner, network_of, refusals

from tallystick.ledger.errors import Rule
from tallystick.ledger.fields import ZERO_DIGEST
from tallystick.ledger.messages import (
    MAX_IDS,
    BlockRequest,
    CertificateRequest,
    Entry,
    NewBlock,
    PayloadRequest,
    Status,
    encode_message,
)
from tallystick.node.events import CheckedMessage, Disconnect, MessageReceived, PeerConnected, SetTimer, TimerFired
from tallystick.node.limits import Limits

ROLES = {
    "silent": Silent,
    "boaster": Boaster,
    "repeater": Repeater,
    "empty-handed": EmptyHanded,
    "tantalizer": Tantalizer,
    "counterfeiter": Counterfeiter,
    "trickler": lambda network, name: Trickler(network, name, long_chain()[1][:500]),
    "muddler": lambda network, name: Muddler(network, name, long_chain()[1][:500]),
    "foreigner": lambda network, name: Foreigner(network, name, foreign_chain()),
}
each_role = pytest.mark.parametrize("role", ROLES.values(), ids=ROLES)


def foreign_chain():
    scribe = Scribe(found(ADA, free=7))
    scribe.forge()
    return scribe


@each_role
def test_a_late_joiner_gets_round_bad_peers(seed, role):
    """The bad ones are met first, so that they are asked first."""
    network = late_joiner(seed, length=500)
    for number in range(2):
        role(network, f"bad {number}")
        network.connect(f"bad {number}", "late")
    network.run_for(1_000)
    network.connect_all()
    assert network.run_until(lambda: tips(network)["late"][0] == 500, 180_000), f"seed {seed}: {tips(network)}"
    assert_agreed(network)


@each_role
def test_nodes_at_work_do_not_mind_bad_peers(seed, role):
    network = network_of(seed)
    role(network, "bad")
    network.connect_all()
    legal = feed(network, 40)
    network.run_for(120_000)
    assert_agreed(network, *legal)


@each_role
def test_alone_with_a_bad_peer_a_node_waits_and_does_not_spin(role):
    genesis, _ = long_chain()
    network = network_of(1, genesis, names=["late"])
    bad = role(network, "bad")
    network.connect_all()
    network.run_for(60_000)
    if not isinstance(bad, Trickler):
        assert tips(network)["late"][0] == 0
    requests = [message for message in bad.heard if isinstance(message, BlockRequest)]
    assert len(requests) < 1_000
    assert network.happened < 5_000


def test_a_peer_of_another_ledger_is_cut_off(seed):
    network = network_of(seed)
    Foreigner(network, "foreigner", foreign_chain())
    seen = refusals(network)
    network.connect_all()
    network.run_until_quiet()
    assert {(rule, peer) for _, rule, peer in seen} <= {(Rule.B10, "foreigner"), (Rule.N1, "foreigner")}
    assert len(seen) >= 4
    assert network.peers("foreigner") == []


RUBBISH = {
    "oversized": bytes(2 * 1024 * 1024 + 1),
    "garbage": bytes(range(256)),
    "truncated": encode_message(Status(LEDGER, 0, 0, ZERO_DIGEST, ()))[:-3],
    "trailing": encode_message(Status(LEDGER, 0, 0, ZERO_DIGEST, ())) + b"\x00",
    "nested": b"\x91" * 100_000,
    "empty": b"",
}


@pytest.mark.parametrize("data", RUBBISH.values(), ids=RUBBISH)
def test_rubbish_disconnects_its_sender_for_good_and_changes_nothing(data):
    network = network_of(1)
    bad = Silent(network, "bad")
    network.connect_all()
    seen = refusals(network)
    legal = feed(network, 12)
    bad.send("ada", data)
    network.run_for(100)
    assert [(name, peer) for name, _, peer in seen] == [("ada", "bad")]
    bad.send("ada", data)
    network.run_for(100)
    assert len(seen) == 1, "the line is cut"
    network.run_until_quiet()
    assert_agreed(network, *legal)


# ---- floods -----------------------------------------------------------------------------------------------------


def memory_of(flood):
    """How many bytes a flood leaves behind."""
    gc.collect()
    tracemalloc.start()
    try:
        flood()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def test_ten_thousand_orphans_from_a_stranger_fill_its_own_share_and_no_more():
    bench = Bench(GENESIS, limits=Limits(set_aside_blocks_per_peer=100))
    bench.receive(NewBlock(stray_block(GENESIS, 7)), "honest")
    orphans = [CheckedMessage(NewBlock(stray_block(GENESIS, 1_000 + number))) for number in range(500)]
    refused = 0
    for number in range(10_000):
        refused += len(rules(bench.handle(MessageReceived("stranger", orphans[number % 500]))))
        assert bench.node.sync.set_aside_count <= 101
    assert refused > 7_000
    for block in Scribe(GENESIS).forge_many(3):
        assert cut_off(bench.receive(NewBlock(block), "honest")) == set()
    assert bench.node.state.index == 3


def test_orphans_do_not_pile_up_in_memory():
    bench = Bench(GENESIS, limits=Limits(set_aside_blocks_per_peer=50))
    orphans = [encode_message(NewBlock(stray_block(GENESIS, 1_000 + number))) for number in range(800)]

    def flood(some):
        for data in some:
            bench.receive(data, "stranger")

    flood(orphans[400:])
    assert memory_of(lambda: flood(orphans[:400])) < 1_000_000, "400 of them are 1.5 MB"
    assert bench.node.sync.set_aside_count == 50


def test_claimed_certificates_do_not_pile_up_in_memory():
    bench = Bench(GENESIS, limits=Limits(box_certificates=4_096))

    def flood():
        for number in range(40):
            ids = tuple((number * MAX_IDS + place).to_bytes(32, "big") for place in range(MAX_IDS))
            bench.receive(Status(LEDGER, 0, 0, ZERO_DIGEST, ids), "liar")

    assert memory_of(flood) < 6_000_000, "40 times 4,096 ids are 10 MB and more"


@pytest.mark.parametrize(
    "request_of", [BlockRequest(1, 256), CertificateRequest((bytes(32),)), PayloadRequest((bytes(32),))], ids=type
)
def test_a_flood_of_requests_is_answered_within_the_allowance(request_of):
    genesis, blocks = long_chain()
    bench = Bench(genesis, blocks=blocks[:300])
    bench.handle(PeerConnected("greedy"))
    answered = refused = 0
    for _ in range(10_000):
        actions = bench.receive(request_of, "greedy")
        refused += rules(actions).count(Rule.N3)
        answered += not rules(actions)
        assert not of_kind(Disconnect, actions)
        bench.now_ms += 1
    allowed = bench.node.limits.requests_per_second
    assert 10 * allowed <= answered <= 12 * allowed + 1
    assert answered + refused == 10_000


def test_spam_of_one_issuer_does_not_keep_others_out(seed):
    limits = Limits(box_certificates=100, box_certificates_per_issuer=20)
    network = network_of(seed, limits=limits)
    spam = statements(300, STRANGER, LEDGER)
    for certificate in spam:
        network.submit("ada", Entry(certificate))
    honest = [statement(f"honest {number}", ledger=LEDGER) for number in range(10)]
    for certificate in honest:
        network.submit("ben", Entry(certificate))
    assert network.run_until_quiet()
    assert_agreed(network, *honest)


def test_a_liars_claims_are_forgotten_after_a_while_and_the_node_falls_silent():
    bench = Bench(GENESIS)
    pending = of_kind(SetTimer, bench.receive(Status(LEDGER, 10**6, 10**6, ZERO_DIGEST, ()), "liar"))
    fired = 0
    while pending and fired < 1_000:
        timer = pending.pop(0)
        bench.now_ms = max(bench.now_ms, timer.at_ms)
        pending += of_kind(SetTimer, bench.handle(TimerFired(timer.timer)))
        fired += 1
    assert fired < 30
