"""A member's own record: when it is known to have gaps, it is treated as an old backup from the start."""

from tallystick.consensus.record import Record
from tests.builders import ADA, BEN, CY, GENESIS, LEDGER, MEMBERS, found, vote

from tallystick.ledger.encoding import ZERO_DIGEST
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.vote import FINALIZE, NOTARIZE, NULLIFY, Ballot

THREE = Epoch(3, found(ADA, BEN, CY).stakes())
EPOCH, NEXT = (Epoch(number, GENESIS.stakes()) for number in (3, 4))


def started(*, is_stale: bool) -> Record:
    record = Record(ADA)
    record.restore([], is_stale)
    return record


def test_a_member_that_lost_votes_is_silent_through_every_view_in_which_it_may_have_voted():
    record = started(is_stale=True)
    assert not record.may_vote(EPOCH, 9)
    record.heard_standing(EPOCH, BEN.public_key, 7, None)
    assert not record.may_vote(EPOCH, 9), "one that may lag behind is no quorum"
    record.heard_standing(EPOCH, CY.public_key, 5, None)
    assert not record.may_vote(EPOCH, 8)
    assert not record.may_vote(NEXT, 1), "it may have gone on to it"
    assert record.may_vote(EPOCH, 9)
    assert record.may_vote(NEXT, 2)
    assert record.cast(EPOCH, LEDGER, Ballot(NOTARIZE, 3, 8, ZERO_DIGEST, EPOCH.hash)) is None


def test_a_member_with_a_whole_record_votes_as_soon_as_it_heard_from_a_quorum():
    record = started(is_stale=False)
    for member in (BEN, CY):
        record.heard_standing(EPOCH, member.public_key, 7, None)
    assert record.may_vote(EPOCH, 7)


def test_a_vote_of_ours_that_anybody_shows_and_we_do_not_remember_means_an_old_backup():
    record = started(is_stale=False)
    for member in (BEN, CY):
        record.heard_standing(EPOCH, member.public_key, 7, None)
    record.recall(EPOCH, vote(NOTARIZE, member=BEN, epoch=3, view=7))
    record.recall(EPOCH, vote(NOTARIZE, epoch=1, view=9))
    assert record.may_vote(EPOCH, 7), "another member's, and one that nobody remembers, say nothing"
    record.recall(EPOCH, vote(NOTARIZE, epoch=3, view=6))
    assert not record.may_vote(EPOCH, 8)
    assert record.may_vote(EPOCH, 9)


def test_without_whom_nothing_is_decided_takes_the_word_of_all_others_and_is_not_silent_for_good():
    record = started(is_stale=True)
    record.heard_standing(THREE, BEN.public_key, 7, vote(NOTARIZE, bytes(32), epoch=3, view=7))
    record.recall(THREE, vote(NULLIFY, epoch=3, view=7))
    assert not record.may_vote(THREE, 8), "CY may have seen another"
    record.heard_standing(THREE, CY.public_key, 7, None)
    assert not record.may_vote(THREE, 6)
    assert record.may_vote(THREE, 7)
    assert [record.has_cast(3, 7, kind) for kind in (NOTARIZE, NULLIFY, FINALIZE)] == [True, True, False]


def test_its_word_is_not_enough_for_a_member_that_the_others_can_do_without():
    record = started(is_stale=True)
    for member in MEMBERS.values():
        record.heard_standing(EPOCH, member.public_key, 7, None)
    assert not record.may_vote(EPOCH, 8)
    assert record.may_vote(EPOCH, 9)
