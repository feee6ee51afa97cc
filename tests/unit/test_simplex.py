"""The steps of Simplex as a table: what a member is told, and what it does; the numbers are those of the module's head.

Unless a row says otherwise the member is Ada, one of four with equal stake, and Ben, Cy, Dot and Ada lead in turn.
tests.seat.py explains the words. Each row says all that the member does upon the last part of what it is told.
"""

import pytest
from tests.builders import LEDGER, MEMBERS, found
from tests.seat import Seat

from tallystick.consensus.signing_guard import Floor, LossAccepted, Lost, Recovered, Signed, TwinSeen
from tallystick.ledger.vote import NULLIFY, Ballot

A = "block a 1 on tip; whole a"
"""Ben's proposal in view 1."""
NOTARIZED = f"{A}; quorum notarize 1 a"

STEPS = [
    # (1) Upon entering a view as its leader.
    ("1 nothing in flight: at once", "ada ben", "", "waits s", "propose 1 new1 on 0 | notarize 1 new1 & keep new1"),
    ("1 nothing waits", "ada ben", "", "", ""),
    ("1 once in a view", "ada ben", "waits s", "waits t; +1", ""),
    ("1 not another's view", "ben ada", "", "waits s", ""),
    (
        "1 after nullified views",
        "ben cy ada",
        "waits s; quorum nullify 1",
        "quorum nullify 2",
        "persist nullify 2 | propose 3 new3 on 0 | notarize 3 new3 & keep new3",
    ),
    (
        "1 nullifications are lacking",
        "ben cy dot ada",
        "waits s",
        "quorum nullify 3",
        "persist nullify 3 | request views 1..2",
    ),
    ("1 lacking ones are asked for once", "ben cy dot ada", "waits s; quorum nullify 3", "+1", ""),
    ("1 a parent in flight: not yet", "ben ada", f"waits s; {NOTARIZED}", "+299", ""),
    (
        "1 a parent in flight: after delta on it",
        "ben ada",
        f"waits s; {NOTARIZED}",
        "+300",
        "propose 2 new2 on 1 | notarize 2 new2 & keep new2 | relay notarize 1 a, finalize 1 a, notarize 2 new2",
    ),
    (
        "1 a parent in flight, nothing waits: again",
        "ben ada",
        NOTARIZED,
        "+300",
        "propose 2 a again on 1 | notarize 2 a | relay notarize 1 a, finalize 1 a, notarize 2 a",
    ),
    (
        "1 the parent is final: at once",
        "ben ada",
        f"waits s; {NOTARIZED}",
        "cy dot finalize 1 a",
        "final a | propose 2 new2 on 1 | notarize 2 new2 & keep new2",
    ),
    (
        "1 a parent that is not whole is asked for",
        "ben ada",
        "waits s; block a 1 on tip",
        "quorum notarize 1 a; +300",
        "persist notarize 1 a | request a",
    ),
    # (2) Upon a legal proposal.
    ("2 notarize", "", "", A, "notarize 1 a & keep a"),
    ("2 once", "", A, "block b 1 on tip; whole b", "caught ben"),
    ("2 only what the leader proposes", "", "block b 2 on tip", "whole b", ""),
    ("2 the block is not whole", "", "block a 1 on tip", "header a", "request a"),
    ("2 the vote came first, its block is asked for", "", "block a 1 on tip", "ben notarize 1 a", "request a"),
    ("2 and is notarized when it comes", "", "block a 1 on tip; ben notarize 1 a", "whole a", "notarize 1 a & keep a"),
    ("2 not after nullifying", "", "block a 1 on tip; header a | +1500", "whole a", ""),
    ("2 not without its own stake", None, "", A, ""),
    ("2 the parent is notarized", "", f"{NOTARIZED}; block b 2 on a", "whole b", "notarize 2 b & keep b"),
    ("2 the parent is not notarized", "", f"{A}; quorum nullify 1; block b 2 on a", "whole b", ""),
    (
        "2 nor known to be, where the leader says",
        "",
        f"{A}; quorum nullify 1; block b 2 on a; header b; parent 2 1 b",
        "whole b",
        "request views 1..1",
    ),
    ("2 a view between is not nullified", "", f"{NOTARIZED}; quorum nullify 3; block b 4 on a", "", ""),
    (
        "2 every view between is nullified",
        "",
        f"{NOTARIZED}; quorum nullify 2; block c 3 on a",
        "whole c",
        "notarize 3 c & keep c",
    ),
    (
        "2 the leader names where the parent was notarized",
        "",
        "block a 1 on tip; whole a; quorum nullify 4; block b 5 on a; parent 5 1 b",
        "whole b",
        "request views 1..3",
    ),
    ("2 on the tip though a block is notarized", "", f"{NOTARIZED}; block c 2 on tip", "whole c", ""),
    ("2 a proposal again", "", NOTARIZED, "cy notarize 2 a", "notarize 2 a"),
    ("2 a proposal again of what is not notarized", "", f"{A}; quorum nullify 1", "cy notarize 2 a", ""),
    ("2 a time ahead of the clock is not yet", "", "block a 1 on tip at=1501", "whole a", ""),
    ("2 a time ahead of the clock comes", "", "block a 1 on tip at=1501; whole a", "+1", "notarize 1 a & keep a"),
    # (3) Upon time out, an illegal proposal, or a silent leader.
    ("3 nothing to do: no time out", "", "", "+60000", ""),
    ("3 nothing proposed: after 2 delta", "", "waits s", "+599", ""),
    ("3 nothing proposed: after 2 delta, now", "", "waits s", "+600", "nullify 1 | relay nullify 1"),
    ("3 proposed: after 5 delta", "", f"{A} | +1200", "+299", ""),
    ("3 proposed: after 5 delta, now", "", f"{A} | +1200", "+300", "nullify 1"),
    ("3 proposed, and a certificate waits", "", f"waits s; {A} | +1200", "+300", "nullify 1 | relay nullify 1"),
    ("3 once", "", "waits s | +600", "+1", ""),
    (
        "3 over a third nullify: the clock starts",
        "",
        "cy dot nullify 1 | +300",
        "+300",
        "persist nullify 1 | nullify 1",
    ),
    ("3 a third or less does not", "", "cy nullify 1", "+600", ""),
    ("3 a wrong root at once", "", "block a 1 on tip bad=root", "whole a", "nullify 1"),
    ("3 another version at once", "", "block a 1 on tip bad=version", "whole a", "nullify 1"),
    ("3 no certificate at once", "", "block a 1 on tip bad=empty", "whole a", "nullify 1"),
    ("3 a time ahead of the clock is not illegal", "", "block a 1 on tip at=5000", "whole a", ""),
    ("3 a missing parent is not illegal", "", "block a 1 on tip; block b 2 on a; quorum nullify 1", "whole b", ""),
    ("3 after finalizing never", "", NOTARIZED, "+600", "nullify 2 | relay notarize 1 a, finalize 1 a, nullify 2"),
    (
        "3 timeouts double",
        "ben cy dot",
        "waits s; quorum nullify 1; quorum nullify 2; quorum nullify 3 | +1",
        "+1198",
        "relay nullify 1, nullify 2, nullify 3",
    ),
    (
        "3 timeouts double, now",
        "ben cy dot",
        "waits s; quorum nullify 1; quorum nullify 2; quorum nullify 3 | +1199",
        "+1",
        "nullify 4 | repeat",
    ),
    # (4) Upon a certificate of this view or a later one.
    ("4 nullification", "", "", "quorum nullify 1", "persist nullify 1"),
    ("4 its votes one by one", "", "cy dot nullify 1", "ben nullify 1", "persist nullify 1"),
    ("4 two of three others are no quorum", "", "", "cy dot nullify 1", ""),
    ("4 notarization", "", "block a 1 on tip", "quorum notarize 1 a", "persist notarize 1 a | request a"),
    ("4 a jump", "", "", "quorum nullify 6", "persist nullify 6"),
    ("4 single votes further ahead than the next view count nothing", "", "", "ben cy dot nullify 3", ""),
    ("4 single votes for the next view count", "", "", "ben cy dot nullify 2", "persist nullify 2"),
    ("4 an earlier view's certificate is kept too", "", "quorum nullify 6", "quorum nullify 3", "persist nullify 3"),
    ("4 known certificates are not persisted again", "", "quorum nullify 6", "quorum nullify 6", ""),
    # (5) Upon a notarization of a view that it did not nullify.
    ("5 finalize", "", A, "cy dot notarize 1 a", "persist notarize 1 a | finalize 1 a"),
    (
        "5 a late notarization of an earlier view",
        "",
        f"quorum nullify 3; {A}",
        "quorum notarize 1 a",
        "persist notarize 1 a | finalize 1 a & keep a",
    ),
    ("5 not after nullifying", "", f"{A} | +1500", "quorum notarize 1 a", "persist notarize 1 a"),
    (
        "5 not before the block is whole",
        "",
        "block a 1 on tip; quorum notarize 1 a",
        "whole a",
        "finalize 1 a & keep a",
    ),
    # (6) Upon a finalization.
    ("6 final", "", f"{NOTARIZED}", "cy dot finalize 1 a", "final a"),
    ("6 by the certificate alone", "", A, "quorum finalize 1 a", "final a"),
    ("6 not before the block is whole", "", "block a 1 on tip", "quorum finalize 1 a", "request a"),
    ("6 with all before it", "", f"{NOTARIZED}; block b 2 on a; whole b", "quorum finalize 2 b", "final a b"),
    ("6 of a proposal again", "", f"{NOTARIZED}", "quorum finalize 2 a", "final a"),
    ("6 two of four are no quorum", "", f"{NOTARIZED}", "cy finalize 1 a", ""),
    # (7) While the view lasts.
    ("7 relay what was heard, every delta", "", "cy dot nullify 1", "+300", "relay nullify 1"),
    ("7 each vote once", "", "cy dot nullify 1 | +300", "+299", ""),
    ("7 repeat after 4 delta", "", "waits s; quorum nullify 1", "+1200", "nullify 2 | repeat"),
    ("7 nothing while there is nothing to do", "", "cy nullify 1", "+60000", ""),
    (
        "7 what is lacking is asked for anew",
        "",
        "block a 1 on tip; quorum notarize 1 a | +600",
        "+600",
        "repeat | request a",
    ),
    ("7 what was slept through is not made up for", "", NOTARIZED, "+60000", "nullify 2 | repeat"),
]


@pytest.mark.parametrize(("title", "leaders", "known", "heard", "done"), STEPS, ids=[one[0] for one in STEPS])
def test_step(title, leaders, known, heard, done):
    seat = Seat(None) if leaders is None else Seat(leaders=leaders or "ben cy dot ada")
    assert seat.does(f"{known} | {heard}") == (done.split(" | ") if done else []), title


def signed(done):
    """Of what it did, the votes."""
    return [one for one in done if one.split()[0] in ("notarize", "nullify", "finalize")]


# ---- before a vote that rests on it ---------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["quorum nullify 1", f"{A}; quorum notarize 1 a"])
def test_a_certificate_is_persisted_before_the_first_vote_that_rests_on_it(words):
    seat = Seat(leaders="ben ada")
    done = seat.does(f"waits s; {words}") + seat.does("+300")
    first_vote = next(number for number, one in enumerate(done) if one.startswith("notarize 2"))
    assert next(number for number, one in enumerate(done) if one.startswith("persist")) < first_vote


def test_a_block_goes_to_the_database_with_the_first_vote_for_it_and_not_again():
    seat = Seat()
    seat.does(f"{NOTARIZED}; cy notarize 2 a")
    assert [one.hash for one in seat.kept] == [seat.blocks["a"].hash]


# ---- mismatch and twins ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["notarize", "finalize"])
def test_a_quorum_for_what_the_gate_refuses_stops_this_member_and_blames_nobody(kind):
    seat = Seat()
    seat.does("block a 1 on tip bad=root; whole a")
    assert seat.does(f"+1 | quorum {kind} 1 a")[-1] == "mismatch B12"
    assert seat.does("block b 2 on tip; whole b; +60000") == []
    assert seat.simplex.wake_ms(seat.now_ms, seat.box) is None


def test_a_block_of_the_mismatch_that_comes_late_stops_this_member_too():
    seat = Seat()
    assert seat.does("block a 1 on tip bad=version; quorum notarize 1 a") == ["persist notarize 1 a", "request a"]
    assert seat.does("whole a") == ["mismatch E4"]


@pytest.mark.parametrize("words", ["ada nullify 1", "block a 1 on tip; ada notarize 1 a"])
def test_a_vote_of_its_own_that_it_never_cast_is_a_twins_and_it_signs_no_more(words):
    seat = Seat()
    assert seat.does(words)[0] == "twin 1"
    assert "repeat" in seat.does("waits s | +60000"), "it still tells others what they may lack"
    seat.start()
    done = seat.does("block b 1 on tip; whole b | +60000")
    assert signed(done) == [], "and so after a restart"


def test_a_header_of_its_own_that_it_never_signed_is_a_twins():
    seat = Seat(leaders="ada ben")
    assert seat.does("block a 1 on tip; header a")[0] == "twin 1"


def test_its_own_votes_and_headers_are_no_twins_wherever_they_come_from():
    seat = Seat(leaders="ada ben")
    seat.does("waits s")
    assert "twin 1" not in seat.does("whole new1; ada notarize 1 new1")
    seat.start()
    assert "twin 1" not in seat.does("whole new1; ada notarize 1 new1; header new1")


def test_old_votes_of_its_own_mean_nothing():
    seat = Seat()
    seat.does(f"{NOTARIZED}; quorum finalize 1 a")
    assert seat.does("ada nullify 1") == []


# ---- what others sign twice -----------------------------------------------------------------------------------------


def test_two_headers_of_a_leader_for_one_view_are_evidence_and_nothing_else_is():
    seat = Seat()
    seat.tell("block a 1 on tip; block b 1 on tip; block c 2 on tip; block d 30 on tip")
    assert seat.tell("header a; header a; header c; header d") == []
    assert seat.tell("header b") == ["caught ben"]


@pytest.mark.parametrize("second", ["notarize 1 b", "finalize 1 a"])
def test_two_votes_that_conflict_are_evidence_and_nothing_else_is(second):
    seat = Seat()
    first = "nullify" if second.startswith("finalize") else "notarize 1 a"
    seat.tell("block a 1 on tip; block b 1 on tip")
    assert seat.tell("cy notarize 1 a; cy notarize 1 a; dot notarize 1 b") == []
    if first == "nullify":
        assert seat.tell("cy nullify 1") == [], "nullify beside notarize is honest"
    assert seat.tell(f"cy {second}") == ["caught cy"]


@pytest.mark.parametrize("header_first", [True, False])
def test_a_vote_for_another_block_than_the_leaders_is_looked_into_once_a_view_and_with_each_repetition(header_first):
    votes = "cy notarize 1 b; dot notarize 1 b"
    words = ["header a", votes] if header_first else [votes, "header a"]
    seat = Seat()
    seat.does("waits s; block a 1 on tip; block b 1 on tip")
    done = seat.does(words[0]) + seat.does(words[1])
    assert done.count("request b") == 1
    assert "request b" not in seat.does("+1")
    assert seat.does("+1200").count("request b") == 1


def test_a_vote_for_the_leaders_block_or_the_final_tip_is_no_riddle():
    seat = Seat(None)
    seat.does("block a 1 on tip; whole a")
    assert seat.does("cy notarize 1 a; dot notarize 1 tip") == []


# ---- what is lacking ------------------------------------------------------------------------------------------------


def test_a_block_that_the_others_notarized_is_asked_for_anew_in_each_view():
    """Where views keep ending nothing is ever repeated: with one request for all views, its loss was for ever."""
    seat = Seat(None)
    assert "request a" in seat.does("block a 1 on tip; quorum notarize 1 a")
    assert "request a" not in seat.does("+1")
    for view in (2, 3):
        assert "request a" in seat.does(f"quorum nullify {view}; header a")
        assert "request a" not in seat.does("+1")


# ---- silent leaders -------------------------------------------------------------------------------------------------


def test_a_leader_is_not_silent_before_votes_of_the_views_before_had_time_to_come():
    seat = Seat(leaders="ben cy ben cy dot")
    for view, parent in enumerate(["tip", "b1", "b2", "b3"], start=1):
        seat.does(f"block b{view} {view} on {parent}; whole b{view} | ben cy notarize {view} b{view}")
    seat.does("+200 | waits s")
    assert seat.simplex.views.is_leader_unheard()
    assert "nullify 5" not in seat.does("+399")
    assert "nullify 5" in seat.does("+1"), "2 delta after view 2 was entered"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (f"waits s; {NOTARIZED} | +100 | waits t | +200", ["s"]),
        (f"{NOTARIZED} | +100 | waits t | +200", ["t"]),
        ("+100 | waits s; waits t | +0", ["s", "t"]),
    ],
    ids=["both", "none waited", "the view has had nothing to do"],
)
def test_a_leader_proposes_what_waited_when_it_entered_the_view(words, expected):
    """What came since others may lack; it is proposed in the next view, or in this one if nothing else waits."""
    seat = Seat(leaders="ben ada" if "quorum" in words else "ada")
    seat.does(words)
    proposed = seat.simplex.views.at(seat.simplex.view).proposed
    block = seat.simplex.proposals.whole(proposed) if proposed else None
    assert block is not None
    assert [one.subject for one in block.certificates] == expected


def lived(first, last):
    """What Ada hears in these views, which end with the votes of Ben, Cy and herself."""
    return " | ".join(f"+60000 | ben cy nullify {view}" for view in range(first, last + 1))


@pytest.mark.parametrize(
    ("title", "words", "expected"),
    [
        ("dot not heard in three views", lived(1, 4), True),
        ("dot voted in one of them", f"{lived(1, 1)} | dot nullify 2 | {lived(2, 4)}", False),
        ("not lived through: a jump", "quorum nullify 4", False),
        ("heard before a jump, one view lived through since", "quorum nullify 3 | +60000 | ben cy nullify 4", False),
        ("in the certificate that entered", f"{lived(1, 3)} | quorum nullify 4", False),
    ],
)
def test_a_leader_that_was_silent_in_the_last_views_is_not_waited_for(title, words, expected):
    seat = Seat(leaders="ben cy ben cy dot")
    seat.does(f"waits s | {words}")
    assert seat.simplex.view == 5
    assert seat.simplex.views.is_leader_unheard() is expected, title
    assert seat.simplex.guard.has_signed(0, 5, 2) is expected


@pytest.mark.parametrize(
    ("title", "words", "expected"),
    [
        ("nothing heard since", "", True),
        ("it voted since, which others relayed", "ben nullify 1", False),
        ("it proposed since, which others relayed", "block a 1 on tip; whole a", False),
    ],
)
def test_a_leader_whose_connection_ended_is_not_waited_for_until_it_is_heard(title, words, expected):
    seat = Seat(leaders="ben cy ben cy dot")
    seat.simplex.views.absent.add(MEMBERS["ben"].public_key)
    seat.does(f"{words}; waits s" if words else "waits s")
    assert seat.simplex.guard.has_signed(0, 1, 2) is expected, title


def test_a_leader_that_was_found_silent_is_waited_for_once_until_it_is_heard():
    """Where views end fast 2 delta never pass while three of them do: each of its turns took nearly that again."""
    seat = Seat(leaders="ben cy ben cy dot")
    newest = "tip"

    def gives_up(view):
        """Whether Ada gives up a view of Dot at once, after four in which Ben and Cy proposed blocks."""
        nonlocal newest
        for earlier in range(view - 4, view):
            newest, parent = f"b{earlier}", newest
            seat.does(f"block {newest} {earlier} on {parent}; whole {newest} | ben cy notarize {earlier} {newest}")
        assert seat.simplex.view == view
        return seat.simplex.guard.has_signed(0, view, NULLIFY)

    assert not gives_up(5)
    seat.does("+600 | ben cy nullify 5")
    assert gives_up(10)
    seat.does("dot nullify 10 | ben cy nullify 10")
    assert not gives_up(15), "it was heard meanwhile"


def test_a_proposal_is_not_given_up_when_its_leader_goes():
    seat = Seat(leaders="ben cy ben cy dot")
    seat.does("waits s; block a 1 on tip; whole a")
    seat.simplex.views.absent.add(MEMBERS["ben"].public_key)
    seat.does("+1")
    assert not seat.simplex.guard.has_signed(0, 1, 2)


# ---- restart --------------------------------------------------------------------------------------------------------


def test_after_a_restart_it_is_in_the_view_of_its_guard_and_casts_the_same_votes_only():
    seat = Seat()
    seat.does("quorum nullify 1; quorum nullify 2; block c 3 on tip; whole c")
    seat.start()
    assert seat.simplex.view == 3
    assert "notarize 3 c" not in " ".join(seat.does("whole c; block d 3 on tip; whole d"))
    assert seat.does("quorum notarize 3 c")[:2] == ["persist notarize 3 c", "finalize 3 c & keep c"]


def test_a_vote_that_was_synced_and_never_sent_is_told_after_a_restart():
    seat = Seat()
    seat.does("waits s | +600")
    assert seat.simplex.guard.has_signed(0, 1, 2)
    seat.start()
    told = [one for tally in seat.simplex.views.rebroadcast() for one in tally.votes]
    assert [(one.ballot.kind, one.ballot.view, one.member) for one in told] == [(2, 1, seat.owner.public_key)]


def test_kept_certificates_and_blocks_count_after_a_restart():
    seat = Seat()
    seat.does(f"{A}")
    kept = [seat.tally(list(seat.voters), "notarize", 1, "a")]
    seat.start(None, kept, seat.kept)
    assert seat.simplex.view == 2
    assert seat.does("quorum finalize 1 a")[0] == "final a"


def test_a_kept_nullification_lets_a_member_propose_after_a_restart():
    seat = Seat(leaders="ben ada")
    seat.start(None, [seat.tally(list(seat.voters), "nullify", 1)], [])
    assert "propose 2 new2 on 0" in seat.does("waits s")


@pytest.mark.parametrize(
    ("is_kept", "words", "expected"),
    [(True, "", "final new1"), (False, "|+600", "final new2")],
    ids=["kept", "lost"],
)
def test_a_lone_member_goes_on_when_a_crash_came_after_its_guard_and_before_its_block(is_kept, words, expected):
    seat = Seat(leaders="ada", genesis=found(MEMBERS["ada"]))
    seat.tell("waits s")
    persist, *_ = seat.simplex.step(seat.now_ms, seat.box)
    seat.file += seat.simplex.guard.take_records()
    seat.start(None, (), persist.blocks if is_kept else ())
    assert seat.does(words)[-1] == expected


def test_contradictions_in_what_was_kept_are_found_at_the_start():
    seat = Seat()
    kept = [seat.tally([seat.voters[0]], "nullify", 1), seat.tally([seat.voters[0]], "finalize", 1, "tip")]
    assert seat.start(None, kept) == ["caught ben"]


# ---- recovery -------------------------------------------------------------------------------------------------------


def answer(seat, view, *names, entered_by=None):
    for name in names:
        seat.simplex.recovery.answered(MEMBERS[name].public_key, view)
    if entered_by is not None:
        seat.simplex.add_tally(entered_by)


@pytest.mark.parametrize(
    ("records", "members", "expected"),
    [
        ([Lost(None)], MEMBERS, True),
        ([Lost(None)], ("ben", "cy", "dot"), False),
        ([Lost(LEDGER), LossAccepted(LEDGER)], MEMBERS, True),
        ([], MEMBERS, False),
    ],
)
def test_only_a_member_that_lost_its_guard_recovers(records, members, expected):
    genesis = found(*(MEMBERS[name] for name in members))
    assert Seat(genesis=genesis, records=records).simplex.is_recovering is expected


def test_with_a_lost_guard_it_signs_nothing_until_the_floor_is_passed():
    seat = Seat(records=[Lost(LEDGER)])
    assert seat.simplex.is_recovering
    assert seat.does("block a 1 on tip; whole a | +60000") == []
    entered_by = seat.tally(seat.voters, "nullify", 2)
    answer(seat, 3, "ben", "cy", "dot", entered_by=entered_by)
    seat.does()
    assert (seat.simplex.is_recovering, seat.simplex.view, seat.simplex.guard.floor) == (False, 3, (0, 4))
    assert signed(seat.does("block c 3 on tip; whole c | +60000")) == [], "view 3 is not above the floor"
    assert signed(seat.does("quorum nullify 3; waits s | +60000")) == []
    assert "nullify 5" in seat.does("quorum nullify 4 | +60000")


def test_what_is_heard_raises_the_floor_as_answers_do():
    seat = Seat(records=[Lost(LEDGER)])
    answer(seat, 1, "ben", "cy")
    seat.does("quorum nullify 7")
    answer(seat, 1, "dot")
    seat.does()
    assert seat.simplex.guard.floor == (0, 9)


def test_a_vote_of_its_own_that_is_shown_meanwhile_is_no_twins():
    seat = Seat(records=[Lost(LEDGER)])
    assert seat.does("block a 1 on tip; ada notarize 1 a; ada finalize 2 a") == []
    answer(seat, 1, "ben", "cy", "dot")
    seat.does()
    assert seat.simplex.guard.floor == (0, 3), "above what it is known to have signed"


def test_an_answer_when_it_does_not_recover_is_only_a_certificate():
    seat = Seat()
    answer(seat, 3, "ben", entered_by=seat.tally(seat.voters, "nullify", 2))
    assert seat.simplex.view == 3
    assert seat.does() == ["persist nullify 2"]


@pytest.mark.parametrize(
    ("title", "records", "words", "expected"),
    [
        ("the first view of all needs no proof", [], "", (1, False)),
        ("the certificate by which it entered", [], "quorum nullify 2", (3, True)),
        ("not while it recovers", [Lost(LEDGER)], "quorum nullify 2", None),
        ("not when a twin was seen", [TwinSeen(LEDGER, 0, 1)], "quorum nullify 2", None),
        ("a guard ahead of the database", [Signed(LEDGER, 0, 5, None, Ballot(NULLIFY, 0, 5, bytes(32)))], "", None),
        ("a guard in a later epoch", [Signed(LEDGER, 1, 1, None, Ballot(NULLIFY, 1, 1, bytes(32)))], "", None),
        ("a floor ahead of the database", [Floor(LEDGER, 0, 3)], "", None),
        ("caught up", [Signed(LEDGER, 0, 5, None, Ballot(NULLIFY, 0, 5, bytes(32)))], "quorum nullify 4", (5, True)),
    ],
)
def test_it_answers_only_with_a_view_that_it_can_prove(title, records, words, expected):
    seat = Seat(records=records)
    seat.does(words)
    proven = seat.simplex.proven_view()
    assert (proven and (proven[0], proven[1] is not None)) == expected, title


# ---- epochs ---------------------------------------------------------------------------------------------------------

SHORT = found(epoch_blocks=2, epoch_ms=0)


def ended(**more):
    """A member whose second epoch has just begun."""
    seat = Seat(genesis=SHORT, **more)
    seat.does(f"{A}; quorum finalize 1 a; block b 2 on a; whole b; quorum finalize 2 b")
    assert (seat.simplex.epoch.number, seat.simplex.view) == (1, 1)
    return seat


def test_an_epoch_begins_on_a_final_block_with_view_one():
    seat = Seat(genesis=SHORT)
    seat.does(f"{A}; quorum finalize 1 a; block b 2 on a; whole b; quorum notarize 2 b")
    seat.make("c", 1, "b")
    assert seat.does("whole c; +300") == ["relay notarize 2 b, finalize 2 b"]
    assert seat.does("quorum finalize 2 b") == ["final b"]
    assert seat.does("whole c") == ["notarize 1 c & keep c"]
    assert seat.does("block d 2 on c; quorum notarize 1 c; whole d")[-1] == "notarize 2 d & keep d"


def test_early_votes_for_the_next_epochs_first_view_count_when_it_begins():
    seat = Seat(genesis=SHORT)
    seat.does(f"{A}; quorum finalize 1 a; block b 2 on a; whole b")
    for member in seat.voters:
        seat.simplex.add_tally(seat.tally([member], "nullify", 1, epoch=1))
    seat.does("quorum finalize 2 b")
    assert (seat.simplex.epoch.number, seat.simplex.view) == (1, 2)


def test_votes_of_another_epoch_count_nothing():
    seat = ended()
    for epoch in (0, 3):
        seat.simplex.add_tally(seat.tally(seat.voters, "nullify", 1, epoch=epoch))
    assert seat.does() == []
    assert seat.simplex.view == 1


def test_its_first_view_is_proven_by_the_finalization_of_the_epoch_before():
    seat = ended()
    view, entered_by = seat.simplex.proven_view()
    assert (view, entered_by.ballot.kind, entered_by.ballot.epoch, entered_by.ballot.view) == (1, 3, 0, 2)


def test_a_recovery_is_begun_again_with_an_epoch_unless_the_one_before_went_on_above_its_floor():
    for floor, is_recovering in ((1, False), (2, True), (9, True)):
        seat = ended(records=[Lost(LEDGER), Recovered(SHORT.ledger_id, 0, floor)])
        assert seat.simplex.is_recovering is is_recovering, floor
        answer(seat, 1, "ben", "cy", "dot")
        seat.does()
        assert not seat.simplex.is_recovering
        assert seat.simplex.guard.floor == ((1, 2) if is_recovering else (0, 2))


def test_answers_of_the_epoch_before_do_not_count():
    seat = Seat(genesis=SHORT, records=[Lost(None)])
    answer(seat, 1, "ben", "cy")
    nonce = seat.simplex.recovery.nonce
    seat.does(f"{A}; quorum finalize 1 a; block b 2 on a; whole b; quorum finalize 2 b")
    answer(seat, 1, "dot")
    seat.does()
    assert seat.simplex.is_recovering
    assert seat.simplex.recovery.nonce != nonce


def test_the_floor_is_the_latest_finalization_and_no_further_at_an_epochs_end():
    seat = ended()
    assert seat.simplex.guard.floor == (0, 2)
    assert seat.does("waits s | +600")[0] == "nullify 1"
