"""Votes and headers: which two nobody honest signs both, what a tally holds, and what evidence has to show."""

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests import strategies as some
from tests.builders import (
    ADA,
    BEN,
    CY,
    LEDGER,
    MEMBERS,
    START_MS,
    STRANGER,
    Bench,
    Scribe,
    evidence,
    found,
    proposal_evidence,
    refuses,
    rules,
    sign_anything,
    signed_header,
    vote,
)

from tallystick.ledger.certificate import certificate_codec, issue_evidence
from tallystick.ledger.encoding import Codec, encode
from tallystick.ledger.errors import Rule
from tallystick.ledger.keys import Domain, is_signed
from tallystick.ledger.messages import Blocks, Certificates, Entry, NewBlock, Status, encode_message
from tallystick.ledger.vote import FINALIZE, NOTARIZE, NULLIFY, Ballot, Tally, Vote, cast, tally_of

A, B = b"a" * 32, b"b" * 32
BALLOT = Ballot(NOTARIZE, 0, 1, A)
vote_codec = Codec[Vote](Vote, 1024, "vote")
tally_codec = Codec[Tally](Tally, 4096, "tally")


def test_a_vote_is_signed_by_its_member_for_one_ledger_and_one_ballot():
    one = vote(NOTARIZE, A)
    assert is_signed(one.ballot.signed_bytes(LEDGER), one.signature, ADA.public_key)
    assert one.ballot.signed_bytes(LEDGER) == b"tallystick.vote.v1\x00" + LEDGER + encode(one.ballot)
    assert not is_signed(one.ballot.signed_bytes(bytes(32)), one.signature, ADA.public_key)
    for change in ({"kind": NULLIFY}, {"epoch": 1}, {"view": 2}, {"block_hash": B}):
        changed = replace(one.ballot, **change)
        assert not is_signed(changed.signed_bytes(LEDGER), one.signature, ADA.public_key), change


# ---- conflicts --------------------------------------------------------------------------------------------------

SAYS: dict[str, tuple[Any, ...]] = {
    "notarize A": (NOTARIZE, A),
    "notarize B": (NOTARIZE, B),
    "nullify": (NULLIFY,),
    "finalize A": (FINALIZE, A),
    "finalize B": (FINALIZE, B),
}
CONFLICTS = {
    frozenset({"notarize A", "notarize B"}),
    frozenset({"finalize A", "finalize B"}),
    frozenset({"nullify", "finalize A"}),
    frozenset({"nullify", "finalize B"}),
}


@pytest.mark.parametrize("first", SAYS)
@pytest.mark.parametrize("second", SAYS)
def test_which_two_votes_of_one_view_conflict(first, second):
    """An honest member may notarize A and finalize B: it saw B notarized by the others."""
    one, two = vote(*SAYS[first]), vote(*SAYS[second])
    assert one.conflicts_with(two) is two.conflicts_with(one) is (frozenset({first, second}) in CONFLICTS)


ELSEWHERE = {
    "another view": {"view": 2},
    "another epoch": {"epoch": 1},
    "another member": {"member": BEN},
}


@pytest.mark.parametrize("elsewhere", ELSEWHERE.values(), ids=ELSEWHERE)
@pytest.mark.parametrize("first", SAYS)
@pytest.mark.parametrize("second", SAYS)
def test_votes_of_different_views_epochs_or_members_never_conflict(first, second, elsewhere):
    one, two = vote(*SAYS[first]), vote(*SAYS[second], **elsewhere)
    assert not one.conflicts_with(two)
    assert not two.conflicts_with(one)


@given(some.votes, st.binary(min_size=64, max_size=64))
def test_a_vote_never_conflicts_with_itself_however_it_is_signed(one, signature):
    assert not one.conflicts_with(one)
    assert not one.conflicts_with(replace(one, signature=signature))


small = st.builds(
    Vote,
    ballot=st.builds(
        Ballot,
        kind=st.integers(1, 3),
        epoch=st.integers(0, 1),
        view=st.integers(1, 2),
        block_hash=st.sampled_from([A, B]),
    ),
    member=st.sampled_from([A, B]),
)


@given(small, small)
def test_conflict_goes_both_ways_and_stays_within_one_members_view(one, two):
    assert one.conflicts_with(two) is two.conflicts_with(one)
    if one.conflicts_with(two):
        assert one.member == two.member
        assert (one.ballot.epoch, one.ballot.view) == (two.ballot.epoch, two.ballot.view)
        assert NOTARIZE not in {one.ballot.kind, two.ballot.kind} or one.ballot.kind == two.ballot.kind


# ---- tallies ----------------------------------------------------------------------------------------------------


def test_a_tally_holds_its_members_in_order_whatever_order_they_voted_in():
    votes = [vote(FINALIZE, A, one) for one in (ADA, BEN, CY)]
    tallies = {tally_of(some_order) for some_order in permutations(votes)}
    assert len(tallies) == 1
    tally = tallies.pop()
    members = [member for member, _ in tally.signatures]
    assert members == sorted(one.public_key for one in (ADA, BEN, CY))
    assert sorted(tally.votes, key=encode) == sorted(votes, key=encode)


@given(some.votes)
def test_votes_survive_the_wire(one):
    assert vote_codec.decode(encode(one)) == one


@given(some.tallies)
def test_tallies_survive_the_wire_and_give_their_votes_back(tally):
    assert tally_codec.decode(encode(tally)) == tally
    assert tally_of(tally.votes).ballot == tally.ballot
    assert [(one.member, one.signature) for one in tally.votes] == list(tally.signatures)


@pytest.mark.parametrize(
    "wrong",
    [{"kind": 0}, {"kind": 4}, {"epoch": -1}, {"view": 2**53}, {"block_hash": None}],
    ids=str,
)
def test_a_ballot_out_of_bounds_is_refused(wrong):
    with refuses(Rule.E2):
        vote_codec.decode(encode(Vote(replace(BALLOT, **wrong), A)))


def test_a_tally_of_nobody_is_refused():
    with refuses(Rule.E2):
        tally_codec.decode(encode(Tally(BALLOT, ())))


# ---- evidence ---------------------------------------------------------------------------------------------------


def evidence_of(first, second, issuer=ADA):
    return issue_evidence(issuer, LEDGER, START_MS, first, second)


def headers_of(first, second, issuer=ADA):
    return issue_evidence(issuer, LEDGER, START_MS, first, second)


PROOFS = {
    "nullify and finalize": evidence(),
    "finalize and nullify": evidence_of(vote(FINALIZE, A, BEN), vote(NULLIFY, member=BEN)),
    "two blocks notarized": evidence_of(vote(NOTARIZE, A, BEN), vote(NOTARIZE, B, BEN)),
    "two blocks finalized": evidence_of(vote(FINALIZE, A, BEN), vote(FINALIZE, B, BEN)),
    "two headers": proposal_evidence(),
    "two headers of one's own": proposal_evidence(ADA, ADA),
    "headers of two indexes": headers_of(signed_header(), signed_header(index=2)),
    "headers of the first and the last index of an epoch": headers_of(signed_header(), signed_header(index=100)),
    "against oneself": evidence(ADA, ADA),
    "from a stranger": evidence(BEN, STRANGER),
}


@pytest.mark.parametrize("proof", PROOFS.values(), ids=PROOFS)
def test_good_evidence_is_taken_and_costs_the_offender_its_stake(proof):
    assert certificate_codec.decode(proof.encoded) == proof
    bench, scribe = Bench(), Scribe()
    assert bench.intake.check_entry(Entry(proof)).entry.certificate == proof
    assert rules(bench.receive(Certificates((Entry(proof),)))) == []
    assert proof.id in bench.node.box
    bench.receive(NewBlock(scribe.forge(proof)))
    assert bench.node.state.index == 1
    assert bench.node.state.stakes.account(proof.offender).staked == 0
    assert bench.node.state.stakes.burned == 100
    assert rules(bench.submit(evidence(_wallet_of(proof), CY, view=2))) == [Rule.S6]


def _wallet_of(proof):
    return next(one for one in MEMBERS.values() if one.public_key == proof.offender)


SIGNED_BY_ANOTHER = replace(vote(NULLIFY, member=BEN), signature=vote(NULLIFY, member=CY).signature)
FOR_ANOTHER_LEDGER = cast(BEN, bytes(32), vote(NULLIFY).ballot)
AS_A_CERTIFICATE = replace(
    vote(NULLIFY, member=BEN), signature=BEN.sign(Domain.CERTIFICATE, LEDGER, vote(NULLIFY).ballot.encoded)
)
UNSIGNED = replace(signed_header(), signature=bytes(64))
NO_PROOFS = {
    "first vote unsigned": (evidence_of(Vote(vote(NULLIFY).ballot, BEN.public_key), vote(FINALIZE, A, BEN)), Rule.V1),
    "second vote unsigned": (evidence_of(vote(FINALIZE, A, BEN), Vote(vote(NULLIFY).ballot, BEN.public_key)), Rule.V1),
    "second vote signed by another": (evidence_of(vote(FINALIZE, A, BEN), SIGNED_BY_ANOTHER), Rule.V1),
    "vote on another ledger": (evidence_of(FOR_ANOTHER_LEDGER, vote(FINALIZE, A, BEN)), Rule.V1),
    "a certificate's signature": (evidence_of(AS_A_CERTIFICATE, vote(FINALIZE, A, BEN)), Rule.V1),
    "one vote twice": (evidence_of(vote(NULLIFY, member=BEN), vote(NULLIFY, member=BEN)), Rule.V3),
    "notarize and finalize": (evidence_of(vote(NOTARIZE, A, BEN), vote(FINALIZE, B, BEN)), Rule.V3),
    "notarize and nullify": (evidence_of(vote(NOTARIZE, A, BEN), vote(NULLIFY, member=BEN)), Rule.V3),
    "two views": (evidence_of(vote(NOTARIZE, A, BEN), vote(NOTARIZE, B, BEN, view=2)), Rule.V3),
    "two epochs": (evidence_of(vote(NOTARIZE, A, BEN), vote(NOTARIZE, B, BEN, epoch=1)), Rule.V3),
    "two members": (evidence_of(vote(NOTARIZE, A, BEN), vote(NOTARIZE, B, CY)), Rule.V3),
    "one header twice": (headers_of(signed_header(), signed_header()), Rule.V3),
    "headers of two views": (headers_of(signed_header(), signed_header(view=2)), Rule.V3),
    "headers of two epochs": (headers_of(signed_header(), signed_header(epoch=1)), Rule.V3),
    "headers of two forgers": (headers_of(signed_header(), signed_header(CY, nonce=1)), Rule.V3),
    "first header unsigned": (
        headers_of(replace(signed_header(), signature=bytes(64)), signed_header(nonce=1)),
        Rule.B3,
    ),
    "second header unsigned": (
        headers_of(signed_header(), replace(signed_header(nonce=1), signature=bytes(64))),
        Rule.B3,
    ),
    "second header signed by another": (
        headers_of(signed_header(), replace(signed_header(nonce=1), signature=signed_header(CY, nonce=1).signature)),
        Rule.B3,
    ),
    "header on another ledger": (headers_of(signed_header(), signed_header(genesis=found(created_ms=0))), Rule.B10),
    "nobody issued it": (replace(evidence(), signature=bytes(64)), Rule.C1),
    "another issued it": (sign_anything(evidence(), CY), Rule.C1),
}


@pytest.mark.parametrize(("proof", "rule"), NO_PROOFS.values(), ids=NO_PROOFS)
def test_evidence_that_proves_nothing_is_refused_wherever_it_comes_from(proof, rule):
    bench = Bench()
    with refuses(rule):
        bench.intake.check_entry(Entry(proof))
    checked = bench.intake.check("peer", encode_message(Certificates((Entry(proof),))))
    assert [one.rule for one in checked.refusals] == [rule]
    bench.receive(Status(LEDGER, 0, 5, bytes(32), ()))
    block = Scribe().draft(proof)
    for message in (NewBlock(block), Blocks(1, (block,))):
        checked = bench.intake.check("peer", encode_message(message))
        assert [one.rule for one in checked.refusals] == [Rule.B5]
        assert rule.name in str(checked.refusals[0])
    assert bench.node.state.stakes.burned == 0


def test_votes_and_headers_together_cost_one_stake():
    bench = Bench()
    assert rules(bench.submit(proposal_evidence())) == []
    assert rules(bench.submit(evidence())) == [Rule.C4]
    bench.receive(NewBlock(Scribe().forge(proposal_evidence())))
    assert rules(bench.submit(proposal_evidence(issuer=CY))) == [Rule.S6]
    assert bench.node.state.stakes.burned == 100
