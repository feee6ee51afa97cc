"""Proof of Work: the hash shows the work, the difficulty can be changed, and forging stops when told to."""

import pytest
from msgspec.structs import replace
from tests.builders import ADA, BEN, GENESIS, START_MS, Scribe, guard_of, refuses, statement

from tallystick.course.lone_forger import LoneForger
from tallystick.course.work_rule import WorkRule
from tallystick.ledger.blockchain import Blockchain
from tallystick.ledger.errors import Rule


def forge(difficulty, chain=None, most_steps=1_000):
    chain = chain or Blockchain(GENESIS, LoneForger(WorkRule(difficulty)).check_forger)
    forger = LoneForger(WorkRule(difficulty), guard_of(ADA))
    for steps in range(1, most_steps):
        block = forger.forge(START_MS + 1, chain.state, [statement()])
        if block is not None:
            return block, steps
    raise AssertionError("no block")


@pytest.mark.parametrize("difficulty", [1, 2, 16, 1_000])
def test_a_block_shows_the_work_that_the_difficulty_asks_for(difficulty):
    block, _ = forge(difficulty)
    assert int.from_bytes(block.hash, "big") * difficulty < 2**256
    Blockchain(GENESIS, LoneForger(WorkRule(difficulty)).check_forger).append(block)


def test_a_block_without_the_work_is_refused():
    rule, block = WorkRule(1_000), Scribe().draft(statement())
    lazy = next(
        header
        for nonce in range(100)
        if int.from_bytes((header := replace(block.header, nonce=nonce)).hash, "big") * 1_000 >= 2**256
    )
    with refuses(Rule.B4):
        rule.check(Scribe().state, lazy)
    rule.difficulty = 1
    rule.check(Scribe().state, lazy)


def test_everybody_may_try():
    for forger in (ADA, BEN):
        assert WorkRule(9).may_forge(Scribe().state, forger.public_key)


def test_work_comes_in_steps_and_goes_on_where_it_stopped():
    rule, header = WorkRule(2**200), Scribe().draft(statement()).header
    later, is_ready = rule.work(header)
    assert not is_ready
    assert later.nonce > header.nonce
    assert later == replace(header, nonce=later.nonce)
    assert rule.work(later)[0].nonce == 2 * later.nonce


def test_a_harder_block_takes_several_steps():
    block, steps = forge(20_000)
    assert (steps - 1) * 2_000 <= block.header.nonce < steps * 2_000


@pytest.mark.parametrize("stops", [False, True])
def test_an_attempt_goes_on_with_its_certificates_until_told_to_stop(stops):
    rule, state = WorkRule(2**200), Scribe().state
    forger = LoneForger(rule, guard_of(ADA))
    assert forger.forge(START_MS + 1, state, [statement("one")]) is None
    if stops:
        forger.stop()
    rule.difficulty = 1
    block = forger.forge(START_MS + 1, state, [statement("two")])
    assert block.certificates == (statement("two" if stops else "one"),)
    assert (block.header.nonce == 0) is stops


@pytest.mark.parametrize("difficulty", [0, -1, 2**256, 1.5, True, "1", None], ids=repr)
def test_a_difficulty_is_a_whole_number_in_range(difficulty):
    with pytest.raises(ValueError, match="whole number"):
        WorkRule(difficulty)
    rule = WorkRule(5)
    with pytest.raises(ValueError, match="whole number"):
        rule.difficulty = difficulty
    assert rule.difficulty == 5
