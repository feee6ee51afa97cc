"""Tokens: they move between free, staked and unbonding, evidence burns them, and none are made or lost."""

from contextlib import nullcontext
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import ADA, BEN, CY, STRANGER, evidence, found, proposal_evidence, refuses, staking, statement

from tallystick.ledger.certificate import StakingOperation
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.fields import MAX_TOKENS
from tallystick.ledger.params import Params
from tallystick.ledger.stake import MAX_WITHDRAWALS, Account, BlockContext, StakeTable

KEYS = [ADA.public_key, BEN.public_key, CY.public_key, STRANGER.public_key]
amounts = st.integers(-300, 300) | st.sampled_from([0, 1, -1, MAX_TOKENS, -MAX_TOKENS])
operations = st.lists(st.tuples(st.sampled_from(KEYS), amounts), max_size=12).map(
    lambda moves: [StakingOperation(key, place, "", None, amount) for place, (key, amount) in enumerate(moves)]
)


def table(mint_freely=False, unbonding_blocks=0, unbonding_ms=0, **free_and_staked):
    accounts = {"ada": ADA, "ben": BEN, "cy": CY}
    named = {accounts[name].public_key: Account(*tokens) for name, tokens in free_and_staked.items()}
    params = Params(mint_freely=mint_freely, unbonding_blocks=unbonding_blocks, unbonding_ms=unbonding_ms)
    return StakeTable(named, params)


def at(index, epoch=None, timestamp_ms=0):
    """Where a block is: by its index alone, late enough in epochs and time."""
    return BlockContext(index if epoch is None else epoch, index, timestamp_ms)


def free_at(index, amount, epoch=None, timestamp_ms=0):
    """An amount withdrawn by a block with an unbonding of 10 blocks."""
    return BlockContext((index if epoch is None else epoch) + 2, index + 10, timestamp_ms), amount


FIRST = at(1, 0)


def snapshot(stakes):
    return [stakes.account(key) for key in KEYS], stakes.total, stakes.total_staked, stakes.burned, stakes.members


def test_staking_moves_the_issuers_own_tokens():
    before = table(ada=(10, 5), ben=(1, 1))
    after = before.after([staking(7), staking(-2), staking(-1, BEN), statement()], FIRST)
    assert after.account(ADA.public_key) == Account(5, 10)
    assert after.account(BEN.public_key) == Account(2, 0)
    assert after.members == ((ADA.public_key, 10),)
    assert before.account(ADA.public_key) == Account(10, 5)


def test_all_of_ones_tokens_may_be_staked_and_withdrawn():
    staked = table(ada=(10, 0), ben=(0, 1)).after([staking(10)], FIRST)
    assert staked.account(ADA.public_key) == Account(0, 10, since=1)
    assert staked.after([staking(-10)], FIRST).account(ADA.public_key) == Account(10, 0, since=1)


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
        stakes.after([operation], FIRST)
    assert snapshot(stakes) == before


def test_a_refused_operation_undoes_the_ones_before_it():
    stakes = table(ada=(10, 5), ben=(5, 0))
    before = snapshot(stakes)
    with refuses(Rule.S2):
        stakes.after([staking(5), staking(5, BEN), staking(6)], FIRST)
    assert snapshot(stakes) == before


@given(operations)
def test_tokens_are_conserved_whatever_is_tried(moves):
    stakes = found(ADA, BEN, CY, free=200, staked=100).stakes()
    total = stakes.total
    for move in moves:
        before = snapshot(stakes)
        try:
            after = stakes.after([move], FIRST)
        except Refused:
            assert snapshot(stakes) == before
            continue
        assert snapshot(stakes) == before
        assert after.total == total == sum(after.account(key).total for key in KEYS)
        assert after.total_staked == sum(stake for _, stake in after.members) > 0
        assert all(min(after.account(key)[:2]) >= 0 for key in KEYS)
        assert after.account(move.issuer).total == stakes.account(move.issuer).total
        stakes = after


@given(operations)
def test_a_list_of_operations_does_what_one_after_the_other_does(moves):
    stakes = found(ADA, BEN, CY, free=200, staked=100).stakes()
    single = stakes
    try:
        for move in moves:
            single = single.after([move], FIRST)
    except Refused as refused:
        with refuses(refused.rule):
            stakes.after(moves, FIRST)
    else:
        assert stakes.after(moves, FIRST) == single


@given(operations)
def test_minting_freely_makes_what_is_short_and_no_more(moves):
    stakes = table(mint_freely=True, ada=(5, 0))
    for move in moves:
        try:
            after = stakes.after([move], FIRST)
        except Refused as refused:
            assert refused.rule in (Rule.S1, Rule.S3, Rule.S5)  # noqa: PT017
            continue
        minted = max(0, move.amount - stakes.account(move.issuer).free)
        assert after.total == stakes.total + minted <= MAX_TOKENS
        assert all(min(after.account(key)[:2]) >= 0 for key in KEYS)
        stakes = after


def test_minting_ends_at_the_ledgers_bound():
    stakes = table(mint_freely=True, ada=(0, 0)).after([staking(MAX_TOKENS)], FIRST)
    assert stakes.total == MAX_TOKENS
    with refuses(Rule.S5):
        stakes.after([staking(1, BEN)], FIRST)
    with refuses(Rule.S5):
        table(mint_freely=True).after([staking(MAX_TOKENS), staking(1)], FIRST)


def test_where_tokens_are_minted_the_last_stake_may_leave():
    assert table(mint_freely=True, ada=(0, 5)).after([staking(-5)], FIRST).total_staked == 0


def test_holders_are_laid_in_key_order_by_stake():
    stakes = table(ada=(9, 2), ben=(9, 0), cy=(9, 3))
    ordered = sorted([(ADA.public_key, 2), (CY.public_key, 3)])
    assert list(stakes.members) == ordered
    assert [stakes.holder(number) for number in range(5)] == [key for key, stake in ordered for _ in range(stake)]


def test_tables_are_compared_by_their_accounts():
    assert table(ada=(1, 2)) == table(ada=(1, 2)) != table(ada=(2, 1))
    assert hash(table(ada=(1, 2), ben=(0, 1))) == hash(table(ben=(0, 1), ada=(1, 2)))
    assert table(ada=(1, 2)) != "a table"


# ---- unbonding --------------------------------------------------------------------------------------------------


def test_withdrawn_stake_is_free_only_after_its_time():
    """`Rule.S2` until then, and the stake itself is gone at once."""
    stakes = table(unbonding_blocks=10, ada=(3, 20), ben=(0, 1)).after([staking(-20)], at(5))
    assert stakes.account(ADA.public_key) == Account(3, 0, (free_at(5, 20),))
    assert stakes.members == ((BEN.public_key, 1),)
    for index in (5, 14):
        with refuses(Rule.S2):
            stakes.after([staking(4)], at(index))
    with refuses(Rule.S3):
        stakes.after([staking(-1)], at(14))
    assert stakes.after([staking(23)], at(15)).account(ADA.public_key) == Account(0, 23, since=16)


@pytest.mark.parametrize(
    ("context", "is_free"),
    [
        (BlockContext(5, 15, 1_500), True),
        (BlockContext(9, 99, 9_999), True),
        (BlockContext(4, 99, 9_999), False),
        (BlockContext(9, 14, 9_999), False),
        (BlockContext(9, 99, 1_499), False),
    ],
)
def test_unbonding_takes_two_epochs_and_its_blocks_and_its_time_all_three(context, is_free):
    stakes = table(unbonding_blocks=10, unbonding_ms=1_000, ada=(0, 20), ben=(0, 1))
    stakes = stakes.after([staking(-20)], BlockContext(3, 5, 500))
    assert stakes.account(ADA.public_key).unbonding == ((BlockContext(5, 15, 1_500), 20),)
    assert stakes.account(ADA.public_key).at(context).free == 20 * is_free
    with refuses(Rule.S6) if is_free else nullcontext():
        assert stakes.after([evidence(ADA, epoch=3)], context).burned == 20


def test_each_withdrawal_waits_for_its_own_time():
    stakes = table(unbonding_blocks=10, ada=(0, 20), ben=(0, 1))
    for index, amount in ((1, -2), (3, -4), (11, -8)):
        stakes = stakes.after([staking(amount)], at(index))
    assert stakes.account(ADA.public_key) == Account(2, 6, (free_at(3, 4), free_at(11, 8)))
    account = stakes.account(ADA.public_key)
    assert [account.at(at(index)).free for index in (12, 13, 20, 21)] == [2, 6, 6, 14]
    assert {account.at(at(index)).total for index in range(30)} == {20}


def test_withdrawals_in_one_block_are_kept_as_one():
    """A member that withdraws token by token must not slow everybody's look at its account."""
    stakes = table(unbonding_blocks=10, ada=(0, 20), ben=(0, 1))
    stakes = stakes.after([staking(-1, at_ms=n) for n in range(9)], at(5))
    assert stakes.account(ADA.public_key) == Account(0, 11, (free_at(5, 9),))


def test_a_key_has_a_bound_of_withdrawals_under_way():
    stakes = table(unbonding_blocks=100, ada=(0, 99), ben=(0, 1))
    for index in range(MAX_WITHDRAWALS):
        stakes = stakes.after([staking(-1)], at(index))
    for index in (MAX_WITHDRAWALS, 99):
        with refuses(Rule.S7):
            stakes.after([staking(-1)], at(index))
    last = at(MAX_WITHDRAWALS - 1)
    assert len(stakes.after([staking(-1)], last).account(ADA.public_key).unbonding) == MAX_WITHDRAWALS
    assert len(stakes.after([staking(-1)], at(102)).account(ADA.public_key).unbonding) == MAX_WITHDRAWALS - 2


def test_unbonding_tokens_are_not_taken_for_the_last_stake():
    with refuses(Rule.S4):
        table(unbonding_blocks=10, ada=(0, 20)).after([staking(-20)], at(5))


# ---- burning ----------------------------------------------------------------------------------------------------


def test_evidence_burns_what_the_offender_has_at_stake_and_leaves_what_is_free():
    stakes = table(ada=(10, 5), ben=(7, 30))
    after = stakes.after([evidence(BEN)], FIRST)
    assert after.account(BEN.public_key) == Account(7, 0)
    assert after.account(ADA.public_key) == Account(10, 5)
    assert (after.burned, after.total, after.total_staked) == (30, stakes.total, 5)
    assert (after.burned_keys, stakes.burned_keys) == ({BEN.public_key}, set())
    assert after.members == ((ADA.public_key, 5),)
    assert after != stakes


@pytest.mark.parametrize(("index", "burned", "free"), [(5, 30, 7), (14, 30, 7), (15, 12, 25)])
def test_what_is_unbonding_can_be_burned_until_it_is_free(index, burned, free):
    stakes = table(unbonding_blocks=10, ada=(10, 5), ben=(7, 30)).after([staking(-18, BEN)], at(5))
    after = stakes.after([evidence(BEN)], at(index))
    assert (after.account(BEN.public_key), after.burned) == (Account(free, 0), burned)
    assert after.total == stakes.total


def test_who_has_withdrawn_everything_is_still_liable():
    stakes = table(unbonding_blocks=10, ada=(10, 5), ben=(0, 30)).after([staking(-30, BEN)], at(5))
    assert stakes.after([evidence(BEN)], at(14)).burned == 30
    with refuses(Rule.S6):
        stakes.after([evidence(BEN)], at(15))


def test_nobody_loses_the_same_stake_twice():
    stakes = table(ada=(10, 5), ben=(7, 30))
    for twice in ([evidence(BEN), evidence(BEN, CY)], [evidence(BEN), evidence(BEN, view=2)]):
        with refuses(Rule.S6):
            stakes.after(twice, FIRST)
        with refuses(Rule.S6):
            stakes.after(twice[:1], FIRST).after(twice[1:], at(2, 0))
    with refuses(Rule.S6):
        stakes.after([evidence(STRANGER)], FIRST)


def test_headers_that_conflict_burn_what_votes_that_conflict_burn():
    stakes = table(unbonding_blocks=10, ada=(10, 5), ben=(7, 30)).after([staking(-18, BEN)], at(5))
    assert stakes.after([proposal_evidence(BEN)], at(14)) == stakes.after([evidence(BEN)], at(14))
    for twice in ([evidence(BEN), proposal_evidence(BEN)], [proposal_evidence(BEN), proposal_evidence(BEN, CY)]):
        with refuses(Rule.S6):
            stakes.after(twice, at(6))


def test_a_burned_key_never_holds_stake_again_and_no_evidence_is_taken_against_it():
    """What one contradiction cost is paid: the old evidence finds no later stake to burn anew."""
    stakes = table(unbonding_blocks=10, ada=(10, 5), ben=(7, 30)).after([evidence(BEN)], FIRST)
    for context in (FIRST, at(1_000), at(1_000, 199)):
        for amount in (1, 7, -1):
            with refuses(Rule.S8):
                stakes.after([staking(amount, BEN)], context)
        for epoch in (0, context.epoch):
            with refuses(Rule.S6):
                stakes.after([evidence(BEN, view=2, epoch=epoch)], context)
    with refuses(Rule.S8):
        table(mint_freely=True, ben=(7, 30)).after([evidence(BEN), staking(1, BEN)], FIRST)


def test_old_evidence_does_not_burn_stake_that_came_later():
    stakes = table(unbonding_blocks=10, ada=(50, 5), ben=(30, 0), cy=(0, 20)).after([staking(30, BEN)], at(7, 3))
    assert stakes.account(BEN.public_key) == Account(0, 30, since=4)
    for epoch in (0, 3):
        with refuses(Rule.S6, f"epoch {epoch}"):
            stakes.after([evidence(BEN, epoch=epoch)], at(9, 4))
    assert stakes.after([evidence(BEN, epoch=4)], at(9, 4)).burned == 30
    more = stakes.after([staking(-30, BEN)], at(9, 5)).after([staking(50, ADA)], at(9, 5))
    assert more.account(ADA.public_key) == Account(0, 55), "Ada's stake was never gone: it counts from the genesis"
    restaked = more.after([staking(30, BEN)], at(19, 7))
    assert restaked.account(BEN.public_key) == Account(0, 30, since=8), "all of it was free in between"
    with refuses(Rule.S6):
        restaked.after([evidence(BEN, epoch=4)], at(19, 7))
    assert more.after([evidence(BEN, epoch=4)], at(18, 7)).burned == 30


def test_the_last_stake_can_be_burned():
    stakes = table(ada=(10, 5), ben=(4, 0)).after([evidence(ADA)], FIRST)
    assert (stakes.total_staked, stakes.members, stakes.burned) == (0, (), 5)
    assert stakes.after([staking(4, BEN)], at(2, 0)).members == ((BEN.public_key, 4),)


MEMBERS = st.sampled_from([ADA, BEN, CY])
movements = st.lists(
    st.tuples(st.sampled_from(KEYS), amounts).map(lambda move: StakingOperation(move[0], 0, "", None, move[1]))
    | st.tuples(MEMBERS, st.integers(0, 3)).map(lambda one: evidence(one[0], epoch=one[1])),
    max_size=12,
)
steps = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 40)), min_size=12, max_size=12)


@given(movements, st.integers(0, 4), st.integers(0, 60), steps)
def test_tokens_are_conserved_with_the_burned_ones_whatever_unbonds_when(moves, unbonding_blocks, unbonding_ms, steps):
    stakes = table(False, unbonding_blocks, unbonding_ms, ada=(200, 100), ben=(200, 100), cy=(200, 100))
    context, total = at(1, 0), stakes.total
    for move, (epochs, blocks, ms) in zip(moves, steps, strict=False):
        context = BlockContext(context.epoch + epochs, context.index + blocks, context.timestamp_ms + ms)
        before = snapshot(stakes)
        try:
            after = stakes.after([move], context)
        except Refused as refused:
            assert refused.rule in (Rule.S1, Rule.S2, Rule.S3, Rule.S4, Rule.S6, Rule.S8)  # noqa: PT017
            assert snapshot(stakes) == before
            continue
        assert snapshot(stakes) == before
        fresh = StakeTable(after.accounts, after.params, after.burned, after.burned_keys)
        assert (after, after.total, after.total_staked) == (fresh, fresh.total, fresh.total_staked)
        assert after.total == total
        assert after.burned >= stakes.burned
        assert (after.accounts_hash == stakes.accounts_hash) == (after.accounts == stakes.accounts)
        assert (after.burned_hash == stakes.burned_hash) == (after.burned_keys == stakes.burned_keys)
        for key, account in after.accounts.items():
            assert min(account[:2]) >= 0
            assert not (account.liable and key in after.burned_keys)
            assert all(amount > 0 for _, amount in account.unbonding)
            untils = [until for until, _ in account.unbonding]
            assert all(later.reaches(until) and later != until for until, later in pairwise(untils))
        stakes = after


@given(movements, st.integers(0, 3))
def test_a_block_of_movements_does_what_one_after_the_other_does(moves, unbonding_blocks):
    stakes = table(unbonding_blocks=unbonding_blocks, ada=(200, 100), ben=(200, 100), cy=(200, 100))
    single = stakes
    try:
        for move in moves:
            single = single.after([move], at(7, 2))
    except Refused as refused:
        with refuses(refused.rule):
            stakes.after(moves, at(7, 2))
    else:
        assert stakes.after(moves, at(7, 2)) == single
