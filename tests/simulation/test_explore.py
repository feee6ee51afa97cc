"""A sample of `make explore`, and mutants that it sees: courses of the small world, the arithmetic of lost guards."""

from collections import Counter

import pytest
from msgspec.structs import replace
from tests.explore import recovery, world
from tests.explore.cases import SETS, Failed, courses_of, gate_for, replay, run_task

from tallystick.consensus import simplex as simplex_module
from tallystick.consensus.signing_guard import Recovered
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.keys import is_signed
from tallystick.ledger.transition import make_header
from tallystick.node import late_votes


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch):
    """What the small world puts in the place of headers and signatures is gone after each test."""
    monkeypatch.setattr(simplex_module, "make_header", make_header)
    monkeypatch.setattr(late_votes, "is_signed", is_signed)


@pytest.mark.parametrize(
    ("name", "every", "least"), [("three", 1097, 230), ("four", 661, 90), ("lost", 521, 110), ("word", 421, 150)]
)
def test_a_sample_of_the_courses(name, every, least):
    counts = Counter[str]()
    for one in courses_of(name, every):
        counts.update(run_task(one))
    assert counts["courses"] >= least
    if name != "word":
        assert counts["the twins contradicted each other"] > counts["courses"] / 2
        assert counts["the twin was convicted"] >= counts["an honest member took both"] > counts["courses"] / 3


def test_the_courses_are_as_many_as_is_said():
    assert SETS["three"].count == 262_144 == len(SETS["three"].tasks()) * 4 * 16 * 16
    assert SETS["four"].count == len(SETS["four"].tasks()) * 16 * 16
    assert SETS["lost"].count == len(SETS["lost"].tasks()) * 16 * 16
    sizes = [
        (members * partitions) ** 2
        for which, *_ in SETS["word"].tasks()
        for members, partitions in [[(3, 4), (4, 8)][which]]
    ]
    assert SETS["word"].count == sum(sizes)


def test_recovery_of_three_to_five_members():
    counts = Counter[str]()
    for members in (3, 4, 5):
        for stakes in recovery.stakes_of(members, 4):
            counts.update(recovery.check(stakes))
    assert counts["stakes"] == 4 * (10 + 20 + 35)
    assert counts["sufficed"] > 1_000


# ---- it would be seen -----------------------------------------------------------------------------------------------


def sample(name, every):
    for one in courses_of(name, every):
        run_task(one)


def test_a_floor_that_is_not_one_above_the_highest_view_is_seen(monkeypatch):
    real = recovery.SigningGuard.note

    def one_lower(guard, record):
        real(guard, replace(record, view=record.view - 1) if isinstance(record, Recovered) else record)

    monkeypatch.setattr(recovery.SigningGuard, "note", one_lower)
    with pytest.raises(AssertionError):
        recovery.check((1, 1, 1, 1))
    with pytest.raises(Failed, match=r"contradicts itself|signed two blocks"):
        sample("lost", 61)


def test_a_guard_that_forgets_is_seen(monkeypatch):
    monkeypatch.setattr(world.SigningGuard, "may_sign", lambda guard, ballot, has_certificate=False: True)
    monkeypatch.setattr(world.SigningGuard, "has_signed", lambda guard, epoch, view, kind: False)
    with pytest.raises(Failed):
        sample("three", 101)


def test_a_quorum_of_half_is_seen(monkeypatch):
    monkeypatch.setattr(Epoch, "is_quorum", lambda epoch, stake: 2 * stake >= epoch.total)
    with pytest.raises(Failed, match=r"two final blocks|holds another block"):
        sample("three", 101)


def test_evidence_that_is_not_looked_for_is_seen(monkeypatch):
    real = world.Views._add
    monkeypatch.setattr(world.Views, "_add", lambda views, vote: real(views, vote) and None)
    monkeypatch.setattr(world.Views, "add_header", lambda views, signed, parent_view=None: None)
    with pytest.raises(Failed, match="saw nothing"):
        sample("three", 101)


def test_a_course_can_be_played_again():
    gate_for(1, 1, 1, 1)
    assert replay("three", [1, 0, 2], [3, 0, 5]).final
