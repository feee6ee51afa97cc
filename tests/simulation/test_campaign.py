"""The campaign in small: some of its seeds, its scenarios of their own, and the rules it has to find broken."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache, partial
from hashlib import sha256
from itertools import product
from pathlib import Path

import pytest
from tests.simulation.campaign.books import Broken
from tests.simulation.campaign.flooders import Flooder, Withdrawer
from tests.simulation.campaign.liars import LyingSyncer, Twins
from tests.simulation.campaign.memory import sizes
from tests.simulation.campaign.mutants import MUTANTS, broken, hunt
from tests.simulation.campaign.roles import ROLES
from tests.simulation.campaign.run import Run, run_scenario, run_seed
from tests.simulation.campaign.scenario import DELTA_MS, TIMEOUT_MS, Crash, Phase, Restore, Scenario, twin_of
from tests.simulation.campaign.schemer import Schemer
from tests.simulation.campaign.voters import Counterfeiter, Equivocator, FormBreaker, Silent
from tests.simulation.campaign.watch import VoteBook

from tallystick.consensus.signing_guard import GuardStatus
from tallystick.ledger.certificate import issue_stake
from tallystick.ledger.messages import Entry, RecoveryRequest, encode_message
from tallystick.ledger.vote import FINALIZE, NOTARIZE, NULLIFY, Ballot, Vote
from tallystick.ledger.wallet import sign
from tallystick.network.simulated import Link

SEEDS = 20
"""`make simulate` runs hundreds."""

EQUAL = {"ada": 100, "ben": 100, "cy": 100, "dot": 100}
THREE = {"ada": 100, "ben": 100, "cy": 100}
SEVEN = dict.fromkeys(("ada", "ben", "cy", "dot", "eve", "fay", "gus"), 100)
EPOCHS = {"epoch_blocks": 4, "epoch_ms": 1_000, "unbonding_blocks": 8, "unbonding_ms": 2_000}
PARAMS = {**EPOCHS, "delta_ms": DELTA_MS}
LONG_EPOCH = {**PARAMS, "epoch_blocks": 1_000, "unbonding_blocks": 2_000}
ROUGH = Link(delay_max_ms=200, loss=0.15, duplication=0.1, reordering=True)


@cache
def outcome_of(number):
    """What comes of a seed; some mutants are compared with it."""
    return run_seed(number)


@pytest.mark.parametrize("number", range(1, SEEDS + 1))
def test_what_must_hold_holds(number):
    outcome = outcome_of(number)
    assert outcome.broken is None, f"{outcome.broken}\nmake simulate SEEDS=1 FIRST={number}"


def test_the_same_seed_gives_the_same_digest_in_every_process():
    """And twice in one. All of these seeds have several Byzantine members, and the last is governed."""
    seeds = (9, 36, 53, 9)
    trace = f"from tests.simulation.campaign.run import run_seed\nprint([run_seed(one).digest for one in {seeds}])"
    told = set()
    for hash_seed in ("0", "1", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        told.add(subprocess.check_output([sys.executable, "-c", trace], text=True, env=environment))
    assert len(told) == 1
    first, *others, last = ast.literal_eval(told.pop())
    assert first == last
    assert len({first, *others}) == 3


def one_of_seven(role, seed):
    """What comes of a ledger with such a member."""
    stakes = {**SEVEN, "ada": 269}  # just under a third, however much the others withdraw
    late = ("late", "later") if role is LyingSyncer else ()
    phases = (Phase(4_000, ROUGH),)
    return run_scenario(Scenario(int(seed), stakes, {"ada": role}, late=late, params=PARAMS, phases=phases)).broken


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.__name__)
def test_one_byzantine_member_of_seven(role, seed):
    assert one_of_seven(role, seed) is None


def governed(role, seed):
    """What comes of seven organisations that decide together, one of which is such a member."""
    params = {**PARAMS, "anybody_certifies": False, "rotation_delay_ms": 500}
    stakes, roles = {**SEVEN, "ada": 269}, {"ada": role} if role else {}
    phases = (Phase(4_000, ROUGH), Phase(4_000, Link(), all_restart_at_ms=2_000))
    scenario = Scenario(int(seed), stakes, roles, params=params, phases=phases, moves_stake=False, is_governed=True)
    return run_scenario(scenario).broken


@pytest.mark.parametrize("role", [None, Schemer, Equivocator, Withdrawer], ids=str)
def test_organisations_decide_though_one_of_them_does_not_keep_to_the_protocol(role, seed):
    assert governed(role, seed) is None


def short_epochs(seed):
    """What comes of a ledger whose epochs end while finalize votes are late."""
    params = {**PARAMS, "epoch_blocks": 2, "epoch_ms": 100}
    late = Phase(8_000, Link(delay_max_ms=700), held_back=FINALIZE)
    return run_scenario(Scenario(int(seed), EQUAL, params=params, certificates=60, phases=(late, late))).broken


def test_epochs_may_end_while_finalize_votes_are_late(seed):
    assert short_epochs(seed) is None


def passes(seed, stakes, *phases, **more):
    """Run a scenario whose members are all honest, and return what came of it."""
    scenario = Scenario(int(seed), stakes, **{"params": PARAMS, "moves_stake": False, **more}, phases=tuple(phases))
    outcome = run_scenario(scenario)
    assert outcome.broken is None, (seed, outcome.broken)
    return outcome


def test_every_forger_may_fail_in_turn(seed):
    phases = [Phase(3_000, Link(), crashes=(Crash(0, name, 0, 2_500),)) for name in EQUAL]
    outcome = passes(seed, EQUAL, *phases, certificates=40, moves_stake=True)
    assert outcome.faults["crashed"] == len(EQUAL)


def test_a_third_less_one_token_may_be_silent_from_the_start(seed):
    stakes = {"ada": 200, "ben": 201, "cy": 200}
    outcome = passes(seed, stakes, Phase(5_000, Link()), roles={"ada": Silent}, certificates=20)
    assert outcome.blocks >= 3


def test_a_third_that_is_silent_stops_the_ledger_and_nothing_worse_happens(seed):
    stakes = {"ada": 200, "ben": 200, "cy": 200}
    run = Run(Scenario(int(seed), stakes, {"ada": Silent}, params=PARAMS, moves_stake=False))
    with pytest.raises(Broken, match="not final"):
        run.go()
    assert run.watch.books.blocks == []
    assert run.watch.stuck > 0


def test_all_may_restart_at_once(seed):
    phases = [Phase(2_000, link, all_restart_at_ms=at_ms) for at_ms in (35, 300, 900) for link in (Link(), ROUGH)]
    outcome = passes(seed, EQUAL, *phases, certificates=30, moves_stake=True)
    assert outcome.faults["all restarted"] == len(phases)


# ---- guards and databases ------------------------------------------------------------------------------------------


def restoring(name, *, loses_guard, is_accepted=False, has_old_database=True, copy_before=None):
    restore = Restore(name, loses_guard, is_accepted, has_old_database, copy_before)
    return Phase(2_500, Link(delay_min_ms=10, delay_max_ms=250), restores=(restore,))


KINDS = (None, 0, NOTARIZE, NULLIFY)


@pytest.mark.parametrize("stakes", [THREE, EQUAL, {"ada": 40, "ben": 20, "cy": 20, "dot": 20}], ids=str)
def test_any_member_may_fall_back_to_an_older_database_however_much_it_is_needed(stakes, seed):
    phases = [restoring(name, loses_guard=False, copy_before=kind) for kind in KINDS for name in stakes]
    outcome = passes(seed, stakes, *phases, certificates=60)
    assert outcome.faults["old database"] > len(stakes)


def is_away(host):
    """Whether the member recovers, or no later view is final since; else the next epoch might have it recover again."""
    guard = host.agreement.simplex.guard
    return guard.status is GuardStatus.LOST or guard.silent_until is not None


@pytest.mark.parametrize(
    ("stakes", "is_accepted"),
    [(THREE, True), ({"ada": 40, "ben": 20, "cy": 20, "dot": 20}, True), (EQUAL, False), (SEVEN, False)],
    ids=str,
)
def test_one_member_after_the_other_may_lose_its_guard(stakes, is_accepted):
    """Who cannot be done without needs its operator's word; four and seven equal members do not."""
    run = Run(Scenario(1, stakes, params=PARAMS, moves_stake=False, certificates=0))
    network = run.network
    network.relink(Link(delay_min_ms=10, delay_max_ms=250))
    run.begin()
    losses = list(product(KINDS, stakes))[:: 4 if stakes is SEVEN else 1]  # each of seven once, and each kind
    for kind, name in losses:
        for at_ms in range(0, 2_500, 300):
            network.at(network.now_ms + at_ms, run.submit)
        run.suffer(restoring(name, loses_guard=True, is_accepted=is_accepted, copy_before=kind))
        network.run_for(2_500)
        run.forget_pending_restores()
        network.run_for(2_500)  # one that was begun is over by then
        while any(map(is_away, run.watch.honest.values())):
            run.submit()  # until its floor is passed it counts as a fault, so nobody else loses a guard
            network.run_for(400)
        assert network.run_until(run.watch.is_settled, 120_000), (name, kind)
    assert run.faults["lost its guard"] > len(losses) / 2
    run.fall_silent()
    run.watch.check_outcome()


def losers(seed, stakes, lost):
    """A ledger under way, some members of which lost their guards just now."""
    run = Run(Scenario(int(seed), stakes, params=PARAMS, moves_stake=False, certificates=0))
    run.begin()
    for _ in range(3):
        run.submit()
        run.network.run_for(400)
    for name in lost:
        run.restore(Restore(name, loses_guard=True, is_accepted=False, has_old_database=False), None, [])
    run.network.run_for(20_000)
    return run


def test_two_of_seven_that_lose_their_guards_at_once_are_no_matter(seed):
    run = losers(seed, SEVEN, ("ada", "ben"))
    assert run.watch.is_settled()
    for name in ("ada", "ben"):
        assert run.network.hosts[name].agreement.simplex.guard.status is GuardStatus.READY


def test_two_of_four_that_lose_their_guards_at_once_wait_for_their_operators_word(seed):
    run = losers(seed, EQUAL, ("ada", "ben"))
    assert not run.watch.is_settled()
    for name in ("ada", "ben"):
        assert run.network.hosts[name].agreement.simplex.guard.status is GuardStatus.LOST
        run.accept_loss(name)
    assert run.network.run_until(run.watch.is_settled, 60_000)
    assert run.watch.conflicts == []


# ---- slow, and not still --------------------------------------------------------------------------------------------


def test_a_delay_of_five_timeouts_for_twenty_minutes_makes_a_ledger_slow():
    far = Link(delay_min_ms=5 * TIMEOUT_MS, delay_max_ms=5 * TIMEOUT_MS)
    run = Run(Scenario(1, EQUAL, params=PARAMS, calm=far, certificates=0, moves_stake=False))
    run.begin()
    for number in range(7):
        run.network.at(run.network.now_ms + number * 150_000, run.submit)
    run.network.run_for(1_200_000)
    assert run.watch.is_settled()
    assert len(run.watch.books.blocks) >= 3


def test_a_ring_with_a_dead_member_and_a_third_of_all_messages_lost_goes_on(seed):
    five = dict.fromkeys(("ada", "ben", "cy", "dot", "eve"), 100)
    run = Run(Scenario(int(seed), five, is_ring=True, params=PARAMS, calm=Link(loss=0.3), certificates=0))
    run.begin()
    run.network.crash("cy")
    for second in range(0, 600, 10):
        run.network.at(run.network.now_ms + 1_000 * second, run.submit)
    run.network.run_for(600_000)
    assert run.network.run_until(lambda: not run.watch.missing(), 3_600_000)


def drawn_out(seed, views, *, with_blocks):
    """So many views in which no finalize vote arrives, while one member hears nothing at all."""
    run = Run(Scenario(int(seed), EQUAL, params=LONG_EPOCH, certificates=0, moves_stake=False))
    network = run.network
    run.begin()
    run.submit()
    network.run_for(2_000)
    network.partition(("ada", "ben", "cy"), ("dot",))
    network.lost = frozenset([FINALIZE])
    network.submit("ada", Entry(run.statement()))
    simplex = network.hosts["ada"].simplex
    while simplex.view < views:
        if with_blocks:
            network.submit("ada", Entry(run.statement()))
        network.run_for(350)
    return run


def votes_held(run):
    views = run.network.hosts["ada"].agreement.simplex.views
    return sum(len(votes) for state in views._views.values() for votes in state.votes.values())


def test_a_hundred_views_without_finality_hold_no_more_votes_than_a_few():
    few, many = drawn_out(1, 10, with_blocks=False), drawn_out(1, 100, with_blocks=False)
    assert votes_held(many) <= 2 * votes_held(few)
    grown = {
        name
        for name, size in sizes(many.network.hosts["ada"].node).items()
        if size > 2 * sizes(few.network.hosts["ada"].node)[name] + 4
    }
    assert grown == {"Views._views", "SigningGuard.entries"}, "only which certificates exist, and what was signed"


@pytest.mark.parametrize("with_blocks", [False, True], ids=["the same block", "a block each"])
def test_after_a_hundred_views_without_finality_all_restart_and_a_slow_member_follows(with_blocks):
    run = drawn_out(1, 100, with_blocks=with_blocks)
    run.restart_all()
    run.network.lost = frozenset()
    run.recover()
    run.fall_silent()
    run.watch.check_outcome()


def test_a_member_that_asks_without_end_what_it_signed_fills_nobodys_memory():
    run = Run(Scenario(1, EQUAL, params=PARAMS, certificates=0))
    run.begin()
    for number in range(400):
        request = RecoveryRequest(run.wallets["dot"].public_key, sha256(b"%d" % number).digest())
        data = encode_message(sign(request, run.wallets["dot"], run.ledger_id))
        run.network.at(run.network.now_ms + 700 * number, partial(run.network.inject, "dot", "ada", data))
    run.network.run_for(400 * 700)
    assert sizes(run.network.hosts["ada"].node)["SimplexDriver._routes"] <= 256


def test_members_that_are_needed_one_after_the_other_halt_the_ledger_only_while_they_are_down(seed):
    """Stakes change from epoch to epoch, so that one more member can stop the others, until all four can."""
    run = Run(Scenario(int(seed), EQUAL, params=PARAMS, certificates=0, moves_stake=False))
    network = run.network
    run.begin()
    for name, amount in (("ada", 120), ("ben", -60), ("cy", 120), ("dot", -40), ("ada", -100), ("ben", 150)):
        moved = issue_stake(run.wallets[name], run.ledger_id, network.now_ms, amount)
        network.submit("cy", Entry(moved))
        network.run_for(1_500)
        network.submit("cy", Entry(run.statement()))
        assert network.run_until(run.watch.is_settled, 30_000)
        epoch = network.hosts["cy"].simplex.epoch
        for other in EQUAL:
            is_needed = not epoch.is_quorum(epoch.total - epoch.stake(run.wallets[other].public_key))
            network.crash(other)
            before = len(run.watch.books.blocks)
            network.submit("cy" if other != "cy" else "ada", Entry(run.statement()))
            network.run_for(10_000)
            assert (len(run.watch.books.blocks) == before) == is_needed
            network.restart(other)
            assert network.run_until(run.watch.is_settled, 60_000)
    run.fall_silent()
    run.watch.check_outcome()


# ---- a third and more -----------------------------------------------------------------------------------------------


def forked(seed):
    """Two of four members on two machines each, one beside each honest member, and nothing between the two sides."""
    run = Run(Scenario(seed, EQUAL, {"cy": Twins, "dot": Twins}, params=LONG_EPOCH), may_conflict=True)
    run.network.connect_all()
    run.network.partition(["ada", "cy", "dot"], ["ben", twin_of("cy"), twin_of("dot")])
    for at_ms in range(0, 3_000, 100):
        run.network.at(run.network.now_ms + at_ms, run.submit)
    run.network.run_for(6_000)
    return run


def test_forced_conflicting_finality_yields_evidence_against_a_third_of_the_stake(seed):
    run = forked(int(seed))
    watch, guilty = run.watch, {run.wallets[name].public_key for name in ("cy", "dot")}
    assert watch.conflicts, "no conflict was forced"
    assert watch.seen.offenders() == guilty


def test_finalizations_of_a_forced_fork_that_are_met_late_convict_a_third_of_the_stake(seed):
    """Long after, both sides meet: each finds out by itself who signed on the other side, too."""
    run = forked(int(seed))
    network, guilty = run.network, {run.wallets[name].public_key for name in ("cy", "dot")}
    network.run_for(120_000)
    network.heal()
    for name in ("ada", "ben"):
        network.submit(name, Entry(run.statement()))
    network.run_for(60_000)
    for name in ("ada", "ben"):
        node = network.hosts[name].node
        accused = {one.offender for one in node.box.evidence} | node.state.stakes.burned_keys
        assert accused == guilty, name


# ---- the checkers themselves --------------------------------------------------------------------------------------


def said(kind, view=1, block=b"a"):
    return Vote(Ballot(kind, 0, view, block * 32), b"m" * 32, b"x" * 64)


PAIRS = [
    ((said(NOTARIZE), said(NOTARIZE, block=b"b")), True),
    ((said(FINALIZE), said(FINALIZE, block=b"b")), True),
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

CAUGHT_AT = {
    "a cosignature leaves before the guard is synced": 1,
    "members of the next epoch countersign": 1,
    "a majority is a quorum": 1,
    "two thirds, no more, are a quorum": 7,
    "the guard is not synced": 2,
    "votes are sent before the guard is synced": 1,
    "database before guard": 1,
    "what the key signs is kept beside the guard": 1,
    "own votes are forgotten at a restart": 2,
    "finalize after nullify": 2,
    "who lost its guard votes at once": 2,
    "the floor is not synced": 1,
    "the box loses what was voted for": 2,
    "what users submit is not persisted": 8,
    "certificates are not told to who missed them": 2,
    "an early block is nullified": 8,
    "old views are never forgotten": 8,
}
"""The first seed that catches each mutant, or a later one that does it sooner; `--mutants` hunts for them again."""

UNIT = "tests/unit/test_"
CAUGHT_BY = {
    "a smaller log is cosigned": UNIT
    + "signing_guard.py::test_no_smaller_log_is_cosigned_after_a_larger_one_and_no_other_root_of_its_size",
    "who lost its guard cosigns": UNIT
    + "signing_guard.py::test_a_key_that_does_not_know_what_it_cosigned_cosigns_nothing_of_that_time",
    "another log counts": UNIT + "checkpoints.py::test_another_root_of_the_same_size_is_told_and_never_counts",
    "cosignatures are not told to who missed them": "tests/simulation/test_checkpoints.py::"
    + "test_members_that_were_parted_before_they_cosigned_tell_each_other_when_they_meet_again",
    "a block from the past is notarized": "tests/scenarios/test_scenarios.py::test_scenario[backdated]",
    "certificates are not persisted": "tests/scenarios/test_scenarios.py::test_scenario[restart_all]",
    "anybody leads": UNIT
    + "keeping.py::test_who_is_no_leader_passes_on_what_it_is_handed_and_says_that_it_took_it_once_it_is_kept",
    "nobody needs to answer": UNIT + "recovery.py::test_the_others_have_to_be_a_quorum_without_it",
    "records are synced before what they rely on": UNIT
    + "keeping.py::test_after_a_crash_at_any_action_a_lone_member_has_what_it_told_contradicts_nothing_and_goes_on",
    "stakes of the tip count": "tests/scenarios/test_scenarios.py::test_scenario[epoch_by_time]",
    "may_follow is always true": UNIT + "views.py::test_which_block_may_be_built_on",
    "nullify after finalize": UNIT + "signing_guard.py::test_nothing_is_signed_that_conflicts_with_what_was_signed",
    "a second notarize vote in a view": UNIT
    + "signing_guard.py::test_nothing_is_signed_that_conflicts_with_what_was_signed",
    "floor + 0": UNIT + "recovery.py::test_the_floor_is_one_above_the_highest_view_that_is_proven_held_or_signed",
    "own answer counted": UNIT + "recovery.py::test_neither_the_asker_nor_a_stranger_counts",
    "the last answer counts": UNIT + "recovery.py::test_the_highest_of_a_members_answers_counts",
    "an answer that proves nothing counts": UNIT
    + "recovery_exchange.py::test_only_signed_answers_of_members_to_this_very_question_with_proof_count",
    "who recovers, or cannot prove its view, answers": UNIT
    + "recovery_exchange.py::test_who_recovers_itself_says_so_and_who_cannot_prove_where_it_was_does_not_answer",
    "any nonce will do": UNIT
    + "recovery_exchange.py::test_only_signed_answers_of_members_to_this_very_question_with_proof_count",
    "no second recovery after an epoch": UNIT
    + "simplex.py::test_a_recovery_is_begun_again_with_an_epoch_unless_the_one_before_went_on_above_its_floor",
    "finalizations are not counted": UNIT
    + "simplex_wire.py::test_a_conflicting_vote_in_the_finalization_of_a_block_that_sync_brings_is_evidence",
    "nullifications are dropped at a restart": UNIT
    + "simplex.py::test_a_kept_nullification_lets_a_member_propose_after_a_restart",
    "everybody is silent after a jump": UNIT
    + "simplex.py::test_a_leader_that_was_silent_in_the_last_views_is_not_waited_for",
    "stalls are not reset": UNIT + "sync.py::test_a_peer_that_answers_now_and_then_is_asked_on",
    "2 delta and 5 delta swapped": UNIT
    + "view_timer.py::test_timeouts_double_from_the_fourth_view_after_the_final_one_on",
    "routes are never cleared": "tests/simulation/test_campaign.py::"
    + test_a_member_that_asks_without_end_what_it_signed_fills_nobodys_memory.__name__,
    "finalizations of another block or epoch": UNIT
    + "finality_proofs.py::test_a_lie_about_an_epochs_end_is_refused_and_changes_nothing",
    "contradictions count in no quorum": UNIT
    + "views.py::test_who_says_two_things_in_one_view_counts_for_both_and_a_third_thing_is_not_kept",
    "what became illegal stays in the box": UNIT
    + "directory_in_node.py::test_what_an_ended_key_certified_leaves_the_box",
    "what is too late stays in the box": UNIT
    + "directory_in_node.py::test_what_is_too_late_for_any_block_leaves_the_box_though_no_block_comes",
    "motions are counted by the stakes of the tip": "tests/simulation/test_governed.py::"
    + "test_a_motion_is_counted_by_the_stakes_with_which_the_epoch_began_and_again_with_the_next",
    "a removed member's keys go on": "tests/simulation/test_governed.py::"
    + "test_a_removed_member_goes_on_as_an_observer_and_signs_nothing",
    "K1 after PyNaCl": UNIT + "keys.py::test_a_signature_at_the_edge_is_decided_as_its_vector_says",
    "negative-zero R accepted": UNIT + "keys.py::test_a_non_canonical_commitment_is_refused",
}
"""Mutants for which orders have to come together that are rare in seeds, or come late: the test that catches each."""


FLOODED, MALFORMED, COUNTERFEITED, CONTRADICTED, MISLED = (
    partial(one_of_seven, role) for role in (Flooder, FormBreaker, Counterfeiter, Equivocator, LyingSyncer)
)
SCHEMED = partial(governed, Schemer)
CAUGHT_WITH: dict[str, tuple[Callable[[int], object], int]] = {
    "tally members in any order": (FLOODED, 1),
    "the state root is not compared": (MALFORMED, 9),
    "a vote on half a block": (MALFORMED, 9),
    "anybody's tokens move": (COUNTERFEITED, 2),
    "certificates twice on the chain": (COUNTERFEITED, 2),
    "a block from the future is notarized": (COUNTERFEITED, 2),
    "evidence is ignored": (CONTRADICTED, 4),
    "a burned key is staked anew": (CONTRADICTED, 4),
    "finalizations of little stake": (MISLED, 1),
    "an epoch begins before the last ended": (short_epochs, 14),
    "who decides is not asked": (SCHEMED, 11),
    "anybody certifies": (SCHEMED, 11),
    "half of the stake decides": (SCHEMED, 11),
    "a motion is carried out whatever changed": (SCHEMED, 11),
    "a member moves without end": (SCHEMED, 11),
    "what passed waits for the epoch to end": (SCHEMED, 11),
    "the box proposes what is illegal": (SCHEMED, 11),
    "the box lets go of what is legal": (SCHEMED, 11),
}
"""Mutants that a scenario notices, with this seed or one of the twenty after it; most share theirs."""


def test_no_broken_rule_is_left_out():
    assert sorted([*CAUGHT_AT, *CAUGHT_WITH, *CAUGHT_BY]) == sorted(MUTANTS)


def test_the_documentation_says_what_notices_each_broken_rule():
    text = Path(__file__).parents[2].joinpath("docs", "reliability.md").read_text(encoding="utf-8")
    table = dict(re.findall(r"^\| (.+) \| (.+) \|$", text.partition("| mutant |")[2].partition("\n\n")[0], re.M))
    noticed = {name: table.get(name, "") for name in MUTANTS}
    assert [one for one in table if one not in MUTANTS] == ["---"]
    assert {one: noticed[one] for one in CAUGHT_AT} == {one: f"seed {seed}" for one, seed in CAUGHT_AT.items()}
    for name, test in CAUGHT_BY.items():
        file, _, function = test.partition("::")
        assert noticed[name] == f"`{file}`, `{function}`"
    assert all(noticed[one] for one in CAUGHT_WITH)


@pytest.mark.parametrize("name", CAUGHT_AT)
def test_a_broken_rule_is_noticed(name):
    seed = CAUGHT_AT[name]
    assert hunt(name, seed, 1), f"{name}: python -m tests.simulation.campaign --mutants finds the seed it takes now"
    assert outcome_of(seed).broken is None, f"seed {seed} fails without {name}, too"


@cache
def unbroken(scenario, seed):
    """What comes of a scenario where no rule is broken."""
    return scenario(seed)


@pytest.mark.parametrize("name", CAUGHT_WITH)
def test_a_broken_rule_is_noticed_where_somebody_makes_use_of_it(name):
    scenario, first = CAUGHT_WITH[name]
    with broken(name):
        seed = next((seed for seed in range(first, first + 20) if scenario(seed)), None)
    assert seed is not None
    assert unbroken(scenario, seed) is None, f"seed {seed} fails without {name}, too"


def comes_of(*tests):
    """How a run of these tests alone ends."""
    return pytest.main(["-q", "-x", "-n0", "-p", "no:cacheprovider", "--tb=no", *tests])


@pytest.fixture(scope="module")
def _they_pass_without():
    """What notices the mutants below notices nothing in code that is not broken."""
    assert comes_of(*dict.fromkeys(CAUGHT_BY.values())) is pytest.ExitCode.OK


@pytest.mark.usefixtures("_they_pass_without")
@pytest.mark.parametrize("name", CAUGHT_BY)
def test_a_broken_rule_that_is_rarely_noticed_has_a_test_that_notices_it(name):
    with broken(name):
        assert comes_of(CAUGHT_BY[name]) is pytest.ExitCode.TESTS_FAILED
