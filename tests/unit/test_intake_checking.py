"""Intake with its claims verified elsewhere: whoever verifies them, it comes to what verifying in line comes to."""

import asyncio
from functools import partial

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
    START_MS,
    Scribe,
    evidence,
    noting,
    payload,
    proposal_evidence,
    sign_anything,
    signed_header,
    staking,
    statement,
    statements,
    vote,
    with_payload,
)

from tallystick.host.claims import check_entries, settle
from tallystick.ledger.certificate import issue_evidence
from tallystick.ledger.checkpoint import Checkpoint, cosign
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.finality import FinalHeader
from tallystick.ledger.keys import is_signed
from tallystick.ledger.messages import (
    Blocks,
    Certificates,
    Cosignatures,
    Entry,
    Finalizations,
    NewBlock,
    Proposal,
    ProposalCertificates,
    RecoveryRequest,
    RecoveryResponse,
    Status,
    Votes,
    encode_message,
)
from tallystick.ledger.vote import FINALIZE, NULLIFY, Tally, tally_of
from tallystick.ledger.wallet import sign
from tallystick.node.intake import Intake
from tallystick.node.knowledge import Knowledge


class Known(Knowledge):
    """What a node knows: these certificates and votes. It awaits the blocks from 1 on; votes of view 9 are late."""

    def __init__(self, certificates=(), votes=(), chain=()):
        self.certificates, self.votes, self.chain = set(certificates), set(votes), set(chain)

    def has_verified(self, certificate):
        return certificate in self.certificates

    def sort_out(self, entries):
        ids = [one.certificate.id for one in entries if self.has_verified(one.certificate)]
        return [one for one in entries if one.certificate.id not in ids], ids

    def on_chain(self, ids):
        return self.chain.intersection(ids)

    def check_issuer(self, certificate):
        pass

    def knows_block(self, block):
        return False

    def knows_address(self, record):
        return False

    def knows_vote(self, vote):
        return vote in self.votes

    def check_proof(self, answer):
        pass

    def check_proposed(self, block_hash, certificates):
        pass

    def is_wanted(self, peer, message):
        return not isinstance(message, Blocks) or message.start == 1

    def wanted_votes(self, votes):
        wanted = tuple(one for one in votes.tallies if one.ballot.view != 9)
        return Votes(wanted) if wanted else None

    def wants_cosignature(self, cosignature):
        return cosignature.size != 9

    def is_cosigned(self, cosignature, verify):
        return cosignature.is_signed(ORIGIN, verify)

    def late_votes(self, votes):
        return tuple(one for one in votes.tallies if one.ballot.view == 9)


def spoil(signed):
    return replace(signed, signature=bytes(64))


def checking(intake, data):
    return partial(settle, lambda verify: intake.verifying_by(verify).check("peer", data))


def checking_entries(intake, submitted):
    return partial(settle, lambda verify: check_entries(intake.verifying_by(verify), submitted))


def drive(checking, before_answer=lambda: None):
    """What a check comes to, and what it asked; each question is answered as a whole before the next."""
    questions = []

    async def verify_all(claims, *, is_urgent=False):
        questions.append(claims)
        before_answer()
        return [is_signed(*claim) for claim in claims]

    return asyncio.run(checking(verify_all)), questions


def shown(checked):
    return checked.message, [(one.rule, one.reason) for one in checked.refusals], checked.known, checked.late


KNOWN = statements(2, CY)
ON_CHAIN = statement("on the chain")
HEARD = vote(FINALIZE, member=CY)
BAD_VOTE = spoil(vote(FINALIZE, b"b" * 32, BEN))
BAD_HEADER = spoil(signed_header(nonce=1))
_good = st.sampled_from([*statements(4), *KNOWN, ON_CHAIN, staking(5), evidence(), proposal_evidence()])
_bad = st.sampled_from(
    [
        spoil(statement()),
        spoil(KNOWN[0]),
        spoil(ON_CHAIN),
        sign_anything(statement(), BEN),
        statement(ledger=bytes(32)),
        spoil(evidence()),
        issue_evidence(ADA, LEDGER, START_MS, vote(NULLIFY, member=BEN), BAD_VOTE),
        issue_evidence(ADA, LEDGER, START_MS, BAD_VOTE, vote(NULLIFY, member=BEN)),
        issue_evidence(ADA, LEDGER, START_MS, BAD_VOTE, BAD_VOTE),
        spoil(issue_evidence(ADA, LEDGER, START_MS, BAD_VOTE, BAD_VOTE)),
        issue_evidence(ADA, LEDGER, START_MS, signed_header(), BAD_HEADER),
        issue_evidence(ADA, LEDGER, START_MS, BAD_HEADER, signed_header(CY)),
    ]
)
certificates = _good | _bad
entries = st.builds(Entry, certificates) | st.sampled_from(
    [
        with_payload("covered"),
        replace(with_payload("covered"), payload=payload("other")),
        Entry(KNOWN[0], payload()),
        Entry(spoil(statement()), payload()),
    ]
)
ORIGIN = "test/log"
_COSIGNED = [cosign(one, Checkpoint(ORIGIN, size, bytes(32)), 5) for one, size in ((ADA, 1), (BEN, 1), (CY, 9))]
cosignatures = st.sampled_from(
    [
        *_COSIGNED,
        *map(spoil, _COSIGNED),
        replace(_COSIGNED[0], log_signature=bytes(64)),
        replace(_COSIGNED[1], time_s=6),
    ]
)
tallies = st.sampled_from(
    [
        tally_of([HEARD]),
        tally_of([vote(FINALIZE, member=one) for one in (ADA, BEN, CY)]),
        tally_of([vote(FINALIZE, member=ADA), spoil(vote(FINALIZE, member=BEN)), HEARD]),
        tally_of([spoil(vote(NULLIFY)), vote(NULLIFY, member=BEN)]),
        tally_of([vote(NULLIFY, view=9)]),
        tally_of([spoil(vote(FINALIZE, view=9))]),
        tally_of([vote(NULLIFY, b"b" * 32)]),
        Tally(HEARD.ballot, ((HEARD.member, HEARD.signature),) * 2),
    ]
)
_changes = [
    lambda block: block,
    lambda block: block,
    spoil,
    lambda block: replace(block, certificates=(*block.certificates, staking(7))),
    lambda block: Scribe().draft(*block.certificates, ledger_id=bytes(32)),
]
blocks = st.builds(
    lambda inside, change: change(Scribe().draft(*inside)),
    st.lists(certificates, max_size=4),
    st.sampled_from(_changes),
)


def few(strategy, at_least=0):
    return st.lists(strategy, min_size=at_least, max_size=4).map(tuple)


def recovery(message, change):
    return change(sign(message, BEN, LEDGER))


each_way = st.sampled_from([lambda signed: signed, spoil])
answers = st.builds(
    RecoveryResponse,
    st.just(BEN.public_key),
    st.just(ADA.public_key),
    st.just(bytes(32)),
    st.just(0),
    st.just(1),
    st.none() | tallies,
    few(tallies),
)


messages = st.one_of(
    st.builds(Certificates, few(entries, 1)),
    st.builds(NewBlock, blocks),
    st.builds(Blocks, st.sampled_from([1, 1, 7]), few(blocks), st.just(()), st.none() | tallies),
    st.builds(Votes, few(tallies, 1)),
    st.builds(Cosignatures, few(cosignatures, 1)),
    st.builds(lambda block: Proposal(block.header.view, 0, block.header, block.signature, ()), blocks),
    st.builds(ProposalCertificates, st.just(bytes(32)), few(certificates)),
    st.builds(Finalizations, few(st.builds(FinalHeader, blocks.map(lambda block: block.header), tallies))),
    st.builds(recovery, st.just(RecoveryRequest(BEN.public_key, bytes(32))) | answers, each_way),
)


@given(messages | some.messages)
def test_whoever_verifies_the_outcome_is_that_of_verifying_in_line(message):
    in_line = list[object]()
    knowledge = Known(KNOWN, [HEARD], [ON_CHAIN.id])
    intake = Intake(LEDGER, knowledge, noting(in_line, is_signed))
    expected = intake.check("peer", encode_message(message))
    verified = [*in_line]
    in_line.clear()
    checked, questions = drive(checking(intake, encode_message(message)))
    assert shown(checked) == shown(expected)
    assert len(questions) == (1 if verified else 0)
    asked = questions[0] if questions else []
    assert in_line == []
    assert all(claim in asked for claim in verified)
    if not expected.refusals:
        assert asked == verified


def refused_or(check):
    try:
        return check()
    except Refused as refused:
        return said_of(refused)


def said_of(outcome):
    return (outcome.rule, outcome.reason) if isinstance(outcome, Refused) else outcome


@given(st.lists(entries, max_size=5))
def test_a_users_certificates_are_refused_as_in_line(submitted):
    intake = Intake(LEDGER, Known(KNOWN))
    expected = [refused_or(lambda entry=entry: intake.check_entry(entry)) for entry in submitted]
    assert [said_of(one) for one in drive(checking_entries(intake, submitted))[0]] == expected


@given(st.binary(max_size=300) | some.messagepack)
def test_bytes_that_are_no_message_are_refused_without_a_question(data):
    intake = Intake(LEDGER, Known())
    checked, questions = drive(checking(intake, data))
    assert shown(checked) == shown(intake.check("peer", data))
    assert questions == [] or checked.refusals == ()


def test_a_user_cannot_submit_what_is_badly_signed():
    intake = Intake(LEDGER, Known())
    for certificate, rule in (
        (spoil(statement()), Rule.C1),
        (issue_evidence(ADA, LEDGER, START_MS, BAD_VOTE, BAD_VOTE), Rule.V3),
    ):
        (outcome,), _ = drive(checking_entries(intake, [Entry(certificate)]))
        assert outcome.rule is rule


def test_thousands_of_certificates_are_one_question():
    intake = Intake(LEDGER, Known())
    message = Certificates(tuple(Entry(one) for one in statements(3_000)))
    checked, questions = drive(checking(intake, encode_message(message)))
    assert checked.message == message
    assert [len(claims) for claims in questions] == [3_000]


@pytest.mark.parametrize(
    "kind",
    [lambda *inside: Certificates(tuple(map(Entry, inside))), lambda *inside: NewBlock(Scribe().draft(*inside))],
    ids=["certificates", "block"],
)
def test_what_the_node_forgets_while_its_message_is_verified_is_asked_about(kind):
    """The box may have let go of a certificate in between; it is not believed unseen, and the bad one is found out."""
    bad = spoil(statement("bad"))
    known = Known(KNOWN)
    data = encode_message(kind(*KNOWN, bad))
    checked, questions = drive(checking(Intake(LEDGER, known), data), known.certificates.clear)
    assert shown(checked) == shown(Intake(LEDGER, Known()).check("peer", data))
    assert len(questions) == 2
    assert len(questions[1]) == 2


def test_what_the_node_learns_while_its_message_is_verified_does_not_vouch_for_a_bad_signature():
    bad = spoil(statement("bad"))
    known = Known()
    data = encode_message(Certificates((Entry(KNOWN[0]), Entry(bad))))
    checked, _ = drive(checking(Intake(LEDGER, known), data), lambda: known.certificates.update(KNOWN))
    assert [one.rule for one in checked.refusals] == [Rule.C1]


def test_what_carries_no_signature_is_checked_without_a_question():
    status = Status(LEDGER, 0, 7, bytes(32), ())
    assert drive(checking(Intake(LEDGER, Known()), encode_message(status))) == (
        Intake(LEDGER, Known()).check("peer", encode_message(status)),
        [],
    )
