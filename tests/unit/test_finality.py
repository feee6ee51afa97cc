"""Certificates of votes cannot be made without their quorum; what is final, and who votes next, is proven by them."""

from contextlib import nullcontext

import pytest
from msgspec.structs import replace
from tests.builders import (
    ADA,
    BEN,
    CY,
    DOT,
    MEMBERS,
    STRANGER,
    FinalScribe,
    Scribe,
    found,
    refuses,
    staking,
    statement,
    vote,
)

from tallystick.ledger.epoch import Epoch
from tallystick.ledger.errors import Rule
from tallystick.ledger.fields import ZERO_DIGEST
from tallystick.ledger.finality import (
    FinalHeader,
    Finalization,
    Notarization,
    Nullification,
    certificate_of,
    check_final,
    next_epoch,
)
from tallystick.ledger.stake import Account, StakeTable
from tallystick.ledger.vote import FINALIZE, NOTARIZE, NULLIFY, Tally, tally_of

A = b"a" * 32
EPOCH = Scribe().state.epoch
KINDS = {Notarization: (NOTARIZE, A), Nullification: (NULLIFY, ZERO_DIGEST), Finalization: (FINALIZE, A)}


def tally(kind, block_hash, *members, epoch=0, view=1):
    return tally_of([vote(kind, block_hash, one, epoch, view) for one in members or (ADA, BEN, CY)])


@pytest.mark.parametrize("kind", KINDS)
def test_a_certificate_of_votes_says_what_a_quorum_voted(kind):
    votes = tally(*KINDS[kind], ADA, CY, DOT, view=7)
    made = certificate_of(votes, EPOCH)
    assert type(made) is kind
    assert (made, made.members) == (kind(votes, EPOCH), frozenset(one.public_key for one in (ADA, CY, DOT)))
    assert (made.ballot.epoch, made.ballot.view, made.ballot.block_hash) == (0, 7, KINDS[kind][1])
    assert kind(tally(*KINDS[kind], *MEMBERS.values()), EPOCH) != made


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_quorum_of_its_kind_and_epoch_there_is_none(kind):
    says = KINDS[kind]
    votes = tally(*says)
    one = tally(*says, ADA)
    others = [tally(*KINDS[other]) for other in KINDS if other is not kind]
    for wrong in (
        *others,
        tally(*says, epoch=1),
        tally(*says, ADA, BEN),
        tally(*says, ADA, BEN, STRANGER),
        Tally(one.ballot, one.signatures * 4),
        Tally(votes.ballot, votes.signatures[::-1]),
        tally(says[0], ZERO_DIGEST if says[1] == A else A),
    ):
        with refuses(Rule.V2):
            kind(wrong, EPOCH)


@pytest.mark.parametrize(("staked", "is_quorum"), [((100, 100, 100), False), ((101, 100, 100), True)])
def test_more_than_two_thirds_is_counted_to_the_token(staked, is_quorum):
    stakes = zip((ADA, BEN, CY), staked, strict=True)
    epoch = Epoch(0, StakeTable({one.public_key: Account(0, stake) for one, stake in stakes}), 1, 0)
    with nullcontext() if is_quorum else refuses(Rule.V2, "200 of 300"):
        assert Finalization(tally(FINALIZE, A, ADA, BEN), epoch).members


# ---- final blocks -----------------------------------------------------------------------------------------------


def test_a_block_is_final_by_a_finalization_in_its_own_view_or_a_later_one():
    scribe = FinalScribe(found())
    block, epoch = scribe.forge(statement(ledger=scribe.genesis.ledger_id)), EPOCH
    for finalization in (scribe.finalization(epoch, block), scribe.finalization(epoch, block, BEN, CY, DOT, view=9)):
        check_final(epoch, block.header, finalization)


def test_a_block_without_a_quorum_of_its_epoch_is_not_final():
    scribe = FinalScribe(found())
    block = scribe.draft(statement(ledger=scribe.genesis.ledger_id))
    other = scribe.draft(statement("other", ledger=scribe.genesis.ledger_id))
    for finalization in (
        None,
        scribe.finalization(EPOCH, block, ADA, BEN),
        scribe.finalization(EPOCH, other),
        tally(NOTARIZE, block.hash),
        tally(FINALIZE, block.hash, epoch=1),
    ):
        with refuses(Rule.V2):
            check_final(EPOCH, block.header, finalization)
    later = scribe.draft(statement(), epoch=1)
    with refuses(Rule.V2):
        check_final(EPOCH, later.header, scribe.finalization(EPOCH, later))


# ---- the next epoch's members -----------------------------------------------------------------------------------


def ended(*certificates):
    """A chain at the end of an epoch of two blocks, and what proves the next epoch."""
    scribe = FinalScribe(found(epoch_blocks=2))
    epoch = scribe.state.epoch
    scribe.forge()
    block = scribe.forge(*[one(scribe.genesis.ledger_id) for one in certificates])
    return scribe, epoch, scribe.last(epoch, block)


def test_an_epochs_last_block_proves_the_next_ones_members():
    scribe, epoch, last = ended(lambda ledger: staking(50, ADA, ledger=ledger))
    following = next_epoch(epoch, last)
    assert (following.number, following.members, following.hash) == (
        1,
        scribe.state.epoch.members,
        scribe.state.epoch.hash,
    )
    assert (following.first_index, following.start_ms) == (3, scribe.state.tip.timestamp_ms)
    assert following.members == last.members


def test_members_that_stay_are_not_named_again():
    scribe, epoch, last = ended()
    assert last.members is None
    assert next_epoch(epoch, last) == scribe.state.epoch
    assert next_epoch(epoch, replace(last, members=epoch.members)).hash == scribe.state.epoch.hash


LIES = {
    "too little stake": lambda scribe, epoch, last: replace(last, finalization=tally_of(last.finalization.votes[:2])),
    "no roots": lambda scribe, epoch, last: replace(last, roots=None),
    "other roots": lambda scribe, epoch, last: replace(last, roots=replace(last.roots, log_size=9)),
    "roots that name these members": lambda scribe, epoch, last: replace(
        last, roots=replace(last.roots, next_voters=epoch.hash)
    ),
    "other members": lambda scribe, epoch, last: replace(last, members=((STRANGER.public_key, 1),)),
    "the members of before": lambda scribe, epoch, last: replace(last, members=None),
    "members twice": lambda scribe, epoch, last: replace(last, members=last.members * 2),
    "members out of order": lambda scribe, epoch, last: replace(last, members=last.members[::-1]),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_lie_about_an_epochs_end_is_refused(lie):
    scribe, epoch, last = ended(lambda ledger: staking(50, ADA, ledger=ledger))
    with refuses(Rule.V2):
        next_epoch(epoch, lie(scribe, epoch, last))


def test_a_final_block_that_is_not_its_epochs_last_proves_no_epoch():
    """Though the members stay the same: the roots name the epoch with them."""
    scribe = FinalScribe(found(epoch_blocks=3))
    epoch = scribe.state.epoch
    block = scribe.forge()
    with refuses(Rule.V2):
        next_epoch(epoch, FinalHeader(block.header, scribe.finalization(epoch, block), scribe.state.roots))
