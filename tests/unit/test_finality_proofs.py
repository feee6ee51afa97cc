"""What is known ahead of the blocks: members from epoch to epoch, ranges by themselves, and a trusted block's chain."""

import pytest
from msgspec.structs import replace
from tests.builders import ADA, BEN, CY, DOT, START_MS, STRANGER, FinalScribe, Scribe, found, refuses, staking

from tallystick.ledger.block import verified
from tallystick.ledger.errors import Rule
from tallystick.ledger.messages import BlockRequest, Blocks, FinalizationRequest, Finalizations, HeaderRequest, Headers
from tallystick.ledger.vote import cast, tally_of
from tallystick.network.archiving import answer_blocks
from tallystick.node.finality_proofs import Finality, FinalityProofs, TrustedBlock

EPOCH_BLOCKS, RANGE_BLOCKS = 4, 3


def written(blocks=18):
    """A chain whose members change from epoch to epoch."""
    scribe = FinalScribe(found(epoch_blocks=EPOCH_BLOCKS))
    ledger = scribe.genesis.ledger_id
    for number in range(blocks):
        moves = {
            2: staking(300, ADA, ledger=ledger),
            5: staking(-100, DOT, ledger=ledger),
            7: staking(-50, CY, ledger=ledger),
        }
        scribe.forge(*[moves[number]] if number in moves else [])
    return scribe


@pytest.fixture(scope="module")
def chain():
    return written()


def proofs_of(scribe, trusted_block=None):
    return FinalityProofs(FinalScribe(scribe.genesis).state, RANGE_BLOCKS, trusted_block)


def check(finality, blocks, headers=(), finalization=None):
    """At a time long before all blocks: votes do not ask the clock."""
    finality.check(Blocks(blocks[0].index, tuple(blocks), tuple(headers), finalization), 0)


def take(finality, *proofs):
    return finality.take(Finalizations(proofs))


def judged(finality, scribe):
    """Which of the chain's blocks can be judged one by one."""
    good = []
    for block in scribe.blocks:
        try:
            check(finality, [block], (), scribe.archive.finalization(block.index))
        except ValueError:
            continue
        good.append(block.index)
    return good


def reach(finality):
    """Of a chain that goes on beyond all that is proven."""
    return finality.reach(1_000, 1_000)


# ---- members from epoch to epoch ----------------------------------------------------------------------------------


def test_members_are_proven_from_the_genesis_on_before_any_block(chain):
    finality = proofs_of(chain)
    assert not finality.is_below_trusted_block
    assert not finality.takes_new_blocks
    assert reach(finality) == 0
    assert finality.question(3, 0) is None
    assert finality.question(4, 1) == FinalizationRequest(0)
    assert take(finality, *chain.proofs(4, 8))
    assert reach(finality) == 8
    assert finality.question(9, 2) is None
    assert finality.question(13, 3) == FinalizationRequest(2)
    assert not take(finality, *chain.proofs(12, 16, 18))
    assert reach(finality) == 16
    assert judged(finality, chain) == list(range(1, 19))


def test_of_a_chain_that_ends_in_a_known_epoch_all_can_be_judged(chain):
    finality = proofs_of(chain)
    assert [finality.reach(3, 0), finality.reach(1_000, 0)] == [3, 1_000]
    take(finality, *chain.proofs(4, 8))
    assert [finality.reach(11, 2), finality.reach(13, 3), finality.reach(5, 3)] == [11, 8, 5]


def test_whether_a_peer_may_have_more_to_prove_shows_by_how_its_proof_ends(chain):
    finality = proofs_of(chain)
    assert not take(finality)
    assert not take(finality, *chain.proofs(3))
    assert take(finality, *chain.proofs(4, 8))
    assert not take(finality, *chain.proofs(12, 14))
    assert not take(finality, *chain.proofs(4, 8, 12)), "nothing new"


def test_an_epoch_is_judged_by_its_own_members_only(chain):
    finality = proofs_of(chain)
    take(finality, *chain.proofs(4))
    assert judged(finality, chain) == list(range(1, 9))
    epoch = FinalScribe(chain.genesis).state.epoch
    sold = chain.finalization(epoch, chain.blocks[8], ADA, BEN, CY, DOT)
    with refuses(Rule.V2):
        check(finality, chain.blocks[8:9], (), sold)


def test_only_so_many_epochs_are_proven_ahead(chain, monkeypatch):
    monkeypatch.setattr("tallystick.node.finality_proofs._EPOCHS_AHEAD", 2)
    finality, own = proofs_of(chain), FinalScribe(chain.genesis)
    take(finality, *chain.proofs(4, 8))
    assert finality.question(18, 4) is None
    for block in chain.blocks[:4]:
        own.chain.append(block)
        finality.tip_advanced(own.state)
    assert finality.question(18, 4) == FinalizationRequest(2)


LIES = {
    "too little stake": lambda chain, proof: replace(proof, finalization=tally_of(proof.finalization.votes[:2])),
    "a stranger's votes too": lambda chain, proof: replace(
        proof,
        finalization=tally_of(
            [*proof.finalization.votes[:2], cast(STRANGER, chain.genesis.ledger_id, proof.finalization.ballot)]
        ),
    ),
    "another block": lambda chain, proof: replace(proof, finalization=chain.proofs(8)[0].finalization),
    "other roots": lambda chain, proof: replace(proof, roots=chain.proofs(8)[0].roots),
    "roots with other voters": lambda chain, proof: replace(
        proof, roots=replace(proof.roots, next_voters=chain.proofs(8)[0].roots.next_voters)
    ),
    "other members": lambda chain, proof: replace(proof, members=((STRANGER.public_key, 1),)),
    "no members": lambda chain, proof: replace(proof, members=None),
    "members twice": lambda chain, proof: replace(proof, members=proof.members * 2),
    "members out of order": lambda chain, proof: replace(proof, members=proof.members[::-1]),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_lie_about_an_epochs_end_is_refused_and_changes_nothing(chain, lie):
    finality = proofs_of(chain)
    with refuses(Rule.V2):
        take(finality, lie(chain, chain.proofs(4)[0]), *chain.proofs(8))
    assert reach(finality) == 0


@pytest.mark.parametrize("indexes", [(8,), (5,), (4, 12), (4, 4), (3, 2), (4, 8, 9, 9)])
def test_proofs_out_of_order_are_refused(chain, indexes):
    finality = proofs_of(chain)
    with refuses(Rule.N4):
        take(finality, *chain.proofs(*indexes))
    assert reach(finality) == 0


def test_what_an_epoch_in_the_middle_passes_off_as_its_end_is_refused(chain):
    """A block that is final, but not its epoch's last, says nothing about the next epoch's members."""
    finality, middle = proofs_of(chain), FinalScribe(chain.genesis)
    for block in chain.blocks[:3]:
        middle.chain.append(block)
    (proof,) = chain.proofs(3)
    with refuses(Rule.V2):
        take(finality, replace(proof, roots=middle.state.roots))
    with refuses(Rule.V2):
        take(finality, replace(proof, roots=middle.state.roots, members=middle.state.stakes.members))
    assert not take(finality, proof)
    assert reach(finality) == 0


def test_an_epochs_end_without_its_state_roots_proves_no_members(chain):
    finality = proofs_of(chain)
    (proof,) = chain.proofs(4)
    assert not take(finality, replace(proof, roots=None, members=None))
    assert reach(finality) == 0


def test_an_answer_that_comes_when_more_is_known_already_is_no_lie(chain):
    finality = proofs_of(chain)
    take(finality, *chain.proofs(4, 8))
    assert take(finality, *chain.proofs(4, 8, 12))
    take(finality, *chain.proofs(3))
    take(finality, *chain.proofs(4))
    assert reach(finality) == 12


def test_the_own_chain_takes_over_where_it_arrives(chain):
    finality, own = proofs_of(chain), FinalScribe(chain.genesis)
    take(finality, *chain.proofs(4, 8))
    for block in chain.blocks[:9]:
        own.chain.append(block)
        finality.tip_advanced(own.state)
    assert reach(finality) == 8
    assert judged(finality, chain) == list(range(1, 13)), "up to 9 they are there and not looked at"
    for block in chain.blocks[9:12]:
        own.chain.append(block)
        finality.tip_advanced(own.state)
    assert finality.question(17, 4) == FinalizationRequest(3)
    assert reach(finality) == 12


def test_the_own_chain_may_run_ahead_of_all_proofs(chain):
    finality, own = proofs_of(chain), FinalScribe(chain.genesis)
    for block in chain.blocks[:9]:
        own.chain.append(block)
        finality.tip_advanced(own.state)
    assert finality.question(17, 4) == FinalizationRequest(2)
    assert judged(finality, chain) == list(range(1, 13))


def test_what_the_own_chain_got_meanwhile_is_no_lie_of_who_sends_it_late(chain):
    """A range that was asked for in an epoch that is over when the answer comes."""
    finality, own = proofs_of(chain), FinalScribe(chain.genesis)
    for block in chain.blocks[:4]:
        own.chain.append(block)
        finality.tip_advanced(own.state)
    check(finality, chain.blocks[2:4], (), chain.archive.finalization(4))
    with refuses(Rule.B2):
        check(finality, [chain.blocks[2], written(2).draft(index=4)], (), None)


# ---- ranges ---------------------------------------------------------------------------------------------------------


def test_a_range_never_reaches_beyond_the_end_of_an_epoch_that_is_known(chain):
    finality = proofs_of(chain)
    assert [finality.range_end(start) for start in (1, 2, 3, 4, 5)] == [3, 3, 3, 6, 6]
    take(finality, *chain.proofs(4, 8))
    assert [finality.range_end(start) for start in range(1, 11)] == [3, 3, 3, 4, 6, 6, 8, 8, 9, 12]


def test_a_range_is_proven_by_a_later_blocks_finalization_and_the_headers_up_to_it(chain):
    finality, blocks = proofs_of(chain), chain.blocks
    headers = [block.header for block in blocks]
    last = chain.archive.finalization(4)
    check(finality, blocks[:2], headers[2:4], last)
    check(finality, blocks[1:2], headers[2:4], last)
    for wrong in (headers[2:3], headers[3:4], headers[1:4], headers[2:5]):
        with pytest.raises(ValueError, match=r"\[(B1|B2|V2)\]"):
            check(finality, blocks[:2], wrong, last)
    with refuses(Rule.V2):
        check(finality, blocks[:2], (), None)


def test_blocks_of_another_chain_are_refused_though_a_true_finalization_follows(chain):
    finality, other = proofs_of(chain), written(2)
    rival = other.draft(staking(1, BEN, ledger=chain.genesis.ledger_id))
    with refuses(Rule.B2):
        check(finality, [rival], [chain.blocks[3].header], chain.archive.finalization(4))


# ---- a trusted block ------------------------------------------------------------------------------------------------


def pinned(chain, index=17):
    return proofs_of(chain, TrustedBlock(index, chain.blocks[index - 1].hash))


def headers(chain, last, count):
    return tuple(block.header for block in chain.blocks[last - count : last])


def pin(finality, some):
    return finality.take(Headers(tuple(some)))


@pytest.mark.parametrize("cut", [7, 8, 9])
def test_headers_lead_back_from_the_trusted_block_and_then_its_blocks_are_taken(chain, cut):
    finality = pinned(chain)
    assert finality.is_below_trusted_block
    assert reach(finality) == 0
    assert finality.question(16, 4) is None
    assert finality.question(17, 4) == HeaderRequest(17, 17)
    assert pin(finality, headers(chain, 17, 17 - cut))
    assert finality.question(18, 4) == HeaderRequest(cut, cut)
    assert reach(finality) == 0
    assert pin(finality, headers(chain, cut, cut))
    assert [reach(finality), finality.reach(9, 2)] == [17, 9]
    assert finality.question(18, 4) is None
    ends = {1: 3, 3: 3, 4: 4, 5: 6, 7: 8, 9: 9, 12: 12, 13: 15, 16: 16, 17: 17, 18: 18}
    assert {start: finality.range_end(start) for start in ends} == ends
    check(finality, chain.blocks[4:6])
    check(finality, chain.blocks[4:5], headers(chain, 6, 1))
    check(finality, chain.blocks[16:17])
    with refuses(Rule.V4):
        check(finality, chain.blocks[4:5], (), chain.archive.finalization(5))


def test_below_the_trusted_block_each_range_is_answered_so_that_its_hash_proves_it(chain):
    """Whatever the answer leaves out by size, headers follow to the end of the range, where a hash is known."""
    finality, own = pinned(chain), FinalScribe(chain.genesis)
    pin(finality, headers(chain, 17, 17))
    while finality.is_below_trusted_block:
        start = own.state.index + 1
        asked = BlockRequest(start, finality.range_end(start) - start + 1)
        for most_bytes in (1, 1_000, 1_000_000):
            answer = answer_blocks(chain.archive, asked, most_bytes)
            finality.check(answer, 0)
        assert answer.blocks[-1].index == finality.range_end(start)
        for block in answer.blocks:
            own.chain.append(verified(block))
            finality.tip_advanced(own.state)
    assert own.state.index == 17


def test_votes_do_not_count_below_the_trusted_block(chain):
    """Members of long ago sign another history: every vote is good, and no block of it is taken."""
    fake = written(1)
    for _ in range(17):
        fake.forge()
    finality = pinned(chain)
    pin(finality, headers(chain, 17, 17))
    for start in range(17):
        with refuses(Rule.V4):
            check(finality, fake.blocks[start : start + 1], (), fake.archive.finalization(start + 1))
    with refuses(Rule.V4):
        check(finality, fake.blocks[:3], (), fake.archive.finalization(3))


def test_blocks_on_both_sides_of_the_trusted_block_are_not_judged_by_votes(chain):
    """The members of the epoch that the own chain is in sign another history around the trusted block."""
    finality, own, fake = pinned(chain), FinalScribe(chain.genesis), written(16)
    pin(finality, headers(chain, 17, 17))
    for block in chain.blocks[:16]:
        own.chain.append(block)
        finality.tip_advanced(own.state)
    for number in range(2):
        fake.forge(staking(1 + number, BEN, ledger=chain.genesis.ledger_id))
    with refuses(Rule.V4):
        check(finality, fake.blocks[16:], (), fake.archive.finalization(18))
    check(finality, chain.blocks[16:17])


def test_headers_of_another_chain_are_refused(chain):
    finality, own = pinned(chain), headers(chain, 17, 17)
    other = written(1)
    for _ in range(17):
        other.forge()
    with refuses(Rule.V4):
        pin(finality, headers(other, 17, 17))
    with refuses(Rule.V4):
        pin(finality, own[:-1])
    with refuses(Rule.B2):
        pin(finality, (*headers(other, 16, 16), own[-1]))
    with refuses(Rule.B1):
        pin(finality, (*own[:5], *own[6:]))
    assert not pin(finality, ())
    assert finality.question(17, 4) == HeaderRequest(17, 17)
    pin(finality, own)
    assert reach(finality) == 17


def test_a_trusted_block_that_does_not_descend_from_the_own_chain_is_told(chain):
    own = FinalScribe(chain.genesis)
    own.forge(staking(7, BEN, ledger=chain.genesis.ledger_id))
    finality = FinalityProofs(own.state, RANGE_BLOCKS, TrustedBlock(17, chain.blocks[16].hash))
    with refuses(Rule.V4):
        pin(finality, headers(chain, 17, 16))
    assert reach(finality) == 1


def test_beyond_the_trusted_block_finalizations_lead_on(chain):
    finality, own = pinned(chain, 6), FinalScribe(chain.genesis)
    pin(finality, headers(chain, 6, 6))
    for block in chain.blocks[:6]:
        assert finality.is_below_trusted_block
        own.chain.append(block)
        finality.tip_advanced(own.state)
    assert not finality.is_below_trusted_block
    assert reach(finality) == 4
    assert finality.question(18, 4) == FinalizationRequest(1)
    assert not take(finality, *chain.proofs(8, 12, 16, 18))
    assert judged(finality, chain) == list(range(1, 19)), "up to 6 they are there and not looked at"


# ---- a lone forger ---------------------------------------------------------------------------------------------------


def test_a_lone_forgers_blocks_are_judged_as_they_come():
    scribe = Scribe()
    finality, blocks = Finality(scribe.genesis.params, RANGE_BLOCKS), scribe.forge_many(3)
    assert finality.takes_new_blocks
    assert not finality.is_below_trusted_block
    assert finality.reach(1_000, 1_000) == 1_000
    assert [finality.range_end(start) for start in (1, 2)] == [3, 4]
    assert finality.question(1_000, 1_000) is None
    finality.check(Blocks(1, tuple(blocks)), START_MS)
    finality.tip_advanced(scribe.state)


def test_a_lone_forgers_block_ahead_of_the_clock_is_refused():
    scribe = Scribe()
    finality = Finality(scribe.genesis.params, RANGE_BLOCKS)
    blocks = [scribe.forge(), scribe.forge(timestamp_ms=START_MS + 5_000)]
    finality.check(Blocks(1, tuple(blocks)), START_MS + 4_500)
    with refuses(Rule.B8):
        finality.check(Blocks(1, tuple(blocks)), START_MS + 4_499)


def test_votes_with_a_lone_forgers_blocks_were_not_asked_for(chain):
    finality = Finality(chain.genesis.params, RANGE_BLOCKS)
    with refuses(Rule.N4):
        check(finality, chain.blocks[:1], (), chain.archive.finalization(1))
