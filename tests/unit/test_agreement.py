"""One interface of agreement: by whichever rule, a node takes, forges, keeps, follows and starts again alike."""

from collections.abc import Callable

import pytest
from tests.builders import (
    ADA,
    Bench,
    FinalScribe,
    Scribe,
    found,
    lone_driver,
    of_kind,
    rules,
    simplex_driver,
    staking,
    statement,
)
from tests.member_bench import sent

from tallystick.consensus.signing_guard import GuardStatus
from tallystick.ledger.errors import Rule
from tallystick.ledger.messages import BlockRequest, Blocks, Status
from tallystick.network.archiving import answer, carry_out
from tallystick.network.memory_archive import MemoryArchive
from tallystick.node.agreement import Agreement
from tallystick.node.events import (
    ArchiveChange,
    PeerConnected,
    PersistBlock,
    PersistSigned,
    ReportBlock,
)

GENESIS = found(ADA, forge_at_certificates=1, epoch_blocks=3)
"""A ledger of one member, who can run it by either rule."""
RULES: dict[str, tuple[Callable[..., Agreement], Callable[..., Scribe]]] = {
    "lone forger": (lone_driver, Scribe),
    "simplex": (simplex_driver, FinalScribe),
}


@pytest.fixture(params=RULES)
def rule(request):
    return request.param


def member(rule, owner=ADA, records=(), archive=None):
    driver = RULES[rule][0]
    bench = Bench(GENESIS, agreement=driver(owner, GENESIS), archive=archive or MemoryArchive())
    bench.handle(PeerConnected("x"))
    return bench


def one(subject="one"):
    return statement(subject, ledger=GENESIS.ledger_id)


def submitted(bench, certificate):
    """What follows from it, kept as a host keeps it."""
    actions = [*bench.submit(certificate), *bench.wait(1_000)]
    for action in actions:
        if isinstance(action, ArchiveChange):
            carry_out(action, bench.archive)
    return actions


def test_a_certificate_is_soon_final_and_kept_and_told_of(rule):
    bench = member(rule)
    actions = submitted(bench, one())
    (kept,) = of_kind(PersistBlock, actions)
    assert kept.block.certificates == (one(),)
    assert of_kind(ReportBlock, actions) == [ReportBlock(kept.block, forged_here=True)]
    assert (len(bench.node.box), bench.node.state.tip) == (0, kept.block.header)
    assert of_kind(PersistSigned, actions) != []


def test_its_status_has_the_same_shape(rule):
    bench = member(rule)
    status = bench.node.agreement_status()
    assert (status.rule, status.epoch, status.key) == (rule, 0, ADA.public_key)
    assert (status.guard, status.is_burned, status.mismatch) == (GuardStatus.READY, False, None)
    follower = member(rule, None).node.agreement_status()
    assert (follower.rule, follower.key, follower.guard) == (rule, None, None)


def test_epochs_end_and_stakes_change_alike(rule):
    bench = member(rule)
    submitted(bench, staking(7, ledger=GENESIS.ledger_id))
    for number in range(6):
        submitted(bench, one(f"{number}"))
    epochs = [block.header.epoch for block in bench.archive.blocks()]
    assert (epochs[0], epochs[-1]) == (0, bench.node.state.tip.epoch)
    assert sorted(epochs) == epochs
    assert bench.node.state.epoch.number >= 1
    assert bench.node.state.epoch.members == ((ADA.public_key, 107),)


def test_a_node_started_from_what_it_kept_stands_where_it_stood_and_goes_on(rule):
    bench = member(rule)
    for number in range(4):
        submitted(bench, one(f"{number}"))
    again = member(rule, archive=bench.archive)
    again.now_ms = bench.now_ms
    assert again.node.state == bench.node.state
    submitted(again, one("more"))
    assert again.node.state.index == bench.node.state.index + 1


def test_a_node_that_only_follows_takes_the_blocks_of_another(rule):
    bench, follower = member(rule), member(rule, None)
    for number in range(2):
        submitted(bench, one(f"{number}"))
    follower.now_ms = bench.now_ms
    tip = bench.node.state.tip
    asked = sent(BlockRequest, follower.receive(Status(GENESIS.ledger_id, 0, tip.index, tip.hash, ()), "x"))
    assert asked == [BlockRequest(1, 2)]
    follower.receive(answer(bench.archive, BlockRequest(1, 2), 100_000), "x")
    assert follower.node.state == bench.node.state


def test_what_the_gate_refuses_is_not_taken(rule):
    scribe = RULES[rule][1](GENESIS)
    block = scribe.draft(one(), state_root=b"r" * 32)
    follower = member(rule, None)
    follower.receive(Status(GENESIS.ledger_id, 0, 1, block.hash, ()), "x")
    final = scribe.finalization(scribe.state.epoch, block) if isinstance(scribe, FinalScribe) else None
    assert rules(follower.receive(Blocks(1, (block,), (), final), "x")) == [Rule.B12]
    assert follower.node.state.index == 0
