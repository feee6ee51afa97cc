"""The draw: by stake alone, the same for everybody, and nothing a forger does can bend it."""

from collections import Counter
from fractions import Fraction
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import ADA, BEN, CY, LEDGER, STRANGER, Scribe, found, refuses, staking, statement

from tallystick.consensus.proof_of_stake import draw
from tallystick.course.stake_rule import StakeRule
from tallystick.ledger.errors import Rule
from tallystick.ledger.stake import Account, StakeTable

VIEWS = 100_000
STAKES = StakeTable({ADA.public_key: Account(0, 100), BEN.public_key: Account(0, 899), CY.public_key: Account(50, 1)})


def test_shares_of_the_draw_are_shares_of_stake():
    drawn = Counter(draw(STAKES, LEDGER, 0, view) for view in range(VIEWS))
    assert set(drawn) <= {key for key, _ in STAKES.members}
    for key, stake in STAKES.members:
        share = Fraction(stake, STAKES.total_staked)
        sigma = sqrt(VIEWS * share * (1 - share))
        assert abs(drawn[key] - VIEWS * share) < 3 * sigma


@given(
    st.dictionaries(st.binary(min_size=32, max_size=32), st.integers(1, 2**40), min_size=1, max_size=9),
    st.integers(0, 2**53 - 1),
)
def test_the_draw_is_the_members_whose_stretch_holds_the_draw_number(stakes, view):
    """Integers only: with tokens this many, a float would round."""
    table = StakeTable({key: Account(1, stake) for key, stake in stakes.items()})
    doubled = StakeTable({key: Account(0, stake) for key, stake in reversed(stakes.items())})
    drawn = draw(table, LEDGER, 0, view)
    assert drawn in stakes
    assert draw(doubled, LEDGER, 0, view) == drawn, "free tokens and the order of members count for nothing"


def test_the_smallest_stake_among_the_most_tokens_can_be_drawn():
    rich, poor = b"\x01" * 32, b"\x02" * 32
    table = StakeTable({rich: Account(0, 2**53 - 2), poor: Account(0, 1)})
    assert table.holder(2**53 - 3) == rich
    assert table.holder(2**53 - 2) == poor


def test_the_draw_depends_on_ledger_epoch_and_view():
    views = range(200)
    reference = [draw(STAKES, LEDGER, 0, view) for view in views]
    assert reference != [draw(STAKES, bytes(32), 0, view) for view in views]
    assert reference != [draw(STAKES, LEDGER, 1, view) for view in views]
    assert reference != [draw(STAKES, LEDGER, 0, view + 1) for view in views]
    assert reference == [draw(STAKES, LEDGER, 0, view) for view in views]


def test_nobody_is_drawn_where_nobody_has_stake():
    assert draw(StakeTable({ADA.public_key: Account(5, 0)}), LEDGER, 0, 1) is None


def test_trying_other_parents_does_not_change_who_comes_next():
    """Grinding: whatever the forger of a block tries, the next forgers stay the same."""
    forgers = set()
    for attempt in range(50):
        scribe = Scribe()
        scribe.forge(statement(f"attempt {attempt}"), timestamp_ms=scribe.state.tip.timestamp_ms + 1 + attempt)
        after = [StakeRule().forger_after(scribe.state)]
        scribe.forge(statement("next"))
        after.append(StakeRule().forger_after(scribe.state))
        forgers.add(tuple(after))
    assert len(forgers) == 1


def test_only_the_drawn_member_may_forge():
    scribe, rule = Scribe(), StakeRule()
    for _ in range(10):
        block = scribe.draft(statement("next"))
        rule.check(scribe.state, block.header)
        drawn = scribe.forger().public_key
        for key in (ADA, BEN, CY, STRANGER):
            assert rule.may_forge(scribe.state, key.public_key) == (key.public_key == drawn)
            if key.public_key != drawn:
                with refuses(Rule.B4):
                    rule.check(scribe.state, scribe.draft(statement("next"), signer=key).header)
        scribe.forge()


def test_stake_counts_from_the_next_block_on():
    alone = Scribe(found(ADA, BEN, staked=100))
    assert {one for one, _ in alone.state.stakes.members} == {ADA.public_key, BEN.public_key}
    alone.forge(staking(-100, BEN, ledger=alone.genesis.ledger_id))
    for _ in range(20):
        assert alone.forger() is ADA
        alone.forge()


def test_the_default_forger_forges_where_nobody_has_stake():
    course = Scribe(found(ADA, staked=0, mint_freely=True))
    assert StakeRule().forger_after(course.state) is None
    rule = StakeRule(default_forger=BEN.public_key)
    assert rule.may_forge(course.state, BEN.public_key)
    assert not rule.may_forge(course.state, ADA.public_key)
    with refuses(Rule.B4):
        StakeRule().check(course.state, course.draft(statement(), signer=BEN).header)
    course.chain.state = Scribe(found(ADA)).state
    assert not rule.may_forge(course.state, BEN.public_key), "once there is stake, the draw decides"


@pytest.mark.parametrize("view", [0, 1, 2**53 - 1])
def test_the_draw_of_a_single_member_is_that_member(view):
    assert draw(StakeTable({ADA.public_key: Account(0, 1)}), LEDGER, 0, view) == ADA.public_key
