"""What an event asks to be kept comes before what it tells, in as few syncs as the promises allow."""

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import ADA, Bench, FinalScribe, found, of_kind, simplex_driver, statement, vote
from tests.member_bench import LEADER, OTHERS, MemberBench, leader_of

from tallystick.consensus.agreement import PersistQuorum
from tallystick.consensus.signing_guard import Cosigned, Floor, Signed
from tallystick.ledger.messages import CertificateRequest, Certificates, Entry, Proposal, Votes
from tallystick.ledger.vote import FINALIZE, NOTARIZE, tally_of
from tallystick.network.archiving import carry_out
from tallystick.network.memory_archive import MemoryArchive
from tallystick.node.events import (
    Action,
    ArchiveChange,
    Broadcast,
    ErasePayload,
    ForgetCertificate,
    Multicast,
    PersistBlock,
    PersistCertificates,
    PersistFinalization,
    PersistSigned,
    ReportAccepted,
    ReportBlock,
    Send,
    SetTimer,
    Timer,
)
from tallystick.node.keeping import kept_first

ALONE = found(ADA, epoch_blocks=1_000)
LEDGER = ALONE.ledger_id
CERTIFICATE = statement("kept", ledger=LEDGER)
BLOCK = FinalScribe(ALONE).forge(CERTIFICATE)
NOTARIZED = vote(NOTARIZE, BLOCK.hash, ADA, 0, 1, ALONE)
FINALIZED = vote(FINALIZE, BLOCK.hash, ADA, 0, 1, ALONE)

SIGNED = PersistSigned((Signed(LEDGER, 0, 1, None, NOTARIZED.ballot),))
FINAL_VOTE = PersistSigned((Signed(LEDGER, 0, 1, None, FINALIZED.ballot),))
FORGED = PersistSigned((Signed(LEDGER, 0, 1, BLOCK.hash, None),))
FLOOR = PersistSigned((Floor(LEDGER, 0, 1),))
COSIGNED = PersistSigned((Cosigned(LEDGER, 1, bytes(32), 1),))
PROPOSED = PersistQuorum((), (BLOCK,))
QUORUM = PersistQuorum((tally_of([NOTARIZED]),), ())
FINAL = PersistBlock(BLOCK, (), tally_of([FINALIZED]))
TAKEN = PersistCertificates((Entry(CERTIFICATE),))
ACCEPTED = ReportAccepted((CERTIFICATE,))
PASSED_ON = Multicast(("x",), Certificates((Entry(CERTIFICATE),)))
SAID = Send("x", CertificateRequest(()))
TOLD: list[Action] = [SAID, ACCEPTED, ErasePayload(bytes(32)), SetTimer(Timer.AGREE, 1)]
KEPT: list[Action] = [TAKEN, PROPOSED, QUORUM, FINAL, ForgetCertificate(bytes(32))]
SIGNINGS: list[Action] = [SIGNED, FINAL_VOTE, FORGED, FLOOR, COSIGNED]
events = st.lists(st.sampled_from([*TOLD, *KEPT, *SIGNINGS, PASSED_ON]), max_size=12)


def records_in(actions: Iterable[Action]) -> list[object]:
    return [record for one in of_kind(PersistSigned, actions) for record in one.records]


@given(events)
def test_nothing_is_lost_or_told_before_what_was_kept_before_it(actions):
    ordered = kept_first(actions)
    assert records_in(ordered) == records_in(actions)
    for kinds in (KEPT, TOLD, [PASSED_ON]):
        assert [one for one in ordered if one in kinds] == [one for one in actions if one in kinds]
    before = 0
    for place, action in enumerate(actions):
        if action not in TOLD:
            continue
        durable = [one for one in actions[:place] if one in KEPT]
        signed = records_in(actions[:place])
        at = [at for at, one in enumerate(ordered) if one in TOLD][before]
        before += 1
        assert [one for one in ordered[:at] if one in KEPT][: len(durable)] == durable
        assert records_in(ordered[:at])[: len(signed)] == signed


@given(events)
def test_no_record_is_synced_before_what_it_relies_on_and_no_block_before_its_records(actions):
    relied_on = (PersistQuorum, PersistBlock)
    ordered = kept_first(actions)
    for number in range(len(records_in(actions))):
        was, now = (
            [place for place, one in enumerate(each) for _ in records_in([one])][number] for each in (actions, ordered)
        )
        assert of_kind(relied_on, actions[:was]) == of_kind(relied_on, ordered[:now])


def test_a_submission_and_what_is_proposed_of_it_take_one_sync_of_the_guard_and_one_transaction():
    ordered = kept_first([TAKEN, ACCEPTED, FORGED, SIGNED, PROPOSED, SAID, PASSED_ON])
    assert ordered == [PASSED_ON, PersistSigned((*FORGED.records, *SIGNED.records)), TAKEN, PROPOSED, ACCEPTED, SAID]


BESIDE = {
    "a vote and the block it is for": ([SIGNED, PROPOSED], True),
    "a vote to finalize and the notarization": ([FINAL_VOTE, QUORUM], True),
    "a floor": ([PersistSigned((*FLOOR.records, *SIGNED.records)), PROPOSED], True),
    "nothing is kept": ([SIGNED, SAID], False),
    "the own block": ([PersistSigned((*FORGED.records, *SIGNED.records)), PROPOSED], False),
    "a certificate with the own vote": ([SIGNED, QUORUM], False),
    "a final block with the own vote": ([FINAL_VOTE, FINAL], False),
    "a finalization with the own vote": ([FINAL_VOTE, PersistFinalization(1, tally_of([FINALIZED]))], False),
    "a cosignature": ([COSIGNED, PROPOSED], False),
}


@pytest.mark.parametrize(("actions", "is_beside"), BESIDE.values(), ids=BESIDE)
def test_what_is_kept_is_synced_beside_the_guard_if_the_key_does_not_sign_it_just_now(actions, is_beside):
    (signed,) = of_kind(PersistSigned, kept_first(actions))
    assert signed.is_beside is is_beside


# ---- a member's events ----------------------------------------------------------------------------------------------


def test_a_leader_keeps_what_it_is_handed_with_its_block_and_passes_it_on_before_that():
    bench = MemberBench(LEADER)
    actions = bench.submit(statement("handed to the leader"))
    kinds = [type(one) for one in actions if not isinstance(one, SetTimer)]
    assert kinds == [
        Multicast,
        PersistSigned,
        PersistCertificates,
        PersistQuorum,
        ReportAccepted,
        Broadcast,
        Broadcast,
    ]
    assert [type(one.message) for one in of_kind(Broadcast, actions)] == [Proposal, Votes]
    assert not of_kind(PersistSigned, actions)[0].is_beside


def test_who_is_no_leader_passes_on_what_it_is_handed_and_says_that_it_took_it_once_it_is_kept():
    bench = MemberBench(OTHERS[0])
    actions = bench.submit(statement("handed to another"))
    kinds = [type(one) for one in actions if not isinstance(one, SetTimer)]
    assert kinds == [Multicast, PersistCertificates, ReportAccepted]


def test_a_vote_to_finalize_and_the_notarization_are_synced_at_once():
    bench = MemberBench(OTHERS[0])
    leader = MemberBench(leader_of(1))
    one = statement("voted for")
    bench.submit(one)
    proposal, said = (one.message for one in of_kind(Broadcast, leader.submit(one)))
    notarize = bench.receive(proposal)
    assert [one.is_beside for one in of_kind(PersistSigned, notarize)] == [True]
    ballot = said.tallies[0].ballot
    finalize = bench.hear(*(vote(NOTARIZE, ballot.block_hash, each) for each in (LEADER, OTHERS[1])))
    kinds = [type(one) for one in finalize if isinstance(one, PersistSigned | PersistQuorum | Broadcast)]
    assert kinds == [PersistSigned, PersistQuorum, Broadcast]
    assert of_kind(PersistSigned, finalize)[0].is_beside


# ---- crashes --------------------------------------------------------------------------------------------------------


def alone(archive, records):
    """The node of a lone member, from what was kept and what its guard holds."""
    return Bench(ALONE, agreement=simplex_driver(ADA, ALONE, *records), archive=archive)


def in_either_order(actions):
    """The actions, and with what may be synced at the same time the other way round."""
    yield actions
    other = list(actions)
    for place, one in enumerate(other):
        if isinstance(one, PersistSigned) and one.is_beside:
            end = (
                place
                + 1
                + sum(1 for _ in itertools.takewhile(lambda a: isinstance(a, ArchiveChange), other[place + 1 :]))
            )
            other[place:end] = [*other[place + 1 : end], one]
    yield other


def test_after_a_crash_at_any_action_a_lone_member_has_what_it_told_contradicts_nothing_and_goes_on():
    """Of certificate, block and votes: nobody else is there to make good what is lost."""
    more = statement("after the crash", ledger=LEDGER)
    count = len(alone(MemoryArchive(), []).submit(CERTIFICATE))
    assert count > 6
    for cut, order in itertools.product(range(count + 1), range(2)):
        archive = MemoryArchive()
        bench = alone(archive, [])
        actions = list(in_either_order(bench.submit(CERTIFICATE)))[order][:cut]
        for one in actions:
            if isinstance(one, ArchiveChange):
                carry_out(one, archive)
        before = records_in(actions)
        again = alone(archive, before)
        again.now_ms = bench.now_ms + 1
        later = [*again.submit(more), *again.wait(60_000, Timer.AGREE), *again.submit(statement("more", ledger=LEDGER))]
        final = {one.id for block in archive.blocks() for one in block.certificates}
        final |= {one.id for kept in of_kind(PersistBlock, [*actions, *later]) for one in kept.block.certificates}
        assert more.id in final, (cut, order)
        if of_kind((ReportAccepted, ReportBlock), actions):
            assert CERTIFICATE.id in final, (cut, order)
        signed = [one for one in [*before, *records_in(later)] if isinstance(one, Signed)]
        ballots = [one.ballot for one in signed if one.ballot is not None]
        headers = {(one.view, one.header_hash) for one in signed if one.header_hash is not None}
        assert not any(one.conflicts_with(other) for one in ballots for other in ballots)
        assert len({view for view, _ in headers}) == len(headers)
