"""The certificate box: bounded, in order of arrival, and any prefix of it legal in a block."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.builders import (
    ADA,
    BEN,
    GENESIS,
    MEMBERS,
    START_MS,
    STRANGER,
    Scribe,
    evidence,
    found,
    payload,
    refuses,
    staking,
    statement,
    statements,
    with_payload,
)

from tallystick.ledger.blockchain import NOTHING
from tallystick.ledger.encoding import encode
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.messages import Entry
from tallystick.ledger.params import MAX_BLOCK_BYTES
from tallystick.ledger.state import genesis_state
from tallystick.node.certificate_box import CertificateBox
from tallystick.node.limits import Limits

FOUNDED = genesis_state(GENESIS)


def box_of(*certificates, **limits):
    box = CertificateBox(Limits(**limits), FOUNDED)
    for place, certificate in enumerate(certificates):
        box.add(Entry(certificate), place)
    return box


def contents(box):
    return [one.encoded for one in box], len(box), box.size_bytes, box.newest_ms(), box.ids(100)


def chosen(box, base=FOUNDED, above=()):
    return box.choose(START_MS, base, SimpleNamespace(known={one.id for one in above}.intersection, find=NOTHING.find))


def assert_refused(rule, box, entry):
    before = contents(box)
    with refuses(rule):
        box.add(entry if isinstance(entry, Entry) else Entry(entry), 9)
    assert contents(box) == before


def test_certificates_wait_in_order_of_arrival():
    one, two, three = statements(3)
    box = box_of(two, one, three)
    assert list(box) == [two, one, three]
    assert box.ids(2) == (two.id, one.id)
    assert (len(box), box.newest_ms()) == (3, 2)
    assert box.get(one.id) == Entry(one)
    assert one.id in box
    assert box.ids(9, after_ms=0, until_ms=1) == (one.id,)
    box.tip_advanced([two, three], FOUNDED)
    assert (len(box), box.newest_ms()) == (1, 1)
    assert box.get(two.id) is None
    assert box_of().newest_ms() is None


def test_a_certificate_waits_once():
    box = box_of(statement(), staking(5))
    assert_refused(Rule.C4, box, statement())
    assert_refused(Rule.C4, box, staking(5))


def test_what_came_is_told_from_what_waits_by_its_signature_too():
    one, two, three = statements(3)
    proof = evidence()
    box = box_of(one, proof)
    forged = replace(one, signature=bytes(64))
    entries = [Entry(each) for each in (two, one, forged, proof, three)]
    assert box.sort_out(entries) == ([Entry(two), Entry(forged), Entry(three)], [one.id, proof.id])
    assert [box.holds(entry.certificate) for entry in entries] == [False, True, False, True, False]


def test_a_full_box_takes_no_more_until_a_block_empties_it():
    box = box_of(*statements(3), box_certificates=3)
    assert_refused(Rule.C6, box, statement("a fourth"))
    box.tip_advanced(statements(1), FOUNDED)
    box.add(Entry(statement("a fourth")), 9)


def test_bytes_are_bounded_payloads_included():
    entry = with_payload("covered")
    size = len(entry.certificate.encoded) + len(encode(entry.payload))
    box = box_of(box_bytes=size)
    box.add(entry, 0)
    assert box.size_bytes == size
    assert_refused(Rule.C6, box, statement())
    assert_refused(Rule.C6, box_of(box_bytes=size - 1), entry)


def test_one_issuer_cannot_fill_the_box():
    box = box_of(*statements(2, ADA), box_certificates_per_issuer=2)
    assert_refused(Rule.C7, box, statement("more of Ada's"))
    box.add(Entry(statement("Ben's", BEN)), 0)
    box.tip_advanced(statements(1, ADA), FOUNDED)
    box.add(Entry(statement("more of Ada's")), 0)


@pytest.mark.parametrize(
    ("waiting", "operation", "rule"),
    [
        ([], staking(0), Rule.S1),
        ([], staking(1_001), Rule.S2),
        ([staking(600)], staking(401, at_ms=1), Rule.S2),
        ([staking(1_000), staking(-1_000, at_ms=1)], staking(1_001, at_ms=2), Rule.S2),
        ([], staking(-101), Rule.S3),
        ([staking(-60)], staking(-41, at_ms=1), Rule.S3),
        ([], staking(1, STRANGER), Rule.S2),
        ([staking(-100, member) for member in list(MEMBERS.values())[1:]], staking(-100), Rule.S4),
    ],
    ids=[
        "zero",
        "too much",
        "too much with what waits",
        "moved to and fro",
        "not staked",
        "twice",
        "nothing",
        "the last",
    ],
)
def test_staking_operations_are_judged_as_if_all_before_them_were_forged(waiting, operation, rule):
    assert_refused(rule, box_of(*waiting), operation)


def test_the_next_block_takes_what_waited_longest_and_fits():
    few = genesis_state(found(max_block_certificates=3))
    assert not chosen(box_of())
    assert chosen(box_of(*statements(5)), few) == statements(3)
    assert chosen(box_of(*statements(2)), few) == statements(2)
    long = [statement("\U0001f600" * 250 + f"{number:05}") for number in range(1_000)]
    fitting = chosen(box_of(*long))
    assert len(long) > len(fitting) > 0
    assert MAX_BLOCK_BYTES - 4_096 < len(Scribe().draft(*fitting).encoded) <= MAX_BLOCK_BYTES


def test_what_blocks_below_hold_is_not_chosen_again():
    box, first, last = box_of(*statements(3)), *statements(3)[::2]
    assert chosen(box, above=[first]) == statements(3)[1:]
    assert chosen(box, above=statements(3)[:-1]) == [last]
    assert not chosen(box, above=statements(3))


def test_what_is_illegal_on_another_base_stays_and_makes_way():
    """A proposal may extend blocks that are not final: the box is judged as of the final tip."""
    scribe = Scribe()
    scribe.forge(staking(600))
    box = box_of(staking(500), statement(), staking(400, at_ms=1))
    assert chosen(box, scribe.state) == [statement(), staking(400, at_ms=1)]
    assert len(box) == 3


def test_a_block_takes_its_certificates_out_of_the_box_and_leaves_the_rest():
    covered = with_payload("covered")
    box = box_of(*statements(2), staking(5))
    box.add(covered, 0)
    payloads, left = box.tip_advanced([statement("statement 1"), covered.certificate, statement("unheard of")], FOUNDED)
    assert payloads == {covered.certificate.payload_hash: covered.payload}
    assert left == []
    assert list(box) == [statement("statement 0"), staking(5)]
    assert box.size_bytes == sum(len(one.encoded) for one in box)


def test_staking_operations_that_a_block_made_illegal_leave_the_box():
    box = box_of(staking(600), statement(), staking(300, at_ms=1), staking(50, BEN))
    scribe = Scribe()
    scribe.forge(staking(500, at_ms=2))
    _, left = box.tip_advanced(scribe.blocks[0].certificates, scribe.state)
    assert [(one, refused.rule) for one, refused in left] == [(staking(600).id, Rule.S2)]
    assert list(box) == [statement(), staking(300, at_ms=1), staking(50, BEN)]
    assert_refused(Rule.S2, box, staking(201, at_ms=3))
    box.add(Entry(staking(200, at_ms=3)), 0)


def test_an_erased_payload_leaves_and_its_certificates_stay():
    covered = with_payload("covered")
    again = statement("covers the same", BEN, payload=covered.payload)
    other = with_payload("other")
    box = box_of()
    for entry in (covered, Entry(again, covered.payload), other):
        box.add(entry, 0)
    before = box.size_bytes
    box.erase_payload(payload("covered").hash())
    assert box.get(covered.certificate.id) == Entry(covered.certificate)
    assert box.get(again.id) == Entry(again)
    assert box.get(other.certificate.id) == other
    assert box.size_bytes == before - 2 * len(encode(covered.payload))
    assert box.tip_advanced([covered.certificate, again], FOUNDED) == ({}, [])


steps = st.lists(
    st.tuples(st.sampled_from(["add", "add", "add", "settle"]), st.integers(0, 15), st.integers(-200, 1_100)),
    max_size=25,
)


@given(steps)
def test_every_prefix_of_the_box_is_legal_and_its_account_is_right(moves):
    members = [*MEMBERS.values(), STRANGER]
    scribe = Scribe()
    limits = Limits(box_certificates=8, box_certificates_per_issuer=4)
    box = CertificateBox(limits, scribe.state)
    for number, (move, pick, amount) in enumerate(moves):
        issuer = members[pick % len(members)]
        certificate = staking(amount, issuer, number) if pick % 3 else statement(f"{pick}", issuer)
        if move == "settle":
            count = pick % (len(box) + 1)
            block = scribe.forge(*list(box)[:count]) if count else scribe.forge(statement(f"block {number}"))
            box.tip_advanced(block.certificates, scribe.state)
        else:
            before = contents(box)
            try:
                if scribe.chain.place_of(certificate.id) is None:
                    box.add(Entry(certificate), number)
            except Refused:
                assert contents(box) == before
        assert len(box) <= limits.box_certificates
        assert box.size_bytes == sum(len(one.encoded) for one in box)
        assert chosen(box, scribe.state) == list(box)
        for count in range(1, len(box) + 1):
            scribe.chain.after(scribe.draft(*list(box)[:count]))


def test_of_what_waits_that_is_chosen_which_came_by_some_time():
    box = box_of(*statements(3))
    assert box.choose(START_MS, FOUNDED, NOTHING, 1) == statements(3)[:2]
    assert box.choose(START_MS, FOUNDED, NOTHING) == statements(3)


def test_what_came_before_the_clock_was_set_back_waits_for_no_later_time():
    came_ms, box = START_MS + 3_600_000, CertificateBox(Limits(), FOUNDED)
    before, *since = statements(4)
    box.add(Entry(before), came_ms)
    for passed_ms, one in enumerate(since):
        box.add(Entry(one), START_MS + 100 * passed_ms)
    assert box.choose(START_MS + 250, FOUNDED, NOTHING, START_MS + 100) == [before, *since[:2]]
    assert box.choose(came_ms, FOUNDED, NOTHING, came_ms - 1) == since, "nothing came before a clock that is right"
