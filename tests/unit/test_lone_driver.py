"""The lone forger in a node: when it forges, what it keeps first, and what its signing guard makes of it."""

import pytest
from tests.builders import (
    ADA,
    BEN,
    GENESIS,
    Bench,
    Scribe,
    evidence,
    found,
    guard_of,
    of_kind,
    statement,
    vote,
)

from tallystick.consensus.agreement import TwinFound
from tallystick.consensus.signing_guard import (
    Confirmed,
    GuardRecord,
    GuardStatus,
    LossAccepted,
    Lost,
    Moved,
    Signed,
    TwinSeen,
)
from tallystick.course.lone_driver import LoneDriver
from tallystick.course.lone_forger import LoneForger
from tallystick.course.stake_rule import StakeRule
from tallystick.ledger.messages import Blocks, Entry, NewBlock, Proposal, ProposalRequest, Status, Votes
from tallystick.ledger.vote import NULLIFY, tally_of
from tallystick.network.memory_archive import MemoryArchive
from tallystick.node.events import (
    Broadcast,
    PeerConnected,
    PersistBlock,
    PersistSigned,
    ReportBlock,
    Started,
)

ALONE = found(ADA, forge_at_certificates=1)
"""A ledger of one member."""


def owner(*records, genesis=ALONE, **more):
    driver = LoneDriver(LoneForger(StakeRule(), guard_of(ADA, genesis, *records)))
    return Bench(genesis, agreement=driver, **more)


def one(subject="one", genesis=ALONE):
    return statement(subject, ledger=genesis.ledger_id)


def forged(bench, subject):
    """The blocks that this certificate makes it forge, at the latest when the clock has moved on."""
    actions = [*bench.submit(one(subject)), *bench.wait(5)]
    return [each.block for each in of_kind(PersistBlock, actions)]


def guard(bench):
    return bench.node.agreement_status().guard


def test_it_forges_at_once_when_as_many_certificates_wait_as_the_ledger_says():
    for due in (1, 3):
        genesis = found(ADA, forge_at_certificates=due)
        bench = owner(genesis=genesis)
        for number in range(due):
            assert bench.node.state.index == 0
            bench.submit(one(f"{number}", genesis))
        assert bench.node.state.index == 1


def test_a_block_is_kept_then_the_guard_is_synced_then_it_is_sent():
    bench = owner()
    bench.handle(PeerConnected("x"))
    actions = bench.submit(one())
    steps = [each for each in actions if isinstance(each, PersistBlock | PersistSigned | Broadcast)]
    assert [type(each) for each in steps] == [PersistBlock, PersistSigned, Broadcast]
    block = steps[0].block
    assert [each for each in steps[1].records if isinstance(each, Signed)] == [
        Signed(ALONE.ledger_id, 0, 1, block.hash, None)
    ]
    assert steps[2].message == NewBlock(block)
    assert of_kind(ReportBlock, actions) == [ReportBlock(block, forged_here=True)]


@pytest.mark.parametrize("crashed_after", [0, 1, 2])
def test_wherever_a_crash_parts_the_two_it_goes_on_and_signs_no_second_header_for_an_index(crashed_after):
    """It has one view an index: with its guard synced first, and the block lost, it could never forge that index."""
    bench = owner()
    kept, signed, headers = MemoryArchive(), list[GuardRecord](), []
    steps = [each for each in bench.submit(one()) if isinstance(each, PersistBlock | PersistSigned)]
    for step in steps[:crashed_after]:
        if isinstance(step, PersistBlock):
            kept.append(step)
            headers.append(step.block.header)
        else:
            signed += step.records
    after = owner(*signed, archive=kept)
    for number in range(3):
        headers += [each.header for each in forged(after, f"after {number}")]
    assert [each.index for each in headers] == list(range(1, len(headers) + 1))
    assert len(headers) >= 3


def test_without_its_guard_it_forges_nothing_until_its_operator_accepts_the_loss():
    scribe = Scribe(ALONE)
    scribe.forge(one())
    for records, status, index in (
        ([Lost(None)], GuardStatus.LOST, 1),
        ([Lost(None), LossAccepted(ALONE.ledger_id)], GuardStatus.READY, 2),
        ([Moved()], GuardStatus.MOVED, 1),
        ([TwinSeen(ALONE.ledger_id, 0, 9)], GuardStatus.TWIN, 1),
    ):
        bench = owner(*records, blocks=scribe.blocks)
        actions = bench.submit(one("two"))
        assert (guard(bench), bench.node.state.index) == (status, index)
        written = [each for step in of_kind(PersistSigned, actions) for each in step.records]
        assert (Confirmed(ALONE.ledger_id) in written) == (status is GuardStatus.READY), "or it asks again"


@pytest.mark.parametrize("message", [NewBlock, lambda block: Blocks(1, (block,))], ids=["new", "asked for"])
def test_a_block_of_its_own_key_that_its_guard_does_not_hold_shows_another_machine_and_it_stops(message):
    bench, twin = owner(), Scribe(ALONE).draft(one("the other's"))
    bench.receive(Status(ALONE.ledger_id, 0, 1, twin.hash, ()))
    actions = bench.receive(message(twin))
    assert of_kind(TwinFound, actions) == [TwinFound(0, 1)]
    assert TwinSeen(ALONE.ledger_id, 0, 1) in of_kind(PersistSigned, actions)[0].records
    assert (guard(bench), bench.node.agreement_status().twin) == (GuardStatus.TWIN, (0, 1))
    before = bench.node.state.index
    actions = [*bench.submit(one()), *bench.wait(60_000)]
    assert of_kind((PersistSigned, TwinFound), actions) == []
    assert bench.node.state.index == before


def test_its_own_blocks_that_come_back_are_no_twins():
    bench = owner()
    blocks = [block for number in range(3) for block in forged(bench, f"{number}")]
    for block in blocks:
        assert of_kind(TwinFound, bench.receive(NewBlock(block))) == []
    older = owner(*[Signed(ALONE.ledger_id, 0, each.index, each.hash, None) for each in blocks])
    older.now_ms = bench.now_ms
    older.receive(Status(ALONE.ledger_id, 0, 3, blocks[2].hash, ()))
    actions = older.receive(Blocks(1, tuple(blocks)))
    assert (of_kind(TwinFound, actions), older.node.state.index) == ([], 3), "a guard intact over an older database"
    assert [each.index for each in forged(older, "on")] == [4]


def test_a_course_ledgers_blocks_are_made_by_hand_and_are_no_twins():
    genesis = found(ADA, mint_freely=True, forge_at_certificates=1)
    bench = owner(genesis=genesis)
    bench.receive(NewBlock(Scribe(genesis).draft(one("by hand", genesis))))
    bench.submit(one("two", genesis))
    assert (guard(bench), bench.node.state.index) == (GuardStatus.READY, 2)


def test_it_has_no_part_in_what_members_of_simplex_say():
    bench = owner(genesis=GENESIS)
    bench.handle(PeerConnected("x"))
    before = bench.node.state
    draft = Scribe().draft(statement())
    ballots = tally_of([vote(NULLIFY, member=BEN)])
    for message in (
        Votes((ballots,)),
        Proposal(1, 0, draft.header, draft.signature, ()),
        ProposalRequest(draft.hash, ()),
    ):
        assert bench.receive(message) == []
    assert bench.verified == []
    assert bench.node.state is before


def test_its_status_says_whose_turn_it_stands_for():
    status = owner().node.agreement_status()
    assert (status.rule, status.epoch, status.view) == ("lone forger", 0, 1)
    assert status.key == ADA.public_key
    assert (status.guard, status.twin, status.is_burned, status.mismatch) == (GuardStatus.READY, None, False, None)
    assert Bench(GENESIS).node.agreement_status().key is None
    scribe = Scribe()
    scribe.forge(evidence(ADA))
    burned = Bench(GENESIS, owner=ADA, blocks=scribe.blocks).node.agreement_status()
    assert (burned.is_burned, burned.view) == (True, 2)


@pytest.mark.parametrize("event", [Started(ADA.public_key, None), PeerConnected("x")], ids=["start", "peer"])
def test_what_waited_when_it_stopped_is_forged_when_it_starts_or_a_peer_comes(event):
    kept = MemoryArchive()
    kept.keep_certificates([Entry(one())])
    bench = owner(archive=kept)
    assert [each.block.certificates for each in of_kind(PersistBlock, bench.handle(event))] == [(one(),)]
    assert of_kind(PersistBlock, owner().handle(event)) == [], "an empty box makes no block"
