"""The campaign in small: some of its seeds, its scenarios of their own, and the rules it has to find broken."""

from functools import cache

import pytest
from tests.simulation.campaign.books import Broken
from tests.simulation.campaign.byzantine import ROLES, Silent, Twins
from tests.simulation.campaign.mutants import MUTANTS, hunt
from tests.simulation.campaign.run import Run, run_scenario, run_seed
from tests.simulation.campaign.scenario import DELTA_MS, Crash, Phase, Scenario, twin_of
from tests.simulation.campaign.watch import VoteBook

from tallystick.ledger.epoch import Epoch
from tallystick.ledger.vote import FINALIZE, NOTARIZE, NULLIFY, Ballot, Vote
from tallystick.network.simulated import Link

SEEDS = 40
CAUGHT_AT = {
    "a majority is a quorum": 1,
    "two thirds, no more, are a quorum": 7,
    "votes are not persisted": 7,
    "votes are sent before they are persisted": 7,
    "own votes are forgotten at a restart": 7,
    "quorums are not persisted": 2827,
    "finalize after nullify": 4,
    "nullify after finalize": 7080,
    "a second notarize vote in a view": 6,
    "stakes of the tip count": 2,
    "nullifications are not looked for": 17,
    "a vote on half a block": 9,
    "certificates twice on the chain": 21,
    "anybody's tokens move": 60,
    "blocks from the future": 12,
    "anybody leads": 1,
    "an epoch begins before the last ended": 5,
    "an old backup votes at once": 6,
    "nobody is asked after a restart": 10,
    "finalizations of little stake": 2,
    "finalizations of another block or epoch": 7,
    "evidence is ignored": 6,
    "contradictions count in no quorum": 189,
    "the box loses what was voted for": 1,
    "what people hand in is not persisted": 33,
    "old views are never forgotten": 40,
    "quorums are not told to who missed them": 4,
}
"""The first seed that catches each mutant; `--mutants` hunts for them again."""

EQUAL = {"ada": 100, "ben": 100, "cy": 100, "dot": 100}
PARAMS = {"epoch_blocks": 4, "unbonding_blocks": 4, "delta_ms": DELTA_MS, "forge_at_certificates": 2}
ROUGH = Link(delay_max_ms=200, loss=0.15, duplication=0.1, reordering=True)


@pytest.mark.parametrize("number", range(1, SEEDS + 1))
def test_what_must_hold_holds(number):
    outcome = run_seed(number)
    assert outcome.broken is None, f"{outcome.broken}\nmake simulate SEEDS=1 FIRST={number}"


def test_the_same_seed_gives_the_same_digest():
    for number in (3, 11, 18):
        assert run_seed(number).digest == run_seed(number).digest
    assert run_seed(3).digest != run_seed(11).digest


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.__name__)
def test_one_byzantine_member_of_seven(role, seed):
    stakes = dict.fromkeys(("ada", "ben", "cy", "dot", "eve", "fay", "gus"), 100)
    stakes["ada"] = 269  # just under a third, however much the others withdraw
    outcome = run_scenario(Scenario(int(seed), stakes, {"ada": role}, params=PARAMS, phases=(Phase(4_000, ROUGH),)))
    assert outcome.broken is None, (role, seed, outcome.broken)


def test_every_forger_may_fail_in_turn(seed):
    phases = [Phase(3_000, Link(), crashes=(Crash(0, name, 0, 2_500),)) for name in EQUAL]
    outcome = run_scenario(Scenario(int(seed), EQUAL, params=PARAMS, phases=tuple(phases), certificates=40))
    assert outcome.broken is None, (seed, outcome.broken)
    assert outcome.faults["crashed"] == len(EQUAL)


def test_a_third_less_one_token_may_be_silent_from_the_start(seed):
    stakes = {"ada": 200, "ben": 201, "cy": 200}
    spread = (Phase(5_000, Link()),)
    silent = {"ada": Silent}
    run = Run(Scenario(int(seed), stakes, silent, params=PARAMS, phases=spread, certificates=20, moves_stake=False))
    run.go()
    assert len(run.watch.books.blocks) >= 3


def test_a_third_that_is_silent_stops_the_ledger_and_nothing_worse_happens(seed):
    stakes = {"ada": 200, "ben": 200, "cy": 200}
    run = Run(Scenario(int(seed), stakes, {"ada": Silent}, params=PARAMS, moves_stake=False))
    with pytest.raises(Broken, match="not final"):
        run.go()
    assert run.watch.books.blocks == []
    assert run.watch.stuck > 0


def test_all_may_restart_at_once(seed):
    phases = [Phase(2_000, link, all_restart_at_ms=at_ms) for at_ms in (35, 300, 900) for link in (Link(), ROUGH)]
    outcome = run_scenario(Scenario(int(seed), EQUAL, params=PARAMS, phases=tuple(phases), certificates=30))
    assert outcome.broken is None, (seed, outcome.broken)
    assert outcome.faults["all restarted"] == len(phases)


def test_each_of_three_may_lose_its_latest_votes(seed):
    """Without any of them the others decide nothing, so none may stay silent for good."""
    three = dict.fromkeys(("ada", "ben", "cy"), 100)
    in_order = Link(delay_min_ms=10, delay_max_ms=250)
    kinds = (None, 0, NOTARIZE, NULLIFY, FINALIZE)
    phases = [Phase(2_000, in_order, restores=name, copy_before=kind) for kind in kinds for name in three]
    outcome = run_scenario(
        Scenario(int(seed), three, params=PARAMS, phases=tuple(phases), certificates=60, moves_stake=False)
    )
    assert outcome.broken is None, (seed, outcome.broken)
    assert outcome.faults["restored from an old backup"] > len(three)


def forked(seed):
    """Two of four members on two machines each, one beside each honest member, and nothing between the two sides."""
    run = Run(Scenario(seed, EQUAL, {"cy": Twins, "dot": Twins}, params=PARAMS), may_conflict=True)
    run.network.connect_all()
    run.network.partition(["ada", "cy", "dot"], ["ben", twin_of("cy"), twin_of("dot")])
    for at_ms in range(0, 3_000, 100):
        run.network.at(run.network.now_ms + at_ms, run.hand_in)
    run.network.run_for(6_000)
    return run


def test_forced_conflicting_finality_yields_evidence_against_a_third_of_the_stake(seed):
    watch = forked(int(seed)).watch
    assert watch.conflicts, "no conflict was forced"
    stakes = Epoch(0, watch.genesis.stakes())
    assert 3 * sum(stakes.stake(member) for member in watch.seen.offenders()) >= stakes.total
    honest = {host.agreement.wallet.public_key for host in watch.honest.values()}
    assert not watch.seen.offenders() & honest


# ---- the checkers themselves --------------------------------------------------------------------------------------


def said(kind, view=1, block=b"a", stakes=b"s"):
    return Vote(Ballot(kind, 0, view, block * 32, stakes * 32), b"m" * 32, b"x" * 64)


PAIRS = [
    ((said(NOTARIZE), said(NOTARIZE, block=b"b")), True),
    ((said(FINALIZE), said(FINALIZE, stakes=b"t")), True),
    ((said(NULLIFY), said(FINALIZE)), True),
    ((said(NOTARIZE), said(NULLIFY)), False),
    ((said(NOTARIZE), said(FINALIZE, block=b"b")), False),
    ((said(NOTARIZE), said(NOTARIZE, view=2, block=b"b")), False),
]


@pytest.mark.parametrize(("pair", "is_slashable"), PAIRS)
def test_the_vote_book_judges_pairs_as_the_protocol_does(pair, is_slashable):
    for first, second in (pair, pair[::-1]):
        book = VoteBook()
        assert book.add(first) is None
        assert (book.add(second) is not None) == is_slashable == first.conflicts_with(second)
        assert book.add(second) is None
        assert bool(book.offenders()) == is_slashable


# ---- mutants --------------------------------------------------------------------------------------------------------


@cache
def unbroken(number):
    return run_seed(number).broken is None


def test_no_broken_rule_is_left_out():
    assert CAUGHT_AT.keys() == MUTANTS.keys()


@pytest.mark.parametrize("name", CAUGHT_AT)
def test_a_broken_rule_is_noticed(name):
    seed = CAUGHT_AT[name]
    assert hunt(name, seed, 1), f"{name}: python -m tests.simulation.campaign --mutants finds the seed it takes now"
    assert unbroken(seed), f"seed {seed} fails without {name}, too"
