"""What is known of an epoch's views: which votes count, what certificates lead to, and which block follows which."""

import pytest
from tests.builders import ADA, BEN, CY, DOT, MEMBERS, START_MS, STRANGER, found, refuses, signed_header
from tests.seat import Seat

from tallystick.consensus.views import RECENT_VIEWS
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.errors import Rule
from tallystick.ledger.finality import Finalization, Notarization, Nullification, certificate_of
from tallystick.ledger.stake import Account, StakeTable
from tallystick.ledger.vote import FINALIZE, NOTARIZE, NULLIFY, Ballot, tally_of


def observer(words="", **more):
    seat = Seat(None, **more)
    seat.tell(words)
    return seat


def nullified(*views):
    return "; ".join(f"quorum nullify {view}" for view in views)


# ---- certificates ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stakes", "voters", "expected"),
    [
        ((1, 1, 1, 1), 3, True),
        ((1, 1, 1, 1), 2, False),
        ((1, 1, 1), 2, False),
        ((1, 1, 1), 3, True),
        ((40, 20, 20, 20), 2, False),
        ((40, 20, 20, 20), 3, True),
        ((67, 33), 1, True),
        ((66, 33), 1, False),
        ((1,), 1, True),
    ],
)
def test_more_than_two_thirds_of_the_stake_make_a_certificate_and_nothing_less(stakes, voters, expected):
    people = list(MEMBERS.values())[: len(stakes)]
    epoch = Epoch(0, StakeTable({one.public_key: Account(0, n) for one, n in zip(people, stakes, strict=True)}), 1, 0)
    seat = observer("block a 1 on tip")
    for kind, block, cls in (
        ("nullify", "", Nullification),
        ("notarize", "a", Notarization),
        ("finalize", "a", Finalization),
    ):
        tally = seat.tally(people[:voters], kind, 1, block)
        if expected:
            assert type(certificate_of(tally, epoch)) is cls
        else:
            with refuses(Rule.V2):
                certificate_of(tally, epoch)


def test_votes_of_strangers_and_of_members_without_stake_weigh_nothing():
    genesis = found(ADA, BEN, CY)
    seat = observer(genesis=genesis)
    seat.simplex.add_tally(seat.tally([ADA, BEN, DOT, STRANGER], "nullify", 1))
    assert seat.simplex.view == 1
    seat.tell("cy nullify 1")
    assert seat.simplex.view == 2


@pytest.mark.parametrize("count", [1, 64, 100, 500])
def test_a_certificate_leads_there_however_far_behind_a_member_is(count):
    """More than 64 views behind on the same tip a member never caught up, while votes had a window."""
    seat = observer(f"quorum notarize {count} tip")
    assert (seat.simplex.view, seat.simplex.views.final_view) == (count + 1, count)
    assert seat.simplex.views.entered_by.ballot.view == count
    seat = observer(nullified(count))
    assert (seat.simplex.view, seat.simplex.views.final_view) == (count + 1, 0)


def test_who_says_two_things_in_one_view_counts_for_both_and_a_third_thing_is_not_kept():
    seat = observer("block a 1 on tip; block b 1 on tip; block c 1 on tip; block d 1 on tip; block e 1 on tip")
    assert seat.tell("cy notarize 1 a; cy notarize 1 b") == ["caught cy"]
    assert seat.tell("ada dot notarize 1 b") == []
    assert seat.simplex.view == 2, "an honest majority and one liar"
    seat.tell("cy notarize 1 c; cy notarize 1 d; cy notarize 1 e")
    assert sum(len(one.votes) for one in seat.simplex.views.votes_of(CY.public_key)) <= 4


# ---- windows --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "ballot", "expected"),
    [
        ("", (0, 1), True),
        ("", (0, 2), True),
        ("", (0, 3), False),
        ("", (0, 0), False),
        ("", (1, 1), True),
        ("", (1, 2), False),
        ("", (2, 1), False),
        (nullified(20), (0, 22), True),
        (nullified(20), (0, 23), False),
        (nullified(20), (0, 21 - RECENT_VIEWS), True),
        (nullified(20), (0, 20 - RECENT_VIEWS), False),
        (f"quorum notarize 18 tip; {nullified(20)}", (0, 19), True),
        (f"quorum notarize 18 tip; {nullified(20)}", (0, 18), False),
    ],
)
def test_single_votes_count_from_a_few_views_back_to_the_next(place, ballot, expected):
    views = observer(place).simplex.views
    for kind in (NOTARIZE, NULLIFY, FINALIZE):
        block = bytes(32) if kind == NULLIFY else b"a" * 32
        asked = Ballot(kind, ballot[0], ballot[1], block)
        assert views.wants_vote(asked, views.view) is expected
        assert (views.voting_stake(asked, BEN.public_key), views.voting_stake(asked, STRANGER.public_key)) == (100, 0)


@pytest.mark.parametrize(
    ("place", "kind", "view", "expected"),
    [
        ("", "nullify", 500, True),
        (nullified(5), "nullify", 5, False),
        (nullified(5), "nullify", 4, True),
        ("quorum notarize 5 tip", "nullify", 4, False),
        ("quorum notarize 5 tip", "nullify", 5, False),
        (nullified(5), "finalize", 5, True),
    ],
)
def test_a_certificate_is_worth_a_look_above_the_final_view_if_it_is_new(place, kind, view, expected):
    seat = observer(f"block a 1 on tip; {place}")
    assert seat.simplex.views.is_certificate(seat.tally(seat.voters, kind, view, "a" * (kind != "nullify"))) is expected
    assert not seat.simplex.views.is_certificate(seat.tally(seat.voters[:2], kind, view, "a" * (kind != "nullify")))


@pytest.mark.parametrize(
    ("view", "leader", "expected"), [(1, BEN, True), (2, CY, True), (3, DOT, False), (1, CY, False)]
)
def test_headers_of_the_views_leader_are_wanted_up_to_the_next_view(view, leader, expected):
    assert observer().simplex.views.wants(signed_header(leader, view=view).header) is expected


def test_at_most_two_blocks_are_kept_of_a_view_beside_one_that_was_asked_for():
    seat = observer("block a 1 on tip; block b 1 on tip; block c 1 on tip; block d 1 on tip")
    seat.tell("whole a; whole b; whole c; whole d")
    kept = [name for name in "abcd" if seat.simplex.proposals.whole(seat.blocks[name].hash)]
    assert kept == ["a", "b"]
    seat.tell("quorum notarize 1 d; whole d; whole c")
    assert seat.simplex.proposals.whole(seat.blocks["d"].hash)
    assert not seat.simplex.proposals.whole(seat.blocks["c"].hash)


def test_hundreds_of_views_without_finality_leave_only_what_ended_them():
    seat = observer(nullified(*range(1, 301)))
    views = seat.simplex.views
    assert sum(len(one.votes) for _, one in views.open()) <= 4 * (RECENT_VIEWS + 1)
    assert seat.simplex.views.may_follow(seat.chain.state.tip.hash, 301)
    assert len(views.rebroadcast()) == 1, "the certificate by which it entered, whatever came before"
    assert len(views.take_unpersisted()) == 300, "each goes to the database"


def test_votes_of_views_that_are_over_are_handed_out_once_for_they_may_become_evidence():
    seat = observer("cy nullify 1; dot nullify 1; block a 1 on tip; quorum notarize 1 tip; quorum nullify 2")
    handed = seat.simplex.views.take_unpersisted()
    votes = [(one.ballot.kind, one.ballot.view, member) for one in handed for member, _ in one.signatures]
    assert (NULLIFY, 1, CY.public_key) in votes
    assert (NULLIFY, 1, DOT.public_key) in votes
    assert len(votes) == len(set(votes))
    assert seat.simplex.views.take_unpersisted() == []


# ---- which block follows which --------------------------------------------------------------------------------------

KNOWN = {
    ".": "",
    "n": "quorum nullify {view}",
    "a": "quorum notarize {view} a",
    "f": "quorum finalize {view} a",
    "t": "quorum notarize {view} tip",
    "b": "quorum nullify {view}; quorum notarize {view} a",
}
"""What is known of a view: nothing, nullified, notarized a, finalized a, notarized the tip, nullified and notarized."""


def views_of(known):
    seat = observer("block a 1 on tip")
    for view, letter in enumerate(known, 1):
        seat.tell(KNOWN[letter].format(view=view))
    return seat


@pytest.mark.parametrize(
    ("known", "parent", "tip_follows", "a_follows", "lacking"),
    [
        ("", (0, "tip"), True, False, None),
        (".", None, False, False, (1, 1)),
        ("n", (0, "tip"), True, False, None),
        ("a", (1, "a"), False, True, None),
        ("f", (1, "a"), False, True, None),
        ("b", (1, "a"), True, True, None),
        ("an", (1, "a"), False, True, None),
        ("a.", None, False, False, (1, 2)),
        ("n.n", None, False, False, (1, 2)),
        (".nn", None, False, False, (1, 1)),
        ("ann", (1, "a"), False, True, None),
        ("a.n", None, False, False, (1, 2)),
        ("aa", (2, "a"), False, True, None),
        ("t", (1, "tip"), True, False, None),
        ("tn", (1, "tip"), True, False, None),
        (".tn", (2, "tip"), True, False, None),
        (".t.n", None, False, False, (3, 3)),
        (".an", (2, "a"), False, True, None),
    ],
)
def test_which_block_may_be_built_on(known, parent, tip_follows, a_follows, lacking):
    seat, view = views_of(known), len(known) + 1
    views, names = seat.simplex.views, {seat.chain.state.tip.hash: "tip", seat.blocks["a"].hash: "a"}
    found = next(views.parents(view), None)
    assert (found and (found[0], names[found[1]])) == parent
    assert views.may_follow(seat.chain.state.tip.hash, view) is tip_follows
    assert views.may_follow(seat.blocks["a"].hash, view) is a_follows
    assert not views.may_follow(b"x" * 32, view)
    assert views.lacking(view) == lacking


@pytest.mark.parametrize(
    ("known", "parent_view", "lacking"),
    [
        ("ann", 1, None),
        ("nnn", 1, (1, 1)),
        ("nn.", 1, (1, 3)),
        ("n.n", 1, (1, 2)),
        ("b", 1, None),
        ("n", 0, None),
        (".", 0, (1, 1)),
        ("tnn", 0, None),
        ("aan", 1, None),
    ],
)
def test_what_is_lacking_where_the_leader_says_that_the_parent_was_notarized(known, parent_view, lacking):
    assert views_of(known).simplex.views.lacking(len(known) + 1, parent_view) == lacking


# ---- work, and what is told -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", False),
        ("block a 1 on tip; header a", False),
        ("block a 1 on tip; ben notarize 1 a", False),
        ("cy nullify 1", False),
        ("cy dot nullify 1", True),
        (nullified(1), False),
        ("quorum notarize 1 tip", False),
        ("block a 1 on tip; quorum notarize 1 a", True),
        (f"block a 1 on tip; quorum notarize 1 a; {nullified(2)}", True),
        ("block a 1 on tip; quorum finalize 1 a", True),
    ],
)
def test_a_view_has_something_to_do(words, expected):
    assert observer(words).simplex.views.has_work() is expected


def test_all_votes_of_the_view_and_finalize_votes_before_it_are_told_with_the_certificate_that_leads_there():
    seat = observer(
        "block a 1 on tip; quorum notarize 1 a; cy finalize 1 a; quorum nullify 2; dot nullify 3; cy nullify 3"
    )
    told = [(one.ballot.kind, one.ballot.view, len(one.signatures)) for one in seat.simplex.views.rebroadcast()]
    assert told == [(NULLIFY, 2, 4), (NULLIFY, 3, 2), (FINALIZE, 1, 1)]


def test_all_that_is_held_of_a_member_is_shown_to_it():
    seat = observer("block a 1 on tip; cy notarize 1 a; cy nullify 1; dot nullify 1; cy nullify 2; cy finalize 1 a")
    seat.simplex.add_tally(seat.tally([CY], "nullify", 1, epoch=1))
    shown = [(one.ballot.epoch, one.ballot.view, one.ballot.kind) for one in seat.simplex.views.votes_of(CY.public_key)]
    assert sorted(shown) == [(0, 1, NOTARIZE), (0, 1, NULLIFY), (0, 1, FINALIZE), (0, 2, NULLIFY), (1, 1, NULLIFY)]


def test_who_was_not_heard_in_the_view_is_missing():
    seat = observer("cy nullify 1; dot nullify 2")
    assert set(seat.simplex.views.missing()) == {ADA.public_key, BEN.public_key, DOT.public_key}


def test_this_very_vote_is_known_signature_included():
    seat = observer("cy nullify 1")
    (vote,) = seat.tally([CY], "nullify", 1).votes
    assert seat.simplex.views.knows_vote(vote)
    assert not seat.simplex.views.knows_vote(type(vote)(vote.ballot, vote.member, bytes(64)))


def test_a_tally_that_is_no_certificate_counts_vote_by_vote():
    seat = observer()
    (first,), (second,) = (seat.tally([one], "nullify", 1).votes for one in (CY, DOT))
    seat.simplex.add_tally(tally_of([first, second]))
    assert seat.simplex.view == 1
    seat.tell("ben nullify 1")
    assert seat.simplex.view == 2


def test_no_stake_no_leader():
    assert Epoch(0, StakeTable({}), 1, START_MS).members == ()
    seat = observer(leaders="dot", genesis=found(ADA, BEN, CY))
    assert seat.simplex.views.leader(1) is None
    assert not seat.simplex.views.is_leader_unheard()
    assert not seat.simplex.views.is_leader_absent()
