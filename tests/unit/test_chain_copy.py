"""A node's copy of a Simplex chain: what it asks for, what it adds of what comes, and what it keeps with each block."""

import pytest
from msgspec.structs import replace
from tests.builders import (
    BEN,
    MEMBERS,
    FinalScribe,
    cut_off,
    found,
    of_kind,
    rules,
    staking,
    started_node,
    statement,
    vote,
    with_payload,
)
from tests.member_bench import MemberBench, sent

from tallystick.consensus.agreement import StateMismatch
from tallystick.ledger.errors import Rule
from tallystick.ledger.messages import (
    BlockRequest,
    Blocks,
    FinalizationRequest,
    Finalizations,
    HeaderRequest,
    Headers,
    NewBlock,
    PayloadRequest,
    Status,
)
from tallystick.ledger.vote import NULLIFY, tally_of
from tallystick.network.memory_archive import MemoryArchive
from tallystick.node.events import Broadcast, PersistBlock, ReportBlock
from tallystick.node.finality_proofs import TrustedBlock
from tallystick.node.intake import Intake

GENESIS = found(epoch_blocks=4)
LEDGER = GENESIS.ledger_id


def written(count=3, **more):
    """A chain of so many blocks."""
    scribe = FinalScribe(GENESIS)
    for _ in range(count):
        scribe.forge(**more)
    return scribe


def follower(**more):
    """An observer that knows nothing yet."""
    return MemberBench(None, GENESIS, **more)


def told_of(bench, scribe, peer="x"):
    """A peer tells where its chain ends; returns what it is asked."""
    state = scribe.state
    actions = bench.receive(Status(LEDGER, state.epoch.number, state.index, state.tip.hash, ()), peer)
    return sent(BlockRequest | FinalizationRequest | HeaderRequest, actions)


def span(scribe, first, last, headers=(), proven_by=None):
    """The answer with these blocks, and the finalization of the last or of a later one."""
    blocks = tuple(scribe.blocks[first - 1 : last])
    return Blocks(first, blocks, tuple(headers), scribe.archive.finalization(proven_by or last))


def summary(bench):
    node = bench.node
    return (
        node.state.tip.hash,
        node.sync.set_aside_count,
        [one.id for one in node.box],
        node.agreement_status().mismatch,
    )


# ---- blocks that are final --------------------------------------------------------------------------------------


def test_blocks_with_the_votes_that_make_them_final_are_added_and_kept_and_nobody_is_told_of_them():
    scribe, bench = written(), follower()
    assert told_of(bench, scribe) == [BlockRequest(1, 3)]
    actions = bench.receive(span(scribe, 1, 3))
    assert bench.node.state == scribe.state
    kept = of_kind(PersistBlock, actions)
    assert [one.block for one in kept] == scribe.blocks
    assert [one.finalization for one in kept] == [None, None, scribe.archive.finalization(3)]
    assert of_kind(ReportBlock, actions) == [ReportBlock(one, forged_here=False) for one in scribe.blocks]
    assert not [one for one in of_kind(Broadcast, actions) if isinstance(one.message, NewBlock | Blocks)]
    assert bench.receive(span(scribe, 1, 3)) == [], "it was asked once"


def test_blocks_that_a_later_blocks_votes_make_final_are_added_too():
    scribe, bench = written(), follower()
    told_of(bench, scribe)
    actions = bench.receive(span(scribe, 1, 2, [scribe.blocks[2].header], proven_by=3))
    assert bench.node.state.index == 2
    assert [one.finalization for one in of_kind(PersistBlock, actions)] == [None, None]
    assert sent(BlockRequest, actions) == [BlockRequest(3, 1)], "the rest is asked for"


def test_the_last_block_of_an_epoch_is_kept_with_what_proves_the_next():
    scribe, bench = FinalScribe(GENESIS), follower()
    scribe.forge()
    scribe.forge(staking(7, BEN, ledger=LEDGER))
    scribe.forge()
    scribe.forge()
    told_of(bench, scribe)
    bench.receive(Finalizations(scribe.proofs(4)))
    kept = of_kind(PersistBlock, bench.receive(span(scribe, 1, 4)))
    assert [(one.roots, one.members) for one in kept[:3]] == [(None, None)] * 3
    last = scribe.archive.final_header(4)
    assert (kept[3].roots, kept[3].members) == (last.roots, last.members)
    assert last.members is not None
    assert dict(last.members)[BEN.public_key] == 107
    assert bench.node.state.epoch == scribe.state.epoch


def test_votes_are_kept_as_long_as_they_may_be_evidence():
    scribe, bench = written(20), follower()
    for _ in range(40):
        for asked in told_of(bench, scribe):
            answer(bench, scribe, asked)
        bench.now_ms += 2_000
    kept = {one.block.index: one.oldest_epoch for one in bench.kept}
    assert [kept[index] for index in (1, 4, 8, 12, 16, 20)] == [0, 0, 0, 1, 2, 3]


def answer(bench, scribe, asked, peer="x"):
    """Answer what the node asks, and all that it asks then."""
    match asked:
        case FinalizationRequest(epoch):
            ends = [4 * one for one in range(epoch + 1, 1 + scribe.state.epoch.number)]
            actions = bench.receive(Finalizations(scribe.proofs(*ends)), peer)
        case BlockRequest(start, count):
            last = min(start + count - 1, start + 3 - (start - 1) % 4, scribe.state.index)
            actions = bench.receive(span(scribe, start, last), peer)
    bench.kept = [*getattr(bench, "kept", []), *of_kind(PersistBlock, actions)]
    for one in sent(BlockRequest | FinalizationRequest, actions):
        answer(bench, scribe, one, peer)


def test_a_node_many_epochs_behind_is_led_on_by_finalizations_and_takes_ranges_in_any_order():
    scribe, bench = written(14), follower()
    (asked,) = told_of(bench, scribe)
    assert asked == FinalizationRequest(0), "blocks of later epochs prove nothing yet"
    asked = sent(BlockRequest, bench.receive(Finalizations(scribe.proofs(4, 8, 12))))
    assert [(one.start, one.count) for one in asked] == [(1, 4), (5, 4), (9, 4), (13, 2)]
    for one in asked[:0:-1]:
        bench.receive(span(scribe, one.start, one.start + one.count - 1))
        assert bench.node.state.index == 0
    assert bench.node.sync.set_aside_count == 10
    bench.receive(span(scribe, 1, 4))
    assert (bench.node.state, bench.node.sync.set_aside_count) == (scribe.state, 0)


def test_payloads_that_the_blocks_cover_are_asked_for():
    entry = with_payload("covered", ledger=LEDGER)
    scribe, bench = FinalScribe(GENESIS), follower()
    scribe.forge(entry.certificate)
    told_of(bench, scribe)
    actions = bench.receive(span(scribe, 1, 1))
    assert sent(PayloadRequest, actions) == [PayloadRequest((entry.payload.hash(),))]


# ---- what is not taken ------------------------------------------------------------------------------------------


def lie(scribe, **changes):
    """The block after the first two, as nobody chose it."""
    return written(2).draft(statement("a lie", ledger=LEDGER), **changes)


NOT_FINAL = {
    "without votes": lambda s: replace(span(s, 1, 3), finalization=None),
    "with votes to nullify": lambda s: replace(span(s, 1, 3), finalization=nullified(s)),
    "with votes for another": lambda s: replace(span(s, 1, 3), finalization=s.archive.finalization(2)),
    "with too few votes": lambda s: replace(
        span(s, 1, 3), finalization=s.finalization(written(2).state.epoch, s.blocks[2], BEN)
    ),
    "with the last exchanged": lambda s: replace(span(s, 1, 3), blocks=(*s.blocks[:2], lie(s))),
}


def nullified(scribe):
    return tally_of([vote(NULLIFY, member=one, view=3, genesis=GENESIS) for one in MEMBERS.values()])


@pytest.mark.parametrize("made", NOT_FINAL.values(), ids=NOT_FINAL)
def test_blocks_that_no_quorum_made_final_change_nothing_and_blame_nobody(made):
    scribe, bench = written(), follower()
    told_of(bench, scribe)
    before = summary(bench)
    actions = bench.receive(made(scribe))
    assert cut_off(actions) == set()
    assert rules(actions) in ([Rule.V2], [Rule.V1])
    assert of_kind((PersistBlock, StateMismatch), actions) == []
    assert summary(bench) == before


def test_who_sent_what_is_not_final_is_not_asked_again_at_once():
    scribe, bench = written(), follower()
    told_of(bench, scribe)
    bench.receive(replace(span(scribe, 1, 3), finalization=None))
    assert told_of(bench, scribe) == []
    assert told_of(bench, scribe, "y") == [BlockRequest(1, 3)]
    bench.receive(span(scribe, 1, 3), "y")
    assert bench.node.state == scribe.state


def test_a_block_whose_certificates_are_exchanged_on_the_way_shows_no_drift():
    """The header is the quorum's, the rest is the sender's."""
    scribe, bench = written(), follower()
    told_of(bench, scribe)
    changed = replace(scribe.blocks[0], certificates=(statement("x", ledger=LEDGER),))
    actions = bench.receive(replace(span(scribe, 1, 3), blocks=(changed, *scribe.blocks[1:])))
    assert (rules(actions), of_kind(StateMismatch, actions)) == ([Rule.B7], [])
    assert bench.node.agreement_status().mismatch is None


def test_a_header_of_a_later_version_that_a_quorum_chose_is_refused_and_shows_drift():
    scribe, bench = FinalScribe(GENESIS), follower()
    block = scribe.draft(statement(ledger=LEDGER), version=2)
    bench.receive(Status(LEDGER, 0, 1, block.hash, ()))
    actions = bench.receive(Blocks(1, (block,), (), scribe.finalization(scribe.state.epoch, block)))
    assert (rules(actions), cut_off(actions)) == ([Rule.E4], set())
    assert [one.refused.rule for one in of_kind(StateMismatch, actions)] == [Rule.E4]
    assert bench.node.state.index == 0


def test_a_chain_copy_that_drifted_adds_nothing_any_more():
    scribe, bench = written(1), follower()
    wrong = scribe.draft(statement(ledger=LEDGER), state_root=b"r" * 32)
    right = scribe.forge(statement(ledger=LEDGER))
    bench.receive(Status(LEDGER, 0, 2, right.hash, ()))
    wrong_answer = Blocks(1, (scribe.blocks[0], wrong), (), scribe.finalization(written(1).state.epoch, wrong))
    actions = bench.receive(wrong_answer)
    assert bench.node.state.index == 1, "what came before is right"
    assert [one.refused.rule for one in of_kind(StateMismatch, actions)] == [Rule.B12]
    told_of(bench, scribe, "y")
    actions = bench.receive(span(scribe, 2, 2), "y")
    assert of_kind((PersistBlock, StateMismatch), actions) == []
    assert bench.node.state.index == 1


# ---- a trusted block --------------------------------------------------------------------------------------------


def trusting(scribe, index, archive=None):
    bench = follower()
    trusted_block = TrustedBlock(index, scribe.blocks[index - 1].hash)
    bench.node = started_node(GENESIS, bench.agreement, archive or MemoryArchive(), trusted_block=trusted_block)
    bench.intake = Intake(LEDGER, bench.node.knowledge)
    return bench


def test_below_a_trusted_block_headers_lead_back_from_it_and_votes_count_for_nothing():
    scribe = written(6)
    bench = trusting(scribe, 6)
    assert told_of(bench, scribe) == [HeaderRequest(6, 6)]
    other = FinalScribe(GENESIS)
    for _ in range(3):
        other.forge(statement("sold keys", ledger=LEDGER, at_ms=other.state.tip.timestamp_ms))
    asked = sent(BlockRequest, bench.receive(Headers(tuple(one.header for one in scribe.blocks))))
    assert [(one.start, one.count) for one in asked] == [(1, 4), (5, 2)]
    actions = bench.receive(replace(span(other, 1, 3), start=1))
    assert (rules(actions), cut_off(actions), bench.node.state.index) == ([Rule.V4], set(), 0)
    told_of(bench, scribe, "y")
    bench.receive(replace(span(scribe, 1, 4), finalization=None), "y")
    bench.receive(replace(span(scribe, 5, 6), finalization=None))
    assert bench.node.state == scribe.state


def test_below_a_trusted_block_votes_that_come_along_are_kept_only_if_they_make_the_block_final():
    """Whoever catches up here later is shown them as proof."""
    scribe = written(6)
    too_few = scribe.finalization(written(3).state.epoch, scribe.blocks[3], BEN)
    for wrong in (too_few, scribe.archive.finalization(3)):
        bench = trusting(scribe, 6)
        told_of(bench, scribe)
        bench.receive(Headers(tuple(one.header for one in scribe.blocks)))
        actions = bench.receive(replace(span(scribe, 1, 4), finalization=wrong))
        assert (rules(actions), cut_off(actions), bench.node.state.index) == ([Rule.V2], set(), 3)
        assert bench.node.agreement_status().mismatch is None
