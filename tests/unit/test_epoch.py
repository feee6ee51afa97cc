"""Epochs: whose votes count is settled when one begins, and more than 2/3 of the stake is a quorum."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import ADA, BEN, CY, MEMBERS, START_MS, STRANGER, FinalScribe, Scribe, evidence, found, staking

from tallystick.ledger.blockchain import Blockchain
from tallystick.ledger.encoding import digest, encode
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.stake import Account, StakeTable

stakes = st.integers(0, 2**53 - 1)


def epoch_of(*staked, free=0, number=0):
    members = zip(MEMBERS.values(), staked, strict=False)
    return Epoch(number, StakeTable({one.public_key: Account(free, stake) for one, stake in members}), 1, START_MS)


@pytest.mark.parametrize(
    ("staked", "stake", "is_quorum"),
    [
        ((1, 1, 1), 2, False),
        ((1, 1, 1), 3, True),
        ((1, 1, 1, 1), 2, False),
        ((1, 1, 1, 1), 3, True),
        ((100, 100, 100), 200, False),
        ((100, 100, 100), 201, True),
        ((100, 100, 101), 200, False),
        ((100, 100, 101), 201, True),
        ((1,), 0, False),
        ((1,), 1, True),
        ((2**53 - 1,), 6004799503160660, False),
        ((2**53 - 1,), 6004799503160661, True),
        ((2**53 - 2,), 6004799503160660, False),
    ],
)
def test_a_quorum_is_more_than_two_thirds_to_the_token(staked, stake, is_quorum):
    assert epoch_of(*staked).is_quorum(stake) is is_quorum


@given(st.lists(st.integers(1, 2**50), min_size=1, max_size=4), st.data())
def test_two_quorums_share_more_than_a_third_of_the_stake(staked, data):
    """The reason for 2/3: whoever stands in both is more than all the dishonest together may be."""
    epoch = epoch_of(*staked)
    one, two = (data.draw(st.integers(0, epoch.total)) for _ in range(2))
    if epoch.is_quorum(one) and epoch.is_quorum(two):
        assert 3 * (one + two - epoch.total) > epoch.total


@given(stakes.filter(bool), stakes)
def test_a_quorum_is_what_leaves_less_than_a_third_out(total, stake):
    stake = min(stake, total)
    assert epoch_of(total).is_quorum(stake) is (3 * (total - stake) < total)


def test_the_hash_covers_number_who_counts_and_how_much_and_nothing_else():
    epoch = epoch_of(1, 2, 3)
    assert epoch.hash == digest(encode([0, epoch.members])) == epoch_of(1, 2, 3, free=9).hash
    others = (epoch_of(1, 2), epoch_of(1, 2, 3, 4), epoch_of(2, 1, 3), epoch_of(1, 2, 3, number=1))
    assert len({one.hash for one in (epoch, *others)}) == 5


def test_a_members_weight_is_its_stake_and_anybody_elses_is_nothing():
    epoch = epoch_of(5, 0, free=9)
    assert (epoch.members, epoch.total) == (((ADA.public_key, 5),), 5)
    assert [epoch.stake(one.public_key) for one in (ADA, BEN, STRANGER)] == [5, 0, 0]


# ---- on the chain -----------------------------------------------------------------------------------------------


def numbers_after(scribe, *times_ms, moves=()):
    """The epoch of the next block after each block at these times (since the ledger began); `moves` by place."""
    seen = []
    for place, time_ms in enumerate(times_ms):
        move = dict(moves).get(place)
        scribe.forge(*[move] if move else [], timestamp_ms=START_MS + time_ms)
        seen.append(scribe.state.epoch.number)
    return seen


@pytest.mark.parametrize("epoch_blocks", [1, 2, 3, 7])
def test_an_epoch_ends_with_its_last_block_and_not_before(epoch_blocks):
    scribe = Scribe(found(epoch_blocks=epoch_blocks))
    assert scribe.state.epoch.number == 0
    for index in range(1, 3 * epoch_blocks + 1):
        block = scribe.forge()
        assert block.header.epoch == (index - 1) // epoch_blocks
        assert (scribe.state.index, scribe.state.epoch.number) == (index, index // epoch_blocks)


def test_an_epoch_ends_when_its_blocks_and_its_time_are_over():
    """Counted in blocks alone, a busy ledger's epochs would last two seconds."""
    params = {"epoch_blocks": 3, "epoch_ms": 100}
    assert numbers_after(Scribe(found(**params)), 1, 2, 3, 4, 99, 100, 101) == [0, 0, 0, 0, 0, 1, 1]
    assert numbers_after(Scribe(found(**params)), 50, 120, 130, 131, 229, 230) == [0, 0, 1, 1, 1, 2]
    scribe = Scribe(found(**params))
    numbers_after(scribe, 50, 120, 130)
    assert (scribe.state.epoch.first_index, scribe.state.epoch.start_ms) == (4, START_MS + 130)


def test_an_epoch_ends_by_time_alone_when_stakes_changed():
    """Counted in blocks alone, ten certificates a day would have a new member wait for ten days."""
    genesis = found(epoch_blocks=1_000, epoch_ms=100)
    move = staking(5, ADA, ledger=genesis.ledger_id)
    assert numbers_after(Scribe(genesis), 1, 99, 101, 250, moves=[(1, move)]) == [0, 0, 1, 1]
    assert numbers_after(Scribe(genesis), 1, 100, 101, 250, moves=[(1, move)]) == [0, 1, 1, 1]
    assert numbers_after(Scribe(genesis), 1, 99, 101, 250) == [0, 0, 0, 0]
    back = staking(-5, ADA, at_ms=START_MS + 1, ledger=genesis.ledger_id)
    assert numbers_after(Scribe(genesis), 1, 2, 101, 250, moves=[(0, move), (1, back)]) == [0, 0, 0, 0]


def test_where_nobody_has_stake_left_epochs_do_not_end_early():
    genesis = found(ADA, epoch_blocks=1_000, epoch_ms=10)
    burned = evidence(ADA, genesis=genesis)
    scribe = FinalScribe(genesis)
    assert numbers_after(scribe, 1, 11, 22, moves=[(0, burned)]) == [0, 0, 0]


def test_stakes_are_frozen_until_the_next_epoch():
    scribe = Scribe(found(epoch_blocks=3))
    first = scribe.state.epoch
    assert first == Epoch(0, scribe.genesis.stakes(), 1, START_MS)
    ledger = scribe.genesis.ledger_id
    scribe.forge(staking(50, ADA, ledger=ledger), staking(-100, BEN, ledger=ledger))
    scribe.forge(staking(7, CY, ledger=ledger))
    assert scribe.state.epoch is first
    assert first.stake(BEN.public_key) == 100
    scribe.forge()
    second = scribe.state.epoch
    assert (second.number, second.stakes) == (1, scribe.state.stakes)
    assert [second.stake(one.public_key) for one in (ADA, BEN, CY)] == [150, 0, 107]
    assert second.hash != first.hash


def test_an_operation_in_the_last_block_of_an_epoch_counts_in_the_next():
    scribe = Scribe(found(epoch_blocks=2))
    scribe.forge()
    scribe.forge(staking(1, ADA, ledger=scribe.genesis.ledger_id))
    assert scribe.state.epoch.stake(ADA.public_key) == 101


def test_a_convicted_member_counts_until_its_epoch_ends():
    scribe = Scribe(found(epoch_blocks=2))
    scribe.forge(evidence(BEN, genesis=scribe.genesis))
    assert scribe.state.stakes.account(BEN.public_key).staked == 0
    assert scribe.state.epoch.stake(BEN.public_key) == 100
    scribe.forge()
    assert scribe.state.epoch.stake(BEN.public_key) == 0
    assert scribe.state.epoch.total == 300


def test_an_epoch_keeps_its_members_when_nobody_has_stake_left():
    scribe = FinalScribe(found(ADA, epoch_blocks=2))
    scribe.forge()
    before = scribe.state.epoch
    scribe.forge(evidence(ADA, genesis=scribe.genesis))
    assert scribe.state.stakes.total_staked == 0
    assert (scribe.state.epoch.number, scribe.state.epoch.stakes) == (1, before.stakes)
    assert scribe.state.epoch.members == before.members


def test_replay_goes_through_the_same_epochs():
    scribe = Scribe(found(epoch_blocks=3))
    ledger, seen = scribe.genesis.ledger_id, []
    for amount, member in ((5, ADA), (-7, BEN), (-9, ADA), (20, CY), (0, BEN), (9, ADA), (-1, CY)):
        convicted = evidence(member, genesis=scribe.genesis)
        scribe.forge(staking(amount, member, ledger=ledger) if amount else convicted)
        seen.append(scribe.state)
    assert scribe.state.epoch.number == 2
    assert scribe.state.stakes.burned == 100
    replay = Blockchain(scribe.genesis, lambda state, header: None)
    for block, state in zip(scribe.blocks, seen, strict=True):
        replay.append(block)
        assert replay.state == state
