"""What became of statements: who may say so, on which, and in which order."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import ADA, START_MS, STRANGER, evidence, refuses
from tests.governed import GovernedScribe, directory_genesis

from tallystick.ledger.certificate import Revocation, issue
from tallystick.ledger.changes import Effect, Reason, Role, SetMemberRole
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.merkle import EMPTY_ROOT, leaf_hash
from tallystick.ledger.status import Status, StatusEntry, unpacked

FOUR = ("ada", "ben", "cy", "dot")
THIRD = ("ben", "cy", "dot")


@pytest.fixture
def scribe():
    return GovernedScribe()


@pytest.fixture
def diploma(scribe):
    """A statement of Ada's issuer key, on the chain."""
    made = scribe.statement("issuer")
    scribe.forge(scribe.add_issuer("issuer"), made)
    return made


def entry(effect=Effect.REVOKED, reason=Reason.MISTAKE, log_index=5, timestamp_ms=START_MS, acting=b"a" * 32):
    return StatusEntry(effect, reason, log_index, timestamp_ms, acting)


# ---- who, and of what -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["issuer", "ada", "registry"])
def test_the_issuer_key_or_another_key_of_the_organisation_revokes(scribe, diploma, by):
    scribe.forge(scribe.add_issuer("registry"))
    index, revocation = scribe.state.log.size, scribe.revocation(diploma, by, Effect.VOID, Reason.FRAUD)
    scribe.forge(revocation)
    said = scribe.state.status.of(diploma.id)
    assert said == StatusEntry(Effect.VOID, Reason.FRAUD, index, scribe.state.tip.timestamp_ms, revocation.id)
    packed = bytes((3, 2)) + index.to_bytes(8, "big") + scribe.state.tip.timestamp_ms.to_bytes(8, "big") + revocation.id
    packed += bytes(8)
    assert scribe.state.roots.status == leaf_hash(diploma.id + packed)


def test_no_other_organisation_revokes(scribe, diploma):
    other = scribe.statement("ada")
    scribe.forge(other)
    for one in (scribe.revocation(diploma, "ben"), scribe.supersession(diploma, other, "ben")):
        with refuses(Rule.R2, "is not of the organisation that certified"):
            scribe.forge(one)


def test_an_ended_key_revokes_nothing(scribe, diploma):
    scribe.forge(scribe.end_issuer("issuer"))
    with refuses(Rule.D1):
        scribe.forge(scribe.revocation(diploma, "issuer"))
    open_to_all = GovernedScribe(directory_genesis(anybody_certifies=True))
    made = open_to_all.statement("issuer")
    open_to_all.forge(open_to_all.add_issuer("issuer"), made)
    with refuses(Rule.R2):
        open_to_all.forge(open_to_all.end_issuer("issuer"), open_to_all.revocation(made, "issuer"))
    open_to_all.forge(open_to_all.revocation(made, "issuer"), open_to_all.end_issuer("issuer"))


def test_a_key_whose_time_is_over_revokes_nothing():
    scribe = GovernedScribe(directory_genesis(anybody_certifies=True))
    made, until_ms = scribe.statement("issuer"), scribe.state.tip.timestamp_ms + 10
    scribe.forge(scribe.add_issuer("issuer", until_ms=until_ms), made)
    revocation = scribe.revocation(made, "issuer")
    scribe.chain.after(scribe.draft(revocation, timestamp_ms=until_ms - 1))
    with refuses(Rule.R2):
        scribe.forge(revocation, timestamp_ms=until_ms)


def test_a_replaced_member_key_revokes_nothing_and_the_new_one_all_that_was_certified_before(scribe):
    made = scribe.statement("ada")
    scribe.forge(made)
    scribe.decide(scribe.replace_key("ada", "new"), *THIRD)
    with refuses(Rule.D1):
        scribe.forge(scribe.revocation(made, "ada"))
    scribe.forge(scribe.revocation(made, "new"))


def test_an_organisation_key_and_a_voter_key_revoke_nothing(scribe, diploma):
    """Who may certify governs revocations, too."""
    scribe.decide(scribe.organisation_key("ada", "offline"), *FOUR[:3])
    scribe.forge(scribe.key_change(SetMemberRole(ADA.public_key, Role.VOTER), "offline"))
    for by in ("offline", "ada"):
        with refuses(Rule.D1):
            scribe.forge(scribe.revocation(diploma, by))


def test_a_statement_belongs_to_who_held_its_key_at_its_index_not_to_who_lists_the_key_later():
    scribe = GovernedScribe(directory_genesis(anybody_certifies=True))
    before, after = scribe.statement("issuer"), scribe.statement("issuer")
    scribe.forge(before, scribe.add_issuer("issuer"), after)
    with refuses(Rule.R2):
        scribe.forge(scribe.revocation(before, "ada"))
    scribe.forge(scribe.revocation(before, "issuer"), scribe.revocation(after, "ada"))


def test_who_stands_in_no_directory_revokes_its_own_alone():
    scribe = GovernedScribe(directory_genesis(anybody_certifies=True))
    made, other = scribe.statement("stranger"), scribe.statement("x")
    scribe.forge(made, other)
    for by in ("ada", "x"):
        with refuses(Rule.R2):
            scribe.forge(scribe.revocation(made, by))
    scribe.forge(corrected := scribe.statement("x"))
    scribe.forge(scribe.revocation(made, "stranger"), scribe.supersession(other, corrected, "x"))


def test_status_is_of_a_statement_on_the_chain(scribe, diploma):
    with refuses(Rule.R1):
        scribe.forge(issue(Revocation, ADA, scribe.ledger_id, START_MS, bytes(32), Effect.VOID, 0))
    waiting = scribe.statement("ada")
    with refuses(Rule.R1):
        scribe.forge(waiting, scribe.revocation(waiting))
    scribe.forge(motion := scribe.motion(scribe.remove("dot")), shown := evidence(genesis=scribe.genesis))
    for one in (motion, shown):
        with refuses(Rule.R1):
            scribe.forge(scribe.revocation(one))


def test_a_revocation_is_not_revoked(scribe, diploma):
    revocation = scribe.revocation(diploma)
    scribe.forge(revocation)
    with refuses(Rule.R1):
        scribe.forge(scribe.revocation(revocation))
    with refuses(Rule.R1):
        scribe.forge(scribe.supersession(revocation, diploma))


# ---- superseding ------------------------------------------------------------------------------------------------


def test_another_statement_of_the_organisation_supersedes(scribe, diploma):
    corrected = scribe.statement("ada")
    scribe.forge(corrected)
    superseding = scribe.supersession(diploma, corrected, "issuer")
    scribe.forge(superseding)
    said = scribe.state.status.of(diploma.id)
    assert (said.effect, said.reason, said.acting) == (Effect.SUPERSEDED, Reason.UNSPECIFIED, superseding.id)
    assert scribe.state.status.of(corrected.id) is None


def test_what_supersedes_is_another_valid_statement_of_the_same_organisation(scribe, diploma):
    of_ben, corrected = scribe.statement("ben"), scribe.statement("ada")
    scribe.forge(of_ben, corrected)
    for successor in (diploma, of_ben):
        with refuses(Rule.R2, "has to stand in its place"):
            scribe.forge(scribe.supersession(diploma, successor))
    with refuses(Rule.R1):
        scribe.forge(scribe.supersession(diploma, scribe.statement("ada")))
    scribe.forge(scribe.supersession(diploma, corrected))
    with refuses(Rule.R2):
        scribe.forge(scribe.supersession(corrected, diploma))


def test_what_a_compromised_key_certified_supersedes_nothing(scribe, diploma):
    scribe.forge(scribe.add_issuer("registrar", "ada"))
    scribe.forge(forged := scribe.statement("registrar"))
    scribe.forge(scribe.end_issuer("registrar", since=scribe.state.log.size - 1))
    with refuses(Rule.R2, "that is valid"):
        scribe.forge(scribe.supersession(diploma, forged))


# ---- it only strengthens ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", Effect)
@pytest.mark.parametrize("second", Effect)
def test_status_only_strengthens(scribe, diploma, first, second):
    corrected = scribe.statement("ada")
    scribe.forge(corrected)

    def made(effect):
        superseding = effect is Effect.SUPERSEDED
        return scribe.supersession(diploma, corrected) if superseding else scribe.revocation(diploma, effect=effect)

    scribe.forge(made(first))
    if second > first:
        scribe.forge(made(second))
        assert scribe.state.status.of(diploma.id).effect is second
    else:
        with refuses(Rule.R3, f"is {first.name.lower()} already"):
            scribe.forge(made(second))


def test_two_in_one_block_count_in_their_order(scribe, diploma):
    weak, strong = scribe.revocation(diploma), scribe.revocation(diploma, effect=Effect.VOID)
    with refuses(Rule.R3):
        scribe.forge(strong, weak)
    scribe.forge(weak, strong)
    assert scribe.state.status.of(diploma.id).acting == strong.id


# ---- the root ---------------------------------------------------------------------------------------------------


def test_of_nothing_the_root_is_that_of_the_empty_trie(scribe):
    assert scribe.state.roots.status == Status().root == EMPTY_ROOT


@given(st.dictionaries(st.binary(min_size=32, max_size=32), st.sampled_from(Effect), max_size=6), st.randoms())
def test_the_root_depends_on_the_set_alone(effects, random):
    items = [*effects.items()]
    random.shuffle(items)
    one = two = Status()
    for target, effect in effects.items():
        one = one.after(target, entry(effect))
    for target, effect in items:
        if effect is Effect.VOID:
            two = two.after(target, entry(Effect.REVOKED, log_index=1))
        two = two.after(target, entry(effect))
    assert one.root == two.root
    assert all(two.of(target) == entry(effect) for target, effect in effects.items())


def test_any_order_of_revocations_in_a_block_that_says_the_same_gives_the_same_set():
    def entries(order):
        status = Status()
        for target in order:
            status = status.after(bytes([target]) * 32, entry(log_index=target))
        return status.root

    assert len({entries(order) for order in permutations(range(4))}) == 1


@pytest.mark.parametrize("field", ["effect", "reason", "log_index", "timestamp_ms", "acting"])
def test_each_field_changes_the_root(field):
    other = {"effect": Effect.VOID, "reason": 2, "log_index": 6, "timestamp_ms": START_MS + 1, "acting": b"b" * 32}
    roots = {Status().after(b"t" * 32, entry(**more)).root for more in ({}, {field: other[field]})}
    assert len(roots) == 2


_numbers = st.integers(0, 2**53 - 1)


@given(
    st.builds(
        StatusEntry,
        effect=st.sampled_from(Effect),
        reason=st.sampled_from(Reason),
        log_index=_numbers,
        timestamp_ms=_numbers,
        acting=st.binary(min_size=32, max_size=32),
    )
)
def test_an_entry_comes_back_from_its_bytes(one):
    assert unpacked(one.packed) == one


NO_REASON = entry().packed[:1] + b"\x06" + entry().packed[2:]


@pytest.mark.parametrize(
    "damaged", [b"", entry().packed[:-1], entry().packed + b"0", b"\0" + entry().packed[1:], NO_REASON]
)
def test_other_bytes_are_no_entry(damaged):
    with refuses(Rule.E2):
        unpacked(damaged)


def test_what_is_refused_changes_no_status():
    status = Status().after(b"t" * 32, entry(Effect.VOID))
    before = status.root
    with pytest.raises(Refused):
        status.after(b"t" * 32, entry())
    assert status.root == before


def test_a_stranger_revokes_nothing(scribe, diploma):
    made = issue(Revocation, STRANGER, scribe.ledger_id, START_MS, diploma.id, Effect.VOID, 0)
    with refuses(Rule.D1):
        scribe.forge(made)
