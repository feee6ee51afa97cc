"""The chain: which block may follow, what it leads to, and that a refused one changes nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.builders import (
    ADA,
    BEN,
    CY,
    GENESIS,
    MEMBERS,
    START_MS,
    STRANGER,
    Held,
    Scribe,
    evidence,
    found,
    refuses,
    sign_block,
    staking,
    statement,
)
from tests.log_proofs import root

from tallystick.ledger.blockchain import Blockchain, check_clock
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.stake import Account, BlockContext
from tallystick.ledger.transition import make_header, next_state


def summary(chain):
    state = chain.state
    return state, len(chain.certificate_index)


@pytest.fixture
def scribe():
    made = Scribe()
    made.forge(statement("first"), staking(10))
    made.forge(statement("second"))
    return made


ILLEGAL = {
    "version": ({"version": 2}, Rule.E4),
    "another ledger": ({"ledger_id": bytes(32)}, Rule.B10),
    "other certificates": ({"certificates_hash": bytes(32)}, Rule.B7),
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
    "no room for a later time": ({"timestamp_ms": 2**52 + 1}, Rule.B8),
    "next epoch": ({"epoch": 1}, Rule.B11),
    "highest epoch": ({"epoch": 2**53 - 1}, Rule.B11),
    "no root": ({"state_root": bytes(32)}, Rule.B12),
    "the root before": ({"state_root": Scribe().state.root}, Rule.B12),
}


@pytest.mark.parametrize(("changes", "rule"), ILLEGAL.values(), ids=ILLEGAL)
def test_a_block_that_does_not_follow_is_refused_and_changes_nothing(scribe, changes, rule):
    block = scribe.draft(statement("third"), **changes)
    before = summary(scribe.chain)
    with refuses(rule):
        scribe.chain.append(block)
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
    "nothing left to lose": ((evidence(STRANGER),), Rule.B5),
    "the same offender twice": ((evidence(BEN), evidence(BEN, CY)), Rule.B5),
    "too many": (tuple(statement(f"{number}") for number in range(7)), Rule.B9),
}


@pytest.mark.parametrize(("certificates", "rule"), UNFIT.values(), ids=UNFIT)
def test_a_block_with_unfit_certificates_is_refused_and_changes_nothing(certificates, rule):
    scribe = Scribe(found(max_block_certificates=6))
    scribe.forge(statement("first"), staking(10))
    before = summary(scribe.chain)
    with refuses(rule):
        scribe.chain.append(scribe.draft(*certificates))
    assert summary(scribe.chain) == before


def test_b5_says_which_rule_of_stake_was_broken(scribe):
    with pytest.raises(Refused, match=Rule.S2.name) as caught:
        scribe.forge(staking(991))
    assert caught.value.rule is Rule.B5
    assert caught.value.__cause__.rule is Rule.S2
    scribe.forge(evidence(BEN))
    for rule, illegal in ((Rule.S6, evidence(BEN, CY)), (Rule.S8, staking(1, BEN)), (Rule.V6, evidence(CY, epoch=1))):
        with pytest.raises(Refused) as caught:
            scribe.forge(illegal)
        assert (caught.value.rule, caught.value.__cause__.rule) == (Rule.B5, rule)


def test_a_block_leads_to_its_state(scribe):
    block = scribe.draft(statement("third"), staking(-5), staking(20, BEN))
    after = scribe.chain.after(block)
    assert (after.tip, after.index) == (block.header, 3)
    assert after.stakes.account(ADA.public_key) == Account(990, 105, ((BlockContext(2, 203, START_MS + 203), 5),))
    assert after.stakes.account(BEN.public_key) == Account(980, 120)
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
    """Asked before a vote, and never again: what was legal once stays so, whatever a clock says later."""
    ahead = scribe.draft(statement("third"), timestamp_ms=START_MS + 1_500)
    with refuses(Rule.B8):
        check_clock(ahead.header, GENESIS.params, START_MS + 999)
    check_clock(ahead.header, GENESIS.params, START_MS + 1_000)
    check_clock(ahead.header, found(block_ahead_ms=None).params, 0)
    scribe.chain.append(ahead)


def test_a_block_may_be_of_any_time_up_to_the_bound(scribe):
    scribe.chain.append(scribe.draft(statement("third"), timestamp_ms=2**52))
    with refuses(Rule.B8):
        scribe.forge()


def test_a_block_of_more_than_its_bytes_is_refused(scribe):
    """One drawn member proposed 1.3 MB, all made it final, and nobody could restart or join: `Rule.B9`."""
    block = scribe.draft(*(statement("é" * 200 + str(number)) for number in range(2_600)))
    assert len(block.encoded) > 1_300_000
    before = summary(scribe.chain)
    with refuses(Rule.B9):
        scribe.chain.append(block)
    assert summary(scribe.chain) == before


def test_the_header_of_a_forger_leads_to_the_state_that_the_gate_works_out(scribe):
    certificates = (statement("third"), staking(-5), evidence(BEN, CY))
    forger = scribe.forger()
    header = make_header(scribe.state, 3, START_MS + 50, forger.public_key, certificates)
    assert (header.index, header.epoch, header.timestamp_ms) == (3, 0, START_MS + 50)
    state = scribe.chain.after(sign_block(header, certificates, forger))
    assert state == next_state(scribe.state, header, certificates)
    assert (state.root, state.tip.state_root) == (header.state_root, header.state_root)
    assert make_header(scribe.state, 3, 0, forger.public_key, ()).timestamp_ms == START_MS + 3


def test_a_header_over_illegal_certificates_is_not_made(scribe):
    for rule, illegal in ((Rule.S2, staking(991)), (Rule.V6, evidence(BEN, epoch=1))):
        with refuses(rule):
            make_header(scribe.state, 3, START_MS + 50, ADA.public_key, [illegal])


def test_the_course_may_have_empty_blocks():
    block = Scribe(found(min_block_certificates=0)).draft()
    assert Scribe(found(min_block_certificates=0)).chain.after(block).tip == block.header


# ---- blocks on a block that is not final ------------------------------------------------------------------------


def pending(scribe):
    """A chain at block 2, and blocks 3 to 5 that wait on it, with the states they lead to."""
    ahead = Scribe()
    for block in scribe.blocks:
        ahead.chain.append(block)
    blocks = [ahead.forge(statement("third")), ahead.forge(staking(40)), ahead.forge(statement("fifth"))]
    return blocks, ahead


def test_a_block_is_judged_on_the_block_it_extends_though_that_is_not_on_the_chain(scribe):
    blocks, ahead = pending(scribe)
    before, base = summary(scribe.chain), None
    for block in blocks:
        base = scribe.chain.after(block, base)
        assert base.tip == block.header
    assert base == ahead.state
    assert base.stakes.account(ADA.public_key) == Account(950, 150)
    assert summary(scribe.chain) == before


def test_a_block_does_not_follow_a_base_that_it_does_not_name(scribe):
    blocks, _ = pending(scribe)
    base = scribe.chain.after(blocks[0])
    with refuses(Rule.B1):
        scribe.chain.after(blocks[2], base)
    with refuses(Rule.B1):
        scribe.chain.after(blocks[1])
    other = Scribe()
    other.forge_many(3)
    with refuses(Rule.B2):
        scribe.chain.after(other.draft(statement("x")), base)


def test_stake_spent_in_a_pending_block_is_spent(scribe):
    blocks, ahead = pending(scribe)
    base = None
    for block in blocks:
        base = scribe.chain.after(block, base)
    with refuses(Rule.B5):
        scribe.chain.after(ahead.draft(staking(951, at_ms=START_MS + 1)), base)
    assert scribe.chain.after(ahead.draft(staking(950, at_ms=START_MS + 1)), base)


@pytest.mark.parametrize("repeated", [statement("third"), staking(40), statement("first")], ids=["3", "4", "1"])
def test_what_a_pending_ancestor_holds_may_not_come_again(scribe, repeated):
    blocks, ahead = pending(scribe)
    base, held = None, set[bytes]()
    for block in blocks:
        base = scribe.chain.after(block, base, Held(*held))
        held |= {one.id for one in block.certificates}
    again = ahead.draft(statement("new"), repeated)
    with refuses(Rule.B6):
        scribe.chain.after(again, base, Held(*held))
    assert scribe.chain.after(ahead.draft(statement("new")), base, Held(*held))


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
        assert scribe.state.root == scribe.state.tip.state_root
    replay = Blockchain(GENESIS, lambda state, header: None)
    for block in scribe.blocks:
        replay.append(block)
    assert summary(replay) == summary(scribe.chain)
