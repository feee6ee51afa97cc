"""The campaign in small: some of its seeds, its scenarios of their own, and the rules it has to find broken."""

import pytest
from tests.simulation.campaign.books import Broken
from tests.simulation.campaign.liars import Twins
from tests.simulation.campaign.memory import sizes
from tests.simulation.campaign.roles import ROLES
from tests.simulation.campaign.run import Run, run_scenario, run_seed
from tests.simulation.campaign.scenario import DELTA_MS, TIMEOUT_MS, Crash, Phase, Restore, Scenario, twin_of
from tests.simulation.campaign.voters import Silent
from tests.simulation.campaign.watch import VoteBook

from tallystick.consensus.signing_guard import GuardStatus
from tallystick.ledger.certificate import issue_stake
from tallystick.ledger.messages import Entry
from tallystick.ledger.vote import FINALIZE, NOTARIZE, NULLIFY, Ballot, Vote
from tallystick.network.simulated import Link

SEEDS = 40

EQUAL = {"ada": 100, "ben": 100, "cy": 100, "dot": 100}
THREE = {"ada": 100, "ben": 100, "cy": 100}
SEVEN = dict.fromkeys(("ada", "ben", "cy", "dot", "eve", "fay", "gus"), 100)
EPOCHS = {"epoch_blocks": 4, "epoch_ms": 1_000, "unbonding_blocks": 8, "unbonding_ms": 2_000}
PARAMS = {**EPOCHS, "delta_ms": DELTA_MS}
LONG_EPOCH = {**PARAMS, "epoch_blocks": 1_000, "unbonding_blocks": 2_000}
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
    stakes = {**SEVEN, "ada": 269}  # just under a third, however much the others withdraw
    outcome = run_scenario(Scenario(int(seed), stakes, {"ada": role}, params=PARAMS, phases=(Phase(4_000, ROUGH),)))
    assert outcome.broken is None, (role, seed, outcome.broken)


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


# ---- guards and databases -----------------------------------------------------------------------------------------


def restoring(name, *, loses_guard, is_accepted=False, has_old_database=True, copy_before=None):
    restore = Restore(name, loses_guard, is_accepted, has_old_database, copy_before)
    return Phase(2_500, Link(delay_min_ms=10, delay_max_ms=250), restores=(restore,))


KINDS = (None, 0, NOTARIZE, NULLIFY)


@pytest.mark.parametrize("stakes", [THREE, EQUAL, {"ada": 40, "ben": 20, "cy": 20, "dot": 20}], ids=str)
def test_any_member_may_fall_back_to_an_older_database_however_much_it_is_needed(stakes, seed):
    phases = [restoring(name, loses_guard=False, copy_before=kind) for kind in KINDS for name in stakes]
    outcome = passes(seed, stakes, *phases, certificates=60)
    assert outcome.faults["old database"] > len(stakes)


@pytest.mark.parametrize(
    ("stakes", "is_accepted"),
    [(THREE, True), ({"ada": 40, "ben": 20, "cy": 20, "dot": 20}, True), (EQUAL, False), (SEVEN, False)],
    ids=str,
)
def test_one_member_after_the_other_may_lose_its_guard(stakes, is_accepted, seed):
    """Who cannot be done without needs its operator's word; four and seven equal members do not."""
    run = Run(Scenario(int(seed), stakes, params=PARAMS, moves_stake=False, certificates=0))
    network = run.network
    network.relink(Link(delay_min_ms=10, delay_max_ms=250))
    run.begin()
    for kind in KINDS:
        for name in stakes:
            for at_ms in range(0, 2_500, 300):
                network.at(network.now_ms + at_ms, run.hand_in)
            run.suffer(restoring(name, loses_guard=True, is_accepted=is_accepted, copy_before=kind))
            network.run_for(2_500)
            while any(host.node.agreement_status().silent_until for host in run.watch.honest.values()):
                run.hand_in()  # until its floor is passed it counts as a fault, so nobody else loses a guard
                network.run_for(400)
            assert network.run_until(run.watch.is_settled, 120_000), (name, kind)
    assert run.faults["lost its guard"] > 2 * len(stakes)
    run.fall_silent()
    run.watch.check_outcome()


def losers(seed, stakes, lost):
    """A ledger under way, some members of which lost their guards just now."""
    run = Run(Scenario(int(seed), stakes, params=PARAMS, moves_stake=False, certificates=0))
    run.begin()
    for _ in range(3):
        run.hand_in()
        run.network.run_for(400)
    for name in lost:
        run.restore(Restore(name, loses_guard=True, is_accepted=False, has_old_database=False), None)
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


# ---- slow, and not still ------------------------------------------------------------------------------------------


def test_a_delay_of_five_timeouts_for_an_hour_makes_a_ledger_slow(seed):
    far = Link(delay_min_ms=5 * TIMEOUT_MS, delay_max_ms=5 * TIMEOUT_MS)
    run = Run(Scenario(int(seed), EQUAL, params=PARAMS, calm=far, certificates=0, moves_stake=False))
    run.begin()
    for minute in range(55):
        run.network.at(run.network.now_ms + minute * 60_000, run.hand_in)
    run.network.run_for(3_600_000)
    assert run.watch.is_settled()
    assert len(run.watch.books.blocks) >= 10


def test_a_ring_with_a_dead_member_and_a_third_of_all_messages_lost_goes_on(seed):
    five = dict.fromkeys(("ada", "ben", "cy", "dot", "eve"), 100)
    run = Run(Scenario(int(seed), five, is_ring=True, params=PARAMS, calm=Link(loss=0.3), certificates=0))
    run.begin()
    run.network.crash("cy")
    for second in range(0, 600, 10):
        run.network.at(run.network.now_ms + 1_000 * second, run.hand_in)
    run.network.run_for(720_000)
    assert not run.watch.missing()


def drawn_out(seed, views, *, with_blocks):
    """So many views in which no finalize vote arrives, while one member hears nothing at all."""
    run = Run(Scenario(int(seed), EQUAL, params=LONG_EPOCH, certificates=0, moves_stake=False))
    network = run.network
    run.begin()
    run.hand_in()
    network.run_for(2_000)
    network.partition(("ada", "ben", "cy"), ("dot",))
    network.lost = frozenset([FINALIZE])
    network.submit("ada", Entry(run.statement()))
    simplex = network.hosts["ada"].agreement.simplex
    while simplex.view < views:
        if with_blocks:
            network.submit("ada", Entry(run.statement()))
        network.run_for(350)
    return run


def votes_held(run):
    views = run.network.hosts["ada"].agreement.simplex.views
    return sum(len(votes) for state in views._views.values() for votes in state.votes.values())


def test_hundreds_of_views_without_finality_hold_no_more_votes_than_a_few(seed):
    few, many = drawn_out(seed, 30, with_blocks=False), drawn_out(seed, 300, with_blocks=False)
    assert votes_held(many) <= 2 * votes_held(few)
    grown = {
        name
        for name, size in sizes(many.network.hosts["ada"].node).items()
        if size > 2 * sizes(few.network.hosts["ada"].node)[name] + 4
    }
    assert grown == {"Views._views", "SigningGuard.entries"}, "only which certificates exist, and what was signed"


@pytest.mark.parametrize("with_blocks", [False, True], ids=["the same block", "a block each"])
def test_after_hundreds_of_views_without_finality_all_restart_and_a_slow_member_follows(seed, with_blocks):
    run = drawn_out(seed, 300, with_blocks=with_blocks)
    run.restart_all()
    run.network.lost = frozenset()
    run.recover()
    run.fall_silent()
    run.watch.check_outcome()


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
        epoch = network.hosts["cy"].agreement.simplex.epoch
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


# ---- a third and more ---------------------------------------------------------------------------------------------


def forked(seed):
    """Two of four members on two machines each, one beside each honest member, and nothing between the two sides."""
    run = Run(Scenario(seed, EQUAL, {"cy": Twins, "dot": Twins}, params=LONG_EPOCH), may_conflict=True)
    run.network.connect_all()
    run.network.partition(["ada", "cy", "dot"], ["ben", twin_of("cy"), twin_of("dot")])
    for at_ms in range(0, 3_000, 100):
        run.network.at(run.network.now_ms + at_ms, run.hand_in)
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
