"""How a lost guard comes to sign again: whose answers count, how many it takes, and from which view on."""

import pytest
from tests.builders import GENESIS, LEDGER, START_MS, STRANGER, guard_of, wallet

from tallystick.consensus.recovery import PATIENT_ATTEMPTS, RECOVERING, Recovery
from tallystick.consensus.signing_guard import GuardStatus, LossAccepted, Lost, Recovered, Signed
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.fields import ZERO_DIGEST
from tallystick.ledger.stake import Account, StakeTable
from tallystick.ledger.vote import FINALIZE, NULLIFY, Ballot

PEOPLE = [wallet(name) for name in ("ada", "ben", "cy", "dot", "eve", "fay", "gus")]
ADA, BEN, CY, DOT = PEOPLE[:4]


def epoch_of(*stakes, number=0):
    """An epoch of that many members, Ada first."""
    accounts = {one.public_key: Account(0, stake) for one, stake in zip(PEOPLE, stakes, strict=False)}
    return Epoch(number, StakeTable(accounts), 1, START_MS)


THREE, FOUR = epoch_of(1, 1, 1), epoch_of(1, 1, 1, 1)


def lost(*records, owner=ADA):
    guard = guard_of(owner, GENESIS, Lost(LEDGER), *records)
    return guard, Recovery(guard)


def answer(recovery, *members, view=1):
    for member in members:
        recovery.answered(member.public_key, view)


@pytest.mark.parametrize(
    ("stakes", "answers", "expected"),
    [
        ((1, 1, 1), 2, False),
        ((1, 1, 1, 1), 2, False),
        ((1, 1, 1, 1), 3, True),
        ((1, 1, 1, 1, 1, 1, 1), 4, False),
        ((1, 1, 1, 1, 1, 1, 1), 5, True),
        ((40, 20, 20, 20), 3, False),
        ((20, 40, 20, 20), 2, False),
        ((20, 40, 20, 20), 3, True),
        ((33, 67), 1, True),
        ((34, 66), 1, False),
        ((1,), 0, False),
    ],
)
def test_the_others_have_to_be_a_quorum_without_it(stakes, answers, expected):
    guard, recovery = lost()
    answer(recovery, *PEOPLE[1 : 1 + answers], view=5)
    assert recovery.finish(epoch_of(*stakes), highest=1) is expected
    assert guard.status is (GuardStatus.READY if expected else GuardStatus.LOST)


@pytest.mark.parametrize(
    ("views", "highest", "last_signed", "floor"),
    [((1, 1, 1), 1, 0, 2), ((3, 7, 5), 1, 0, 8), ((3, 3, 3), 9, 0, 10), ((3, 3, 3), 2, 6, 7)],
)
def test_the_floor_is_one_above_the_highest_view_that_is_proven_held_or_signed(views, highest, last_signed, floor):
    signed = [Signed(LEDGER, 0, last_signed, None, Ballot(NULLIFY, 0, last_signed, ZERO_DIGEST))] if last_signed else []
    guard, recovery = lost(*signed)
    for member, view in zip((BEN, CY, DOT), views, strict=True):
        answer(recovery, member, view=view)
    assert recovery.finish(FOUR, highest)
    assert guard.recovered == guard.floor == (0, floor)
    again = guard_of(ADA, GENESIS, Lost(LEDGER), *signed, *guard.take_records())
    assert (again.status, again.floor) == (GuardStatus.READY, (0, floor)), "it is synced"


def test_the_highest_of_a_members_answers_counts():
    guard, recovery = lost()
    answer(recovery, BEN, view=7)
    answer(recovery, BEN, CY, DOT, view=3)
    assert recovery.finish(FOUR, highest=1)
    assert guard.floor == (0, 8)


def test_neither_the_asker_nor_a_stranger_counts():
    guard, recovery = lost()
    answer(recovery, ADA, STRANGER, BEN, CY, view=3)
    assert recovery.unanswered(FOUR) == [DOT.public_key]
    assert not recovery.finish(FOUR, highest=1)
    assert guard.status is GuardStatus.LOST


def test_answers_count_within_one_epoch_and_to_one_nonce():
    guard, recovery = lost()
    answer(recovery, BEN, CY, view=9)
    nonce = recovery.nonce
    assert recovery.nonce == nonce
    recovery.begin_epoch()
    assert recovery.nonce != nonce
    answer(recovery, DOT, view=2)
    later = epoch_of(1, 1, 1, 1, number=1)
    assert not recovery.finish(later, highest=1)
    answer(recovery, BEN, CY, view=2)
    assert recovery.finish(later, highest=1)
    assert guard.floor == (1, 3), "views of the epoch before say nothing"


# ---- the operator's word --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stakes", "answers", "requests", "expected"),
    [
        ((1, 1, 1), 2, 1, True),
        ((1, 1, 1), 1, PATIENT_ATTEMPTS - 1, False),
        ((1, 1, 1), 1, PATIENT_ATTEMPTS, False),
        ((40, 20, 20, 20), 3, 1, True),
        ((40, 20, 20, 20), 2, PATIENT_ATTEMPTS - 1, False),
        ((40, 20, 20, 20), 2, PATIENT_ATTEMPTS, True),
        ((40, 20, 20, 20), 1, PATIENT_ATTEMPTS, False),
        ((1, 1, 1, 1), 2, PATIENT_ATTEMPTS, True),
        ((1, 1, 1, 1), 2, PATIENT_ATTEMPTS - 1, False),
        ((1,), 0, 0, True),
    ],
)
def test_by_the_operators_word_all_others_answer_or_after_some_attempts_a_quorum_with_it(
    stakes, answers, requests, expected
):
    guard, recovery = lost(LossAccepted(LEDGER))
    for _ in range(2 * PATIENT_ATTEMPTS):
        recovery.asked()  # and nobody hears it
    answer(recovery, *PEOPLE[1 : 1 + answers], view=5)
    for _ in range(requests):
        recovery.asked()
    assert recovery.finish(epoch_of(*stakes), highest=1) is expected
    assert guard.status is (GuardStatus.READY if expected else GuardStatus.LOST)
    if expected:
        top = 6 if answers else 2
        assert guard.silent_until == (0, top)
        assert guard.floor < (0, 1), "what others showed may still be signed again"


def test_who_can_recover_by_itself_does_though_the_operator_gave_the_word():
    guard, recovery = lost(LossAccepted(LEDGER))
    answer(recovery, BEN, CY, DOT, view=5)
    assert recovery.finish(FOUR, highest=1)
    assert guard.floor == (0, 6)


def test_the_operators_word_in_a_silence_is_asked_anew_and_limits():
    guard, recovery = lost(Recovered(LEDGER, 0, 6), LossAccepted(LEDGER))
    assert (guard.status, guard.floor) == (GuardStatus.LOST, (-1, -1))
    assert not guard.saw(Ballot(FINALIZE, 0, 4, bytes(31) + b"a"))
    answer(recovery, BEN, CY, DOT, view=2)
    assert recovery.finish(FOUR, highest=1)
    assert (guard.status, guard.silent_until) == (GuardStatus.READY, (0, 6)), "no lower than it was silent"
    assert not guard.may_sign(Ballot(NULLIFY, 0, 4, bytes(32))), "it voted to finalize"
    assert guard.may_sign(Ballot(NULLIFY, 0, 5, bytes(32)))


@pytest.mark.parametrize("is_accepted", [False, True])
def test_who_recovers_too_counts_with_the_operators_word_alone(is_accepted):
    _, recovery = lost(*[LossAccepted(LEDGER)] * is_accepted)
    answer(recovery, CY, view=3)
    for _ in range(PATIENT_ATTEMPTS):
        recovery.asked()
    assert not recovery.finish(THREE, highest=1)
    answer(recovery, BEN, view=RECOVERING)
    assert recovery.finish(THREE, highest=1) is is_accepted


def test_the_others_are_asked_again_at_doubling_intervals():
    _, recovery = lost()
    assert [recovery.asked() for _ in range(6)] == [4, 8, 16, 32, 32, 32]
    recovery.begin_epoch()
    assert recovery.asked() == 4
