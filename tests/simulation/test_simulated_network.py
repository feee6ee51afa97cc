"""Networks of nodes in virtual time: whatever the lines, the clocks and the power do, there is one chain."""

import os
import subprocess
import sys
from collections import defaultdict
from itertools import pairwise
from random import Random

import pytest
from tests import builders
from tests.builders import (
    ADA,
    MEMBERS,
    STRANGER,
    Scribe,
    agreement_of,
    assert_agreed,
    found,
    honest,
    keep,
    long_chain,
    noting,
    refuses,
    staking,
    statement,
    statements,
    tips,
    with_payload,
)

from tallystick.course.stake_rule import StakeRule
from tallystick.ledger.errors import Rule
from tallystick.ledger.messages import (
    MAX_ENTRIES,
    CertificateRequest,
    Certificates,
    Entry,
    decode_message,
    encode_message,
)
from tallystick.network.memory_archive import MemoryArchive
from tallystick.network.simulated import Link, SimulatedNetwork
from tallystick.network.simulated_host import observer
from tallystick.node.events import MessageReceived, ReportAccepted, ReportBlock, ReportRefused
from tallystick.node.limits import Limits

GENESIS = found(forge_at_certificates=1)
"""What waits is forged at once, so that nothing is left over at the end."""
LEDGER = GENESIS.ledger_id

LINES = {
    "good": Link(),
    "slow": Link(delay_min_ms=200, delay_max_ms=3_000),
    "reordering": Link(delay_min_ms=1, delay_max_ms=500, reordering=True),
    "losing 30%": Link(loss=0.3),
    "duplicating": Link(duplication=0.5, reordering=True),
    "bad in every way": Link(1, 800, loss=0.3, duplication=0.3, reordering=True),
}


def network_of(seed, genesis=GENESIS, link=None, **more):
    return builders.network_of(seed, genesis, link, **more)


def watch(network):
    """Every block anybody ever has: at one index, one hash."""
    blocks = defaultdict(set)

    def on_report(now_ms, name, report):
        if isinstance(report, ReportBlock):
            blocks[report.block.index].add(report.block.hash)
            assert len(blocks[report.block.index]) == 1, f"seed {network.seed}: two blocks at {report.block.index}"

    network.on_report = on_report
    return blocks


def refusals(network):
    """Every refusal from now on: who reported it, the rule, and who sent it."""
    seen = []

    def on_report(now_ms, name, report):
        if isinstance(report, ReportRefused):
            seen.append((name, report.refused.rule, report.peer))

    network.on_report = on_report
    return seen


def feed(network, count, every_ms=40, names=None):
    """Users submit certificates of all kinds at random nodes, as time passes. Returns those that were legal."""
    chance, ledger = Random(network.seed), network.genesis.ledger_id
    names = names or [name for name in honest(network) if name in MEMBERS]
    legal = []
    for _ in range(count):
        issuer = MEMBERS[chance.choice(list(MEMBERS))]
        certificate = (
            staking(chance.randint(1, 15), issuer, network.now_ms, ledger)
            if chance.random() < 0.3
            else statement(f"fed at {network.now_ms}", issuer, ledger, at_ms=network.now_ms)
        )
        network.submit(chance.choice(names), Entry(certificate))
        legal.append(certificate)
        network.run_for(chance.randint(1, 2 * every_ms))
    return legal


@pytest.mark.parametrize("link", LINES.values(), ids=LINES)
def test_nodes_agree_over_any_line(seed, link):
    network = network_of(seed, link=link, names=[*MEMBERS, "onlooker"])
    watch(network)
    legal = feed(network, 60)
    assert network.run_until_quiet()
    assert_agreed(network, *legal)


def test_many_nodes_that_know_few_others_agree(seed):
    network = network_of(seed, names=())
    for name in [*MEMBERS, *(f"onlooker {number}" for number in range(36))]:
        network.add(name, agreement_of(MEMBERS.get(name)))
    network.connect_some(degree=5)
    legal = feed(network, 40, names=[*network.hosts])
    assert network.run_until_quiet()
    assert_agreed(network, *legal)


def test_honest_peers_are_never_disconnected_however_bad_the_line(seed):
    network = network_of(seed, link=LINES["bad in every way"])
    seen = refusals(network)
    feed(network, 60)
    network.partition(["ada", "ben"], ["cy", "dot"])
    feed(network, 20)
    network.heal()
    network.run_until_quiet()
    blamed = [one for one in seen if one[1] not in (Rule.B1, Rule.B2, Rule.B8, Rule.C6, Rule.N3)]
    assert blamed == []


def test_both_sides_of_a_partition_end_on_one_chain(seed):
    network = network_of(seed)
    watch(network)
    legal = feed(network, 15)
    for sides in (
        (["ada"], ["ben", "cy", "dot"]),
        (["ada", "cy"], ["ben", "dot"]),
        (["ada"], ["ben"], ["cy"], ["dot"]),
    ):
        network.partition(*sides)
        legal += feed(network, 15)
        network.run_for(5_000)
        network.heal()
        network.run_for(2_000)
    assert network.run_until_quiet()
    assert_agreed(network, *legal)


def test_while_the_drawn_forger_is_away_certificates_wait_and_nobody_else_forges(seed):
    network = network_of(seed)
    drawn = Scribe(GENESIS).forger()
    away = next(name for name, member in MEMBERS.items() if member is drawn)
    network.crash(away)
    others = [name for name in MEMBERS if name != away]
    legal = feed(network, 12, names=others)
    network.run_until_quiet()
    assert {tip[0] for name, tip in tips(network).items() if name != away} == {0}
    network.restart(away)
    assert network.run_until_quiet()
    assert_agreed(network, *legal)


@pytest.mark.parametrize("actions", [*range(30), 40, 55, 70, 90])
def test_a_crash_at_any_action_loses_nothing_that_was_agreed(actions):
    """The number of actions is also the seed."""
    network, chance = network_of(seed=actions), Random(actions)
    watch(network)
    victim = chance.choice(list(MEMBERS))
    host = network.hosts[victim]
    for allowed in (actions, chance.randint(0, 20)):
        host.crash_within(allowed)
        feed(network, 10, every_ms=15)
        network.run_for(2_000)
        if host.is_up:
            network.crash(victim)
        kept = list(host.archive.blocks())
        network.restart(victim)
        assert host.node.state.index == len(kept)
    after = feed(network, 10, names=[name for name in MEMBERS if name != victim])
    assert network.run_until_quiet()
    assert list(host.archive.blocks())[: len(kept)] == kept
    assert_agreed(network, *after)


def test_unpersisted_state_is_gone_after_a_crash():
    network = network_of(1, names=["ada", "ben"], genesis=found(forge_at_certificates=5))
    kept, lost = statements(2, ledger=network.genesis.ledger_id)
    network.submit("ada", Entry(kept))
    network.run_for(1)
    network.hosts["ada"].crash_within(0)
    network.submit("ada", Entry(lost))
    network.run_for(1)
    assert not network.hosts["ada"].is_up
    network.restart("ada")
    assert list(network.hosts["ada"].node.box) == [kept]


def test_nodes_whose_clocks_are_off_by_less_than_is_allowed_agree(seed):
    network = network_of(seed, names=())
    for name, skew_ms in zip(MEMBERS, (-200, 0, 100, 250), strict=True):
        network.add(name, agreement_of(MEMBERS[name]), clock_skew_ms=skew_ms)
    network.connect_all()
    seen = refusals(network)
    legal = feed(network, 40)
    assert network.run_until_quiet()
    assert_agreed(network, *legal)
    assert {rule for _, rule, _ in seen} <= {Rule.B1, Rule.C4, Rule.C5}


@pytest.mark.parametrize("skew_ms", [-30_000, -1_500, 1_500, 30_000])
def test_a_node_whose_clock_is_far_off_costs_time_and_agrees_in_the_end(seed, skew_ms):
    network = network_of(seed, names=("ada", "ben", "cy"))
    network.add("dot", agreement_of(MEMBERS["dot"]), clock_skew_ms=skew_ms)
    network.connect_all()
    watch(network)
    legal = feed(network, 30)
    assert network.run_until_quiet()
    assert_agreed(network, *legal)


# ---- late joiners -----------------------------------------------------------------------------------------------


def late_joiner(seed, link=None, holders=2, length=3_000, archive=None, limits=None):
    """Nodes that have a long chain, and one that has nothing and is not connected yet."""
    genesis, blocks = long_chain()
    start_ms = blocks[length - 1].header.timestamp_ms + 1_000
    network = network_of(seed, genesis, link, names=(), start_ms=start_ms)
    for number in range(holders):
        kept = MemoryArchive(blocks[:length]) if archive is None else archive()
        network.add(f"holder {number}", agreement_of(None), archive=kept)
    network.connect_all()
    network.run_until_quiet()
    network.add("late", agreement_of(None), limits)
    return network


def test_a_late_joiner_three_thousand_blocks_behind_catches_up(seed):
    network = late_joiner(seed)
    network.connect_all()
    assert network.run_until_quiet()
    assert_agreed(network)
    assert tips(network)["late"][0] == 3_000


def test_a_late_joiner_catches_up_over_a_bad_line(seed):
    network = late_joiner(seed, Link(5, 200, loss=0.2, duplication=0.2, reordering=True), holders=3, length=600)
    network.connect_all()
    assert network.run_until_quiet()
    assert_agreed(network)


def test_a_late_joiner_that_crashes_on_the_way_goes_on_where_it_was(seed):
    network = late_joiner(seed, length=1_000)
    network.connect_all()
    reached = list[int]()
    while tips(network)["late"][0] < 1_000 and len(reached) < 50:
        network.run_for(150)
        reached.append(tips(network)["late"][0])
        network.crash("late")
        network.restart("late")
    assert network.run_until_quiet()
    assert_agreed(network)
    assert all(earlier <= later for earlier, later in pairwise(reached))
    assert 0 < reached[0] < 1_000


def test_a_late_joiner_while_blocks_go_on_being_made(seed):
    network = network_of(seed)
    legal = feed(network, 60)
    network.add("late", agreement_of(None))
    network.connect_all()
    legal += feed(network, 30)
    assert network.run_until_quiet()
    assert_agreed(network, *legal)


# ---- payloads ---------------------------------------------------------------------------------------------------


def payload_of(network, name, entry):
    return network.hosts[name].archive.payload(entry.payload.hash())


def test_payloads_reach_everybody_late_joiners_too(seed):
    network = network_of(seed, link=LINES["losing 30%"])
    entries = [with_payload(f"payload {number}", ledger=LEDGER) for number in range(20)]
    for number, entry in enumerate(entries):
        network.submit(list(MEMBERS)[number % 4], entry)
        network.run_for(30)
    network.run_for(5_000)
    network.add("late", agreement_of(None))
    network.connect_all()
    assert network.run_until_quiet()
    assert_agreed(network, *[entry.certificate for entry in entries])
    for name in network.hosts:
        assert [payload_of(network, name, entry) for entry in entries] == [entry.payload for entry in entries]


def chain_of_payloads(count, size):
    """A node that keeps a chain of payloads, one a block, and a late joiner, not connected yet."""
    scribe = Scribe(found(ADA))
    entries = [with_payload(f"{number} " + "x" * size, ledger=scribe.genesis.ledger_id) for number in range(count)]
    archive = MemoryArchive()
    for entry in entries:
        keep(archive, scribe.forge(entry.certificate), [entry.payload])
    network = network_of(1, scribe.genesis, names=(), start_ms=scribe.state.tip.timestamp_ms + 1_000)
    network.add("holder", agreement_of(None), archive=archive)
    network.add("late", agreement_of(None))
    return network, entries


def missing_at(network, name, entries):
    return [entry for entry in entries if payload_of(network, name, entry) is None]


@pytest.mark.parametrize(
    ("count", "size"),
    [(600, 10), (300, 20_000), (400, 60_000)],
    ids=["many", "large", "24 MB"],
)
def test_a_late_joiner_gets_all_payloads_of_a_long_chain(count, size):
    network, entries = chain_of_payloads(count, size)
    network.connect_all()
    assert network.run_until_quiet()
    assert_agreed(network)
    assert len(missing_at(network, "late", entries)) == 0


def test_payloads_still_awaited_at_a_crash_come_after_the_restart():
    network, entries = chain_of_payloads(50, 10)
    network.connect_all()
    network.run_until(lambda: tips(network)["late"][0] == 50, 10_000)
    assert missing_at(network, "late", entries)
    network.crash("late")
    network.restart("late")
    assert network.run_until_quiet()
    assert len(missing_at(network, "late", entries)) == 0


def test_an_erased_payload_never_comes_back_and_the_chain_still_holds(seed):
    network = network_of(seed)
    early, waiting = (with_payload(one, ledger=LEDGER) for one in ("on the chain", "still waiting"))
    network.submit("ada", early)
    network.run_for(3_000)
    key = StakeRule().forger_after(network.hosts["ada"].node.state)
    drawn, ours, other, _ = sorted(MEMBERS, key=lambda name: MEMBERS[name].public_key != key)
    network.crash(drawn)
    network.submit(other, waiting)
    network.run_for(60)
    assert waiting.certificate.id in network.hosts[ours].node.box
    for entry in (early, waiting):
        network.erase_payload(ours, entry.payload.hash())
    network.restart(drawn)
    legal = feed(network, 20)
    network.run_for(3_000)
    network.crash(ours)
    network.restart(ours)
    legal += feed(network, 10)
    assert network.run_until_quiet()
    assert_agreed(network, *legal, early.certificate, waiting.certificate)
    for entry in (early, waiting):
        assert payload_of(network, ours, entry) is None
        assert payload_of(network, other, entry) == entry.payload
    assert list(network.hosts[ours].archive.erased()) == [early.payload.hash(), waiting.payload.hash()]


# ---- limits -----------------------------------------------------------------------------------------------------


def test_a_full_box_refuses_and_the_honest_get_in_later(seed):
    genesis = found(max_block_certificates=5, forge_at_certificates=1)
    network = network_of(seed, genesis, limits=Limits(box_certificates=10, box_certificates_per_issuer=6))
    ledger = genesis.ledger_id
    accepted, seen = list[bytes](), list[Rule]()
    network.on_report = lambda now_ms, name, report: (
        accepted.extend(one.id for one in report.certificates)
        if isinstance(report, ReportAccepted) and name == "ada"
        else seen.append(report.refused.rule)
        if isinstance(report, ReportRefused)
        else None
    )
    for spam in statements(60, STRANGER, ledger):
        network.submit("ada", Entry(spam))
    network.run_for(1)
    assert accepted.count(accepted[0]) == 1
    assert Rule.C7 in seen
    mine = statement("an honest one", ADA, ledger)
    network.submit("ada", Entry(mine))
    assert all(len(host.node.box) <= 10 for host in network.hosts.values())
    assert network.run_until_quiet()
    assert_agreed(network, mine)


# ---- one seed, one trace ----------------------------------------------------------------------------------------

TRACE = """
from tests.simulation.test_simulated_network import LINES, feed, network_of
network = network_of(7, link=LINES["bad in every way"])
feed(network, 25)
network.partition(["ada", "ben"], ["cy", "dot"])
feed(network, 10)
network.crash("cy")
network.heal()
network.restart("cy")
network.run_until_quiet()
print(network.digest, network.happened)
"""


def test_one_seed_gives_one_trace_in_every_process():
    told = set()
    for hash_seed in ("0", "1", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-c", TRACE], capture_output=True, text=True, env=environment, check=True
        )
        told.add(done.stdout)
    assert len(told) == 1
    assert len(told.pop()) > 64


def test_another_seed_gives_another_trace():
    digests = set()
    for seed in (1, 2, 1):
        network = network_of(seed)
        feed(network, 5)
        digests.add(network.digest)
    assert len(digests) == 2


def test_what_is_remembered_of_a_message_is_what_its_bytes_decode_to():
    """A message made of certificates that were decoded is not decoded again; whatever is illegal is refused."""
    network = network_of(1, names=["ada", "ben"])
    told = [encode_message(Certificates((Entry(one),))) for one in statements(3)]
    entries = tuple(network.decode(data).entries[0] for data in told)
    message = Certificates(entries)
    data = network.encode(message)
    assert network.decode(data) is message
    assert message == decode_message(data)
    for illegal in (Certificates(()), Certificates(entries * (MAX_ENTRIES // 3 + 1))):
        with refuses(Rule.E2):
            network.decode(network.encode(illegal))
    made_here = Certificates((Entry(statement(subject="new")), *entries))
    assert network.decode(network.encode(made_here)) == made_here


def test_nodes_hear_bytes_and_answer_in_bytes():
    """What passes between two nodes is encoded: nothing is shared by reference."""
    network = network_of(1, names=["ada", "ben"])
    passed = list[tuple[str, str, bytes]]()
    network.send = noting(passed, network.send)
    feed(network, 10)
    network.run_until_quiet()
    assert passed
    assert all(encode_message(decode_message(data)) == data for *_, data in passed)
    assert network.genesis == GENESIS


def test_urgent_messages_overtake_those_in_bulk_and_each_class_keeps_its_order(seed):
    network = SimulatedNetwork(found(), seed, Link(10, 500))
    for name in ("ada", "ben"):
        network.add(name, observer)
    network.connect("ada", "ben")
    network.run_until_quiet()
    in_bulk = [Certificates((Entry(one),)) for one in statements(5, ledger=network.genesis.ledger_id)]
    urgent = [CertificateRequest((bytes([number]) * 32,)) for number in range(5)]
    came = []
    network.on_event = lambda host, event: (
        came.append(event.checked.message) if host.name == "ben" and isinstance(event, MessageReceived) else None
    )
    for data in (*map(encode_message, in_bulk), *map(encode_message, urgent)):
        network.send("ada", "ben", data)
    network.run_for(500)
    came = [one for one in came if one in (*in_bulk, *urgent)]
    assert sorted(came, key=lambda one: one in urgent) == [*in_bulk, *urgent]
    assert came != [*in_bulk, *urgent]
