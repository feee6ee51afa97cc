"""Tokens: they move between free and staked, and are neither made nor lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import ADA, BEN, CY, STRANGER, found, refuses, staking, statement

from tallystick.ledger.certificate import StakingOperation
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.params import MAX_TOKENS
from tallystick.ledger.stake import Account, StakeTable

KEYS = [ADA.public_key, BEN.public_key, CY.public_key, STRANGER.public_key]
amounts = st.integers(-300, 300) | st.sampled_from([0, 1, -1, MAX_TOKENS, -MAX_TOKENS])
operations = st.lists(st.tuples(st.sampled_from(KEYS), amounts), max_size=12).map(
    lambda moves: [StakingOperation(key, place, "", None, amount) for place, (key, amount) in enumerate(moves)]
)


def table(mint_freely=False, **free_and_staked):
    accounts = {"ada": ADA, "ben": BEN, "cy": CY}
    named = {accounts[name].public_key: Account(*tokens) for name, tokens in free_and_staked.items()}
    return StakeTable(named, mint_freely)


def snapshot(stakes):
    return [stakes.account(key) for key in KEYS], stakes.total, stakes.total_staked, stakes.members


def test_staking_moves_the_issuers_own_tokens():
    before = table(ada=(10, 5), ben=(1, 1))
    after = before.after([staking(7), staking(-2), staking(-1, BEN), statement()])
    assert after.account(ADA.public_key) == (5, 10)
    assert after.account(BEN.public_key) == (2, 0)
    assert after.members == ((ADA.public_key, 10),)
    assert before.account(ADA.public_key) == (10, 5)


def test_all_of_ones_tokens_may_be_staked_and_withdrawn():
    staked = table(ada=(10, 0), ben=(0, 1)).after([staking(10)])
    assert staked.account(ADA.public_key) == (0, 10)
    assert staked.after([staking(-10)]).account(ADA.public_key) == (10, 0)


@pytest.mark.parametrize(
    ("operation", "rule"),
    [
        (staking(0), Rule.S1),
        (staking(11), Rule.S2),
        (staking(1, STRANGER), Rule.S2),
        (staking(MAX_TOKENS), Rule.S2),
        (staking(-6), Rule.S3),
        (staking(-1, STRANGER), Rule.S3),
        (staking(-MAX_TOKENS), Rule.S3),
        (staking(-5), Rule.S4),
    ],
    ids=lambda value: value.name if isinstance(value, Rule) else str(value.amount),
)
def test_a_move_of_what_one_has_not_is_refused(operation, rule):
    stakes = table(ada=(10, 5), ben=(5, 0))
    before = snapshot(stakes)
    with refuses(rule):
        stakes.after([operation])
    assert snapshot(stakes) == before


def test_a_refused_operation_undoes_the_ones_before_it():
    stakes = table(ada=(10, 5), ben=(5, 0))
    before = snapshot(stakes)
    with refuses(Rule.S2):
        stakes.after([staking(5), staking(5, BEN), staking(6)])
    assert snapshot(stakes) == before


@given(operations)
def test_tokens_are_conserved_whatever_is_tried(moves):
    stakes = found(ADA, BEN, CY, free=200, staked=100).stakes()
    total = stakes.total
    for move in moves:
        before = snapshot(stakes)
        try:
            after = stakes.after([move])
        except Refused:
            assert snapshot(stakes) == before
            continue
        assert snapshot(stakes) == before
        assert after.total == total == sum(sum(after.account(key)) for key in KEYS)
        assert after.total_staked == sum(stake for _, stake in after.members) > 0
        assert all(min(after.account(key)) >= 0 for key in KEYS)
        assert sum(after.account(move.issuer)) == sum(stakes.account(move.issuer))
        stakes = after


@given(operations)
def test_a_list_of_operations_does_what_one_after_the_other_does(moves):
    stakes = found(ADA, BEN, CY, free=200, staked=100).stakes()
    single = stakes
    try:
        for move in moves:
            single = single.after([move])
    except Refused as refused:
        with refuses(refused.rule):
            stakes.after(moves)
    else:
        assert stakes.after(moves) == single


@given(operations)
def test_minting_freely_makes_what_is_short_and_no_more(moves):
    stakes = table(mint_freely=True, ada=(5, 0))
    for move in moves:
        try:
            after = stakes.after([move])
        except Refused as refused:
            assert refused.rule in (Rule.S1, Rule.S3, Rule.S5)  # noqa: PT017
            continue
        minted = max(0, move.amount - stakes.account(move.issuer).free)
        assert after.total == stakes.total + minted <= MAX_TOKENS
        assert all(min(after.account(key)) >= 0 for key in KEYS)
        stakes = after


def test_minting_ends_at_the_ledgers_bound():
    stakes = table(mint_freely=True, ada=(0, 0)).after([staking(MAX_TOKENS)])
    assert stakes.total == MAX_TOKENS
    with refuses(Rule.S5):
        stakes.after([staking(1, BEN)])
    with refuses(Rule.S5):
        table(mint_freely=True).after([staking(MAX_TOKENS), staking(1)])


def test_where_tokens_are_minted_the_last_stake_may_leave():
    assert table(mint_freely=True, ada=(0, 5)).after([staking(-5)]).total_staked == 0


def test_holders_are_laid_in_key_order_by_stake():
    stakes = table(ada=(9, 2), ben=(9, 0), cy=(9, 3))
    ordered = sorted([(ADA.public_key, 2), (CY.public_key, 3)])
    assert list(stakes.members) == ordered
    assert [stakes.holder(ticket) for ticket in range(5)] == [key for key, stake in ordered for _ in range(stake)]


def test_tables_are_compared_by_their_accounts():
    assert table(ada=(1, 2)) == table(ada=(1, 2)) != table(ada=(2, 1))
    assert hash(table(ada=(1, 2), ben=(0, 1))) == hash(table(ben=(0, 1), ada=(1, 2)))
    assert table(ada=(1, 2)) != "a table"
