"""The lone-forger rule: one entitled forger an index, in one view."""

from tests.builders import ADA, GENESIS, LEDGER, MEMBERS, START_MS, Scribe, guard_of, refuses, statement

from tallystick.course.lone_forger import LoneForger
from tallystick.course.stake_rule import StakeRule
from tallystick.course.work_rule import WorkRule
from tallystick.ledger.block import check_form
from tallystick.ledger.blockchain import Blockchain, check_clock
from tallystick.ledger.errors import Rule
from tallystick.ledger.keys import is_signed


def test_the_drawn_forger_makes_a_block_that_everybody_accepts():
    scribe = Scribe()
    forger = LoneForger(StakeRule(), guard_of(scribe.forger()))
    assert forger.may_forge(scribe.state)
    block = forger.forge(START_MS + 7, scribe.state, [statement()])
    assert block is not None
    check_form(block, LEDGER)
    assert is_signed(block.header.signed_bytes(), block.signature, scribe.forger().public_key)
    assert (block.header.timestamp_ms, block.certificates) == (START_MS + 7, (statement(),))
    check_clock(block.header, scribe.genesis.params, START_MS + 7)
    scribe.chain.append(block)


def test_a_block_is_later_than_its_parent_though_the_clock_is_not():
    scribe = Scribe()
    block = LoneForger(StakeRule(), guard_of(scribe.forger())).forge(START_MS - 5_000, scribe.state, [statement()])
    assert block.header.timestamp_ms == START_MS + 1


def test_who_is_not_drawn_may_not_forge():
    scribe = Scribe()
    may = [LoneForger(StakeRule(), guard_of(member)).may_forge(scribe.state) for member in MEMBERS.values()]
    assert may.count(True) == 1


def test_a_node_without_a_wallet_judges_and_never_forges():
    onlooker, scribe = LoneForger(StakeRule()), Scribe()
    assert not onlooker.may_forge(scribe.state)
    assert onlooker.forge(START_MS, scribe.state, [statement()]) is None
    onlooker.check_forger(scribe.state, scribe.draft(statement()).header)


def test_there_is_no_second_view():
    scribe = Scribe()
    for view in (0, 2, 2**53 - 1):
        with refuses(Rule.B4):
            LoneForger(StakeRule()).check_forger(scribe.state, scribe.draft(statement(), view=view).header)


def test_work_begun_for_one_parent_is_dropped_when_the_chain_moves_on():
    scribe, rule = Scribe(), WorkRule(2**200)
    forger = LoneForger(rule, guard_of(ADA))
    assert forger.forge(START_MS, scribe.state, [statement("old")]) is None
    scribe.forge()
    rule.difficulty = 1
    block = forger.forge(START_MS, scribe.state, [statement("new")])
    assert (block.index, block.certificates) == (2, (statement("new"),))


def test_one_header_an_index_is_signed_whatever_is_lost_of_the_chain():
    scribe, guard = Scribe(), guard_of(ADA)
    forger = LoneForger(WorkRule(1), guard)
    first = forger.forge(START_MS, scribe.state, [statement("one")])
    assert first is not None
    records = guard.take_records()
    for again in (forger, LoneForger(WorkRule(1), guard_of(ADA, GENESIS, *records))):
        assert again.forge(START_MS, scribe.state, [statement("two")]) is None
    scribe.chain = Blockchain(scribe.genesis, forger.check_forger)
    scribe.chain.append(first)
    assert forger.forge(START_MS, scribe.state, [statement("two")]).index == 2
