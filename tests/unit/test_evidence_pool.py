"""Evidence waits apart from the box: one an offender, never crowded out, found wherever contradictions meet."""

import pytest
from msgspec.structs import replace
from tests.builders import (
    ADA,
    BEN,
    CY,
    DOT,
    GENESIS,
    LEDGER,
    STRANGER,
    FinalScribe,
    Held,
    cut_off,
    evidence,
    found,
    of_kind,
    proposal_evidence,
    refuses,
    rules,
    sign_block,
    signed_header,
    statements,
    vote,
)
from tests.member_bench import LEADER, OTHERS, OWNER, MemberBench, sent

from tallystick.consensus.signing_guard import GuardStatus
from tallystick.ledger.blockchain import NOTHING
from tallystick.ledger.certificate import ProposalEvidence, issue_evidence
from tallystick.ledger.errors import Rule
from tallystick.ledger.messages import Blocks, Certificates, Entry, Proposal, Status
from tallystick.ledger.state import genesis_state
from tallystick.ledger.vote import FINALIZE, NOTARIZE, NULLIFY, tally_of
from tallystick.network.memory_archive import MemoryArchive
from tallystick.node.certificate_box import CertificateBox
from tallystick.node.events import PersistCertificates, ReportAccepted, Timer
from tallystick.node.evidence_pool import EvidencePool
from tallystick.node.limits import Limits

FOUNDED = genesis_state(GENESIS)
SHORT = found(epoch_blocks=2)
SECOND_MS = 1_000


def pool_of(*waiting, state=FOUNDED):
    pool = EvidencePool()
    for one in waiting:
        pool.add(one, state, 0)
    return pool


def in_epoch(number, *certificates):
    """The state at the begin of an epoch of two blocks each; the first block holds these certificates."""
    scribe = FinalScribe(SHORT)
    for place in range(2 * number):
        scribe.forge(*(certificates if not place else ()))
    return scribe.state


def of_short(offender=BEN, epoch=0, **more):
    return evidence(offender, genesis=SHORT, epoch=epoch, **more)


# ---- the pool ---------------------------------------------------------------------------------------------------


def test_one_evidence_an_offender_waits():
    pool = pool_of(evidence(BEN), evidence(CY))
    assert list(pool) == [evidence(BEN), evidence(CY)]
    for another in (evidence(BEN), evidence(BEN, CY), evidence(BEN, view=2), proposal_evidence(BEN)):
        with refuses(Rule.C4):
            pool.add(another, FOUNDED, 0)
    assert (len(pool), pool.get(evidence(BEN).id), pool.get(evidence(BEN, CY).id)) == (2, Entry(evidence(BEN)), None)
    assert evidence(BEN).id in pool
    assert evidence(BEN, CY).id not in pool


def test_evidence_of_a_later_epoch_takes_the_place_of_what_is_legal_for_less_long():
    state = in_epoch(1)
    pool = pool_of(of_short(), of_short(CY), state=state)
    assert pool.accuses(BEN.public_key, 0)
    assert not pool.accuses(BEN.public_key, 1)
    pool.add(of_short(epoch=1), state, 0)
    assert set(pool) == {of_short(epoch=1), of_short(CY)}
    assert of_short().id not in pool
    with refuses(Rule.C4):
        pool.add(of_short(), state, 0)


def test_evidence_waits_only_while_it_costs_somebody_stake():
    with refuses(Rule.S6):
        pool_of(evidence(STRANGER))
    with refuses(Rule.S6):
        pool_of(of_short(epoch=1), state=in_epoch(1, of_short()))
    for epoch, state in ((1, genesis_state(SHORT)), (0, in_epoch(4))):
        with refuses(Rule.V6):
            pool_of(of_short(epoch=epoch), state=state)


def test_what_a_new_tip_makes_illegal_leaves():
    waiting = pool_of(of_short(BEN), of_short(CY), of_short(DOT, epoch=1), state=in_epoch(1))
    assert waiting.drop_illegal(in_epoch(2)) == []
    left = waiting.drop_illegal(in_epoch(2, of_short(BEN, view=2)))
    assert [(one, refused.rule) for one, refused in left] == [(of_short(BEN).id, Rule.S6)]
    left = waiting.drop_illegal(in_epoch(3))
    assert [(one, refused.rule) for one, refused in left] == [(of_short(CY).id, Rule.V6)]
    assert list(waiting) == [of_short(DOT, epoch=1)]


def test_what_only_time_makes_illegal_leaves_though_no_block_comes():
    scribe = FinalScribe(found(epoch_blocks=2, unbonding_ms=SECOND_MS))
    for _ in range(8):
        scribe.forge()
    late, ended_ms = evidence(BEN, genesis=scribe.genesis), scribe.blocks[1].header.timestamp_ms
    waiting = pool_of(late, state=scribe.state)
    assert waiting.drop_illegal(scribe.state, ended_ms + SECOND_MS - 1) == []
    left = waiting.drop_illegal(scribe.state, ended_ms + SECOND_MS)
    assert [(one, refused.rule) for one, refused in left] == [(late.id, Rule.V6)]


# ---- beside the box ---------------------------------------------------------------------------------------------


def full_box(*waiting):
    box = CertificateBox(Limits(box_certificates=3, box_bytes=1_000), FOUNDED)
    for one in waiting:
        box.add(Entry(one), 0)
    return box


def test_a_full_box_keeps_no_evidence_out_and_evidence_takes_no_place_in_it():
    box = full_box(*statements(3))
    for one in (evidence(BEN), proposal_evidence(CY)):
        box.add(Entry(one), 0)
    assert list(box) == [evidence(BEN), proposal_evidence(CY), *statements(3)]
    other = full_box(evidence(BEN), evidence(CY), *statements(3))
    assert len(other) == 5
    with refuses(Rule.C6):
        other.add(Entry(statements(4)[3]), 0)


def test_evidence_goes_into_the_next_block_first_and_is_named_first():
    box = full_box(*statements(2), evidence(BEN))
    assert box.choose(0, FOUNDED, NOTHING) == [evidence(BEN), *statements(2)]
    assert box.ids(2) == (evidence(BEN).id, statements(1)[0].id)
    assert box.ids(9, after_ms=5) == (evidence(BEN).id,), "as long as it waits, to whomever"
    assert box.holds(evidence(BEN))


def test_a_block_on_which_the_accused_is_burned_already_is_forged_without_it():
    scribe = FinalScribe(GENESIS)
    scribe.forge(evidence(BEN, view=2))
    box = full_box(evidence(BEN), *statements(1))
    assert box.choose(0, scribe.state, NOTHING) == statements(1)
    assert box.choose(0, FOUNDED, Held(evidence(BEN).id)) == statements(1)


def test_a_block_in_which_the_stake_is_liable_no_more_is_forged_without_it():
    box = CertificateBox(Limits(), genesis_state(SHORT))
    box.add(Entry(of_short()), 0)
    assert box.choose(0, in_epoch(2), NOTHING) == [of_short()]
    assert box.choose(0, in_epoch(3), NOTHING) == []


def test_evidence_that_a_block_holds_leaves_and_other_evidence_against_the_same_key_with_it():
    for inside, left in ((evidence(BEN), []), (evidence(BEN, view=2), [(evidence(BEN).id, Rule.S6)])):
        box, scribe = full_box(evidence(BEN), evidence(CY)), FinalScribe(GENESIS)
        scribe.forge(inside)
        payloads, gone = box.tip_advanced([inside], scribe.state)
        assert ([(one, refused.rule) for one, refused in gone], payloads) == (left, {})
        assert list(box) == [evidence(CY)]


# ---- found by a node --------------------------------------------------------------------------------------------


ACCUSED = OTHERS[0]
TWO_NOTARIZE = (vote(NOTARIZE, b"a" * 32, ACCUSED), vote(NOTARIZE, b"b" * 32, ACCUSED))
NULLIFY_AND_FINALIZE = (vote(NULLIFY, member=ACCUSED), vote(FINALIZE, b"b" * 32, ACCUSED))


def pooled(bench):
    return [(one.offender, {one.first, one.second}) for one in bench.node.box.evidence]


@pytest.mark.parametrize("votes", [TWO_NOTARIZE, NULLIFY_AND_FINALIZE], ids=["two blocks", "nullify and finalize"])
@pytest.mark.parametrize("order", [1, -1])
def test_two_votes_that_no_honest_member_casts_are_evidence_even_when_the_box_is_full(votes, order):
    bench = MemberBench(limits=Limits(box_certificates=3))
    bench.receive(Certificates(tuple(Entry(one) for one in statements(3))))
    actions = [one for each in votes[::order] for one in bench.hear(each)] + bench.wait(10, Timer.GOSSIP)
    assert pooled(bench) == [(ACCUSED.public_key, set(votes))]
    (issued,) = bench.node.box.evidence
    assert issued.issuer == OWNER.public_key
    assert of_kind(PersistCertificates, actions) == [PersistCertificates((Entry(issued),))]
    assert of_kind(ReportAccepted, actions) == [ReportAccepted((issued,))]
    assert [one.certificate for message in sent(Certificates, actions) for one in message.entries] == [issued]
    assert (rules(actions), cut_off(actions)) == ([], set()), "who passes it on is not blamed"
    more = bench.hear(*(vote(NOTARIZE, bytes([number]) * 32, ACCUSED) for number in range(1, 5)))
    assert (sent(Certificates, more), rules(more)) == ([], []), "one is enough"


def test_two_headers_of_one_leader_for_one_view_are_evidence():
    headers = [signed_header(LEADER, nonce=nonce) for nonce in (0, 1)]
    bench = MemberBench()
    for one in headers:
        bench.receive(Proposal(1, 0, one.header, one.signature, ()))
    assert pooled(bench) == [(LEADER.public_key, set(headers))]
    assert isinstance(next(iter(bench.node.box.evidence)), ProposalEvidence)


def test_an_observer_issues_none_and_passes_on_what_others_issue():
    bench = MemberBench(None)
    bench.hear(*TWO_NOTARIZE)
    assert pooled(bench) == []
    assert sent(Certificates, bench.receive(Certificates((Entry(evidence(ACCUSED)),)))) != []
    assert len(pooled(bench)) == 1


def final_block():
    scribe = FinalScribe(GENESIS)
    block = scribe.forge()
    return scribe, block


def test_a_vote_that_comes_with_the_finalization_of_a_fetched_block_counts():
    """The accused nullified the view, and is found to have finalized it when the block comes by catching up."""
    scribe, block = final_block()
    nullified = vote(NULLIFY, member=ACCUSED)
    final = scribe.finalization(FOUNDED.epoch, block, LEADER, *OTHERS)
    bench = MemberBench()
    bench.hear(nullified)
    bench.receive(Status(LEDGER, 0, 1, block.hash, ()))
    bench.receive(Blocks(1, (block,), (), final))
    assert bench.node.state.index == 1
    finalized = next(one for one in final.votes if one.member == ACCUSED.public_key)
    assert pooled(bench) == [(ACCUSED.public_key, {nullified, finalized})]


def test_a_header_that_comes_with_a_fetched_block_counts():
    scribe, block = final_block()
    other = signed_header(LEADER, nonce=7)
    bench = MemberBench()
    bench.receive(Proposal(1, 0, other.header, other.signature, ()))
    bench.receive(Status(LEDGER, 0, 1, block.hash, ()))
    bench.receive(Blocks(1, (block,), (), scribe.finalization(FOUNDED.epoch, block, LEADER, *OTHERS)))
    assert pooled(bench) == [(LEADER.public_key, {other, block.signed_header})]


def test_votes_that_contradict_each_other_are_found_when_the_node_starts():
    kept = MemoryArchive()
    kept.keep_votes([tally_of([one]) for one in TWO_NOTARIZE], [])
    bench = MemberBench(archive=kept)
    assert pooled(bench) == [(ACCUSED.public_key, set(TWO_NOTARIZE))]


def test_evidence_that_waited_when_the_node_stopped_waits_again():
    kept = MemoryArchive()
    kept.keep_certificates([Entry(evidence(ACCUSED))])
    assert list(MemberBench(archive=kept).node.box) == [evidence(ACCUSED)]


def test_against_a_burned_key_no_more_evidence_is_issued_or_taken():
    scribe = FinalScribe(GENESIS)
    scribe.forge(evidence(ACCUSED))
    bench = MemberBench(archive=scribe.archive)
    view = bench.node.agreement_status().view
    two = [vote(NOTARIZE, block_hash, ACCUSED, view=view) for block_hash in (b"a" * 32, b"b" * 32)]
    assert rules(bench.hear(*two)) == []
    assert pooled(bench) == []
    actions = bench.receive(Certificates((Entry(evidence(ACCUSED, view=2)),)))
    assert (rules(actions), cut_off(actions), pooled(bench)) == ([], set(), []), "others may not know yet"
    burned = MemberBench(ACCUSED, archive=scribe.archive).node.agreement_status()
    assert (burned.is_burned, bench.node.agreement_status().is_burned) == (True, False)


def test_bad_evidence_is_refused_and_who_passes_it_on_is_not_blamed():
    bench = MemberBench()
    honest = (vote(NOTARIZE, b"a" * 32, ACCUSED), vote(FINALIZE, b"a" * 32, ACCUSED))
    bad = issue_evidence(ADA, LEDGER, GENESIS.created_ms, *honest)
    actions = bench.receive(Certificates((Entry(bad),)))
    assert (rules(actions), cut_off(actions), pooled(bench)) == ([Rule.V3], set(), [])


@pytest.mark.parametrize("owner", [OWNER, LEADER], ids=["another's", "its own"])
def test_what_a_key_signed_on_another_ledger_is_neither_evidence_nor_a_twin(owner):
    bench, elsewhere = MemberBench(owner), FinalScribe(found(created_ms=0)).draft()
    elsewhere = sign_block(replace(elsewhere.header, forger=LEADER.public_key), (), LEADER)
    if owner is not LEADER:
        here = signed_header(LEADER)
        bench.receive(Proposal(1, 0, here.header, here.signature, ()))
    bench.receive(Status(LEDGER, 0, 1, elsewhere.hash, ()))
    actions = bench.receive(Blocks(1, (elsewhere,)))
    assert (rules(actions), cut_off(actions), pooled(bench)) == ([Rule.V2], set(), [])
    assert bench.node.agreement_status().guard is GuardStatus.READY
