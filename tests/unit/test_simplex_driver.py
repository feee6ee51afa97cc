"""A member's node among others: proposals and what they lack, votes, certificates, and peers that are behind."""

import pytest
from msgspec.structs import replace
from tests.builders import (
    GENESIS,
    LEDGER,
    MEMBERS,
    STRANGER,
    FinalScribe,
    cut_off,
    of_kind,
    rules,
    staking,
    statement,
    statements,
    vote,
)
from tests.member_bench import (
    LEADER,
    OTHERS,
    OWNER,
    MemberBench,
    cast_by,
    certificate,
    leader_of,
    proposal_of,
    sent,
    signed_again,
    votes_message,
)

from tallystick.consensus.agreement import PersistQuorum, StateMismatch
from tallystick.ledger.errors import Rule
from tallystick.ledger.fields import ZERO_DIGEST
from tallystick.ledger.messages import (
    MAX_TALLIES,
    Blocks,
    Certificates,
    Entry,
    Proposal,
    ProposalCertificates,
    ProposalRequest,
    Status,
    ViewCertificateRequest,
    Votes,
    decode_message,
    encode_message,
    votes_in_parts,
)
from tallystick.ledger.params import MAX_GENESIS_MEMBERS, MAX_MESSAGE_BYTES
from tallystick.ledger.vote import FINALIZE, NOTARIZE, NULLIFY, Ballot, Tally, tally_of
from tallystick.network.archiving import answer
from tallystick.network.memory_archive import MemoryArchive
from tallystick.node.events import (
    Broadcast,
    PeerConnected,
    PeerDisconnected,
    PersistBlock,
    PersistSigned,
    ReportRefused,
    ReportStuck,
    Send,
    SendKept,
)


def draft(*certificates, **changes):
    """The proposal of view 1: by default a block of one statement."""
    return FinalScribe(GENESIS).draft(*(certificates or [statement()]), **changes)


BLOCK = draft()
(MISSING,) = BLOCK.certificates
ASKED = ProposalRequest(BLOCK.hash, (MISSING.id,))
DELTA_MS = GENESIS.params.delta_ms
PATIENCE_MS = DELTA_MS // 4
NOTARIZED = (NOTARIZE, 1, BLOCK.hash)


def requests(actions):
    """Requests for a proposal or parts of it, and whom they go to (`None`: everybody)."""
    asked = [one for one in of_kind((Send, Broadcast), actions) if isinstance(one.message, ProposalRequest)]
    return [(one.peer if isinstance(one, Send) else None, one.message) for one in asked]


# ---- proposals --------------------------------------------------------------------------------------------------


def test_a_member_notarizes_a_proposal_whose_certificates_it_has_and_syncs_that_before_it_says_so():
    seat = MemberBench()
    seat.submit(MISSING)
    actions = seat.receive(proposal_of(BLOCK))
    assert cast_by(OWNER, actions) == [NOTARIZED]
    kept = [one for one in actions if isinstance(one, PersistSigned | PersistQuorum | Broadcast)]
    assert [type(one) for one in kept] == [PersistSigned, PersistQuorum, Broadcast]
    assert kept[1].blocks == (BLOCK,)


def test_a_proposal_that_overtook_its_certificates_waits_a_little_for_them():
    seat = MemberBench()
    assert requests(seat.receive(proposal_of(BLOCK))) == []
    assert requests(seat.wait(PATIENCE_MS - 1)) == []
    actions = seat.receive(Certificates((Entry(MISSING),)), "y")
    assert cast_by(OWNER, actions) == [NOTARIZED]
    assert requests([*actions, *seat.wait(10_000)]) == []


def test_what_did_not_come_is_asked_of_the_sender_then_of_everybody_then_only_if_it_is_voted_for():
    seat = MemberBench()
    seat.receive(proposal_of(BLOCK))
    assert requests(seat.wait(PATIENCE_MS)) == [("x", ASKED)]
    assert requests(seat.wait(DELTA_MS - 1)) == []
    assert requests(seat.wait(1)) == [(None, ProposalRequest(BLOCK.hash, ()))]
    seat.wait(DELTA_MS)
    assert requests(seat.hear(*certificate(NOTARIZE, BLOCK.hash))) == [(None, ProposalRequest(BLOCK.hash, ()))]
    seat.receive(proposal_of(BLOCK), "y")
    assert requests(seat.wait(PATIENCE_MS)) == [("y", ASKED)]
    actions = seat.receive(ProposalCertificates(BLOCK.hash, (MISSING,)), "y")
    assert (FINALIZE, 1, BLOCK.hash) in cast_by(OWNER, actions), "it nullified nothing"


@pytest.mark.parametrize("ids", [(), (bytes(32),)], ids=["none", "another"])
def test_made_up_ids_keep_no_proposal_out(ids):
    """No signature covers them. One leader that told one member other ids kept it from ever having the block."""
    seat = MemberBench()
    for liar in ("x", "z"):
        seat.receive(replace(proposal_of(BLOCK), ids=ids), liar)
    seat.hear(*certificate(NOTARIZE, BLOCK.hash))
    asked = requests(seat.wait(2 * DELTA_MS))
    for _ in range(9):
        for liar in ("x", "z"):
            seat.receive(replace(proposal_of(BLOCK), ids=ids), liar)
            asked += requests(seat.wait(DELTA_MS))
    assert asked.count((None, ProposalRequest(BLOCK.hash, ()))) > 5, "whatever they say"
    seat.submit(MISSING)
    assert (FINALIZE, 1, BLOCK.hash) in cast_by(OWNER, seat.receive(proposal_of(BLOCK), "honest"))
    assert seat.agreement._partial == {}


def test_certificates_that_were_not_asked_for_are_neither_verified_nor_kept():
    """Or strangers could have a node hold as many as they like for one proposal."""
    seat = MemberBench()
    seat.receive(proposal_of(BLOCK))
    seat.verified.clear()
    unasked = statements(200, STRANGER)
    for answers in ([MISSING], unasked, [MISSING, *unasked]):
        assert seat.receive(ProposalCertificates(BLOCK.hash, tuple(answers)), "stranger") == []
    seat.wait(PATIENCE_MS)
    for answers in (unasked, [MISSING, *unasked]):
        assert seat.receive(ProposalCertificates(BLOCK.hash, tuple(answers)), "stranger") == []
    assert seat.verified == []
    assert cast_by(OWNER, seat.receive(ProposalCertificates(BLOCK.hash, (MISSING,)), "y")) == [NOTARIZED]


def test_the_same_certificate_signed_another_time_is_not_the_proposers():
    """Its id says nothing of its signature: the header covers whole encodings."""
    seat, again = MemberBench(), signed_again(MISSING, "ada")
    assert again.id == MISSING.id
    seat.submit(again)
    assert requests(seat.receive(proposal_of(BLOCK))) == [("x", ASKED)], "at once: gossip will not bring it"
    actions = seat.receive(ProposalCertificates(BLOCK.hash, (again,)), "y")
    assert (cast_by(OWNER, actions), cut_off(actions)) == ([], set())
    actions = seat.receive(ProposalCertificates(BLOCK.hash, (MISSING,)), "x")
    assert cast_by(OWNER, actions) == [NOTARIZED]
    assert list(seat.node.box) == [again], "until the block is final"


def test_a_bad_signature_under_an_id_that_is_on_the_chain_is_nobodys_but_its_makers():
    """A drawn liar had honest members banned by those that came later: the id was taken for the signature."""
    scribe = FinalScribe(GENESIS)
    first = scribe.forge()
    bad = replace(first.certificates[0], signature=b"\x07" * 64)
    lie = scribe.draft(bad)
    owner = next(one for one in MEMBERS.values() if one.public_key != lie.header.forger)
    seat = MemberBench(owner, archive=scribe.archive)
    seat.receive(proposal_of(lie))
    assert requests(seat.wait(PATIENCE_MS)) == [("x", ProposalRequest(lie.hash, (bad.id,)))]
    actions = seat.receive(ProposalCertificates(lie.hash, (bad,)), "honest")
    assert (rules(actions), cut_off(actions)) == ([Rule.C1], set())
    assert seat.receive(ProposalRequest(lie.hash, (bad.id,)), "y") == [], "it is handed to nobody"
    assert seat.receive(ProposalRequest(lie.hash, ()), "y") == []


WRONG = {
    "another root": (draft(MISSING, state_root=b"r" * 32), Rule.B12),
    "another version": (draft(MISSING, version=2), Rule.E4),
    "stake that is nobody's": (draft(staking(1, STRANGER)), Rule.B5),
}


@pytest.mark.parametrize(("block", "rule"), WRONG.values(), ids=WRONG)
def test_a_proposal_that_the_gate_refuses_is_nullified_at_once_and_served_to_nobody(block, rule):
    seat = MemberBench()
    actions = [*seat.receive(proposal_of(block)), *seat.wait(PATIENCE_MS)]
    actions += seat.receive(ProposalCertificates(block.hash, block.certificates))
    assert cast_by(OWNER, actions) == [(NULLIFY, 1, bytes(32))]
    assert (rules(actions), cut_off(actions)) == ([rule], set())
    assert [one.peer for one in of_kind(ReportRefused, actions)] == [block.header.forger], "it is named in the log"
    for ids in ((), (block.certificates[0].id,)):
        assert seat.receive(ProposalRequest(block.hash, ids), "y") == []


def test_a_proposal_ahead_of_the_clock_waits_for_its_time():
    seat = MemberBench()
    ahead_ms = GENESIS.params.block_ahead_ms
    assert ahead_ms is not None
    block = draft(timestamp_ms=seat.now_ms + ahead_ms + 100)
    seat.submit(MISSING)
    assert cast_by(OWNER, seat.receive(proposal_of(block))) == []
    assert cast_by(OWNER, seat.wait(99)) == []
    assert cast_by(OWNER, seat.wait(1)) == [(NOTARIZE, 1, block.hash)]


def test_a_proposal_that_the_gate_passed_is_told_to_whoever_asks():
    seat = MemberBench()
    assert seat.receive(ProposalRequest(BLOCK.hash, ()), "y") == []
    seat.receive(proposal_of(BLOCK))
    assert seat.receive(ProposalRequest(BLOCK.hash, ()), "y") == [], "it is not whole"
    seat.submit(MISSING)
    assert seat.receive(ProposalRequest(BLOCK.hash, ()), "y") == [Send("y", proposal_of(BLOCK))]
    asked = ProposalRequest(BLOCK.hash, (MISSING.id, statement("unknown").id))
    assert seat.receive(asked, "y") == [Send("y", ProposalCertificates(BLOCK.hash, (MISSING,)))]


def test_a_block_that_others_voted_for_is_asked_for_whole():
    seat = MemberBench()
    assert requests(seat.hear(*certificate(NOTARIZE, BLOCK.hash))) == [(None, ProposalRequest(BLOCK.hash, ()))]
    assert requests(seat.wait(DELTA_MS)) == []
    seat.receive(proposal_of(BLOCK))
    assert (FINALIZE, 1, BLOCK.hash) in cast_by(OWNER, seat.receive(Certificates((Entry(MISSING),))))


def test_the_final_tip_is_not_asked_for_when_a_leader_that_is_behind_proposes_it_again():
    scribe = FinalScribe(GENESIS)
    tip = scribe.forge()
    leader = scribe.forger()
    owner = next(one for one in MEMBERS.values() if one is not leader)
    bench = MemberBench(owner, archive=scribe.archive)
    actions = bench.receive(replace(proposal_of(tip, 1), view=2, ids=None))
    actions += bench.hear(vote(NOTARIZE, tip.hash, leader, view=2)) + bench.wait(60_000)
    assert requests(actions) == []
    assert {kind for kind, *_ in cast_by(owner, actions)} == {NULLIFY}


def test_of_a_liars_many_proposals_for_a_view_few_are_held_unfinished():
    """Each may name 4,096 certificates that nobody has."""
    seat = MemberBench()
    for number in range(20):
        seat.receive(proposal_of(draft(statement(f"{number}"))))
    assert len({message.block_hash for _, message in requests(seat.wait(10_000))}) <= 2


def test_blocks_of_views_long_over_are_held_only_if_a_quorum_chose_them():
    bench, chosen = MemberBench(), draft(MISSING, view=3, signer=leader_of(3))
    bench.submit(MISSING)
    bench.receive(proposal_of(BLOCK))
    for view in (1, 2):
        bench.hear(*certificate(NULLIFY, view=view))
    bench.receive(proposal_of(chosen))
    bench.hear(*certificate(NOTARIZE, chosen.hash, view=3))
    for served, views in (([BLOCK, chosen], range(4, 9)), ([chosen], range(9, 20))):
        for view in views:
            bench.hear(*certificate(NULLIFY, view=view))
        told = [sent(Proposal, bench.receive(ProposalRequest(one.hash, ()), "y")) for one in (BLOCK, chosen)]
        assert [one for [one] in filter(None, told)] == [proposal_of(one) for one in served]


def test_of_views_long_over_no_unfinished_proposal_is_held_unless_a_quorum_chose_it():
    """Hundreds of views may pass without a final block, and each leave a proposal with thousands of ids."""
    bench, block = MemberBench(), draft(view=3, signer=leader_of(3))
    for view in (1, 2):
        bench.hear(*certificate(NULLIFY, view=view))
    for one in (BLOCK, block):
        bench.receive(proposal_of(one))
    bench.hear(*certificate(NOTARIZE, block.hash, view=3))
    for view in range(4, 20):
        bench.hear(*certificate(NULLIFY, view=view))
    assert {message.block_hash for _, message in requests(bench.wait(10_000))} == {block.hash}


# ---- votes ------------------------------------------------------------------------------------------------------


def tally(signatures, view):
    keys = sorted(number.to_bytes(32, "big") for number in range(signatures))
    return Tally(Ballot(NOTARIZE, 0, view, b"b" * 32), tuple((key, bytes(64)) for key in keys))


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


def test_a_peer_that_is_behind_is_told_now_and_then_how_the_view_was_entered():
    seat, entered = MemberBench(), certificate(NULLIFY, view=6)
    seat.hear(*entered)
    late = vote(NOTARIZE, BLOCK.hash, OTHERS[0])
    told = Send("y", votes_message(*entered))
    assert told not in seat.hear(late, peer="y"), "it may be on its way"
    seat.wait(DELTA_MS)
    assert told in seat.hear(late, peer="y")
    assert told not in seat.hear(late, peer="y")
    assert replace(told, peer="x") in seat.hear(late, peer="x"), "another peer is told by itself"
    seat.wait(4 * DELTA_MS)
    assert told in seat.hear(late, peer="y")
    assert replace(told, peer="x") not in seat.hear(vote(NULLIFY, member=OTHERS[0], view=7), peer="x")


@pytest.mark.parametrize(("is_own", "given_up"), [(True, []), (False, [(NULLIFY, 21, ZERO_DIGEST)])])
def test_a_members_late_vote_that_it_brings_itself_shows_that_it_is_there(is_own, given_up):
    """Anybody can say old votes of a dead member, and no signature of a late vote is verified."""
    seat, leader = MemberBench(), leader_of(21)
    seat.hear(*certificate(NULLIFY, view=20))
    seat.handle(PeerDisconnected(leader.public_key))
    seat.hear(vote(NULLIFY, member=leader, view=1), peer=leader.public_key if is_own else "x")
    assert cast_by(OWNER, seat.submit(statement())) == given_up


def test_a_new_peer_is_told_how_the_view_was_entered_and_the_votes_of_it():
    seat, entered = MemberBench(), certificate(NULLIFY, view=6)
    seat.hear(*entered, vote(NULLIFY, member=OTHERS[0], view=7))
    (told,) = sent(Votes, seat.handle(PeerConnected("new")))
    assert told == votes_message(*entered, vote(NULLIFY, member=OTHERS[0], view=7))


def test_a_member_that_waits_says_who_is_missing_and_where_it_stands():
    seat = MemberBench()
    seat.submit(statement())
    seat.hear(vote(NULLIFY, member=OTHERS[0]))
    actions = seat.wait(4 * DELTA_MS)
    assert [one.tip_index for one in sent(Status, of_kind(Broadcast, actions))] == [0]
    assert not of_kind(ReportStuck, actions), "a view may last; stuck is a ledger where no block became final for long"
    (stuck,) = of_kind(ReportStuck, seat.wait(8 * DELTA_MS))
    assert (stuck.epoch, stuck.view, stuck.since_ms) == (0, 1, seat.now_ms - 12 * DELTA_MS)
    assert (stuck.heard_stake, stuck.total_stake) == (200, 400)
    assert set(stuck.missing) == {LEADER.public_key, OTHERS[1].public_key}
    assert not of_kind(ReportStuck, seat.wait(15 * DELTA_MS))
    assert of_kind(ReportStuck, seat.wait(DELTA_MS)), "at doubling intervals"


def test_with_nothing_to_do_a_member_is_silent():
    seat = MemberBench()
    assert seat.wait(10**6) == []


def test_a_member_that_lacks_certificates_since_the_proposals_parent_asks_for_them_and_votes():
    """It jumped to view 3; to vote there it has to know that views 1 and 2 have no block."""
    seat, kept = MemberBench(), MemoryArchive()
    kept.keep_votes([tally_of(certificate(NULLIFY, view=view)) for view in (1, 2)], [])
    seat.submit(MISSING)
    seat.hear(*certificate(NULLIFY, view=2))
    actions = seat.receive(proposal_of(draft(MISSING, view=3, signer=leader_of(3))))
    assert cast_by(OWNER, actions) == []
    (asked,) = sent(ViewCertificateRequest, actions)
    assert (asked.epoch, asked.first, asked.last) == (0, 1, 1)
    (answering,) = MemberBench(archive=kept).receive(asked, "y")
    assert answering == SendKept("y", asked)
    told = answer(kept, answering.request, 100_000)
    assert told is not None
    assert [kind for kind, *_ in cast_by(OWNER, seat.receive(told))] == [NOTARIZE]


# ---- a state that is not the ledger's ---------------------------------------------------------------------------


def test_a_quorum_for_a_block_that_the_gate_refuses_shows_that_this_node_has_drifted():
    seat, block = MemberBench(), WRONG["another root"][0]
    seat.submit(MISSING)
    seat.receive(proposal_of(block))
    actions = seat.hear(*certificate(NOTARIZE, block.hash))
    (report,) = of_kind(StateMismatch, actions)
    assert report.refused.rule is Rule.B12
    assert (rules(actions), cut_off(actions)) == ([], set())
    assert seat.node.agreement_status().mismatch == str(report.refused)
    assert_mute(seat)


def test_a_final_block_from_a_peer_that_the_gate_refuses_shows_it_too():
    scribe, seat = FinalScribe(GENESIS), MemberBench()
    block = scribe.draft(MISSING, state_root=b"r" * 32)
    seat.receive(Status(LEDGER, 0, 1, block.hash, ()))
    final = scribe.finalization(scribe.state.epoch, block, LEADER, *OTHERS)
    actions = seat.receive(Blocks(1, (block,), (), final))
    (report,) = of_kind(StateMismatch, actions)
    assert (report.refused.rule, rules(actions), cut_off(actions)) == (Rule.B12, [Rule.B12], set())
    assert seat.node.agreement_status().mismatch == str(report.refused)
    assert_mute(seat)


def assert_mute(seat):
    """Whatever comes, it votes for nothing and adds nothing, and says so no second time."""
    good = draft(MISSING, view=3, signer=leader_of(3))
    seat.receive(Certificates((Entry(MISSING),)))
    actions = seat.hear(*certificate(NULLIFY, view=1), *certificate(NULLIFY, view=2))
    actions += seat.receive(proposal_of(good))
    actions += seat.hear(*certificate(NOTARIZE, good.hash, view=3), *certificate(FINALIZE, good.hash, view=3))
    actions += seat.wait(60_000)
    assert cast_by(OWNER, actions) == []
    assert of_kind((PersistBlock, StateMismatch, PersistSigned), actions) == []
    assert seat.node.state.index == 0
