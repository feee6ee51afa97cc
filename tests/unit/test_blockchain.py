"""The chain: which block may follow, what it leads to, and that a refused one changes nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.builders import ADA, BEN, GENESIS, MEMBERS, START_MS, STRANGER, Scribe, found, refuses, staking, statement

from tallystick.ledger.blockchain import Blockchain
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.merkle import root


def summary(chain):
    state = chain.state
    return state.tip.hash, state.stakes, state.log, len(chain._places)


@pytest.fixture
def scribe():
    made = Scribe()
    made.forge(statement("first"), staking(10))
    made.forge(statement("second"))
    return made


ILLEGAL = {
    "same index": ({"index": 2}, Rule.B1),
    "skipped index": ({"index": 4}, Rule.B1),
    "index 0": ({"index": 0}, Rule.B1),
    "highest index": ({"index": 2**53 - 1}, Rule.B1),
    "grandparent": ({"parent_hash": GENESIS.ledger_id}, Rule.B2),
    "no parent": ({"parent_hash": bytes(32)}, Rule.B2),
    "stranger": ({"signer": STRANGER}, Rule.B4),
    "second view": ({"view": 4}, Rule.B4),
    "view 0": ({"view": 0}, Rule.B4),
    "parent's time": ({"timestamp_ms": START_MS + 2}, Rule.B8),
    "earlier time": ({"timestamp_ms": 0}, Rule.B8),
    "ahead of the clock": ({"timestamp_ms": START_MS + 1_501}, Rule.B8),
}


@pytest.mark.parametrize(("changes", "rule"), ILLEGAL.values(), ids=ILLEGAL)
def test_a_block_that_does_not_follow_is_refused_and_changes_nothing(scribe, changes, rule):
    block = scribe.draft(statement("third"), **changes)
    before = summary(scribe.chain)
    with refuses(rule):
        scribe.chain.append(block, START_MS + 1_000)
    assert summary(scribe.chain) == before
    assert scribe.chain.place_of(statement("third").id) is None


UNFIT = {
    "none": ((), Rule.B9),
    "on the chain": ((statement("first"),), Rule.B6),
    "staked before": ((staking(10),), Rule.B6),
    "twice": ((statement("x"), statement("y"), statement("x")), Rule.B6),
    "the same signed otherwise": ((statement("x"), replace(statement("x"), signature=bytes(64))), Rule.B6),
    "on the chain, signed otherwise": ((replace(statement("first"), signature=bytes(64)),), Rule.B6),
    "nothing staked": ((staking(0),), Rule.B5),
    "more than is free": ((staking(991),), Rule.B5),
    "more than is free, in two": ((staking(500), staking(491)), Rule.B5),
    "more than is staked": ((staking(-111),), Rule.B5),
    "from nothing": ((staking(1, STRANGER),), Rule.B5),
    "too many": (tuple(statement(f"{number}") for number in range(7)), Rule.B9),
}


@pytest.mark.parametrize(("certificates", "rule"), UNFIT.values(), ids=UNFIT)
def test_a_block_with_unfit_certificates_is_refused_and_changes_nothing(certificates, rule):
    scribe = Scribe(found(max_block_certificates=6))
    scribe.forge(statement("first"), staking(10))
    before = summary(scribe.chain)
    with refuses(rule):
        scribe.chain.append(scribe.draft(*certificates), None)
    assert summary(scribe.chain) == before


def test_b5_says_which_rule_of_stake_was_broken(scribe):
    with pytest.raises(Refused, match=Rule.S2.name) as caught:
        scribe.forge(staking(991))
    assert caught.value.rule is Rule.B5
    assert caught.value.__cause__.rule is Rule.S2


def test_a_block_leads_to_its_state(scribe):
    block = scribe.draft(statement("third"), staking(-5), staking(20, BEN))
    after = scribe.chain.after(block, None)
    assert (after.tip, after.index) == (block.header, 3)
    assert after.stakes.account(ADA.public_key) == (995, 105)
    assert after.stakes.account(BEN.public_key) == (980, 120)
    assert after.stakes.total == scribe.state.stakes.total
    assert after.log.size == 6
    assert scribe.state.index == 2


def test_a_chain_finds_every_certificate_and_no_other(scribe):
    for place, subject in ((1, "first"), (2, "second")):
        assert scribe.chain.place_of(statement(subject).id).block_index == place
    assert scribe.chain.place_of(staking(10).id).position == 1
    assert scribe.chain.place_of(statement("third").id) is None


def test_the_log_is_the_tree_over_all_certificates_in_order(scribe):
    scribe.forge_many(20)
    leaves = [one.leaf_hash for block in scribe.blocks for one in block.certificates]
    assert (scribe.state.log.size, scribe.state.log.root()) == (len(leaves), root(leaves))


def test_a_block_may_be_as_far_ahead_of_the_clock_as_the_ledger_allows(scribe):
    ahead = scribe.draft(statement("third"), timestamp_ms=START_MS + 1_500)
    with refuses(Rule.B8):
        scribe.chain.append(ahead, START_MS + 999)
    scribe.chain.append(ahead, START_MS + 1_000)


def test_any_time_will_do_where_the_ledger_says_so_or_in_a_replay():
    for genesis, now_ms in ((found(block_ahead_ms=None), START_MS), (GENESIS, None)):
        scribe = Scribe(genesis)
        scribe.chain.append(scribe.draft(statement(), timestamp_ms=2**52), now_ms)
        assert scribe.state.index == 1


def test_the_course_may_have_empty_blocks():
    assert Scribe(found(min_block_certificates=0)).chain.after(Scribe(found(min_block_certificates=0)).draft(), None)


moves = st.lists(st.tuples(st.sampled_from(list(MEMBERS.values())), st.integers(-150, 1_200)), max_size=8)


@given(moves)
def test_tokens_are_conserved_at_every_block_and_replay_gives_the_same_state(operations):
    scribe = Scribe()
    for number, (member, amount) in enumerate(operations):
        before = summary(scribe.chain)
        try:
            scribe.forge(staking(amount, member, at_ms=START_MS + number), statement(f"{number}"))
        except Refused as refused:
            assert refused.rule is Rule.B5  # noqa: PT017
            assert summary(scribe.chain) == before
        assert scribe.state.stakes.total == GENESIS.stakes().total
    replay = Blockchain(GENESIS, lambda state, header: None)
    for block in scribe.blocks:
        replay.append(block, None)
    assert summary(replay) == summary(scribe.chain)
