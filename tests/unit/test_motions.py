"""Motions: who moves, whose words count, when they are counted, and what those that pass do."""

import pytest
from msgspec.structs import asdict, replace
from tests.builders import ADA, BEN, CY, DOT, START_MS, STRANGER, Scribe, evidence, found, refuses, staking
from tests.governed import DAY_MS, GovernedScribe, directory_genesis

from tallystick.ledger.blockchain import Blockchain
from tallystick.ledger.certificate import Approval, Motion, Objection, issue
from tallystick.ledger.changes import (
    Effect,
    Reason,
    Remove,
    Rename,
    Role,
    SetCompromised,
    SetMemberRole,
    SetParameter,
    SetStakes,
    SetStatus,
    StakeChange,
)
from tallystick.ledger.encoding import digest
from tallystick.ledger.errors import Rule
from tallystick.ledger.merkle import EMPTY_ROOT
from tallystick.ledger.motions import MAX_OPEN_MS, Motions, Outcome
from tallystick.ledger.params import CHANGEABLE, MAX_ROTATION_DELAY_MS, Params
from tallystick.ledger.stake import MAX_SHARED_STAKE, BlockContext, StakeTable
from tallystick.ledger.transition import next_state

FOUR = ("ada", "ben", "cy", "dot")


@pytest.fixture
def scribe():
    return GovernedScribe()


def rename(title="Ada"):
    return Rename("ada", "University of Ada", title, None, None)


def parameter(name, before, after):
    return SetParameter(name, before, after)


# ---- who moves, and who is heard --------------------------------------------------------------------------------


def test_only_member_keys_move_approve_and_object(scribe):
    scribe.forge(scribe.add_issuer("issuer"), motion := scribe.motion(rename()))
    for name in ("issuer", "stranger"):
        for one in (scribe.motion(rename("x"), name), scribe.approval(motion, name), scribe.objection(motion, name)):
            with refuses(Rule.M1):
                scribe.forge(one)


def test_a_ledger_without_organisations_has_no_motions():
    scribe = Scribe(found())
    motion = issue(Motion, ADA, scribe.genesis.ledger_id, START_MS, rename(), START_MS + DAY_MS)
    with refuses(Rule.M1):
        next_state(scribe.state, scribe.draft(motion).header, [motion])


def test_a_replaced_key_votes_no_more_and_its_words_count_no_more(scribe):
    motion = scribe.motion(scribe.remove("dot"))
    scribe.forge(motion, scribe.approval(motion, "ben"))
    scribe.decide(scribe.replace_key("ada", "new ada"), "ben", "cy", "dot")
    with refuses(Rule.M1):
        scribe.forge(scribe.objection(motion, "ada"))
    scribe.forge(scribe.approval(motion, "cy"))
    assert motion.id in scribe.state.motions.open, "ben's and cy's are 20 of 40"
    assert [key for key, *_ in scribe.state.motions.open[motion.id].words] == sorted((BEN.public_key, CY.public_key))
    scribe.forge(scribe.approval(motion, "new ada"))
    assert scribe.state.decided == {motion.id: Outcome.PASSED}


def test_the_key_that_a_block_replaces_votes_in_that_block_and_in_none_after(scribe):
    """An approval by a key that ends with its block counts there: the epoch in which it is counted is the key's."""
    replacing = scribe.motion(scribe.replace_key("ada", "new ada"), "ben")
    removing = scribe.motion(scribe.remove("dot"), "ben")
    scribe.forge(replacing, removing, scribe.approval(replacing, "cy"), scribe.approval(removing, "cy"))
    last, later = scribe.approval(removing, "ada"), scribe.approval(removing, "ada")
    scribe.forge(scribe.approval(replacing, "dot"), last)
    assert scribe.state.decided == {replacing.id: Outcome.PASSED, removing.id: Outcome.PASSED}
    with refuses(Rule.M1):
        scribe.forge(later)


def test_a_removed_members_words_count_no_more(scribe):
    motion = scribe.motion(rename(), "dot")
    scribe.forge(motion, scribe.approval(motion, "ada"))
    scribe.decide(scribe.remove("dot"), "ada", "ben", "cy")
    scribe.forge(scribe.statement("ada"))
    assert [key for key, *_ in scribe.state.motions.open[motion.id].words] == [ADA.public_key]
    scribe.forge(scribe.approval(motion, "ben"))
    assert scribe.state.decided == {}, "20 of 30 are no quorum"
    scribe.forge(scribe.approval(motion, "cy"))
    assert scribe.state.decided == {motion.id: Outcome.PASSED}


def test_the_last_word_of_each_counts(scribe):
    motion = scribe.motion(rename())
    scribe.forge(
        motion, scribe.approval(motion, "ben"), scribe.objection(motion, "ben"), scribe.objection(motion, "ada")
    )
    assert scribe.state.decided == {motion.id: Outcome.CLOSED}
    motion = scribe.motion(rename())
    scribe.forge(motion, scribe.objection(motion, "ben"))
    scribe.forge(scribe.objection(motion, "ada"), scribe.approval(motion, "ada"))
    scribe.forge(scribe.approval(motion, "cy"), scribe.approval(motion, "ben"))
    assert scribe.state.decided == {motion.id: Outcome.PASSED}


def test_who_approves_twice_counts_once(scribe):
    motion = scribe.motion(rename())
    scribe.forge(motion, *[scribe.approval(motion, "ada") for _ in range(3)], scribe.approval(motion, "ben"))
    assert motion.id in scribe.state.motions.open
    assert len(scribe.state.motions.open[motion.id].words) == 2


# ---- passing, closing, expiring ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stakes", "approving", "passes"),
    [
        ((1,), "ada", True),
        ((10, 10, 10), "ada ben", False),
        ((10, 10, 10), "ada ben cy", True),
        ((10, 10, 10, 10), "ada ben", False),
        ((10, 10, 10, 10), "ada ben cy", True),
        ((3, 3, 3), "ada ben", False),
        ((3, 4, 3), "ada ben", True),
        ((66, 1, 33), "ada", False),
        ((67, 33), "ada", True),
        ((MAX_SHARED_STAKE - 2, 1, 1), "ada", True),
    ],
    ids=str,
)
def test_more_than_two_thirds_pass(stakes, approving, passes):
    scribe = GovernedScribe(directory_genesis(stakes))
    motion = scribe.motion(rename())
    scribe.forge(motion, *[scribe.approval(motion, name) for name in approving.split()])
    assert (scribe.state.decided == {motion.id: Outcome.PASSED}) == passes
    assert (motion.id in scribe.state.motions.open) != passes
    assert (scribe.state.directory.organisations["ada"].title == "Ada") == passes


@pytest.mark.parametrize(
    ("stakes", "objecting", "closes"),
    [
        ((10, 10, 10, 10), "dot", False),
        ((10, 10, 10, 10), "cy dot", True),
        ((10, 10, 10), "cy", True),
        ((34, 33, 33), "cy", False),
        ((33, 33, 34), "cy", True),
        ((2, 1), "ben", True),
    ],
    ids=str,
)
def test_a_third_that_objects_closes_it(stakes, objecting, closes):
    scribe = GovernedScribe(directory_genesis(stakes))
    motion = scribe.motion(rename())
    scribe.forge(motion, *[scribe.objection(motion, name) for name in objecting.split()])
    assert (scribe.state.decided == {motion.id: Outcome.CLOSED}) == closes
    assert (motion.id in scribe.state.motions.open) != closes
    if closes:
        with refuses(Rule.M4):
            scribe.forge(scribe.approval(motion, "ada"))


def test_a_third_of_the_stake_captures_nothing():
    """It neither passes a motion, nor removes anybody, nor sets stakes, nor changes who certifies; it does veto."""
    scribe = GovernedScribe(directory_genesis((33, 33, 34)))
    for change in (
        scribe.set_stakes(ada=0, cy=100),
        scribe.remove("ada"),
        scribe.admit("eve", 100),
        parameter("anybody_certifies", 0, 1),
    ):
        scribe.forge(scribe.motion(change, "cy"))
    assert (scribe.state.epoch.number, scribe.state.epoch.total, len(scribe.state.motions.open)) == (0, 100, 4)


def test_the_targets_stake_counts():
    """If it did not, two of three could remove the third."""
    scribe = GovernedScribe(directory_genesis((10, 10, 10)))
    motion = scribe.motion(scribe.remove("cy"))
    scribe.forge(motion, scribe.approval(motion, "ben"))
    assert motion.id in scribe.state.motions.open
    scribe.forge(scribe.objection(motion, "cy"))
    assert scribe.state.decided == {motion.id: Outcome.CLOSED}


def test_it_expires_by_block_time(scribe):
    motion, now_ms = scribe.motion(rename(), days=1), scribe.state.tip.timestamp_ms
    scribe.forge(motion, scribe.approval(motion, "ben"))
    scribe.forge(scribe.statement(), timestamp_ms=now_ms + DAY_MS - 1)
    assert motion.id in scribe.state.motions.open
    for word in (scribe.approval(motion, "cy"), scribe.objection(motion, "cy")):
        with refuses(Rule.M4):
            scribe.forge(word, timestamp_ms=now_ms + DAY_MS)
    scribe.forge(scribe.statement(), timestamp_ms=now_ms + DAY_MS)
    assert scribe.state.decided == {motion.id: Outcome.EXPIRED}
    assert scribe.state.motions == Motions()
    assert scribe.state.roots.motions == EMPTY_ROOT


def test_an_unknown_motion_has_no_words_and_its_words_come_after_it(scribe):
    motion = scribe.motion(rename())
    with refuses(Rule.M4):
        scribe.forge(scribe.approval(motion, "ben"), motion)
    with refuses(Rule.M4):
        scribe.forge(issue(Approval, ADA, scribe.ledger_id, START_MS, bytes(32)))


def test_a_motion_ends_within_90_days_after_its_block(scribe):
    now_ms = scribe.state.tip.timestamp_ms + 1
    for expires_ms in (now_ms, now_ms - 1, now_ms + MAX_OPEN_MS + 1):
        with refuses(Rule.M3, "within 90 days"):
            scribe.forge(issue(Motion, ADA, scribe.ledger_id, START_MS, rename(), expires_ms))
    for expires_ms in (now_ms + 2, now_ms + MAX_OPEN_MS):
        scribe.forge(issue(Motion, ADA, scribe.ledger_id, START_MS, rename(), expires_ms))


def test_a_member_has_four_open_motions_at_most(scribe):
    motions = [scribe.motion(rename(f"Ada {number}")) for number in range(5)]
    with refuses(Rule.M3, "4 motions of ada are open"):
        scribe.forge(*motions)
    scribe.forge(*motions[:4])
    with refuses(Rule.M3):
        scribe.forge(motions[4])
    scribe.forge(scribe.motion(rename("Ben's"), "ben"))
    scribe.forge(scribe.objection(motions[0], "ada"), scribe.objection(motions[0], "ben"))
    scribe.forge(motions[4])


def test_a_member_that_rotates_its_key_has_no_more_than_four():
    """Else it opened four more with every key, and each epoch would begin with counting them all."""
    scribe = GovernedScribe(directory_genesis(rotation_delay_ms=0))
    scribe.forge(*[scribe.motion(rename(f"Ada {number}")) for number in range(4)], scribe.rotation("ada", "new"))
    with refuses(Rule.M3):
        scribe.forge(scribe.motion(rename("Ada 5"), "new"))
    scribe.forge(scribe.statement("ben"))
    assert all(one.words == () for one in scribe.state.motions.open.values()), "words of a replaced key are dropped"


# ---- when it is counted -----------------------------------------------------------------------------------------


def test_it_is_counted_by_the_stakes_of_the_epoch_not_by_those_at_the_tip():
    scribe = GovernedScribe(directory_genesis((11, 10, 10, 10)))
    motion = scribe.motion(rename())
    scribe.forge(motion, scribe.approval(motion, "ben"), evidence(CY, genesis=scribe.genesis))
    assert scribe.state.stakes.total_staked == 31
    assert motion.id in scribe.state.motions.open, "21 of 41, until the epoch ends"


def test_it_is_counted_anew_in_the_first_block_of_an_epoch():
    scribe = GovernedScribe(directory_genesis(epoch_blocks=3, epoch_ms=3, unbonding_blocks=6, unbonding_ms=6))
    motion = scribe.motion(rename())
    scribe.forge(motion, scribe.approval(motion, "ben"))
    scribe.forge(evidence(CY, genesis=scribe.genesis), evidence(DOT, genesis=scribe.genesis))
    scribe.forge()
    assert (scribe.state.epoch.number, scribe.state.epoch.total) == (1, 20)
    assert motion.id in scribe.state.motions.open
    scribe.forge()
    assert scribe.state.decided == {motion.id: Outcome.PASSED}
    assert (scribe.state.epoch.number, scribe.state.index) == (2, 4), "and ends it"


def test_the_block_in_which_it_passes_ends_its_epoch(scribe):
    scribe.forge()
    before = scribe.state.epoch
    state = scribe.decide(scribe.set_stakes(ada=5), "ada", "ben", "cy")
    assert (before.number, before.stake(ADA.public_key)) == (0, 10)
    assert (state.epoch.number, state.epoch.first_index, state.epoch.stake(ADA.public_key)) == (1, 3, 5)
    assert state.epoch_ends == (BlockContext(0, 2, state.tip.timestamp_ms),)
    scribe.forge()
    assert scribe.state.epoch is state.epoch


def test_what_passes_in_a_block_takes_effect_in_order_of_the_log(scribe):
    first, second = scribe.motion(rename("First")), scribe.motion(rename("Second"))
    scribe.forge(second, first, scribe.approval(first, "ben"), scribe.approval(second, "ben"))
    scribe.forge(scribe.approval(first, "cy"), scribe.approval(second, "cy"))
    assert scribe.state.decided == {second.id: Outcome.PASSED, first.id: Outcome.VOID}
    assert scribe.state.directory.organisations["ada"].title == "Second"
    assert scribe.state.motions == Motions()


def test_a_motion_is_void_if_what_it_changes_from_holds_no_more(scribe):
    changes = [
        scribe.remove("dot"),
        scribe.set_stakes(dot=5),
        scribe.replace_key("dot", "new dot"),
        Rename("dot", "University of Dot", "Dot", None, None),
    ]
    motions = [scribe.motion(change) for change in changes]
    scribe.forge(*motions, *[scribe.approval(one, "ben") for one in motions])
    scribe.decide(scribe.set_stakes(dot=7), "ben", "cy", "dot")
    scribe.decide(scribe.replace_key("dot", "newer dot"), "ben", "cy", "ada")
    scribe.decide(Rename("dot", "University of Dot", "Dot U", None, None), "ben", "cy", "ada")
    epoch, before = scribe.state.epoch.number, scribe.state
    scribe.forge(*[scribe.approval(one, "cy") for one in motions])
    assert scribe.state.decided == dict.fromkeys((one.id for one in motions), Outcome.VOID)
    assert (scribe.state.directory, scribe.state.stakes) == (before.directory, before.stakes)
    assert scribe.state.epoch.number == epoch + 1


def test_a_motion_names_what_is_in_force_when_it_is_made(scribe):
    for change in (
        Remove("dot", 9),
        Remove("nobody", 0),
        SetStakes((StakeChange("dot", 9, 10),)),
        SetStakes((StakeChange("dot", 10, 9), StakeChange("cy", 10, 9))),
        SetStakes((StakeChange("dot", 10, 9), StakeChange("dot", 9, 8))),
        replace(scribe.replace_key("dot", "new"), before=ADA.public_key),
        replace(scribe.organisation_key("dot", "offline"), before=ADA.public_key),
        Rename("dot", "Dot", "Dot U", None, None),
        Rename("dot", "University of Dot", "Dot U", "dot.example", None),
        parameter("epoch_blocks", 99, 100),
        parameter("anybody_certifies", 1, 0),
        scribe.organisation_key("dot", None),
    ):
        with refuses(Rule.M2):
            scribe.forge(scribe.motion(change))


# ---- stakes -----------------------------------------------------------------------------------------------------


def test_nobody_raises_its_own_stake(scribe):
    for amount in (1, -1):
        with refuses(Rule.S9):
            scribe.forge(staking(amount, ledger=scribe.ledger_id))
    scribe.forge(motion := scribe.motion(scribe.set_stakes(ada=1_000)))
    assert scribe.stake_of("ada") == 10
    assert motion.id in scribe.state.motions.open


def test_stakes_are_set_by_motion(scribe):
    state = scribe.decide(scribe.set_stakes(ada=20, ben=0, cy=10), *FOUR[:3])
    accounts = state.stakes
    assert [accounts.account(one.public_key).staked for one in (ADA, BEN, CY, DOT)] == [20, 0, 10, 10]
    assert accounts.account(BEN.public_key).liable == 10, "what was taken away stays liable"
    assert (state.epoch.total, accounts.total) == (40, 50)


def test_a_removed_members_stake_stays_liable_for_the_unbonding_time_and_then_belongs_to_nobody():
    scribe = GovernedScribe(directory_genesis(epoch_blocks=3, epoch_ms=3, unbonding_blocks=6, unbonding_ms=6))
    state = scribe.decide(scribe.remove("dot"), *FOUR[:3])
    account = state.stakes.account(DOT.public_key)
    assert (account.free, account.staked, account.liable) == (0, 0, 10)
    scribe.forge(evidence(DOT, genesis=scribe.genesis))
    assert scribe.state.stakes.burned == 10
    other = GovernedScribe(scribe.genesis)
    other.decide(other.remove("dot"), *FOUR[:3])
    while not other.state.context(0).reaches(account.unbonding[0][0]):
        other.forge()
    with refuses(Rule.V6):
        other.forge(evidence(DOT, genesis=other.genesis))
    number = other.state.epoch.number
    while other.state.epoch.number == number:
        other.forge()
    assert (other.state.stakes.account(DOT.public_key).total, other.state.stakes.total) == (0, 30)
    assert DOT.public_key not in other.state.stakes.holders


def test_a_replaced_keys_stake_stays_liable_and_the_new_key_has_it(scribe):
    state = scribe.decide(scribe.replace_key("dot", "new"), *FOUR[:3])
    new = scribe.key("new").public_key
    assert (state.epoch.stake(DOT.public_key), state.epoch.stake(new), state.epoch.total) == (0, 10, 40)
    assert state.stakes.account(new).since == 1
    with refuses(Rule.S6):
        scribe.forge(evidence(scribe.key("new"), genesis=scribe.genesis, epoch=0))
    scribe.forge(evidence(DOT, genesis=scribe.genesis))
    assert (scribe.state.stakes.burned, scribe.stake_of("dot")) == (10, 10)


def test_evidence_sets_nothing_free_of_what_has_just_finished_unbonding():
    scribe = GovernedScribe(directory_genesis(epoch_blocks=4, epoch_ms=4, unbonding_blocks=9, unbonding_ms=9))
    scribe.decide(scribe.set_stakes(dot=6), *FOUR[:3])
    ((until, amount),) = scribe.state.stakes.account(DOT.public_key).unbonding
    while not scribe.state.context(0).reaches(until):
        scribe.forge()
    assert (scribe.state.stakes.account(DOT.public_key).liable, amount) == (10, 4), "the epoch has not ended since"
    number = scribe.state.epoch.number
    scribe.forge(evidence(DOT, genesis=scribe.genesis, epoch=number))
    assert scribe.state.epoch.number == number, "nor with this block"
    assert (scribe.state.stakes.burned, scribe.state.stakes.total) == (6, 36)
    assert all(account.free == 0 for account in scribe.state.stakes.accounts.values())


def test_a_burned_member_is_replaced_or_removed_and_its_key_has_no_stake_again(scribe):
    scribe.forge(evidence(DOT, genesis=scribe.genesis), evidence(CY, genesis=scribe.genesis))
    with refuses(Rule.S8):
        scribe.forge(scribe.motion(scribe.set_stakes(dot=10)))
    scribe.decide(scribe.replace_key("dot", "new"), "ada", "ben", "cy")
    state = scribe.decide(scribe.set_stakes(dot=10), "ada", "ben")
    assert state.epoch.stake(scribe.key("new").public_key) == 10
    state = scribe.decide(scribe.remove("cy"), "ada", "ben", "new")
    assert state.directory.organisations["cy"].member_key is None
    assert (state.stakes.burned, state.stakes.total_staked) == (20, 30)


def test_somebody_keeps_stake(scribe):
    with refuses(Rule.M2, "nobody would have stake"):
        scribe.forge(scribe.motion(scribe.set_stakes(ada=0, ben=0, cy=0, dot=0)))
    scribe.forge(scribe.motion(scribe.set_stakes(ada=0, ben=0, cy=0)))
    lone = GovernedScribe(directory_genesis((1,)))
    with refuses(Rule.M2, "ada is the last"):
        lone.forge(lone.motion(lone.remove("ada")))


def test_two_motions_that_together_leave_nobody_do_not_both_take_effect():
    scribe = GovernedScribe(directory_genesis((10, 10)))
    motions = [scribe.motion(scribe.remove(name)) for name in ("ada", "ben")]
    scribe.forge(*motions, *[scribe.approval(one, "ben") for one in motions])
    assert scribe.state.decided == {motions[0].id: Outcome.PASSED, motions[1].id: Outcome.VOID}
    assert scribe.state.epoch.members == ((BEN.public_key, 10),)


class AnyForger(GovernedScribe):
    """Whoever forges: Ada does, with or without stake."""

    def __init__(self, genesis):
        super().__init__(genesis)
        self.chain = Blockchain(genesis, lambda state, header: None)

    def forger(self):
        return ADA


def test_the_last_organisation_stays_though_its_stake_is_burned():
    """Otherwise nobody could ever make a motion again, and give stake to somebody."""
    scribe = AnyForger(directory_genesis((10,)))
    scribe.forge(evidence(ADA, genesis=scribe.genesis))
    assert not scribe.state.stakes.total_staked
    with refuses(Rule.M2, "ada is the last"):
        scribe.forge(scribe.motion(scribe.remove("ada")))


def test_when_all_stake_is_burned_the_members_stay_and_admit_another():
    scribe = AnyForger(directory_genesis((10, 10), epoch_blocks=1, epoch_ms=1, unbonding_blocks=6, unbonding_ms=6))
    scribe.forge(evidence(ADA, genesis=scribe.genesis), evidence(BEN, genesis=scribe.genesis))
    scribe.forge()
    assert scribe.state.epoch.total == 20
    scribe.decide(rename(), "ada", "ben")
    assert scribe.state.directory.organisations["ada"].title == "Ada"
    state = scribe.decide(scribe.admit("eve", 5), "ada", "ben")
    assert state.epoch.members == ((scribe.key("eve").public_key, 5),)


def test_stakes_stay_within_the_ledgers_bound(scribe):
    with refuses(Rule.M2, "tokens at stake"):
        scribe.forge(scribe.motion(scribe.set_stakes(ada=MAX_SHARED_STAKE)))
    with refuses(Rule.M2, "tokens at stake"):
        scribe.forge(scribe.motion(scribe.admit("eve", MAX_SHARED_STAKE - 39)))
    state = scribe.decide(scribe.admit("eve", MAX_SHARED_STAKE - 40), *FOUR[:3])
    assert state.stakes.total_staked == MAX_SHARED_STAKE
    scribe.forge(scribe.statement("eve"))


def test_stake_leaves_room_for_what_is_unbonding_beside_it():
    """A key with nearly all the stake there may be is replaced as any other: what was its own is liable beside it."""
    stakes = (MAX_SHARED_STAKE - 30, 10, 10, 10)
    scribe = GovernedScribe(directory_genesis(stakes, rotation_delay_ms=0))
    scribe.decide(scribe.replace_key("ada", "new"), "ada")
    scribe.forge(scribe.rotation("ada", "newer", "new"))
    assert scribe.member_key("ada") == scribe.key("newer").public_key
    assert scribe.stake_of("ada") == MAX_SHARED_STAKE - 30
    with refuses(Rule.G2):
        directory_genesis((MAX_SHARED_STAKE, 1))


def test_no_more_than_64_withdrawals_of_one_key_are_under_way():
    context, table = BlockContext(0, 1, START_MS), StakeTable({}, Params())
    table = table.with_stake(ADA.public_key, 100, context)
    for number in range(64):
        table = table.with_stake(ADA.public_key, 99 - number, BlockContext(number, number + 1, START_MS + number))
    with refuses(Rule.S7):
        table.with_stake(ADA.public_key, 1, BlockContext(64, 65, START_MS + 64))


def test_no_stake_makes_no_account():
    table = StakeTable({}, Params())
    assert table.with_stake(ADA.public_key, 0, BlockContext(0, 1, START_MS)) is table


# ---- parameters -------------------------------------------------------------------------------------------------


def test_a_parameter_is_set_within_its_bounds_and_from_the_next_epoch_on(scribe):
    scribe.decide(parameter("max_block_certificates", 4096, 3), *FOUR[:3])
    assert scribe.state.params.max_block_certificates == 3
    assert scribe.state.stakes.params is scribe.state.params
    with refuses(Rule.B9):
        scribe.forge(*[scribe.statement() for _ in range(4)])
    scribe.decide(parameter("anybody_certifies", 0, 1), "ada", "ben", "cy")
    assert scribe.state.params.anybody_certifies is True
    scribe.forge(scribe.statement("stranger"))
    scribe.decide(parameter("anybody_certifies", 1, 0), "ada", "ben", "cy")
    with refuses(Rule.D1):
        scribe.forge(scribe.statement("stranger"))


def test_each_changeable_parameter_takes_its_bounds_and_nothing_beyond(scribe):
    params = asdict(scribe.state.params)
    together = {"epoch_blocks", "epoch_ms", "unbonding_blocks", "unbonding_ms"}  # G3 holds them to each other
    for name, (least, most) in CHANGEABLE.items():
        before = int(params[name])
        for after in (least - 1, most + 1):
            if after >= 0:
                with refuses(Rule.M2, f"{name} of {after}"):
                    scribe.forge(scribe.motion(parameter(name, before, after)))
        for after in (least, most) if name not in together else ():
            scribe.chain.after(scribe.draft(scribe.motion(parameter(name, before, after))))


def test_parameters_that_are_not_on_the_list_are_not_set(scribe):
    fixed = set(asdict(Params())) - set(CHANGEABLE)
    assert fixed == {"forge_at_certificates", "min_block_certificates", "mint_freely"}
    for name in (*fixed, "no such parameter", "encoded", "__class__"):
        with refuses(Rule.M2, "no motion sets"):
            scribe.forge(scribe.motion(parameter(name, 0, 1)))


def test_stake_stays_liable_for_two_epochs_whatever_a_motion_sets(scribe):
    for name, before, after in (
        ("epoch_blocks", 100, 101),
        ("epoch_ms", 600_000, 302_400_001),
        ("unbonding_blocks", 200, 199),
        ("unbonding_ms", 604_800_000, 1_199_999),
        ("unbonding_ms", 604_800_000, 4096 * 600_000 + 1),
    ):
        with refuses(Rule.M2, "withdrawn stake is free after"):
            scribe.forge(scribe.motion(parameter(name, before, after)))


def test_a_rotations_delay_is_bounded_in_the_genesis_too():
    assert CHANGEABLE["rotation_delay_ms"] == (0, MAX_ROTATION_DELAY_MS)
    directory_genesis(rotation_delay_ms=MAX_ROTATION_DELAY_MS)
    with refuses(Rule.E2):
        directory_genesis(rotation_delay_ms=MAX_ROTATION_DELAY_MS + 1)


# ---- the status of what a gone organisation certified -----------------------------------------------------------


def test_a_motion_sets_the_status_of_what_an_organisation_that_is_gone_certified(scribe):
    diploma, theirs = scribe.statement("dot"), scribe.statement("ada")
    scribe.forge(diploma, theirs)
    with refuses(Rule.M2, "dot is there"):
        scribe.forge(scribe.motion(SetStatus(diploma.id, Effect.VOID, Reason.FRAUD)))
    scribe.decide(scribe.remove("dot"), *FOUR[:3])
    motion = scribe.motion(SetStatus(diploma.id, Effect.VOID, Reason.FRAUD))
    scribe.forge(motion, scribe.approval(motion, "ben"), scribe.approval(motion, "cy"))
    entry = scribe.state.status.of(diploma.id)
    assert (entry.effect, entry.reason, entry.acting) == (Effect.VOID, Reason.FRAUD, motion.id)
    assert (entry.log_index, entry.timestamp_ms) == (scribe.state.log.size, scribe.state.tip.timestamp_ms)
    with refuses(Rule.M2, "ada is there"):
        scribe.forge(scribe.motion(SetStatus(theirs.id, Effect.VOID, Reason.FRAUD)))
    with refuses(Rule.R3):
        scribe.forge(scribe.motion(SetStatus(diploma.id, Effect.REVOKED, Reason.FRAUD)))
    with refuses(Rule.R1):
        scribe.forge(scribe.motion(SetStatus(motion.id, Effect.REVOKED, Reason.FRAUD)))


def test_a_motion_supersedes_what_an_organisation_that_is_gone_certified(scribe):
    diploma, corrected, void = scribe.statement("dot"), scribe.statement("ada"), scribe.statement("ada")
    scribe.forge(diploma, corrected, void)
    scribe.forge(scribe.revocation(void, "ada"))
    scribe.decide(scribe.remove("dot"), *FOUR[:3])
    for effect, successor in ((Effect.SUPERSEDED, None), (Effect.REVOKED, corrected.id)):
        with refuses(Rule.M2, "names a successor"):
            scribe.forge(scribe.motion(SetStatus(diploma.id, effect, Reason.MISTAKE, successor)))
    for successor in (diploma, void):
        with refuses(Rule.R2, "has to stand in its place"):
            scribe.forge(scribe.motion(SetStatus(diploma.id, Effect.SUPERSEDED, Reason.MISTAKE, successor.id)))
    with refuses(Rule.R1):
        scribe.forge(scribe.motion(SetStatus(diploma.id, Effect.SUPERSEDED, Reason.MISTAKE, bytes(32))))
    scribe.decide(SetStatus(diploma.id, Effect.SUPERSEDED, Reason.MISTAKE, corrected.id), *FOUR[:3])
    assert scribe.state.status.of(diploma.id).effect is Effect.SUPERSEDED


def test_a_motion_says_since_when_a_key_of_an_organisation_that_is_gone_was_compromised(scribe):
    """Nobody is left who could say it for the organisation; what it certified before stands."""
    dot = scribe.key("dot").public_key
    scribe.forge(*(scribe.statement("dot") for _ in range(5)))
    with refuses(Rule.M2, "dot is there, and says itself"):
        scribe.forge(scribe.motion(SetCompromised(dot, None, 3)))
    scribe.decide(scribe.remove("dot"), *FOUR[:3])
    until = scribe.entry("dot").until
    with refuses(Rule.M2, f"what it certified from {until} on is void"):
        scribe.forge(scribe.motion(SetCompromised(dot, None, until)))
    with refuses(Rule.M2, "is not what the motion changes from"):
        scribe.forge(scribe.motion(SetCompromised(dot, 4, 3)))
    with refuses(Rule.M2, "is no key of an organisation"):
        scribe.forge(scribe.motion(SetCompromised(scribe.key("stranger").public_key, None, 3)))
    scribe.decide(SetCompromised(dot, None, 3), *FOUR[:3])
    assert (scribe.entry("dot").compromised_since, scribe.entry("dot").until) == (3, until)
    with refuses(Rule.M2, "what it certified from 3 on is void"):
        scribe.forge(scribe.motion(SetCompromised(dot, 3, 3)))
    scribe.decide(SetCompromised(dot, 3, 1), *FOUR[:3])
    assert scribe.entry("dot").compromised_since == 1, "only earlier"


def test_no_motion_sets_the_status_of_what_no_organisation_certified():
    scribe = GovernedScribe(directory_genesis(anybody_certifies=True))
    theirs = scribe.statement("stranger")
    scribe.forge(theirs)
    with refuses(Rule.M2, "no organisation certified"):
        scribe.forge(scribe.motion(SetStatus(theirs.id, Effect.VOID, Reason.FRAUD)))


# ---- the root ---------------------------------------------------------------------------------------------------


def test_the_root_covers_open_motions_in_order_of_their_ids(scribe):
    scribe.forge(*[scribe.motion(rename(f"Ada {number}")) for number in range(4)])
    motions = scribe.state.motions
    ordered = [motions.open[one] for one in sorted(motions.open)]
    assert scribe.state.roots.motions == digest(b"".join(one.encoded for one in ordered))
    assert Motions(dict(reversed(motions.open.items()))).root == motions.root
    one = ordered[0]
    assert [word[:2] for word in one.words] == [(ADA.public_key, 1)]
    scribe.forge(issue(Objection, BEN, scribe.ledger_id, START_MS, one.id))
    assert scribe.state.roots.motions != motions.root


def test_a_motion_may_be_made_by_a_member_that_certifies_nothing(scribe):
    scribe.forge(scribe.key_change(SetMemberRole(ADA.public_key, Role.VOTER), "ada"), scribe.motion(rename()))


def test_a_stranger_moves_nothing_even_with_a_members_motion(scribe):
    motion = replace(scribe.motion(rename()), issuer=STRANGER.public_key)
    with refuses(Rule.C1):
        scribe.forge(motion)
