"""A member's own record: when it is known to have gaps, it is treated as an old backup from the start."""

from tests.builders import ADA, BEN, CY, GENESIS, LEDGER

from tallystick.consensus.record import Record
from tallystick.ledger.encoding import ZERO_DIGEST
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.vote import NOTARIZE, Ballot

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
