"""What a ledger of 1, 3, 4 or 7 equal members can do: each line of the table in docs/operate.md, "Who may be away"."""

import pytest
from tests.simulation.governed_ledger import SEVEN, STAKE, GovernedLedger

from tallystick.ledger.changes import RotateMemberKey, SetOrganisationKey

MAY_BE_AWAY = {1: 0, 3: 0, 4: 1, 7: 2}
CLOSED_BY = {3: 1, 4: 2, 7: 3}
"""Of so many members this many objections close a motion."""
LONG_MS, IN_VAIN_MS = 120_000, 300_000

members = pytest.mark.parametrize("count", MAY_BE_AWAY)
several = pytest.mark.parametrize("count", [3, 4, 7])


def members_of(seed, count, **params):
    """A ledger of so many members, who know each other by their keys."""
    ledger = GovernedLedger(int(seed), *SEVEN[:count], dials=True, **params)
    ledger.network.run_for(5_000)
    return ledger


def with_some_away(seed, count, away, **params):
    """A ledger of so many members, the last of whom are away; and who is there."""
    ledger = members_of(seed, count, **params)
    for name in SEVEN[count - away : count]:
        ledger.network.crash(name)
    return ledger, SEVEN[: count - away]


# ---- away -----------------------------------------------------------------------------------------------------------


@members
def test_so_many_may_be_away_and_not_one_more(count, seed):
    away = MAY_BE_AWAY[count]
    ledger, there = with_some_away(seed, count, away)
    assert ledger.settles(ledger.statement("ada"), within_ms=LONG_MS)
    if count == 1:
        return  # nobody is there to ask
    ledger.network.crash(there[-1])
    waiting, index = ledger.statement("ada"), ledger.state.index
    assert not ledger.settles(waiting, within_ms=IN_VAIN_MS)
    assert ledger.state.index == index
    ledger.network.restart(there[-1])
    assert ledger.settles(waiting, within_ms=LONG_MS), "it was never lost"


# ---- dead -----------------------------------------------------------------------------------------------------------


@several
def test_the_dead_are_removed_one_after_the_other_while_the_others_are_a_quorum(count, seed):
    dead = MAY_BE_AWAY[count]
    ledger, alive = with_some_away(seed, count, dead)
    for name in SEVEN[count - dead : count]:
        assert ledger.decide(ledger.remove(name), *alive, within_ms=LONG_MS)
    assert ledger.stakes() == dict.fromkeys(alive, STAKE)
    assert ledger.settles(ledger.statement("ada"), within_ms=LONG_MS)
    ledger.assert_agreed()


@several
@pytest.mark.parametrize("how", ["remove", "replace"])
def test_with_one_more_dead_nobody_is_removed_or_replaced_for_ever(count, how, seed):
    """What remains is `new --continues`."""
    ledger, alive = with_some_away(seed, count, MAY_BE_AWAY[count] + 1)
    gone = SEVEN[count - 1]
    ledger.add("new")
    change = ledger.remove(gone) if how == "remove" else ledger.replace(gone, "new")
    assert not ledger.settles(ledger.move(change, "ada"), within_ms=IN_VAIN_MS)
    assert ledger.state.index == 0
    assert set(alive) <= set(ledger.up)


@pytest.mark.parametrize("count", [4, 7])
def test_the_keys_of_the_dead_are_replaced_while_the_others_are_a_quorum(count, seed):
    dead = MAY_BE_AWAY[count]
    ledger, alive = with_some_away(seed, count, dead)
    lost = SEVEN[count - dead : count]
    for name in lost:
        ledger.add(f"{name} anew")
        assert ledger.decide(ledger.replace(name, f"{name} anew"), *alive, within_ms=LONG_MS)
    assert ledger.stakes() == dict.fromkeys((*alive, *(f"{name} anew" for name in lost)), STAKE)
    for name in alive[-dead:]:
        ledger.network.crash(name)
    assert ledger.settles(ledger.statement("ada"), within_ms=LONG_MS), "as many may be away as before"


# ---- leaving --------------------------------------------------------------------------------------------------------


def test_the_only_member_does_not_leave(seed):
    ledger = members_of(seed, 1)
    assert not ledger.settles(ledger.move(ledger.remove("ada"), "ada"), within_ms=5_000)
    assert "M2" in ledger.rules()
    assert ledger.settles(ledger.statement("ada"))


@several
def test_one_leaves_while_all_are_there(count, seed):
    ledger = members_of(seed, count)
    leaver, others = SEVEN[count - 1], SEVEN[: count - 1]
    assert ledger.decide(ledger.remove(leaver), leaver, *others)
    ledger.network.run_for(5_000)
    assert ledger.network.hosts[leaver].node.agreement_status().may_stop
    ledger.network.crash(leaver)
    assert ledger.settles(ledger.statement("ada"))
    assert ledger.stakes() == dict.fromkeys(others, STAKE)


@several
def test_who_leaves_while_as_many_are_away_as_may_be_stops_the_ledger_until_one_is_back(count, seed):
    """So who is dead is removed first."""
    away = MAY_BE_AWAY[count]
    ledger, there = with_some_away(seed, count, away + (count == 3))
    leaver = there[-1]
    motion = ledger.move(ledger.remove(leaver), leaver)
    has_quorum = count > 3
    assert ledger.settles(motion, within_ms=LONG_MS) == has_quorum
    if not has_quorum:
        return
    approvals = ledger.approve(motion, *there[:-1])
    assert ledger.settles(*approvals, within_ms=LONG_MS)
    assert leaver not in ledger.stakes()
    ledger.network.run_for(5_000)
    assert ledger.network.hosts[leaver].node.agreement_status().may_stop
    ledger.network.crash(leaver)
    waiting = ledger.statement("ada")
    assert not ledger.settles(waiting, within_ms=IN_VAIN_MS)
    ledger.network.restart(SEVEN[count - 1])
    assert ledger.settles(waiting, within_ms=LONG_MS)


# ---- growing --------------------------------------------------------------------------------------------------------


def test_one_member_decides_alone_and_grows_to_four(seed):
    ledger = members_of(seed, 1)
    four = SEVEN[:4]
    for place, name in enumerate(four[1:], start=1):
        ledger.add(name)
        assert ledger.decide(ledger.admit(name), *four[:place]), name
    ledger.network.crash("cy")
    assert ledger.settles(ledger.statement("ada"), within_ms=60_000)
    assert ledger.stakes() == dict.fromkeys(four, STAKE)
    ledger.network.restart("cy")
    for name in ("dot", "cy", "ben"):
        assert ledger.decide(ledger.remove(name), *[one for one in four if one in ledger.stakes()], within_ms=60_000)
    assert ledger.stakes() == {"ada": STAKE}
    assert ledger.settles(ledger.statement("ada"))


@members
def test_another_is_admitted_while_as_many_are_away_as_may_be(count, seed):
    ledger, there = with_some_away(seed, count, MAY_BE_AWAY[count])
    ledger.add("new")
    assert ledger.decide(ledger.admit("new"), *there, within_ms=LONG_MS)
    assert ledger.stakes() == dict.fromkeys((*SEVEN[:count], "new"), STAKE)
    assert ledger.settles(ledger.statement("new"), within_ms=LONG_MS), "the new one's vote makes up for it"


# ---- rotating -------------------------------------------------------------------------------------------------------


@members
@pytest.mark.parametrize("by", ["itself", "the organisation key"])
def test_a_key_is_rotated_while_as_many_are_away_as_may_be(count, by, seed):
    ledger, there = with_some_away(seed, count, MAY_BE_AWAY[count], rotation_delay_ms=5_000)
    ledger.add("new")
    signer = "ada"
    if by != "itself":
        signer, offline = "offline", ledger.key("offline").public_key
        change = SetOrganisationKey("ada", None, offline, ledger.admission("offline", "ada"))
        assert ledger.decide(change, *there, within_ms=LONG_MS)
    before, after = ledger.key("ada").public_key, ledger.key("new").public_key
    rotation = RotateMemberKey("ada", before, after, None, ledger.admission("new", "ada"))
    assert ledger.settles(ledger.change_keys(rotation, signer), within_ms=LONG_MS)
    if by == "itself":
        assert "ada" in ledger.stakes(), "the delay is not over"
        ledger.network.run_for(5_000)
        assert ledger.settles(ledger.statement("ada"), within_ms=LONG_MS)
    assert ledger.stakes() == dict.fromkeys(("new", *SEVEN[1:count]), STAKE)
    ledger.network.run_for(5_000)
    assert ledger.network.hosts["ada"].node.agreement_status().may_stop
    ledger.network.crash("ada")
    assert ledger.settles(ledger.statement("new"), within_ms=LONG_MS)


# ---- unwilling ------------------------------------------------------------------------------------------------------


@several
def test_so_many_objections_close_a_motion_and_not_one_less(count, seed):
    ledger = members_of(seed, count)
    motion = ledger.move(ledger.admit("new"), "ada")
    assert ledger.settles(motion)
    objecting = SEVEN[1 : 1 + CLOSED_BY[count]]
    for place, name in enumerate(objecting):
        assert len(ledger.state.motions.open) == 1, place
        assert ledger.settles(*ledger.object(motion, name))
    assert ledger.state.motions.open == {}
    assert ledger.state.epoch.number == 0
