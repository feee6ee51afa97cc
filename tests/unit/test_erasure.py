"""Orders to erase a payload everywhere, and who confirms them: legal or not, and the state stays as it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.builders import ADA, BEN, START_MS, STRANGER, Scribe, evidence, found, refuses, statement
from tests.governed import GovernedScribe, directory_genesis

from tallystick.ledger.certificate import Erasure, ErasureConfirmation, issue, sign_certificate
from tallystick.ledger.changes import Erase, Role, SetMemberRole
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.motions import Outcome
from tallystick.ledger.transition import Draft

NAMES = ("ada", "ben", "cy", "dot")


@pytest.fixture
def scribe():
    return GovernedScribe()


@pytest.fixture
def diploma(scribe):
    """A statement of Ada's issuer key, on the chain."""
    made = scribe.statement("issuer")
    scribe.forge(scribe.add_issuer("issuer"), made)
    return made


@pytest.fixture
def order(scribe, diploma):
    made = scribe.erasure(diploma)
    scribe.forge(made)
    return made


def but_for_the_log(state):
    """The roots of all that decisions change."""
    roots = state.roots
    return roots.accounts, roots.burned, roots.parameters, roots.directory, roots.status, roots.motions


# ---- the organisation's own order -------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["issuer", "ada", "registry"])
def test_a_key_of_the_organisation_orders_and_the_state_stays(scribe, diploma, by):
    scribe.forge(scribe.add_issuer("registry"))
    before = but_for_the_log(scribe.state)
    scribe.forge(scribe.erasure(diploma, by))
    assert but_for_the_log(scribe.state) == before


def test_no_other_organisation_orders(scribe, diploma):
    with refuses(Rule.R2, "is not of the organisation that certified"):
        scribe.forge(scribe.erasure(diploma, "ben"))


def test_what_is_erased_is_a_statement_on_the_chain(scribe, diploma, order):
    with refuses(Rule.R1):
        scribe.forge(issue(Erasure, ADA, scribe.ledger_id, START_MS, bytes(32)))
    waiting = scribe.statement("ada")
    with refuses(Rule.R1):
        scribe.forge(waiting, scribe.erasure(waiting))
    for one in (order, scribe.key_change(SetMemberRole(BEN.public_key, Role.VOTER), "ben")):
        with refuses(Rule.R1):
            scribe.forge(scribe.erasure(one))


def test_who_may_not_certify_orders_nothing(scribe, diploma):
    scribe.forge(scribe.end_issuer("issuer"), scribe.key_change(SetMemberRole(ADA.public_key, Role.VOTER), "ada"))
    for by in ("issuer", "ada"):
        with refuses(Rule.D1):
            scribe.forge(scribe.erasure(diploma, by))
    with refuses(Rule.D1):
        scribe.forge(issue(Erasure, STRANGER, scribe.ledger_id, START_MS, diploma.id))


def test_a_statement_belongs_to_who_held_its_key_at_its_index():
    scribe = GovernedScribe(directory_genesis(anybody_certifies=True))
    before, after = scribe.statement("issuer"), scribe.statement("issuer")
    scribe.forge(before, scribe.add_issuer("issuer"), after)
    with refuses(Rule.R2):
        scribe.forge(scribe.erasure(before, "ada"))
    scribe.forge(scribe.erasure(before, "issuer"), scribe.erasure(after, "ada"))


# ---- by motion --------------------------------------------------------------------------------------------------


def test_a_motion_orders_for_what_another_certified_and_the_state_stays(scribe, diploma):
    before = but_for_the_log(scribe.state)
    motion = scribe.motion(Erase(diploma.id), "ben")
    scribe.forge(motion, scribe.approval(motion, "cy"), scribe.approval(motion, "dot"))
    assert scribe.state.decided == {motion.id: Outcome.PASSED}
    assert but_for_the_log(scribe.state) == before


def test_a_motion_is_about_a_statement_on_the_chain(scribe, diploma, order):
    for target in (bytes(32), order.id):
        with refuses(Rule.R1):
            scribe.forge(scribe.motion(Erase(target), "ben"))


# ---- confirmations ----------------------------------------------------------------------------------------------


def test_each_member_confirms_once(scribe, diploma, order):
    before = but_for_the_log(scribe.state)
    scribe.forge(*(scribe.erased(order, diploma, name) for name in NAMES))
    assert but_for_the_log(scribe.state) == before
    assert scribe.erased(order, diploma, "ben").encoded == scribe.erased(order, diploma, "ben").encoded
    with refuses(Rule.B6):
        scribe.forge(scribe.erased(order, diploma, "ben"))


@pytest.mark.parametrize("more", [{"timestamp_ms": 1}, {"subject": "again"}, {"payload_hash": bytes(32)}])
def test_each_field_beside_order_and_target_is_fixed(scribe, diploma, order, more):
    other = replace(scribe.erased(order, diploma, "ben"), **more)
    with refuses(Rule.R4, "neither time nor subject nor payload"):
        scribe.forge(sign_certificate(other, BEN, scribe.ledger_id))


@given(
    timestamp_ms=st.integers(0, 2**53 - 1),
    subject=st.sampled_from(["", "again"]),
    payload_hash=st.none() | st.binary(min_size=32, max_size=32),
)
def test_no_other_form_makes_a_second_confirmation(timestamp_ms, subject, payload_hash):
    scribe = GovernedScribe()
    made = scribe.statement("ada")
    scribe.forge(made)
    ordered = scribe.erasure(made)
    scribe.forge(ordered)
    scribe.forge(first := scribe.erased(ordered, made, "ben"))
    other = replace(first, timestamp_ms=timestamp_ms, subject=subject, payload_hash=payload_hash)
    with pytest.raises(Refused) as caught:
        scribe.forge(sign_certificate(other, BEN, scribe.ledger_id))
    assert caught.value.rule is (Rule.B6 if other.id == first.id else Rule.R4)


def test_a_voter_confirms_and_an_issuer_key_or_a_stranger_does_not(scribe, diploma, order):
    scribe.forge(scribe.key_change(SetMemberRole(BEN.public_key, Role.VOTER), "ben"))
    scribe.forge(scribe.erased(order, diploma, "ben"))
    for by in ("issuer", "stranger"):
        with refuses(Rule.R4, "is no member key"):
            scribe.forge(scribe.erased(order, diploma, by))


def test_a_replaced_or_removed_member_key_confirms_no_more(scribe, diploma, order):
    scribe.decide(scribe.replace_key("ada", "new"), *NAMES[1:])
    scribe.decide(scribe.remove("dot"), "new", "ben", "cy")
    for by in ("ada", "dot"):
        with refuses(Rule.R4, "is no member key"):
            scribe.forge(scribe.erased(order, diploma, by))
    scribe.forge(scribe.erased(order, diploma, "new"))


def test_an_order_is_on_the_chain_and_no_statement(scribe, diploma):
    waiting = scribe.erasure(diploma)
    with refuses(Rule.R4, "is no order on the chain"):
        scribe.forge(waiting, scribe.erased(waiting, diploma, "ben"))
    for one in (diploma, waiting):
        with refuses(Rule.R4, "is no order on the chain"):
            scribe.forge(scribe.erased(one, diploma, "ben"))


def test_a_motion_that_has_not_passed_is_no_order(scribe, diploma):
    motion = scribe.motion(Erase(diploma.id), "ben")
    scribe.forge(motion, scribe.approval(motion, "cy"))
    with refuses(Rule.R4, "has not passed"):
        scribe.forge(scribe.erased(motion, diploma, "ben"))
    scribe.forge(scribe.approval(motion, "dot"))
    scribe.forge(scribe.erased(motion, diploma, "ben"))


def test_what_is_confirmed_is_of_a_statement(scribe, diploma, order):
    for target in (order, scribe.statement("ada")):
        with refuses(Rule.R1):
            scribe.forge(scribe.erased(order, target, "ben"))


def test_where_there_are_no_members_an_issuer_orders_and_nobody_confirms():
    scribe = Scribe(found())
    ledger_id = scribe.genesis.ledger_id
    scribe.forge(made := statement("mine", ledger=ledger_id))
    ordered = issue(Erasure, ADA, ledger_id, START_MS, made.id)
    find = scribe.chain.finder()

    def legal(one):
        Draft(scribe.state, scribe.state.context(0), find).add(one)

    legal(ordered)
    with refuses(Rule.R2):
        legal(issue(Erasure, BEN, ledger_id, START_MS, made.id))
    with refuses(Rule.R4):
        legal(issue(ErasureConfirmation, ADA, ledger_id, 0, ordered.id, made.id))


def test_evidence_is_no_target(scribe, diploma, order):
    scribe.forge(shown := evidence(genesis=scribe.genesis))
    with refuses(Rule.R1):
        scribe.forge(scribe.erasure(shown))
