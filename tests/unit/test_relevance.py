"""What a member's node finds worth verifying, before it verifies anything, and whom it blames for the rest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests import strategies as some
from tests.builders import (
    GENESIS,
    LEDGER,
    MEMBERS,
    STRANGER,
    FinalScribe,
    cut_off,
    found,
    of_kind,
    rules,
    statement,
    vote,
    wallet,
)
from tests.member_bench import (
    LEADER,
    OTHERS,
    OWNER,
    MemberBench,
    certificate,
    proposal_of,
    sent,
    votes_message,
)

from tallystick.consensus.agreement import StateMismatch
from tallystick.ledger.errors import Rule
from tallystick.ledger.messages import (
    Blocks,
    FinalizationRequest,
    Finalizations,
    NewBlock,
    ProposalCertificates,
    RecoveryRequest,
    RecoveryResponse,
    Status,
    Votes,
)
from tallystick.ledger.params import MAX_GENESIS_MEMBERS
from tallystick.ledger.vote import FINALIZE, NOTARIZE, NULLIFY, Ballot, Tally
from tallystick.ledger.wallet import sign
from tallystick.node.events import Disconnect

BLOCK_HASH = b"b" * 32
STRANGERS = [wallet(f"stranger {number}") for number in range(50)]


def draft(*certificates, **changes):
    """The proposal of view 1: by default a block of one statement."""
    return FinalScribe(GENESIS).draft(*(certificates or [statement()]), **changes)


def many(view=1, count=MAX_GENESIS_MEMBERS):
    """Votes of keys that nobody knows, as many as a tally holds."""
    keys = sorted(number.to_bytes(32, "little") for number in range(count))
    return Tally(Ballot(NOTARIZE, 0, view, BLOCK_HASH), tuple((key, bytes(64)) for key in keys))


def answer(member=OTHERS[0], asker=OWNER, nonce=bytes(32), **more):
    unsigned = RecoveryResponse(member.public_key, asker.public_key, nonce, more.pop("epoch", 0), 1, None, ())
    return sign(replace(unsigned, **more), member, LEDGER)


def unasked_blocks():
    scribe = FinalScribe(GENESIS)
    block = scribe.forge()
    return Blocks(1, (block,), (), scribe.archive.finalization(1))


def unasked_proof():
    scribe = FinalScribe(GENESIS)
    scribe.forge()
    return Finalizations(scribe.proofs(1))


NEXT_LEADER = next(one for one in MEMBERS.values() if one is not LEADER)
WORTHLESS = {
    "votes of strangers": Votes((many(),) * 5),
    "votes of strangers, late": Votes((many(0),)),
    "votes of members for a view further on": votes_message(
        *(vote(NOTARIZE, BLOCK_HASH, one, view=3) for one in OTHERS)
    ),
    "votes of members in a later epoch": votes_message(*(vote(NULLIFY, member=one, epoch=1, view=2) for one in OTHERS)),
    "votes of members in an epoch far on": votes_message(*(vote(NULLIFY, member=one, epoch=2) for one in OTHERS)),
    "votes of strangers for the next epoch": votes_message(vote(NULLIFY, member=STRANGER, epoch=1)),
    "a certificate of a later epoch": votes_message(*certificate(NULLIFY, epoch=1, view=7)),
    "a proposal of another than the leader": proposal_of(draft(signer=OTHERS[0])),
    "a proposal of a stranger": proposal_of(draft(signer=STRANGER)),
    "a proposal of another epoch": proposal_of(draft(epoch=1)),
    "a proposal for a view further on": proposal_of(draft(view=3)),
    "certificates of a proposal that nobody made": ProposalCertificates(BLOCK_HASH, (statement(),) * 9),
    "a new block": NewBlock(draft()),
    "blocks": unasked_blocks(),
    "finalizations": unasked_proof(),
    "a stranger's recovery": sign(RecoveryRequest(STRANGER.public_key, bytes(32)), STRANGER, LEDGER),
    "the own recovery": sign(RecoveryRequest(OWNER.public_key, bytes(32)), OWNER, LEDGER),
    "an answer to a recovery that nobody asked for": answer(),
    "an answer to another's, who did not ask here": answer(asker=OTHERS[1]),
}


@pytest.mark.parametrize("message", WORTHLESS.values(), ids=WORTHLESS)
def test_what_is_not_worth_it_is_dropped_before_any_signature_is_verified(message):
    """Membership, leader, view and whether it was asked for are looked at first: a stranger costs next to nothing."""
    seat = MemberBench()
    before = seat.node.agreement_status()
    actions = seat.receive(message, "stranger")
    assert seat.verified == []
    assert actions == []
    assert seat.node.agreement_status() == before


ANSWERS = {
    "blocks with votes of strangers": lambda block, proof: Blocks(1, (block,), (), many()),
    "blocks without enough votes": lambda block, proof: Blocks(1, (block,), (), some_of(proof.finalization)),
    "blocks with votes for another": lambda block, proof: Blocks(1, (draft(),), (), proof.finalization),
    "a block stuffed with certificates": lambda block, proof: Blocks(
        1, (replace(block, certificates=(statement(),) * 4_000),), (), proof.finalization
    ),
    "a finalization by strangers": lambda block, proof: Finalizations((replace(proof, finalization=many()),)),
    "a finalization by too few": lambda block, proof: Finalizations(
        (replace(proof, finalization=some_of(proof.finalization)),)
    ),
}


def some_of(tally):
    return replace(tally, signatures=tally.signatures[:1])


@pytest.mark.parametrize("make", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("peer", ["asked", "another"])
def test_an_answer_that_proves_nothing_costs_no_signature_and_ends_nobody(make, peer):
    """Who was asked may lie as well as who was not; what the quorum signed is not what came with its header."""
    scribe = FinalScribe(found(epoch_blocks=1))
    block = scribe.forge()
    scribe.forge()
    message = make(block, scribe.proofs(1)[0])
    seat = MemberBench(genesis=scribe.genesis)
    epoch = 0 if isinstance(message, Blocks) else 2
    seat.receive(Status(scribe.genesis.ledger_id, epoch, 2, bytes(32), ()), "asked")
    seat.verified.clear()
    actions = seat.receive(message, peer)
    assert seat.verified == []
    assert of_kind(Disconnect, actions) == of_kind(StateMismatch, actions) == []
    assert len(rules(actions)) == (peer == "asked")


def test_a_proof_that_comes_twice_is_no_answer_to_the_next_question():
    """Seed 2712 of the campaign: an honest peer was cut off for one that was held up on its way."""
    scribe = FinalScribe(found(epoch_blocks=1))
    scribe.forge_many(3)
    seat = MemberBench(genesis=scribe.genesis)
    seat.receive(Status(scribe.genesis.ledger_id, 3, 3, bytes(32), ()), "asked")
    answer_to_the_first = Finalizations(scribe.proofs(1))
    assert FinalizationRequest(1) in sent(FinalizationRequest, seat.receive(answer_to_the_first, "asked"))
    assert seat.receive(answer_to_the_first, "asked") == []


def test_votes_of_members_are_verified_and_those_of_strangers_among_them_are_not():
    seat = MemberBench()
    seat.hear(*(vote(NULLIFY, member=one) for one in (*OTHERS, STRANGER, *STRANGERS)))
    assert [key for _, _, key in seat.verified] == sorted(one.public_key for one in OTHERS)
    seat.hear(*(vote(NULLIFY, member=one, view=9) for one in (*OTHERS, LEADER, STRANGER)))
    assert seat.node.agreement_status().view == 10, "a certificate leads on from anywhere"
    assert {key for _, _, key in seat.verified} == {one.public_key for one in (*OTHERS, LEADER)}


def test_a_vote_that_was_counted_is_not_verified_again_and_another_signature_is():
    seat, one = MemberBench(), vote(NULLIFY, member=OTHERS[0])
    for _ in range(3):
        assert rules(seat.hear(one)) == []
        assert len(seat.verified) == 1
    assert rules(seat.hear(replace(one, signature=bytes(64)))) == [Rule.V1]
    assert len(seat.verified) == 2


def test_a_tally_with_a_bad_vote_takes_no_other_with_it_and_who_passes_it_on_is_not_blamed():
    seat = MemberBench()
    bad = replace(vote(NOTARIZE, BLOCK_HASH, OTHERS[0]), signature=bytes(64))
    actions = seat.hear(bad, *certificate(NULLIFY, view=1))
    assert (rules(actions), cut_off(actions)) == ([Rule.V1], set())
    assert seat.node.agreement_status().view == 2


def test_a_recovery_of_a_member_is_looked_at_once_it_is_signed_by_it():
    asked = sign(RecoveryRequest(OTHERS[0].public_key, bytes(32)), OTHERS[0], LEDGER)
    seat = MemberBench()
    actions = seat.receive(replace(asked, signature=bytes(64)))
    assert (rules(actions), cut_off(actions)) == ([Rule.V1], set())
    assert len(seat.verified) == 1
    assert sent(RecoveryResponse, seat.receive(asked)) != []


some_votes = st.builds(
    vote,
    st.sampled_from([NOTARIZE, FINALIZE]),
    st.sampled_from([BLOCK_HASH, draft().hash]),
    st.sampled_from([LEADER, *OTHERS, OWNER, STRANGER]),
    st.integers(0, 2),
    st.integers(0, 5),
)
said = some.messages | st.lists(some_votes, min_size=1, max_size=4).map(lambda votes: votes_message(*votes))


@given(st.lists(st.tuples(st.sampled_from(["x", "stranger"]), said, st.sampled_from([0, 100, 5_000])), max_size=12))
def test_a_member_that_is_told_anything_raises_nothing_and_believes_nothing(told):
    bench = MemberBench()
    for peer, message, ms in told:
        bench.receive(message, peer)
        bench.wait(ms)
    assert bench.node.state.index == 0
    assert bench.node.agreement_status().mismatch is None
