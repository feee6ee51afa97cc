"""What a member that lost its signing guard asks, what others answer and pass on, and which answers count."""

import pytest
from msgspec.structs import replace
from tests.builders import GENESIS, LEDGER, STRANGER, FinalScribe, found, guard_of, of_kind, statement, vote
from tests.member_bench import LEADER, OTHERS, OWNER, MemberBench, cast_by, certificate, leader_of, proposal_of

from tallystick.consensus.signing_guard import GuardStatus, Lost, Recovered
from tallystick.ledger.messages import Blocks, Finalizations, RecoveryRequest, RecoveryResponse, Status, encode_message
from tallystick.ledger.state import genesis_state
from tallystick.ledger.vote import FINALIZE, NOTARIZE, NULLIFY, Ballot, tally_of
from tallystick.ledger.wallet import sign
from tallystick.node.events import Broadcast, MessageReceived, PeerConnected, PersistSigned, Send

DELTA_MS = GENESIS.params.delta_ms
HOLDERS = (LEADER, *OTHERS)
"""The members that kept their guards."""


def lost(**more):
    return MemberBench(records=[Lost(None)], **more)


def guard(seat):
    return seat.node.agreement_status().guard


def question(seat):
    """What it asks a new peer."""
    (asked,) = {one.message for one in of_kind(Send, seat.handle(PeerConnected("new"))) if is_request(one.message)}
    return asked


def is_request(message):
    return isinstance(message, RecoveryRequest)


def answer(member, asked, view=1, entered_by=None, votes=(), epoch=0, genesis=GENESIS):
    unsigned = RecoveryResponse(
        member.public_key, asked.member, asked.nonce, epoch, view, entered_by, tuple(tally_of([one]) for one in votes)
    )
    return sign(unsigned, member, genesis.ledger_id)


def request_of(member, number=0):
    return sign(RecoveryRequest(member.public_key, bytes([number]) * 32), member, LEDGER)


# ---- asking -----------------------------------------------------------------------------------------------------


def test_who_lost_its_guard_asks_each_new_peer_and_everybody_again_and_again():
    seat = lost()
    asked = question(seat)
    assert asked.member == OWNER.public_key
    assert [one.message for one in of_kind(Send, seat.began) if is_request(one.message)] == [asked, asked]
    again = [one.message for one in of_kind(Broadcast, seat.wait(60_000)) if is_request(one.message)]
    assert set(again) == {asked}
    assert 5 <= len(again) <= 12, "ever more rarely"


def test_answers_of_a_quorum_without_it_end_its_recovery_and_that_is_synced_before_it_votes():
    seat = lost()
    block = FinalScribe(GENESIS).draft(statement(), view=3, signer=leader_of(3))
    seat.submit(statement())
    asked = question(seat)
    for one in HOLDERS[:2]:
        seat.receive(answer(one, asked))
        assert guard(seat) is GuardStatus.LOST
    actions = seat.receive(answer(HOLDERS[2], asked))
    assert of_kind(PersistSigned, actions)[0].records[-1] == Recovered(LEDGER, 0, 2)
    assert guard(seat) is GuardStatus.READY
    for view in (1, 2):
        actions = [*seat.wait(3 * DELTA_MS), *seat.hear(*certificate(NULLIFY, view=view))]
        assert cast_by(OWNER, actions) == [], "at or below the floor nothing is signed"
    assert [kind for kind, *_ in cast_by(OWNER, seat.receive(proposal_of(block)))] == [NOTARIZE]
    assert not any(is_request(one.message) for one in of_kind(Broadcast, seat.wait(60_000)))


def test_the_floor_lies_above_every_view_that_is_proven():
    seat = lost()
    asked = question(seat)
    for one, view in zip(HOLDERS, (3, 7, 1), strict=True):
        entered_by = tally_of(certificate(NULLIFY, view=view - 1)) if view > 1 else None
        actions = seat.receive(answer(one, asked, view, entered_by))
    assert of_kind(PersistSigned, actions)[0].records[-1] == Recovered(LEDGER, 0, 8)


ENTERED = tally_of(certificate(NULLIFY, view=4))
USELESS = {
    "to another question": lambda one, asked: answer(one, replace(asked, nonce=bytes(32))),
    "to another member": lambda one, asked: answer(one, replace(asked, member=LEADER.public_key)),
    "of another epoch": lambda one, asked: answer(one, asked, epoch=1),
    "of strangers": lambda one, asked: answer(STRANGER, asked),
    "of itself": lambda one, asked: answer(OWNER, asked),
    "without proof of the view": lambda one, asked: answer(one, asked, 5),
    "with proof of another view": lambda one, asked: answer(one, asked, 6, ENTERED),
    "with too few votes for proof": lambda one, asked: answer(
        one, asked, 5, tally_of(certificate(NULLIFY, bytes(32), *OTHERS, view=4))
    ),
    "with others' votes": lambda one, asked: answer(one, asked, votes=[vote(NULLIFY, member=LEADER)]),
    "changed on the way": lambda one, asked: replace(answer(one, asked), view=5, entered_by=ENTERED),
}


@pytest.mark.parametrize("made", USELESS.values(), ids=USELESS)
def test_only_signed_answers_of_members_to_this_very_question_with_proof_count(made):
    seat = lost()
    asked = question(seat)
    for one in HOLDERS:
        seat.receive(made(one, asked))
    assert guard(seat) is GuardStatus.LOST
    assert seat.node.agreement_status().unanswered != ()


def test_own_votes_that_an_answer_shows_are_taken_up():
    """Any of them may have been lost: they were signed, so nothing that contradicts them is."""
    seat, shown = lost(), [vote(FINALIZE, b"b" * 32, OWNER, view=5)]
    asked = question(seat)
    for one in HOLDERS:
        actions = seat.receive(answer(one, asked, votes=shown))
    assert of_kind(PersistSigned, actions)[0].records[-1] == Recovered(LEDGER, 0, 6)
    assert seat.node.agreement_status().twin is None


def test_own_votes_that_an_answer_shows_are_synced_before_the_recovery_is_over():
    """A restart in between forgets none of them."""
    seat, shown = lost(), vote(FINALIZE, b"b" * 32, OWNER, view=5)
    actions = seat.receive(answer(HOLDERS[0], question(seat), votes=[shown]))
    kept = [record for one in of_kind(PersistSigned, actions) for record in one.records]
    again = guard_of(OWNER, GENESIS, Lost(None), *kept)
    assert shown.ballot in again.entries[0, 5].ballots
    assert again.status is GuardStatus.LOST


def test_what_was_shown_is_all_that_a_member_casts_after_a_recovery():
    """It notarized one block of a leader that signed two, and finalized the other, which the others had notarized."""
    seat = lost()
    shown, asked, cast = [vote(NOTARIZE, b"a" * 32, OWNER, view=5), vote(FINALIZE, b"b" * 32, OWNER, view=5)], [], []
    asked = question(seat)
    for one in HOLDERS:
        cast += cast_by(OWNER, seat.receive(answer(one, asked, votes=shown)))
    assert guard(seat) is GuardStatus.READY
    assert (NOTARIZE, 5, b"b" * 32) not in cast
    assert not seat.agreement.simplex.guard.may_sign(Ballot(NOTARIZE, 0, 5, b"b" * 32))


def test_who_starts_in_the_first_view_of_a_later_epoch_recovers_there():
    genesis = found(epoch_blocks=2)
    scribe = FinalScribe(genesis)
    scribe.forge_many(2)
    seat = lost(genesis=genesis, archive=scribe.archive)
    asked = question(seat)
    for one in HOLDERS:
        seat.receive(answer(one, asked, 1, scribe.archive.finalization(2), epoch=1, genesis=genesis))
    assert guard(seat) is GuardStatus.READY


def test_an_answer_that_is_verified_while_an_epoch_begins_does_not_count_in_that_one():
    """Its member may be far on in the new epoch: the floor would be too low."""
    genesis = found(epoch_blocks=1)
    scribe = FinalScribe(genesis)
    block = scribe.forge()
    seat = lost(genesis=genesis)
    asked = question(seat)
    checked = [seat.intake.check("peer", encode_message(answer(one, asked, genesis=genesis))) for one in HOLDERS]
    assert all(one.message is not None for one in checked)
    seat.receive(Status(genesis.ledger_id, 1, 1, block.hash, ()))
    seat.receive(Finalizations(scribe.proofs(1)))
    final = scribe.finalization(genesis_state(genesis).epoch, block, *HOLDERS)
    seat.receive(Blocks(1, (block,), (), final))
    assert seat.node.agreement_status().epoch == 1
    for one in checked:
        seat.handle(MessageReceived("x", one))
    assert guard(seat) is GuardStatus.LOST


# ---- answering --------------------------------------------------------------------------------------------------


def answers(actions):
    return [(one.peer, one.message) for one in of_kind(Send, actions) if isinstance(one.message, RecoveryResponse)]


def test_an_answer_proves_the_view_and_shows_all_votes_of_who_asks():
    seat, asker = MemberBench(), OTHERS[0]
    entered = certificate(NULLIFY, view=4)
    shown = [vote(NULLIFY, member=asker, view=view) for view in (4, 5, 6)]
    seat.hear(*entered)
    seat.hear(*shown, vote(NULLIFY, member=OTHERS[1], view=5))
    ((peer, told),) = answers(seat.receive(request_of(asker), "asker"))
    assert peer == "asker"
    assert told == answer(OWNER, request_of(asker), 5, tally_of(entered), shown)


def test_who_recovers_itself_says_so_and_who_cannot_prove_where_it_was_does_not_answer():
    asked = request_of(OTHERS[0])
    ((_, answer),) = answers(lost().receive(asked))
    assert (answer.view, answer.entered_by) == (0, None), "it says that it recovers itself"
    before = MemberBench()
    before.submit(statement())
    before.hear(*certificate(NULLIFY, view=3))
    signed = [record for one in of_kind(PersistSigned, before.wait(4 * DELTA_MS)) for record in one.records]
    assert signed, "it nullified view 4, and then its database went back"
    after = MemberBench(records=signed)
    assert answers(after.receive(asked)) == []
    after.hear(*certificate(NULLIFY, view=3))
    assert len(answers(after.receive(asked))) == 1
    assert answers(MemberBench(None).receive(asked)) == [], "an observer has signed nothing"


# ---- passing on -------------------------------------------------------------------------------------------------


def relayed(actions):
    return [one for one in of_kind(Broadcast, actions) if is_request(one.message)]


def test_a_request_is_passed_on_now_and_then_and_answers_find_their_way_back_once():
    seat, asked = MemberBench(), request_of(OTHERS[0])
    assert relayed(seat.receive(asked, "asker")) == [Broadcast(asked, but="asker")]
    again = seat.receive(asked, "asker")
    assert (relayed(again), len(answers(again))) == ([], 1)
    assert seat.receive(asked, "y") == [], "it came another way before"
    told = answer(OTHERS[1], asked)
    assert answers(seat.receive(told, "y")) == [("asker", told)]
    assert answers(seat.receive(told, "y")) == []
    assert answers(seat.receive(answer(STRANGER, asked), "y")) == []
    seat.wait(60_000)
    assert relayed(seat.receive(asked, "y")) == [Broadcast(asked, but="y")]
    assert answers(seat.receive(told, "x")) == [("y", told)]


def test_a_member_that_asks_without_end_is_relayed_within_a_budget():
    seat = MemberBench()
    actions = [one for number in range(50) for one in seat.receive(request_of(OTHERS[0], number), "asker")]
    assert 1 <= len(relayed(actions)) <= 4
    assert len(answers(actions)) == 50, "within the allowance of who sends it"


def test_requests_of_old_times_that_somebody_plays_again_do_not_silence_the_member():
    seat, old, new = MemberBench(), request_of(OTHERS[0], 1), request_of(OTHERS[0], 2)
    for _ in range(20):
        seat.receive(old, "stranger")
        actions = seat.receive(new, "asker")
        assert [peer for peer, _ in answers(actions)] == ["asker"]
        seat.wait(DELTA_MS)
    told = answer(OTHERS[1], new)
    assert answers(seat.receive(told, "y")) == [("asker", told)]
