"""The node's part in Simplex on the wire: what is worth verifying, whose answers count, what is told."""

from itertools import pairwise

import pytest
from msgspec.structs import replace
from tests.builders import (
    ADA,
    BEN,
    CY,
    DOT,
    GENESIS,
    LEDGER,
    MEMBERS,
    START_MS,
    STRANGER,
    Bench,
    FinalScribe,
    cut_off,
    found,
    of_kind,
    rules,
    signed_header,
    simplex_driver,
    statement,
    statements,
    vote,
)

from tallystick.consensus.agreement import PersistQuorum, TwinFound
from tallystick.consensus.signing_guard import GuardStatus, Lost, Signed, TwinSeen
from tallystick.ledger.certificate import VoteEvidence
from tallystick.ledger.errors import Rule
from tallystick.ledger.messages import (
    MAX_TALLIES,
    Blocks,
    Certificates,
    Entry,
    Finalizations,
    Proposal,
    ProposalCertificates,
    ProposalRequest,
    RecoveryRequest,
    RecoveryResponse,
    Status,
    Votes,
    decode_message,
    encode_message,
    votes_in_parts,
)
from tallystick.ledger.params import MAX_GENESIS_MEMBERS, MAX_MESSAGE_BYTES
from tallystick.ledger.vote import FINALIZE, NOTARIZE, NULLIFY, Ballot, Tally, cast, tally_of
from tallystick.ledger.wallet import Wallet, sign
from tallystick.node.events import (
    Broadcast,
    PeerConnected,
    PersistSigned,
    ReadVotes,
    Send,
    VotesRead,
)
from tallystick.node.limits import Limits

DELTA_MS = GENESIS.params.delta_ms
WALLETS = {one.public_key: one for one in MEMBERS.values()}


def table(*records, owner=ADA, genesis=GENESIS, limits=None):
    """A member's node, and what peers say to it."""
    bench = Bench(genesis, limits=limits, agreement=simplex_driver(owner, genesis, *records))
    for peer in ("ben", "cy", "dot", "new", "stranger"):
        bench.handle(PeerConnected(peer))
    return bench


def simplex(bench):
    return bench.agreement.simplex


def leader(bench, view=1):
    return WALLETS[simplex(bench).views.leader(view)]


def follower(bench, view=1):
    return next(one for one in MEMBERS.values() if one not in (ADA, leader(bench, view)))


def votes(*ballots):
    """Single votes as one message; each of one tally."""
    return Votes(tuple(tally_of([one]) for one in ballots))


def quorum(kind, block_hash=bytes(32), view=1, members=(BEN, CY, DOT)):
    return tally_of([vote(kind, block_hash, one, view=view) for one in members])


# ---- what is told ---------------------------------------------------------------------------------------------------


def tally(signatures, view):
    ballot = vote(NOTARIZE, view=view).ballot
    return Tally(ballot, tuple((number.to_bytes(32, "big"), bytes(64)) for number in range(signatures)))


@pytest.mark.parametrize(
    ("count", "signatures", "parts"),
    [(0, 1, 0), (1, 1, 1), (MAX_TALLIES, 1, 1), (MAX_TALLIES + 1, 1, 2), (20, MAX_GENESIS_MEMBERS, 10)],
)
def test_votes_are_told_in_messages_that_are_not_too_big(count, signatures, parts):
    tallies = [tally(signatures, view) for view in range(count)]
    told = votes_in_parts(tallies)
    assert len(told) == parts
    assert [one for part in told for one in part.tallies] == tallies
    for part in told:
        assert len(encode_message(part)) <= MAX_MESSAGE_BYTES
        assert decode_message(encode_message(part)) == part


def told_to(peer, actions):
    sent = [one.message for one in of_kind(Send, actions) if one.peer == peer and isinstance(one.message, Votes)]
    return [one for message in sent for tally in message.tallies for one in tally.votes]


def test_a_member_tells_a_new_peer_the_certificate_that_leads_to_its_view_and_all_votes_of_it():
    bench = table()
    bench.receive(Votes((quorum(NULLIFY, view=3),)))
    later = [vote(NULLIFY, member=BEN, view=4), vote(NOTARIZE, b"a" * 32, CY, view=4)]
    bench.receive(votes(*later))
    told = told_to("late", bench.handle(PeerConnected("late")))
    assert told == [*quorum(NULLIFY, view=3).votes, *later]


def test_a_peer_that_speaks_of_views_that_are_over_is_told_the_certificate_now_and_then():
    bench = table()
    bench.receive(Votes((quorum(NULLIFY, view=3),)))
    late = votes(vote(NULLIFY, member=BEN, view=1))
    assert told_to("ben", bench.receive(late, "ben")) == [], "it may just be on its way"
    bench.now_ms += DELTA_MS
    assert told_to("ben", bench.receive(late, "ben")) == quorum(NULLIFY, view=3).votes
    assert told_to("ben", bench.receive(late, "ben")) == []
    bench.now_ms += 4 * DELTA_MS
    assert told_to("ben", bench.receive(late, "ben")) == quorum(NULLIFY, view=3).votes


# ---- what is looked at before it is verified ------------------------------------------------------------------------


def test_a_vote_that_was_counted_is_not_verified_again_and_another_signature_is():
    bench, one = table(), vote(NULLIFY, member=BEN)
    for _ in range(3):
        bench.receive(votes(one))
        assert [claim[2] for claim in bench.verified] == [BEN.public_key]
    assert rules(bench.receive(Votes((Tally(one.ballot, ((one.member, bytes(64)),)),)))) == [Rule.V1]
    assert len(bench.verified) == 2


def test_a_flood_of_strangers_votes_costs_no_verification_and_blames_nobody():
    bench = table()
    ballot = Ballot(NOTARIZE, 0, 1, b"z" * 32)
    flood = tally_of([cast(Wallet(number.to_bytes(32, "big")), LEDGER, ballot) for number in range(1, 100)])
    mixed = tally_of([*flood.votes, vote(NOTARIZE, b"z" * 32, BEN)])
    actions = bench.receive(Votes((flood,) * 5), "stranger")
    assert (bench.verified, rules(actions)) == ([], [])
    bench.receive(Votes((mixed,)), "stranger")
    assert [claim[2] for claim in bench.verified] == [BEN.public_key]


@pytest.mark.parametrize("view", [0, 3, 64, 500])
def test_votes_far_from_the_view_cost_no_verification_unless_they_are_a_certificate(view):
    bench = table()
    bench.receive(votes(vote(NULLIFY, member=BEN, view=view)))
    assert bench.verified == []
    bench.receive(Votes((quorum(NULLIFY, view=view, members=(BEN, CY)),)))
    assert bench.verified == []
    bench.receive(Votes((quorum(NULLIFY, view=view),)))
    assert len(bench.verified) == (3 if view else 0)


def test_a_badly_signed_tally_takes_no_other_with_it_and_blames_nobody():
    bench = table()
    bad = Tally(quorum(NULLIFY, view=3).ballot, tuple((one, bytes(64)) for one, _ in quorum(NULLIFY).signatures))
    actions = bench.receive(Votes((bad, quorum(NULLIFY, view=2))))
    assert (rules(actions), cut_off(actions)) == ([Rule.V1], set())
    assert simplex(bench).view == 3


def proposal_of(bench, *ids, view=1, nonce=0):
    signed = signed_header(leader(bench, view), view=view, nonce=nonce)
    return signed, Proposal(view, 0, signed.header, signed.signature, ids)


def requests(actions):
    return [
        one.message for one in actions if isinstance(one, Send | Broadcast) and isinstance(one.message, ProposalRequest)
    ]


def test_only_certificates_that_were_named_and_asked_for_are_taken_for_a_proposal():
    bench, certificates = table(), tuple(statements(200, STRANGER))
    signed, proposal = proposal_of(bench, *(one.id for one in certificates[:2]))
    offered = ProposalCertificates(signed.header.hash, certificates)
    bench.receive(offered, "stranger")
    assert requests(bench.receive(proposal)) == []
    bench.receive(offered, "stranger")
    bench.now_ms += DELTA_MS
    asked = requests(bench.receive(votes(vote(NULLIFY, member=BEN))))
    assert asked == [ProposalRequest(signed.header.hash, tuple(one.id for one in certificates[:2]))]
    bench.receive(offered, "stranger")
    assert all(claim[2] != STRANGER.public_key for claim in bench.verified), "not one was verified"
    bench.receive(replace(offered, certificates=certificates[:1]), "stranger")
    assert len([claim for claim in bench.verified if claim[2] == STRANGER.public_key]) == 1


def test_unfinished_proposals_are_bounded_by_view_so_that_no_leader_pushes_out_anothers():
    bench = table()
    honest, proposal = proposal_of(bench, b"1" * 32)
    bench.receive(proposal)
    for view in range(2, 40):
        for nonce in range(4):
            bench.receive(proposal_of(bench, b"2" * 32, view=view, nonce=nonce)[1])
    kept = list(bench.agreement._partial.values())
    assert kept[0].proposal.header == honest.header
    assert {one.proposal.header.view for one in kept} <= {1, 2}
    assert len(kept) <= 4


# ---- recovery: who lost its guard -----------------------------------------------------------------------------------


def asked(actions):
    """The recovery request among these actions."""
    found = [
        one.message for one in actions if isinstance(one, Send | Broadcast) and isinstance(one.message, RecoveryRequest)
    ]
    return found[-1] if found else None


def response(member, request, view=1, entered_by=None, shown=(), **changes):
    fields = {"asker": request.member, "nonce": request.nonce, "epoch": 0, "view": view, **changes}
    answer = RecoveryResponse(member.public_key, entered_by=entered_by, votes=tuple(shown), **fields)
    return sign(answer, member, LEDGER)


def recovering(*records):
    bench = table(Lost(LEDGER), *records)
    return bench, asked(bench.handle(PeerConnected("late")))


def status(bench):
    return simplex(bench).guard.status


def test_who_lost_its_guard_asks_every_peer_and_says_whose_answer_is_missing():
    bench, request = recovering()
    assert request.member == ADA.public_key
    assert set(bench.node.agreement_status().unanswered) == {one.public_key for one in (BEN, CY, DOT)}
    bench.receive(response(CY, request))
    assert set(bench.node.agreement_status().unanswered) == {one.public_key for one in (BEN, DOT)}


def test_it_goes_on_when_the_others_are_a_quorum_and_the_floor_is_synced():
    bench, request = recovering()
    for member in (BEN, CY):
        bench.receive(response(member, request))
    assert status(bench) is GuardStatus.LOST
    actions = bench.receive(response(DOT, request))
    assert (status(bench), simplex(bench).guard.floor) == (GuardStatus.READY, (0, 2))
    synced = [type(one).__name__ for action in of_kind(PersistSigned, actions) for one in action.records]
    assert synced[-1] == "Recovered"
    assert bench.node.agreement_status().silent_until == (0, 2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"nonce": b"n" * 32},
        {"asker": BEN.public_key},
        {"epoch": 1},
        {"view": 2**53 - 1},
        {"view": 2},
        {"view": 0},
    ],
)
def test_an_answer_to_another_question_or_of_a_bare_number_counts_nothing(wrong):
    """One liar's huge view made a member mute; another's old answer, or a number without proof, a fork."""
    bench, request = recovering()
    for member in (BEN, CY):
        bench.receive(response(member, request))
    bench.receive(response(DOT, request, **wrong))
    assert status(bench) is GuardStatus.LOST
    bench.receive(response(DOT, request))
    assert simplex(bench).guard.floor == (0, 2)


def test_only_the_certificate_of_the_view_before_proves_a_view():
    bench, request = recovering()
    for member in (BEN, CY):
        bench.receive(response(member, request))
    for entered_by in (quorum(NULLIFY, view=4, members=(BEN, CY)), quorum(NULLIFY, view=5), quorum(NULLIFY, view=3)):
        bench.receive(response(DOT, request, view=5, entered_by=entered_by))
        assert status(bench) is GuardStatus.LOST
    bench.receive(response(DOT, request, view=5, entered_by=quorum(NULLIFY, view=4)))
    assert simplex(bench).guard.floor == (0, 6), "what proved nothing was not even counted"


@pytest.mark.parametrize("member", [ADA, STRANGER])
def test_neither_its_own_answer_nor_a_strangers_counts(member):
    bench, request = recovering()
    for one in (BEN, CY, member):
        bench.receive(response(one, request))
    assert status(bench) is GuardStatus.LOST


def test_an_answer_signed_by_another_is_refused_and_blames_nobody():
    bench, request = recovering()
    forged = replace(response(CY, request), member=DOT.public_key)
    actions = bench.receive(forged)
    assert (rules(actions), cut_off(actions)) == ([Rule.V1], set())


def test_own_votes_that_are_shown_are_adopted_and_are_no_twins():
    bench, request = recovering()
    shown = tally_of([vote(NULLIFY, member=ADA, view=2)])
    for member in (BEN, CY, DOT):
        actions = bench.receive(response(member, request, shown=(shown,)))
        assert of_kind(TwinFound, actions) == []
    assert simplex(bench).guard.floor == (0, 3)


def test_it_asks_again_with_the_same_question_at_growing_intervals():
    bench, request = recovering()
    times = []
    for _ in range(40):
        bench.now_ms += DELTA_MS
        if again := asked(bench.receive(votes(vote(NULLIFY, member=BEN)))):
            assert again == request
            times.append(bench.now_ms)
    gaps = [(later - earlier) // DELTA_MS for earlier, later in pairwise(times)]
    assert gaps == sorted(gaps)
    assert len(times) < 8


# ---- recovery: who is asked -----------------------------------------------------------------------------------------


def request_of(member=BEN, nonce=b"n" * 32):
    return sign(RecoveryRequest(member.public_key, nonce), member, LEDGER)


def answers(actions):
    return [one.message for one in of_kind(Send, actions) if isinstance(one.message, RecoveryResponse)]


def test_a_member_answers_with_its_view_its_proof_and_all_votes_of_the_asker():
    bench = table()
    bench.receive(votes(vote(NULLIFY, member=BEN), vote(NULLIFY, member=CY)))
    (answer,) = answers(bench.receive(request_of(), "ben"))
    assert (answer.view, answer.entered_by, answer.votes) == (1, None, (tally_of([vote(NULLIFY, member=BEN)]),))
    bench.now_ms += 10 * DELTA_MS
    bench.receive(Votes((quorum(NULLIFY, view=3),)))
    (answer,) = answers(bench.receive(request_of(nonce=b"m" * 32), "ben"))
    assert (answer.view, answer.entered_by) == (4, quorum(NULLIFY, view=3))


@pytest.mark.parametrize(
    "record",
    [TwinSeen(LEDGER, 0, 1), Signed(LEDGER, 0, 5, None, Ballot(NULLIFY, 0, 5, bytes(32)))],
)
def test_a_member_that_has_a_twin_or_an_older_database_than_its_guard_does_not_answer(record):
    assert answers(table(record).receive(request_of(), "ben")) == []


def test_neither_strangers_nor_observers_are_answered_nor_answer():
    assert answers(table().receive(request_of(STRANGER), "stranger")) == []
    assert answers(table(owner=STRANGER).receive(request_of(), "ben")) == []


def test_requests_are_signed_by_who_asks_and_relayed_within_a_budget():
    """Anybody could have them multiplied, to every member and back: 50 requests made 3,000 messages."""
    bench = table()
    forged = replace(request_of(), member=CY.public_key)
    assert of_kind(Broadcast, bench.receive(forged, "stranger")) == []
    request = request_of()
    assert of_kind(Broadcast, bench.receive(request, "ben")) == [Broadcast(request, but="ben")]
    many = [request_of(nonce=number.to_bytes(32, "big")) for number in range(50)]
    assert len([one for each in many for one in of_kind(Broadcast, bench.receive(each, "ben"))]) == 3
    bench.now_ms += 2 * DELTA_MS
    assert of_kind(Broadcast, bench.receive(request, "ben")) == [Broadcast(request, but="ben")]
    own = request_of(ADA)
    assert of_kind(Broadcast, bench.receive(own, "ben")) == [], "its own comes back round"


def test_answers_go_back_the_way_the_request_came_each_members_once():
    bench, request = table(), request_of()
    bench.receive(request, "ben")
    answer = response(CY, request)
    assert of_kind(Send, bench.receive(answer, "cy")) == [Send("ben", answer)]
    assert of_kind(Send, bench.receive(answer, "dot")) == [], "once is enough"
    for no_answer in (response(STRANGER, request), response(DOT, request, nonce=b"x" * 32)):
        assert of_kind(Send, bench.receive(no_answer, "cy")) == []


# ---- evidence -------------------------------------------------------------------------------------------------------


def evidence_in(bench):
    return [one for one in bench.node.box if isinstance(one, VoteEvidence)]


def test_a_full_box_keeps_no_evidence_out():
    bench = table(limits=Limits(box_certificates=3))
    bench.receive(Certificates(tuple(Entry(one) for one in statements(3))))
    bench.receive(votes(vote(NOTARIZE, b"a" * 32, BEN), vote(NOTARIZE, b"b" * 32, BEN)))
    assert [one.offender for one in evidence_in(bench)] == [BEN.public_key]


def test_a_conflicting_vote_in_the_finalization_of_a_block_that_sync_brings_is_evidence():
    scribe = FinalScribe(found(epoch_blocks=100))
    block = scribe.forge()
    ledger_id = scribe.genesis.ledger_id
    bench = table(genesis=scribe.genesis, owner=WALLETS[block.header.forger])
    bench.receive(votes(cast(BEN, ledger_id, Ballot(NULLIFY, 0, block.header.view, bytes(32)))))
    finalization = scribe.archive.finalization(1)
    bench.receive(Status(ledger_id, 0, 1, block.hash, ()))
    bench.receive(Finalizations(scribe.proofs(1)))
    bench.receive(Blocks(1, (block,), (), finalization))
    assert bench.node.state.index == 1
    assert BEN.public_key in dict(finalization.signatures)
    assert [one.offender for one in evidence_in(bench)] == [BEN.public_key]


def test_a_vote_that_comes_late_is_compared_with_what_is_kept_of_its_view():
    bench = table()
    bench.receive(Votes((quorum(NULLIFY, view=20),)))
    late = vote(FINALIZE, b"f" * 32, BEN, view=3)
    (read,) = of_kind(ReadVotes, bench.receive(votes(late)))
    assert (read.late.ballot.epoch, read.late.ballot.view) == (0, 3)
    assert evidence_in(bench) == []
    kept = quorum(NULLIFY, view=3)
    bench.handle(VotesRead(read.late, (kept,)))
    assert [one.offender for one in evidence_in(bench)] == [BEN.public_key]


# ---- guard, database, peers -----------------------------------------------------------------------------------------


def test_the_guard_is_synced_before_the_database_and_both_before_the_vote_leaves():
    seen = 0
    for name, owner in MEMBERS.items():
        bench = table(owner=owner)
        actions = bench.submit(statement(name))
        bench.now_ms += 2 * DELTA_MS
        actions += bench.receive(votes(vote(NULLIFY, member=STRANGER)))
        kinds = [
            type(one).__name__
            for one in actions
            if isinstance(one, PersistSigned | PersistQuorum)
            or (isinstance(one, Broadcast) and isinstance(one.message, Votes | Proposal))
        ]
        if "PersistQuorum" in kinds:
            seen += 1
            assert kinds[:3] == ["PersistSigned", "PersistQuorum", "Broadcast"]
    assert seen == 1, "the leader of view 1"


def test_a_twin_is_reported_once_and_synced_and_stands_in_the_status():
    bench = table()
    actions = bench.receive(votes(vote(NULLIFY, member=ADA)))
    assert of_kind(TwinFound, actions) == [TwinFound(0, 1)]
    assert of_kind(PersistSigned, actions) == [PersistSigned((TwinSeen(LEDGER, 0, 1),))]
    assert of_kind(TwinFound, bench.receive(votes(vote(NULLIFY, member=ADA)))) == []
    assert bench.node.agreement_status().twin == (0, 1)


def test_a_notarize_vote_for_no_block_is_malformed():
    bench = table()
    actions = bench.receive(Votes((quorum(NOTARIZE, bytes(32)),)))
    assert rules(actions) == [Rule.E2]
    assert bench.now_ms > START_MS


def test_a_vote_that_comes_late_is_compared_with_votes_that_are_not_kept_yet():
    """The ledger is quiet: what was voted on the last final block waits for the next certificates to be kept with."""
    scribe = FinalScribe(found(epoch_blocks=100))
    block, genesis = scribe.draft(statement(ledger=scribe.genesis.ledger_id)), scribe.genesis
    bench = table(genesis=genesis)
    bench.receive(Certificates(tuple(Entry(one) for one in block.certificates)))
    ids = tuple(one.id for one in block.certificates)
    bench.receive(Proposal(1, 0, block.header, block.signature, ids))
    bench.receive(Votes((scribe.finalization(scribe.state.epoch, block, BEN, CY, DOT),)))
    assert bench.node.state.index == 1
    bench.receive(votes(cast(BEN, genesis.ledger_id, Ballot(NULLIFY, 0, 1, bytes(32)))))
    assert [one.offender for one in evidence_in(bench)] == [BEN.public_key]
