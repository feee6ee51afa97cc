"""The signing guard: whatever happens to it and to its key's host, the key signs no two things that conflict."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests import builders
from tests.builders import ADA, GENESIS, LEDGER, signed_header

from tallystick.consensus.signing_guard import (
    Confirmed,
    Cosigned,
    Floor,
    GuardStatus,
    Limited,
    LossAccepted,
    Lost,
    Moved,
    Recovered,
    Signed,
    SigningGuard,
    TwinSeen,
)
from tallystick.host.guard_file import compacted
from tallystick.ledger.checkpoint import Checkpoint
from tallystick.ledger.fields import ZERO_DIGEST
from tallystick.ledger.vote import FINALIZE, NOTARIZE, NULLIFY, Ballot, cast

OTHER = b"o" * 32
BLOCKS = [b"a" * 32, b"b" * 32]


def guard_of(*records):
    return builders.guard_of(ADA, GENESIS, *records)


def ballot(kind, view, block=None, epoch=0):
    return Ballot(kind, epoch, view, block or ZERO_DIGEST)


def notarize(view, block=BLOCKS[0], epoch=0):
    return ballot(NOTARIZE, view, block, epoch)


def finalize(view, block=BLOCKS[0], epoch=0):
    return ballot(FINALIZE, view, block, epoch)


def nullify(view, epoch=0):
    return ballot(NULLIFY, view, epoch=epoch)


def header(view=1, nonce=0, epoch=0):
    return signed_header(ADA, view=view, nonce=nonce, epoch=epoch).header


# ---- what may be signed ---------------------------------------------------------------------------------------------

LEGAL = [
    ([], notarize(1), True),
    ([notarize(1)], notarize(1), True),
    ([notarize(1)], notarize(1, BLOCKS[1]), False),
    ([notarize(1)], notarize(2, BLOCKS[1]), True),
    ([notarize(1)], notarize(1, BLOCKS[1], epoch=1), True),
    ([notarize(1)], nullify(1), True),
    ([nullify(1)], notarize(1), True),
    ([nullify(1)], finalize(1), False),
    ([finalize(1)], nullify(1), False),
    ([finalize(1)], finalize(1, BLOCKS[1]), False),
    ([notarize(1), finalize(1)], finalize(1), True),
]


@pytest.mark.parametrize(("before", "asked", "expected"), LEGAL)
def test_nothing_is_signed_that_conflicts_with_what_was_signed(before, asked, expected):
    guard = guard_of()
    for one in before:
        assert guard.sign(one) is not None
    assert guard.may_sign(asked) is expected
    assert guard.sign(asked) == (cast(ADA, LEDGER, asked) if expected else None)


@pytest.mark.parametrize(
    ("records", "places"),
    [
        ([Floor(LEDGER, 0, 3)], {(0, 3): False, (0, 4): True, (1, 1): True}),
        ([Floor(LEDGER, 1, 3)], {(0, 9): False, (1, 3): False, (1, 4): True, (2, 1): True}),
        ([Floor(OTHER, 5, 5)], {(0, 1): True}),
        ([Lost(LEDGER)], {(0, 1): False, (9, 9): False}),
        ([Lost(None)], {(0, 1): False, (9, 9): False}),
        ([Lost(OTHER)], {(0, 1): True}),
        ([Lost(LEDGER), Recovered(LEDGER, 0, 4)], {(0, 4): False, (0, 5): True, (1, 1): True}),
        ([Lost(LEDGER), Recovered(LEDGER, 0, 4), Lost(LEDGER)], {(0, 5): False}),
        ([TwinSeen(LEDGER, 0, 1)], {(0, 2): False, (1, 1): False}),
        ([TwinSeen(LEDGER, 0, 1), Confirmed(LEDGER)], {(0, 2): False}),
        ([TwinSeen(LEDGER, 0, 1), Lost(LEDGER), Recovered(LEDGER, 0, 4)], {(0, 4): False, (0, 5): True}),
        ([TwinSeen(OTHER, 0, 1)], {(0, 2): True}),
        ([Moved()], {(0, 1): False, (9, 9): False}),
        ([Moved(), Recovered(LEDGER, 0, 4)], {(0, 5): False}),
        ([Moved(), Lost(None), Recovered(LEDGER, 0, 4)], {(0, 5): True}),
    ],
)
def test_records_say_where_nothing_is_signed(records, places):
    for (epoch, view), expected in places.items():
        for kind in (NOTARIZE, NULLIFY, FINALIZE):
            asked = ballot(kind, view, BLOCKS[0] if kind != NULLIFY else None, epoch)
            assert guard_of(*records).may_sign(asked) is expected, (epoch, view, kind)
        assert guard_of(*records).may_sign_header(epoch, view) is expected, (epoch, view)


def test_up_to_the_operators_limit_it_nullifies_only_and_only_where_no_certificate_is_known():
    guard = guard_of(Lost(LEDGER), LossAccepted(LEDGER), Limited(LEDGER, 0, 4))
    for view in (1, 4):
        assert not guard.may_sign(notarize(view))
        assert not guard.may_sign(finalize(view))
        assert not guard.may_sign_header(0, view)
        assert not guard.may_sign(nullify(view), has_certificate=True)
        assert guard.may_sign(nullify(view))
    for asked in (notarize(5), finalize(5), nullify(5)):
        assert guard_of(*[Limited(LEDGER, 0, 4)]).may_sign(asked, has_certificate=True)


def test_below_the_operators_limit_what_others_show_may_be_signed_again_and_nothing_beside_it():
    guard = guard_of(Lost(LEDGER), LossAccepted(LEDGER))
    guard.needed_in = 0
    assert guard.saw(finalize(2)) is False
    guard.note(Limited(LEDGER, 0, 4))
    assert guard.may_sign(finalize(2))
    assert guard.may_sign(notarize(2)), "no quorum notarized it without this key"
    assert not guard.may_sign(nullify(2))
    assert guard.may_sign(nullify(3))
    assert guard.saw(notarize(3)) is False, "an own vote that comes late is no twin's"
    assert guard.may_sign(notarize(3))
    assert guard.saw(notarize(5)) is True
    assert guard.status is GuardStatus.TWIN


@pytest.mark.parametrize("needed_in", [None, 1])
def test_who_is_not_needed_may_have_notarized_another_block_than_it_finalized(needed_in):
    """A leader that signs two: this member notarized one, the others the other, which it finalized."""
    guard = guard_of(Lost(LEDGER), LossAccepted(LEDGER))
    guard.needed_in = needed_in
    assert guard.saw(finalize(2)) is False
    guard.note(Limited(LEDGER, 0, 4))
    assert guard.may_sign(finalize(2))
    assert not guard.may_sign(notarize(2))


def test_one_header_a_view_and_none_after_a_ballot():
    guard = guard_of()
    first, second = header(), header(nonce=1)
    signature = guard.sign_header(first)
    assert signature is not None
    assert guard.sign_header(first) == signature, "the very same may be signed again"
    assert guard.sign_header(second) is None
    assert not guard.may_sign_header(0, 1)
    assert guard.sign(nullify(2)) is not None
    assert guard.sign_header(header(view=2)) is None
    again = guard_of(*guard.take_records())
    assert again.sign_header(second) is None
    assert again.sign_header(first) == signature


# ---- checkpoints ----------------------------------------------------------------------------------------------------

ROOTS = [b"r" * 32, b"s" * 32]


def checkpoint(size, root=ROOTS[0]):
    return Checkpoint("a/" + LEDGER.hex(), size, root)


COSIGNED = [
    ([], (5, 0, 10), True),
    ([(5, 0, 10)], (6, 1, 9), True),
    ([(5, 0, 10)], (4, 0, 11), False),
    ([(5, 0, 10)], (5, 1, 11), False),
    ([(5, 0, 10)], (5, 1, 10), False),
    ([(5, 0, 10)], (5, 0, 11), True),
    ([(5, 0, 10)], (5, 0, 10), True),
    ([(5, 0, 10)], (5, 0, 9), False),
    ([(5, 0, 10), (6, 0, 11)], (5, 0, 10), False),
]


@pytest.mark.parametrize(("before", "asked", "expected"), COSIGNED)
@pytest.mark.parametrize("restarts", [False, True])
def test_no_smaller_log_is_cosigned_after_a_larger_one_and_no_other_root_of_its_size(before, asked, expected, restarts):
    guard, place = guard_of(), (0, 3)
    for size, root, time_s in before:
        assert guard.cosign(checkpoint(size, ROOTS[root]), place, time_s) is not None
    if restarts:
        guard = guard_of(*compacted(guard.take_records()))
    size, root, time_s = asked
    signed = guard.cosign(checkpoint(size, ROOTS[root]), place, time_s)
    assert (signed is not None) is expected
    if signed is not None:
        assert (signed.size, signed.root, signed.time_s, signed.member) == (size, ROOTS[root], time_s, ADA.public_key)
        assert signed.is_signed(checkpoint(size).origin)
        is_again = asked in before
        assert guard.cosigned == Cosigned(LEDGER, size, ROOTS[root], time_s)
        assert (guard.take_records() == ()) is (restarts and is_again), "each is synced once"


@pytest.mark.parametrize(
    ("records", "places"),
    [
        ([Floor(LEDGER, 0, 3)], {(0, 1): True, (0, 4): True}),
        ([Lost(LEDGER)], {(9, 9): False}),
        ([Lost(None)], {(9, 9): False}),
        ([Lost(OTHER)], {(0, 1): True}),
        ([Lost(LEDGER), Recovered(LEDGER, 0, 4)], {(0, 4): False, (0, 5): True, (1, 1): True}),
        ([Recovered(LEDGER, 0, 4), Confirmed(LEDGER), Floor(LEDGER, 1, 1)], {(0, 4): False, (0, 5): True}),
        ([Lost(LEDGER), LossAccepted(LEDGER), Limited(LEDGER, 0, 4)], {(0, 4): False, (0, 5): True}),
        ([Limited(LEDGER, 0, 4), Confirmed(LEDGER), Floor(LEDGER, 1, 1)], {(0, 4): False, (0, 5): True}),
        ([TwinSeen(LEDGER, 0, 1)], {(9, 9): False}),
        ([Moved()], {(9, 9): False}),
    ],
)
@pytest.mark.parametrize("is_compacted", [False, True])
def test_a_key_that_does_not_know_what_it_cosigned_cosigns_nothing_of_that_time(records, places, is_compacted):
    for place, expected in places.items():
        guard = guard_of(*(compacted(records) if is_compacted else records))
        assert (guard.cosign(checkpoint(5), place, 10) is not None) is expected, place


def test_an_observer_cosigns_nothing():
    assert SigningGuard(None, LEDGER).cosign(checkpoint(5), (0, 1), 10) is None


# ---- what others show -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([], True),
        ([Signed(LEDGER, 0, 2, None, notarize(2))], False),
        ([Signed(LEDGER, 0, 2, None, nullify(2))], True),
        ([Signed(OTHER, 0, 2, None, notarize(2))], True),
        ([Floor(LEDGER, 0, 1)], True),
        ([Floor(LEDGER, 0, 2)], False),
        ([Floor(LEDGER, 1, 1)], False),
        ([Lost(LEDGER)], False),
        ([Lost(LEDGER), Recovered(LEDGER, 0, 1)], True),
        ([Lost(LEDGER), Recovered(LEDGER, 0, 2)], False),
        ([Lost(LEDGER), LossAccepted(LEDGER), Limited(LEDGER, 0, 2)], False),
        ([Moved()], False),
    ],
)
def test_an_own_vote_above_the_floor_that_the_guard_does_not_hold_is_a_twins(records, expected):
    guard = guard_of(*records)
    status = guard.status
    assert guard.saw(notarize(2)) is expected
    assert guard.status is (GuardStatus.TWIN if expected else status)
    assert (guard.twin == (0, 2)) is expected
    assert guard_of(*records, *guard.take_records()).status is guard.status, "and so after a restart"


def test_a_twins_header_is_noticed_like_its_votes():
    guard = guard_of()
    guard.sign_header(header(view=2))
    assert guard.saw(header(view=2)) is False
    assert guard.saw(header(view=2, nonce=1)) is True
    assert guard.status is GuardStatus.TWIN
    assert guard.sign(nullify(9)) is None
    assert guard.sign_header(header(view=2)) is None
    assert guard.votes(0) == []


# ---- what is kept ---------------------------------------------------------------------------------------------------


def test_what_is_to_be_synced_is_handed_out_once_and_a_raised_floor_goes_with_it():
    guard = guard_of()
    guard.raise_floor(0, 3)
    assert guard.take_records() == (), "by itself the floor is not worth a sync"
    guard.sign(nullify(4))
    guard.sign(nullify(4))
    assert guard.take_records() == (Floor(LEDGER, 0, 3), Signed(LEDGER, 0, 4, None, nullify(4)))
    assert guard.take_records() == ()
    guard.sign(nullify(5))
    assert guard.take_records() == (Signed(LEDGER, 0, 5, None, nullify(5)),)


def test_own_votes_of_an_epoch_come_back_after_a_restart_but_not_those_below_the_floor():
    guard = guard_of()
    votes = [guard.sign(one) for one in (nullify(1), notarize(2), finalize(2), notarize(1, epoch=1))]
    again = guard_of(*guard.take_records())
    assert again.votes(0) == votes[:3]
    assert again.votes(1) == votes[3:]
    assert (again.last_view(0), again.last_view(1), again.last_view(2)) == (2, 1, 0)
    assert again.latest == (1, 1)
    assert [again.has_signed(0, 1, kind) for kind in (NOTARIZE, NULLIFY, FINALIZE)] == [False, True, False]
    again.raise_floor(0, 1)
    assert again.votes(0) == votes[1:3]
    assert not again.has_signed(0, 1, NULLIFY)


def test_a_recovery_holds_until_an_epoch_confirms_it_and_is_begun_again_otherwise():
    guard = guard_of(Lost(None), LossAccepted(LEDGER))
    guard.note(Recovered(LEDGER, 3, 7))
    assert (guard.recovered, guard.floor, guard.silent_until) == ((3, 7), (3, 7), (3, 7))
    guard.recover_again()
    assert (guard.status, guard.is_loss_accepted) == (GuardStatus.LOST, True), "the operator's word still holds"
    guard.note(Recovered(LEDGER, 4, 2))
    guard.note(Confirmed(LEDGER))
    assert (guard.status, guard.recovered, guard.is_loss_accepted) == (GuardStatus.READY, None, False)
    again = guard_of(Lost(None), LossAccepted(LEDGER), *guard.take_records())
    assert (again.status, again.recovered, again.floor) == (GuardStatus.READY, None, (4, 2))


def test_each_attempt_and_each_start_has_a_nonce_of_its_own():
    nonces = {
        SigningGuard(ADA, LEDGER, [], bytes([start]) * 32).nonce(attempt) for start in range(3) for attempt in range(3)
    }
    assert len(nonces) == 9
    assert all(len(one) == 32 for one in nonces)


# ---- whatever happens -----------------------------------------------------------------------------------------------

PLACES = [(epoch, view) for epoch in (0, 1) for view in (1, 2, 3, 4)]
UNIVERSE = [
    *(Ballot(kind, *place, block) for place in PLACES for kind in (NOTARIZE, FINALIZE) for block in BLOCKS),
    *(Ballot(NULLIFY, *place, ZERO_DIGEST) for place in PLACES),
]
some_place = st.sampled_from(PLACES)
some_ballot = st.sampled_from(UNIVERSE)
records = st.one_of(
    st.builds(lambda one: Signed(LEDGER, one.epoch, one.view, None, one), some_ballot),
    st.builds(
        lambda place, nonce: Signed(LEDGER, place[0], place[1], bytes([nonce]) * 32, None),
        some_place,
        st.integers(1, 2),
    ),
    st.builds(lambda kind, place: kind(LEDGER, *place), st.sampled_from([Floor, Recovered, Limited]), some_place),
    st.builds(lambda place: TwinSeen(LEDGER, *place), some_place),
    st.builds(
        lambda size, root, time_s: Cosigned(LEDGER, size, ROOTS[root], time_s),
        st.integers(1, 3),
        st.integers(0, 1),
        st.integers(1, 3),
    ),
    st.sampled_from([Lost(LEDGER), Lost(None), Confirmed(LEDGER), LossAccepted(LEDGER), Lost(OTHER), Moved()]),
)


def behaviour(records):
    """All that can be seen from outside of a guard with these records."""
    guard = guard_of(*records)
    return (
        guard.status,
        guard.floor,
        guard.recovered,
        guard.twin,
        guard.is_loss_accepted,
        [guard.votes(epoch) for epoch in (0, 1)],
        [guard.may_sign(one, has_certificate=known) for one in UNIVERSE for known in (False, True)],
        [guard.may_sign_header(*place) for place in PLACES],
        [guard_of(*records).saw(one) for one in UNIVERSE],
        guard.cosigned,
        [guard_of(*records).cosign(checkpoint(4), place, 4) is not None for place in PLACES],
    )


@given(st.lists(records, max_size=12), st.lists(records, max_size=6))
def test_a_compacted_guard_behaves_as_before_and_goes_on_as_it_would_have(before, more):
    short = compacted(before)
    assert behaviour(short) == behaviour(before)
    assert behaviour([*short, *more]) == behaviour([*before, *more])
    assert compacted(short) == short


class KeyOnAMachine(RuleBasedStateMachine):
    """A key, its guard file, and what the others have seen of it; the file may be lost, and any crash may come.

    `seen` is what left the machine: all that a sync was there for. The others answer honestly when the key recovers.
    """

    @initialize()
    def begin(self):
        self.file, self.seen, self.headers = [], [], set()
        self.place = (0, 1)
        self.guard = guard_of()
        self.leaving, self.cosigned, self.cosigning = [], [], []

    @rule(kind=st.sampled_from([NOTARIZE, NULLIFY, FINALIZE]), block=st.sampled_from(BLOCKS), back=st.integers(0, 2))
    def sign(self, kind, block, back):
        """Notarize and nullify are signed in the view that a member is in, finalize for earlier ones too."""
        epoch, view = self.place
        view = max(1, view - back) if kind == FINALIZE else view
        vote = self.guard.sign(ballot(kind, view, None if kind == NULLIFY else block, epoch))
        if vote is not None:
            self.leaving.append(vote.ballot)

    @rule(nonce=st.integers(0, 1))
    def sign_header(self, nonce):
        epoch, view = self.place
        if self.guard.sign_header(header(view, nonce, epoch)) is not None:
            self.leaving.append(header(view, nonce, epoch))

    @rule(back=st.integers(1, 3), root=st.sampled_from(ROOTS), time_s=st.integers(1, 3))
    def cosign(self, back, root, time_s):
        """A block of an earlier view is final here; perhaps not for the first time, if the database was set back."""
        epoch, view = self.place
        size, place = 100 * epoch + max(0, view - back), (epoch, max(0, view - back))
        signed = self.guard.cosign(checkpoint(size, root), place, time_s)
        if signed is not None:
            self.cosigning.append(signed)

    @rule()
    def sync(self):
        self.file += self.guard.take_records()
        self.seen += self.leaving
        self.cosigned += self.cosigning
        self.leaving, self.cosigning = [], []

    @rule(part=st.integers(0, 3))
    def crash(self, part):
        """Some of what was being synced may have reached the disk; nothing of it has left."""
        self.file += self.guard.take_records()[:part]
        self.guard, self.leaving, self.cosigning = guard_of(*self.file), [], []

    @rule()
    def restart_from_a_compacted_file(self):
        self.sync()
        self.file = compacted(self.file)
        self.guard = guard_of(*self.file)

    @rule()
    def enter(self):
        self.place = (self.place[0], self.place[1] + 1)

    @rule()
    def begin_epoch(self):
        self.place = (self.place[0] + 1, 1)

    @rule(whole=st.booleans())
    def lose(self, whole):
        """The file is gone; or the operator says that it is old."""
        self.file = [Lost(None)] if whole else [*self.file, Lost(LEDGER)]
        self.guard, self.leaving, self.cosigning = guard_of(*self.file), [], []

    @precondition(lambda self: self.guard.status is GuardStatus.LOST)
    @rule()
    def recover(self):
        """The others prove the view that the key was in, or the one before."""
        epoch, view = self.place
        self.guard.note(Recovered(LEDGER, epoch, view + 1))
        self.sync()

    @precondition(lambda self: self.guard.status is GuardStatus.LOST)
    @rule()
    def go_on_by_the_operators_word(self):
        """All the others answer: they show all that they have seen of the key."""
        self.guard = guard_of(*self.file, LossAccepted(LEDGER))
        self.file += [LossAccepted(LEDGER)]
        for one in self.seen:
            if isinstance(one, Ballot):
                assert not self.guard.saw(one)
            else:
                assert not self.guard.saw(one)
        epoch, view = self.place
        self.guard.note(Limited(LEDGER, *max((epoch, view + 1), self.guard.limited)))
        self.sync()

    @precondition(lambda self: self.seen)
    @rule(data=st.data())
    def hear_an_own_vote_again(self, data):
        """Anybody can replay what left: it is never a twin's."""
        one = data.draw(st.sampled_from(self.seen))
        is_twin = self.guard.saw(one)
        assert not is_twin

    @rule()
    def finality(self):
        """The view before the current one is final here, and kept."""
        epoch, view = self.place
        if view > 1:
            self.guard.raise_floor(epoch, view - 1)

    @invariant()
    def signs_no_contradiction(self):
        ballots = [one for one in self.seen if isinstance(one, Ballot)]
        assert not [(a, b) for a in ballots for b in ballots if a.conflicts_with(b)]
        headers = {one for one in self.seen if not isinstance(one, Ballot)}
        assert len({(one.epoch, one.view) for one in headers}) == len(headers)

    @invariant()
    def cosigns_no_smaller_log_later(self):
        logs = [(one.size, one.root) for one in self.cosigned]
        assert [one for one, _ in logs] == sorted(one for one, _ in logs)
        assert len({size for size, _ in logs}) == len(set(logs)), "two roots of one size"


TestKeyOnAMachine = KeyOnAMachine.TestCase
