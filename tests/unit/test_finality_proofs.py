"""What is known ahead of the blocks: members from epoch to epoch, ranges by themselves, and a checkpoint's chain."""

import pytest
from msgspec.structs import replace
from tests.builders import ADA, BEN, CY, DOT, STRANGER, FinalScribe, found, refuses, staking

from tallystick.ledger.errors import Rule
from tallystick.ledger.messages import FinalizationRequest, HeaderRequest
from tallystick.ledger.vote import cast, tally_of
from tallystick.node.finality_proofs import Checkpoint, FinalityProofs

EPOCH_BLOCKS, RANGE_BLOCKS = 4, 3


def written(blocks=18):
    """A chain whose members change from epoch to epoch."""
    scribe = FinalScribe(found(epoch_blocks=EPOCH_BLOCKS, unbonding_blocks=8))
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


def proofs_of(scribe, checkpoint=None):
    return FinalityProofs(FinalScribe(scribe.genesis).state, scribe.genesis.params, RANGE_BLOCKS, checkpoint)


def names_of(trail, scribe):
    """Which of the chain's blocks the trail can judge one by one."""
    judged = []
    for block in scribe.blocks:
        try:
            trail.check((block,), (), scribe.archive.finalization(block.index))
        except ValueError:
            continue
        judged.append(block.index)
    return judged


# ---- members from epoch to epoch ----------------------------------------------------------------------------------


def test_members_are_proven_from_the_genesis_on_before_any_block(chain):
    trail = proofs_of(chain)
    assert trail.horizon == 4
    assert trail.question(3) is trail.question(4) is None
    assert trail.question(5) == FinalizationRequest(0)
    assert trail.extend(chain.proofs(4, 8)) == 8
    assert trail.horizon == 12
    assert trail.question(13) == FinalizationRequest(2)
    assert trail.extend(chain.proofs(12, 16, 18)) == 18
    assert trail.horizon == 20
    assert names_of(trail, chain) == list(range(1, 19))


def test_an_epoch_is_judged_by_its_own_members_only(chain):
    trail = proofs_of(chain)
    trail.extend(chain.proofs(4))
    assert names_of(trail, chain) == list(range(1, 9))
    epoch = FinalScribe(chain.genesis).state.epoch
    sold = chain.finalization(epoch, chain.blocks[8], ADA, BEN, CY, DOT)
    with refuses(Rule.V2):
        trail.check((chain.blocks[8],), (), sold)


LIES = {
    "too little stake": lambda chain, proof: replace(proof, finalization=tally_of(proof.finalization.votes[:2])),
    "a stranger's votes too": lambda chain, proof: replace(
        proof,
        finalization=tally_of(
            [*proof.finalization.votes[:2], cast(STRANGER, chain.genesis.ledger_id, proof.finalization.ballot)]
        ),
    ),
    "another block": lambda chain, proof: replace(proof, finalization=chain.proofs(8)[0].finalization),
    "other members": lambda chain, proof: replace(proof, members=((STRANGER.public_key, 1),)),
    "no members": lambda chain, proof: replace(proof, members=None),
    "members twice": lambda chain, proof: replace(proof, members=proof.members * 2),
    "members out of order": lambda chain, proof: replace(proof, members=proof.members[::-1]),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_lie_about_an_epochs_end_is_refused_and_changes_nothing(chain, lie):
    trail = proofs_of(chain)
    with refuses(Rule.V2):
        trail.extend((lie(chain, chain.proofs(4)[0]), *chain.proofs(8)))
    assert trail.horizon == 4


@pytest.mark.parametrize("indexes", [(8,), (5,), (4, 12), (4, 4), (3, 2), (4, 8, 9, 9)])
def test_proofs_out_of_order_are_refused(chain, indexes):
    trail = proofs_of(chain)
    with refuses(Rule.N4):
        trail.extend(chain.proofs(*indexes))
    assert trail.horizon == 4


def test_what_an_epoch_in_the_middle_passes_off_as_its_end_is_refused(chain):
    """A block that is final, but not its epoch's last, says nothing about the next epoch's members."""
    trail = proofs_of(chain)
    assert trail.extend(chain.proofs(3)) == 3
    assert trail.horizon == 4


def test_an_answer_that_comes_when_more_is_known_already_is_no_lie(chain):
    trail = proofs_of(chain)
    trail.extend(chain.proofs(4, 8))
    assert trail.extend(chain.proofs(4, 8, 12)) == 12
    assert trail.extend(chain.proofs(3)) == trail.extend(chain.proofs(4)) == 0
    assert trail.horizon == 16


def test_the_own_chain_takes_over_where_it_arrives(chain):
    trail, own = proofs_of(chain), FinalScribe(chain.genesis)
    trail.extend(chain.proofs(4, 8))
    for block in chain.blocks[:9]:
        own.chain.append(block, None)
        trail.moved(own.state)
    assert trail.horizon == 12
    assert names_of(trail, chain) == list(range(9, 13))
    for block in chain.blocks[9:12]:
        own.chain.append(block, None)
        trail.moved(own.state)
    assert trail.question(17) == FinalizationRequest(3)


# ---- ranges ---------------------------------------------------------------------------------------------------------


def test_a_range_never_reaches_beyond_its_epochs_end(chain):
    trail = proofs_of(chain)
    assert [trail.range_end(start) for start in (1, 2, 3, 4, 5, 6, 7, 8)] == [3, 3, 3, 4, 6, 6, 8, 8]


def test_a_range_is_proven_by_a_later_blocks_finalization_and_the_headers_up_to_it(chain):
    trail, blocks = proofs_of(chain), chain.blocks
    headers = tuple(block.header for block in blocks)
    last = chain.archive.finalization(4)
    trail.check(tuple(blocks[:2]), headers[2:4], last)
    trail.check(tuple(blocks[1:2]), headers[2:4], last)
    for wrong in (headers[2:3], headers[3:4], headers[1:4], headers[2:5]):
        with pytest.raises(ValueError, match=r"\[(B1|B2|V2)\]"):
            trail.check(tuple(blocks[:2]), wrong, last)
    with refuses(Rule.V2):
        trail.check(tuple(blocks[:2]), (), None)


def test_blocks_of_another_chain_are_refused_though_a_true_finalization_follows(chain):
    trail, other = proofs_of(chain), written(2)
    rival = other.draft(staking(1, BEN, ledger=chain.genesis.ledger_id))
    with refuses(Rule.B2):
        trail.check((rival,), (chain.blocks[3].header,), chain.archive.finalization(4))


# ---- a trusted checkpoint -------------------------------------------------------------------------------------------


def pinned(chain, index=17):
    return proofs_of(chain, Checkpoint(index, chain.blocks[index - 1].hash))


def headers(chain, last, count):
    return tuple(block.header for block in chain.blocks[last - count : last])


def test_headers_lead_back_from_the_checkpoint_and_then_its_blocks_are_taken(chain):
    trail = pinned(chain)
    assert trail.is_below_checkpoint
    assert trail.horizon == 0
    assert trail.question(16) is None
    assert trail.question(17) == HeaderRequest(17, 17)
    trail.pin(headers(chain, 17, 10))
    assert trail.question(18) == HeaderRequest(7, 7)
    assert trail.horizon == 0
    trail.pin(headers(chain, 7, 7))
    assert trail.horizon == 17
    assert trail.question(18) is None
    assert [trail.range_end(start) for start in (1, 3, 4, 5, 16, 17, 18)] == [3, 3, 4, 6, 16, 17, 18]
    trail.check(tuple(chain.blocks[4:6]), (), None)
    trail.check(tuple(chain.blocks[4:5]), headers(chain, 6, 1), None)
    trail.check(tuple(chain.blocks[15:17]), (), None)
    with refuses(Rule.V4):
        trail.check(tuple(chain.blocks[4:5]), (), chain.archive.finalization(5))


def test_votes_do_not_count_below_the_checkpoint(chain):
    """Members of long ago sign another history: every vote is good, and no block of it is taken."""
    fake = written(1)
    for _ in range(17):
        fake.forge()
    trail = pinned(chain)
    trail.pin(headers(chain, 17, 17))
    for start in range(17):
        with refuses(Rule.V4):
            trail.check((fake.blocks[start],), (), fake.archive.finalization(start + 1))
    with refuses(Rule.V4):
        trail.check(tuple(fake.blocks[:3]), (), fake.archive.finalization(3))


def test_headers_of_another_chain_are_refused(chain):
    trail, own = pinned(chain), headers(chain, 17, 17)
    other = written(1)
    for _ in range(17):
        other.forge()
    with refuses(Rule.V4):
        trail.pin(headers(other, 17, 17))
    with refuses(Rule.V4):
        trail.pin(own[:-1])
    with refuses(Rule.B2):
        trail.pin((*headers(other, 16, 16), own[-1]))
    with refuses(Rule.B1):
        trail.pin((*own[:5], *own[6:]))
    trail.pin(())
    assert trail.question(17) == HeaderRequest(17, 17)
    trail.pin(own)
    assert trail.horizon == 17


def test_a_checkpoint_that_does_not_descend_from_the_own_chain_is_told(chain):
    own = FinalScribe(chain.genesis)
    own.forge(staking(7, BEN, ledger=chain.genesis.ledger_id))
    trail = FinalityProofs(own.state, chain.genesis.params, RANGE_BLOCKS, Checkpoint(17, chain.blocks[16].hash))
    with refuses(Rule.V4):
        trail.pin(headers(chain, 17, 16))
    assert trail.horizon == 1


def test_beyond_the_checkpoint_finalizations_lead_on(chain):
    trail, own = pinned(chain, 6), FinalScribe(chain.genesis)
    trail.pin(headers(chain, 6, 6))
    for block in chain.blocks[:6]:
        assert trail.is_below_checkpoint
        own.chain.append(block, None)
        trail.moved(own.state)
    assert not trail.is_below_checkpoint
    assert trail.horizon == 8
    assert trail.question(18) == FinalizationRequest(1)
    assert trail.extend(chain.proofs(8, 12, 16, 18)) == 18
    assert names_of(trail, chain) == list(range(7, 19))
