"""Simplex under faults and Byzantine members: one chain, nothing signed twice, nothing lost, and silence in the end."""

import pytest
from tests.simulation.council import (
    DELTA_MS,
    Broken,
    Council,
    Equivocator,
    Forker,
    Nullifier,
    Seat,
    Silent,
    Twin,
    Weather,
    Withholder,
)

EQUAL = dict.fromkeys(("ada", "ben", "cy", "dot"), 100)
SEVEN = {"ada": 31, "ben": 25, "cy": 20, "dot": 11, "eve": 7, "fay": 4, "gus": 2}
ROLES = [Silent, Nullifier, Withholder, Equivocator, Twin, Forker]
RECOVERY_MS = 100 * DELTA_MS
"""All is final so long after healing at the latest; what is usual is a tenth of it."""


def table(seed, stakes, roles=None, **more):
    """A council of these stakes; `roles` says who is not honest, and how."""
    council = Council(seed, stakes, **more)
    for name in stakes:
        council.seat(name, (roles or {}).get(name, Seat))
        if (roles or {}).get(name) is Twin:
            council.seat(f"{name}'s twin", Twin, name)
    return council


def faulty(seed):
    """A council whose stakes, roles and faults the seed decides."""
    stakes = [EQUAL, SEVEN][seed % 2]
    roles = {list(EQUAL)[seed % 4]: [Seat, *ROLES][seed % 7]} if seed % 11 else {}
    council = table(seed, stakes, roles, skew_ms=100, epoch_blocks=3 + seed % 3)
    council.weather = Weather(loss=seed % 4 / 10, duplication=0.2, delay_ms=(1, 400), crash=seed % 3 / 100)
    council.moves_stake = seed % 5 > 1 and not roles
    return council


def chaos(council, rounds=8):
    """Certificates come in while partitions come and go."""
    council.open()
    names = list(council.seats)
    for _ in range(rounds):
        council.submit(council.random.randint(0, 3))
        council.random.shuffle(names)
        cut = council.random.randint(0, len(names) // 2)
        council.weather.groups = council.random.choice([(), (frozenset(names[:cut]), frozenset(names[cut:]))])
        council.run_until(council.now_ms + council.random.randint(100, 3_000))
    council.submit()


def finish(council):
    """Heal; all must be final in time, and then there must be silence."""
    took_ms = council.settle(RECOVERY_MS)
    council.check_silence()
    return took_ms


@pytest.mark.parametrize("variant", range(10))
def test_faults_and_one_byzantine_member_break_nothing(seed, variant):
    council = faulty(10 * seed + variant)
    chaos(council)
    finish(council)


def test_the_same_seed_gives_the_same_course():
    digests = []
    for _ in range(2):
        council = faulty(6)
        chaos(council)
        finish(council)
        digests.append(council.digest())
    assert digests[0] == digests[1]


def test_restored_old_copies_sign_no_contradiction(seed):
    for number in range(5):
        council = table(5 * seed + number, SEVEN, moves_stake=False, epoch_blocks=3)
        council.open()
        for _ in range(8):
            council.submit(2)
            council.run_until(council.now_ms + council.random.randint(100, 2_000))
            council.restart([council.seats[["ada", "ben", "cy"][number % 3]]], from_copy=True)
        finish(council)


def test_the_ledger_goes_on_when_each_leader_in_turn_is_killed(seed):
    council = table(seed, EQUAL)
    council.open()
    for _ in range(8):
        council.submit(2)
        leader = next(iter(council.seats.values())).simplex.leader(next(iter(council.seats.values())).simplex.view)
        victim = next(seat for seat in council.seats.values() if seat.wallet.public_key == leader)
        victim.crash()
        council.run_until(council.now_ms + 20 * DELTA_MS)
        others = [seat for seat in council.seats.values() if seat is not victim]
        assert all(seat.chain.state.log.size == len(council.submitted) for seat in others), (seed, council.places())
        victim.start()
    finish(council)


@pytest.mark.parametrize("stakes", [{**EQUAL, "dot": 149}, SEVEN])
def test_just_under_a_third_silent_from_the_start(seed, stakes):
    silent = {"dot": Silent} if stakes["dot"] == 149 else {"ada": Silent, "gus": Silent}
    council = table(seed, stakes, silent, moves_stake=False)
    council.open()
    for _ in range(5):
        council.submit(2)
        council.run_until(council.now_ms + 2_000)
    finish(council)


def test_all_restart_at_once(seed):
    for number in range(5):
        council = table(5 * seed + number, EQUAL, {"ada": ROLES[number]})
        council.open()
        for _ in range(5):
            council.submit(2)
            council.run_until(council.now_ms + council.random.randint(50, 700))
            council.restart(council.honest.values())
        finish(council)


def test_a_ledger_of_one(seed):
    council = table(seed, {"ada": 1})
    council.moves_stake = False
    council.open()
    council.submit(7)
    finish(council)


def test_an_empty_box_is_silent():
    council = table(1, EQUAL)
    council.open()
    council.check_silence()
    assert council.places() == dict.fromkeys(EQUAL, (0, 1, 0))


def test_a_slow_clock_stops_nobody(seed):
    council = table(seed, EQUAL)
    council.seats["ben"].skew_ms = [-5_000, 5_000][seed % 2]
    council.open()
    for _ in range(4):
        council.submit(3)
        council.run_until(council.now_ms + 1_000)
    finish(council)


def test_evidence_is_found_against_an_equivocator(seed):
    council = table(seed, EQUAL, {"ada": Equivocator}, moves_stake=False)
    council.open()
    for _ in range(10):
        council.submit(3)
        council.run_until(council.now_ms + 1_000)
    finish(council)
    offender = council.wallets["ada"].public_key
    caught = [one for seat in council.honest.values() for one in seat.caught]
    assert {one.offender for one in caught} == {offender}, f"seed {seed}"
    assert all(one.first.conflicts_with(one.second) for one in caught)


def test_a_forced_conflict_proves_a_third_guilty(seed):
    council = table(seed, EQUAL, {"cy": Twin, "dot": Twin}, moves_stake=False)
    sides = frozenset({"ada", "cy", "dot"}), frozenset({"ben", "cy's twin", "dot's twin"})
    council.expects_conflict = True
    council.weather = Weather(groups=sides)
    council.open()
    for name in council.seats:
        council.submit_to([name], 2)
    council.run_until(council.now_ms + 20_000)
    assert council.auditor.conflicts, f"seed {seed}"
    offenders = council.auditor.offenders()
    assert offenders == {council.wallets[name].public_key for name in ("cy", "dot")}, f"seed {seed}"


def test_a_third_silent_stops_the_ledger_and_it_goes_on_when_they_return(seed):
    council = table(seed, EQUAL)
    council.open()
    for name in ("ada", "ben"):
        council.seats[name].crash()
    council.submit(3)
    council.run_until(council.now_ms + 30_000)
    assert not council.auditor.blocks
    with pytest.raises(Broken):
        council.settle(10_000)
    for name in ("ada", "ben"):
        council.seats[name].start()
    finish(council)
