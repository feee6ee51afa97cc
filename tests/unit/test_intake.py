"""Intake: from bytes to a checked message, or to refusals; never an exception, the cheap checks first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests import strategies as some
from tests.builders import (
    ADA,
    BEN,
    LEDGER,
    START_MS,
    STRANGER,
    Bench,
    Scribe,
    noting,
    payload,
    refuses,
    sign_anything,
    sign_block,
    staking,
    statement,
    statements,
    with_payload,
)

from tallystick.ledger.certificate import Statement
from tallystick.ledger.errors import Rule
from tallystick.ledger.keys import is_signed
from tallystick.ledger.messages import (
    Blocks,
    Certificates,
    Cosignatures,
    Entry,
    NewBlock,
    Status,
    Votes,
    encode_message,
)
from tallystick.node.intake import Intake


def behind():
    """A node that has asked the peer for the blocks from 1 on."""
    bench = Bench()
    bench.receive(Status(LEDGER, 0, 5, bytes(32), ()))
    return bench


def check(message, bench=None):
    data = message if isinstance(message, bytes) else encode_message(message)
    return (bench or behind()).intake.check("peer", data)


def rules_of(checked):
    return [refused.rule for refused in checked.refusals]


COUNTERFEITS = {
    "unsigned": replace(statement(), signature=bytes(64)),
    "signed by another": sign_anything(statement(), BEN),
    "for another ledger": statement(ledger=bytes(32)),
    "changed after signing": replace(statement(), subject="changed"),
    "another's signature": replace(statement(), signature=statement("other").signature),
    "another's name": replace(statement(), issuer=BEN.public_key),
    "changed amount": replace(staking(5), amount=6),
    "small-order issuer": sign_anything(Statement(b"\x01" + bytes(31), START_MS, "subject", None)),
}


@pytest.mark.parametrize("certificate", COUNTERFEITS.values(), ids=COUNTERFEITS)
def test_a_counterfeit_certificate_is_refused_wherever_it_comes_from(certificate):
    with refuses(Rule.C1):
        Bench().intake.check_entry(Entry(certificate))
    checked = check(Certificates((Entry(certificate),)))
    assert (checked.message, rules_of(checked)) == (None, [Rule.C1])
    block = Scribe().draft(certificate)
    for message, left in ((NewBlock(block), None), (Blocks(1, (block,)), Blocks(1, ()))):
        checked = check(message)
        assert (checked.message, rules_of(checked)) == (left, [Rule.B5])


def test_a_payload_that_the_certificate_does_not_cover_is_refused():
    for entry in (Entry(statement(), payload()), replace(with_payload("covered"), payload=payload("other"))):
        with refuses(Rule.C3):
            Bench().intake.check_entry(entry)
        assert rules_of(check(Certificates((entry,)))) == [Rule.C3]


def test_the_good_part_of_a_batch_goes_through():
    good = [Entry(one) for one in statements(3)]
    bad = [Entry(COUNTERFEITS["unsigned"]), Entry(statement("x"), payload())]
    checked = check(Certificates((good[0], bad[0], good[1], bad[1], good[2])))
    assert checked.message == Certificates(tuple(good))
    assert rules_of(checked) == [Rule.C1, Rule.C3]


@pytest.mark.parametrize(
    "certificate",
    [
        sign_anything(Statement(ADA.public_key, START_MS, "x" * 257, None)),
        sign_anything(Statement(ADA.public_key, 1.5, "subject", None)),  # type: ignore[arg-type]
        sign_anything(Statement(ADA.public_key, -1, "subject", None)),
        sign_anything(replace(staking(5), amount=2.0)),
        sign_anything(replace(staking(5), amount=True)),
        replace(statement(), signature=bytes(63)),
        replace(statement(), issuer=bytes(31)),
    ],
    ids=["long subject", "float time", "negative time", "float amount", "bool amount", "short signature", "short key"],
)
def test_a_user_cannot_submit_what_peers_would_refuse(certificate):
    with refuses(Rule.E2):
        Bench().submit(certificate)


def test_a_user_cannot_submit_a_payload_that_peers_would_refuse():
    odd = replace(payload(), salt=b"short")
    covering = sign_anything(Statement(ADA.public_key, START_MS, "subject", odd.hash()))
    with refuses(Rule.E2):
        Bench().submit(Entry(covering, odd))


def test_a_block_is_signed_by_its_forger():
    block = Scribe().draft(statement())
    for wrong in (replace(block, signature=bytes(64)), sign_block(block.header, block.certificates, STRANGER)):
        assert rules_of(check(NewBlock(wrong))) == [Rule.B3]
    assert check(NewBlock(block)).message == NewBlock(block)


def test_a_block_is_checked_alone_before_its_signatures():
    """A stranger's block costs no signature check when a cheaper one refuses it."""
    verified = list[object]()
    bench = Bench()
    intake = Intake(LEDGER, bench.node.knowledge, noting(verified, is_signed))
    block = Scribe().draft(statement())
    for wrong, rule in (
        (replace(block, certificates=()), Rule.B7),
        (Scribe().draft(statement(), ledger_id=bytes(32)), Rule.B10),
        (Scribe().draft(statement(), version=9), Rule.E4),
    ):
        assert rules_of(intake.check("peer", encode_message(NewBlock(wrong)))) == [rule]
    assert verified == []
    assert intake.check("peer", encode_message(NewBlock(block))).message is not None
    assert len(verified) == 2


def test_a_bad_block_spoils_the_answer_that_holds_it():
    blocks = Scribe().forge_many(3)
    blocks[1] = replace(blocks[1], signature=bytes(64))
    checked = check(Blocks(1, tuple(blocks)))
    assert (checked.message, rules_of(checked)) == (Blocks(1, ()), [Rule.B3])


def test_nothing_is_verified_twice():
    verified = list[object]()
    bench, scribe = Bench(), Scribe()
    bench.intake = Intake(LEDGER, bench.node.knowledge, noting(verified, is_signed))
    certificates = statements(3)
    for _ in range(3):
        bench.receive(Certificates(tuple(Entry(one) for one in certificates)))
    assert len(verified) == 3
    block = scribe.forge(*certificates)
    for _ in range(3):
        bench.receive(NewBlock(block))
    assert bench.node.state.index == 1
    assert len(verified) == 4
    bench.receive(Certificates(tuple(Entry(one) for one in certificates)))
    assert len(verified) == 4


def test_what_was_verified_does_not_vouch_for_another_signature():
    """The same id with a forged signature must not ride on the one in the box."""
    bench = Bench()
    bench.submit(statement())
    forged = replace(statement(), signature=bytes(64))
    assert rules_of(check(Certificates((Entry(forged),)), bench)) == [Rule.C1]
    assert rules_of(check(NewBlock(Scribe().draft(forged)), bench)) == [Rule.B5]


@given(some.messages)
def test_any_message_is_checked_without_an_exception(message):
    bench = behind()
    checked, knowledge = check(message, bench), bench.node.knowledge
    match message:
        case Votes():
            is_dropped = knowledge.wanted_votes(message) is None
        case Cosignatures(cosignatures):
            is_dropped = not any(map(knowledge.wants_cosignature, cosignatures))
        case _:
            is_dropped = not knowledge.is_wanted("peer", message)
    assert checked.message is not None or checked.refusals or is_dropped


def test_blocks_that_nobody_asked_for_are_not_worth_a_signature_check():
    verified = list[object]()
    for bench, start, checks in ((Bench(), 1, 0), (behind(), 2, 0), (behind(), 1, 2)):
        intake = Intake(LEDGER, bench.node.knowledge, noting(verified, is_signed))
        answer = Blocks(start, (Scribe().forge(statement()),))
        assert intake.check("another peer", encode_message(answer)).message is None
        assert intake.check("peer", encode_message(answer)).refusals == ()
        assert len(verified) == checks


@given(st.binary(max_size=300) | some.messagepack)
def test_any_bytes_are_checked_without_an_exception(data):
    checked = check(data)
    assert checked.message is None or not checked.refusals


def test_what_carries_no_signature_goes_through():
    status = Status(bytes(32), 0, 7, bytes(32), ())
    assert check(status).message == status
