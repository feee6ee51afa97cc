"""Organisations that decide together, in the simulator: who is admitted, replaced and removed while the ledger runs."""

import pytest
from tests.builders import vote
from tests.simulation.governed_ledger import SEVEN, STAKE, GovernedLedger

from tallystick.ledger.certificate import Statement
from tallystick.ledger.changes import AddIssuer, EndIssuer, RotateMemberKey, SetOrganisationKey, SetParameter
from tallystick.ledger.messages import Votes, encode_message
from tallystick.ledger.vote import NULLIFY, tally_of
from tallystick.network.simulated import Link
from tallystick.network.simulated_host import observer
from tallystick.node.finality_proofs import TrustedBlock
from tallystick.node.limits import Limits

FOUR = SEVEN[:4]
ROUGH = Link(delay_max_ms=150, loss=0.1, duplication=0.1, reordering=True)
EFFECT_MS = 10_000
"""On an idle ledger a decision takes effect within this time."""


def finalizers(ledger, index, keepers=()):
    """Whose votes made a block final, by the names of keys; as these keep them, or anybody."""
    names = {one.public_key: name for name, one in ledger.keys.items()}
    archives = [host.archive for name, host in ledger.up.items() if not keepers or name in keepers]
    tallies = [tally for one in archives if (tally := one.finalization(index)) is not None]
    return {names[key] for tally in tallies for key, _ in tally.signatures}


# ---- admitted -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", [None, ROUGH], ids=["calm", "rough"])
def test_four_become_five_and_the_fifth_votes_with_the_node_that_it_has_running(seed, link):
    ledger = GovernedLedger(int(seed), *FOUR, link=link)
    ledger.add("eve")
    ledger.network.run_for(1_000)
    assert not ledger.settles(ledger.statement("eve"), within_ms=5_000), "nobody knows it yet"
    assert ledger.decide(ledger.admit("eve"), "ada", "ben", "cy", within_ms=60_000)
    assert ledger.stakes() == dict.fromkeys((*FOUR, "eve"), STAKE)
    ledger.network.crash("dot")
    assert ledger.settles(ledger.statement("eve"), within_ms=60_000), "it takes four of five"
    assert "eve" in finalizers(ledger, ledger.state.index)
    ledger.network.restart("dot")
    assert ledger.settles(ledger.statement("dot"), within_ms=60_000)
    ledger.assert_agreed()
    assert ledger.cut_off == []


def test_on_an_idle_ledger_a_decision_takes_effect_within_seconds(seed):
    ledger = GovernedLedger(int(seed), *FOUR)
    assert ledger.settles(ledger.statement("ada"))
    ledger.network.run_for(3_600_000)
    began_ms, epoch = ledger.network.now_ms, ledger.state.epoch.number
    assert ledger.decide(ledger.admit("eve"), "ada", "ben", "cy")
    assert ledger.state.epoch.number == epoch + 1
    assert ledger.network.now_ms - began_ms < EFFECT_MS


def test_who_is_admitted_without_stake_certifies_and_does_not_vote(seed):
    ledger = GovernedLedger(int(seed), *FOUR)
    ledger.add("eve")
    assert ledger.decide(ledger.admit("eve", 0), "ada", "ben", "cy")
    assert ledger.settles(ledger.statement("eve"))
    assert ledger.stakes() == dict.fromkeys(FOUR, STAKE)
    assert ledger.signed.get("eve") is None


# ---- removed --------------------------------------------------------------------------------------------------------


def test_a_member_that_is_lost_for_good_is_removed_by_the_others(seed):
    ledger = GovernedLedger(int(seed), *FOUR)
    ledger.network.crash("dot")
    assert ledger.decide(ledger.remove("dot"), "ada", "ben", "cy", within_ms=60_000)
    assert ledger.stakes() == dict.fromkeys(FOUR[:3], STAKE)
    assert ledger.settles(ledger.statement("ada"))
    ledger.assert_agreed()


def test_a_removed_member_goes_on_as_an_observer_and_signs_nothing(seed):
    ledger = GovernedLedger(int(seed), *FOUR)
    assert ledger.decide(ledger.remove("dot"), "ada", "ben", "cy")
    number = ledger.state.epoch.number
    for _ in range(5):
        assert ledger.settles(ledger.statement("ben"))
    ledger.statement("dot", at="dot")
    ledger.network.run_for(5_000)
    assert "D1" in ledger.rules()
    assert all(epoch < number for _, epoch in ledger.signed["dot"])
    ledger.assert_agreed()


def test_a_member_that_leaves_is_told_when_its_node_may_be_switched_off(seed):
    ledger = GovernedLedger(int(seed), *FOUR, dials=True)
    ledger.network.run_for(5_000)
    status = ledger.network.hosts["dot"].node.agreement_status
    assert (status().left_with, status().may_stop) == (None, False)
    assert ledger.decide(ledger.remove("dot"), "dot", "ada", "ben")
    assert status().left_with == ledger.state.index
    ledger.network.run_for(5_000)
    assert status().may_stop
    ledger.network.crash("dot")
    assert ledger.settles(ledger.statement("ada"))
    ledger.network.restart("dot")
    ledger.network.run_for(60_000)
    assert status().left_with is not None
    ledger.assert_agreed()


def test_a_member_that_is_needed_to_prove_its_own_removal_may_not_stop_before_another_has_the_block(seed):
    """One of four is away, so that nothing is final without who leaves; and only its own node has all votes."""
    ledger = GovernedLedger(int(seed), *FOUR, dials=True)
    ledger.network.run_for(5_000)
    ledger.network.crash("cy")
    motion = ledger.move(ledger.remove("dot"), "dot")
    assert ledger.settles(motion, within_ms=60_000)
    approvals = ledger.approve(motion, "ada", "ben")
    dot = ledger.network.hosts["dot"]
    assert ledger.network.run_until(lambda: dot.node.agreement_status().left_with is not None, 60_000)
    others = [host for name, host in ledger.up.items() if name != "dot"]
    while not dot.node.agreement_status().may_stop:
        ledger.network.run_for(10)
    assert any(host.node.state.index >= dot.node.state.index for host in others)
    ledger.network.crash("dot")
    ledger.network.restart("cy")
    assert ledger.settles(*approvals, ledger.statement("ada"), within_ms=60_000)


@pytest.mark.parametrize("is_busy", [False, True])
@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_where_no_observers_are_admitted_who_left_is_told_all_the_same(how, is_busy, seed):
    """The others cut it off with the next epoch, *epoch ms* later at the earliest: by then it knows enough."""
    ledger = GovernedLedger(int(seed), *FOUR, admits_observers=False, dials=True, epoch_ms=20_000, unbonding_ms=60_000)
    ledger.network.run_for(5_000)
    if how == "replaced":
        ledger.add("new")
    change = ledger.remove("dot") if how == "removed" else ledger.replace("dot", "new")
    motion = ledger.move(change, "ada")
    assert ledger.settles(motion, at=FOUR)
    if is_busy:
        until_ms = ledger.network.now_ms + 10_000
        stream(ledger, lambda: ledger.network.now_ms >= until_ms, every_ms=150)
    approvals = ledger.approve(motion, "ben", "cy")
    assert ledger.settles(*approvals, at=FOUR)
    dot = ledger.network.hosts["dot"]
    assert ledger.network.run_until(lambda: dot.node.agreement_status().may_stop, 20_000)
    ledger.network.run_for(20_000)
    assert dot.node.agreement_status().may_stop
    assert ledger.cut_off == []
    following = ledger.move(ledger.admit("eve"), "ada")
    assert ledger.settles(following, at=FOUR[:3])
    assert ledger.settles(*ledger.approve(following, "ben", "cy"), at=FOUR[:3])
    ledger.network.run_for(1_000)
    assert {peer for _, peer in ledger.cut_off} == {ledger.key("dot").public_key}
    if is_busy:
        ledger.network.crash("dot")
        ledger.network.restart("dot")
        assert dot.node.agreement_status().may_stop, "it has a later block, and needs nobody to say so"


# ---- replaced -------------------------------------------------------------------------------------------------------


def stream(ledger, is_over, every_ms):
    """Certificates that come in meanwhile, at one node after the other, by the keys that are members then."""
    made: list[Statement] = []

    def submit():
        up = [name for name, host in ledger.up.items() if host.simplex.has_stake]
        name = up[len(made) % len(up)]
        made.append(ledger.statement(name, at=name))
        if not is_over():
            ledger.network.at(ledger.network.now_ms + every_ms, submit)

    ledger.network.at(ledger.network.now_ms, submit)
    return made


@pytest.mark.parametrize("link", [None, ROUGH], ids=["calm", "rough"])
def test_all_first_members_are_replaced_one_at_a_time_while_certificates_come_in(link):
    ledger = GovernedLedger(1, *FOUR, link=link)
    network, left = ledger.network, dict[str, int]()
    made = stream(ledger, lambda: len(left) == len(FOUR), every_ms=300)
    members = list(FOUR)
    for place, name in enumerate(FOUR):
        successor = f"{name} anew"
        ledger.add(successor)
        others = [one for one in members if one != name]
        assert ledger.decide(ledger.replace(name, successor), *others, within_ms=60_000), (network.seed, name)
        left[name] = ledger.state.epoch.number
        members[place] = successor
        network.run_for(2_000)
    assert ledger.stakes() == dict.fromkeys(members, STAKE)
    refused = {one.certificate_id for _, one in ledger.said if getattr(one, "certificate_id", None)}
    kept = [one for one in made if one.id not in refused]
    assert ledger.settles(*kept, within_ms=60_000)
    assert all(one.issuer in {ledger.key(name).public_key for name in FOUR} for one in made if one.id in refused)
    for name, epoch in left.items():
        assert all(signed < epoch for _, signed in ledger.signed[name]), "an old key signs nothing any more"
        network.crash(name)
    assert ledger.settles(ledger.statement(members[0], at=members[0]), within_ms=60_000)
    ledger.assert_agreed()
    assert ledger.cut_off == []


def test_a_key_rotated_by_the_organisation_key_is_followed_at_once(seed):
    ledger = GovernedLedger(int(seed), *FOUR)
    ledger.add("new")
    offline = ledger.key("offline").public_key
    assert ledger.decide(
        SetOrganisationKey("dot", None, offline, ledger.admission("offline", "dot")), "ada", "ben", "cy"
    )
    began_ms = ledger.network.now_ms
    dot, new = ledger.key("dot").public_key, ledger.key("new").public_key
    rotation = ledger.change_keys(RotateMemberKey("dot", dot, new, None, ledger.admission("new", "dot")), "offline")
    assert ledger.settles(rotation)
    assert ledger.network.now_ms - began_ms < EFFECT_MS
    assert ledger.stakes() == {"ada": STAKE, "ben": STAKE, "cy": STAKE, "new": STAKE}
    ledger.network.crash("dot")
    ledger.network.crash("cy")
    assert ledger.settles(ledger.statement("new"), within_ms=60_000), "three of four with the new key"


def test_a_key_that_the_old_key_rotates_is_followed_when_the_delay_is_over(seed):
    ledger = GovernedLedger(int(seed), *FOUR, rotation_delay_ms=60_000)
    dot, new = ledger.key("dot").public_key, ledger.key("new").public_key
    assert ledger.settles(
        ledger.change_keys(RotateMemberKey("dot", dot, new, None, ledger.admission("new", "dot")), "dot")
    )
    assert ledger.settles(ledger.statement("dot"))
    assert "dot" in ledger.stakes()
    ledger.network.run_for(60_000)
    assert ledger.settles(ledger.statement("dot"))
    assert ledger.stakes() == {"ada": STAKE, "ben": STAKE, "cy": STAKE, "new": STAKE}


# ---- crashes, partitions, latecomers --------------------------------------------------------------------------------


@pytest.mark.parametrize("actions", range(0, 40, 4))
def test_hosts_may_crash_at_any_action_while_a_decision_ends_an_epoch(actions, seed):
    ledger = GovernedLedger(int(seed), *FOUR)
    network = ledger.network
    ledger.add("eve")
    motion = ledger.move(ledger.admit("eve"), "ada")
    assert ledger.settles(motion)
    for name in FOUR:
        network.hosts[name].crash_within(actions)
    ledger.approve(motion, "ben", "cy", "dot", at="eve")
    network.run_for(3_000)
    for name in FOUR:
        if network.hosts[name].is_up:
            network.crash(name)
        network.restart(name)
    for name in ("ben", "cy", "dot"):
        if motion.id in ledger.state.motions.open:
            ledger.approve(motion, name)
            network.run_for(5_000)
    assert network.run_until(lambda: ledger.knows_everywhere("eve"), 120_000)
    assert ledger.settles(ledger.statement("eve"), within_ms=120_000)
    assert ledger.stakes() == dict.fromkeys((*FOUR, "eve"), STAKE)
    ledger.assert_agreed()


def test_a_member_that_was_parted_while_it_was_removed_learns_it_and_signs_nothing_after(seed):
    ledger = GovernedLedger(int(seed), *FOUR)
    ledger.network.partition(FOUR[:3], ["dot"])
    statement = ledger.statement("dot", at="dot")
    motion = ledger.move(ledger.remove("dot"), "ada")
    ledger.settles(motion, at=FOUR[:3])
    approvals = ledger.approve(motion, "ben", "cy")
    assert ledger.settles(*approvals, at=FOUR[:3])
    ledger.network.run_for(5_000)
    number = ledger.state.epoch.number
    ledger.network.heal()
    assert ledger.settles(*approvals, within_ms=60_000)
    assert all(epoch < number for _, epoch in ledger.signed["dot"])
    assert len(ledger.network.hosts["dot"].node.box) == 0, "what it certified too late is reported, and gone"
    assert ledger.network.hosts["dot"].node.chain.place_of(statement.id) is None
    assert ledger.cut_off == []
    ledger.assert_agreed()


def decided(seed, count):
    """A ledger on which so many decisions ended so many epochs."""
    ledger = GovernedLedger(seed, *FOUR)
    for place in range(count):
        name = FOUR[place % 4]
        before = next(one for one in ledger.stakes() if one.split()[0] == name)
        successor = f"{name} {place}"
        ledger.add(successor)
        others = [one for one in ledger.stakes() if one != before]
        assert ledger.decide(ledger.replace(name, successor), *others)
        ledger.network.crash(before)
    return ledger


def test_a_late_joiner_follows_over_epochs_that_decisions_ended():
    ledger = decided(1, 12)
    assert ledger.state.epoch.number == 12
    late = ledger.network.add("late", observer, Limits(range_blocks=4))
    ledger.network.connect_all()
    assert ledger.network.run_until(lambda: late.node.state.tip == ledger.state.tip, 60_000)
    ledger.assert_agreed()


def test_a_late_joiner_follows_to_a_trusted_block_over_epochs_that_decisions_ended():
    """Their keys may long be stolen: the votes count for nothing."""
    ledger = decided(2, 6)
    network, tip = ledger.network, ledger.state.tip
    late = network.add("late", observer, Limits(range_blocks=4))
    network.crash("late")
    late.trusted_block = TrustedBlock(tip.index, tip.hash)
    network.connect_all()
    network.restart("late")
    assert network.run_until(lambda: late.node.state.tip == tip, 60_000)
    assert ledger.settles(ledger.statement(next(iter(ledger.stakes()))))


def test_all_restart_after_each_decision_and_have_the_same_state(seed):
    ledger = decided(int(seed), 3)
    before = ledger.state.roots
    names = list(ledger.up)
    for name in names:
        ledger.network.crash(name)
    for name in names:
        ledger.network.restart(name)
    assert {host.node.state.roots for host in ledger.up.values()} == {before}
    assert ledger.settles(ledger.statement(next(iter(ledger.stakes()))), within_ms=60_000)


# ---- certificates of keys that some nodes do not know yet, or not any more ------------------------------------------


def test_what_a_new_key_certified_reaches_a_node_that_was_a_block_behind(seed):
    ledger = GovernedLedger(int(seed), *FOUR)
    network = ledger.network
    network.partition(FOUR[:3], ["dot"])
    office = ledger.key("office").public_key
    added = ledger.change_keys(AddIssuer("ada", office, "office", None, ledger.admission("office", "ada")), "ada")
    assert ledger.settles(added, at=FOUR[:3])
    early = [ledger.statement("office", at="ada") for _ in range(5)]
    network.heal()
    assert ledger.settles(*early, within_ms=60_000)
    assert ledger.cut_off == []
    ledger.assert_agreed()


def test_a_certificate_that_is_passed_on_before_its_keys_block_is_refused_and_brought_again(seed):
    """The block is as late as it can be: nobody tells of it before the certificate."""
    ledger = GovernedLedger(int(seed), *FOUR)
    network = ledger.network
    watcher = ledger.add("eve")
    network.run_for(2_000)
    network.partition(FOUR, ["eve"])
    office = ledger.key("office").public_key
    added = ledger.change_keys(AddIssuer("ada", office, "office", None, ledger.admission("office", "ada")), "ada")
    assert ledger.settles(added, at=FOUR)
    for name in ("ben", "cy", "dot"):
        network.crash(name)
    early = ledger.statement("office", at="ada")
    network.run_for(100)
    network.heal()
    assert network.run_until(lambda: early.id in watcher.node.box, 60_000)
    for name in ("ben", "cy", "dot"):
        network.restart(name)
    assert ledger.settles(early, within_ms=60_000)
    assert ledger.cut_off == []


def test_what_a_key_certified_that_ended_meanwhile_is_reported_and_gone_everywhere(seed):
    ledger = GovernedLedger(int(seed), *FOUR)
    network = ledger.network
    office = ledger.key("office").public_key
    added = ledger.change_keys(AddIssuer("ada", office, "office", None, ledger.admission("office", "ada")), "ada")
    assert ledger.settles(added)
    network.partition(FOUR[:3], ["dot"])
    late = ledger.statement("office", at="dot")
    ended = ledger.change_keys(EndIssuer(office, None), "ada")
    assert ledger.settles(ended, at=FOUR[:3])
    network.heal()
    network.run_for(20_000)
    assert ledger.is_final(ended)
    told = [one for name, one in ledger.said if getattr(one, "certificate_id", None) == late.id and name == "dot"]
    assert [one.refused.rule.name for one in told] == ["D1"]
    assert all(len(host.node.box) == 0 for host in ledger.up.values())
    assert list(network.hosts["dot"].archive.waiting()) == []
    assert ledger.cut_off == []


# ---- parameters -----------------------------------------------------------------------------------------------------


def test_a_delta_that_was_decided_counts_from_the_next_epoch_on(seed):
    ledger = GovernedLedger(int(seed), *FOUR)
    assert ledger.decide(SetParameter("delta_ms", 300, 1_000), "ada", "ben", "cy")
    for host in ledger.up.values():
        timer = host.simplex.timer
        timer.look(0, 1, 1, 0, has_work=True)
        assert timer.settled_ms() == 1_000
    ledger.network.crash("dot")
    ledger.network.run_for(1_000)
    assert ledger.settles(ledger.statement("ada"), within_ms=60_000)


def test_an_epoch_length_that_was_decided_counts_from_the_next_epoch_on(seed):
    ledger = GovernedLedger(int(seed), *FOUR, epoch_blocks=50, epoch_ms=1_000, unbonding_ms=10_000)
    assert ledger.decide(SetParameter("epoch_blocks", 50, 3), "ada", "ben", "cy")
    number = ledger.state.epoch.number
    for _ in range(9):
        ledger.network.run_for(1_000)
        assert ledger.settles(ledger.statement("ada"))
    assert ledger.state.epoch.number == number + 3


def test_votes_of_a_removed_member_that_come_late_still_burn_its_stake(seed):
    """As long as that is liable."""
    ledger = GovernedLedger(int(seed), *FOUR)
    assert ledger.settles(ledger.statement("dot"))
    index = finalized_by(ledger, "dot")
    assert ledger.decide(ledger.remove("dot"), "ada", "ben", "cy")
    burn(ledger, "dot", index)
    assert ledger.state.stakes.account(ledger.key("dot").public_key).liable == 0


def test_a_motion_is_counted_by_the_stakes_with_which_the_epoch_began_and_again_with_the_next(seed):
    """Three of five are no quorum, though of the four that are left they are."""
    ledger = GovernedLedger(int(seed), *SEVEN[:5], epoch_ms=60_000, unbonding_ms=200_000)
    assert ledger.settles(ledger.statement("ada"))
    index = finalized_by(ledger, "eve")
    burn(ledger, "eve", index)
    motion = ledger.move(ledger.admit("fay"), "ada")
    assert ledger.settles(motion)
    assert ledger.settles(*ledger.approve(motion, "ben", "cy"))
    assert (ledger.state.epoch.number, len(ledger.state.motions.open)) == (0, 1)
    ledger.network.run_for(60_000)
    for _ in range(2):
        assert ledger.settles(ledger.statement("ada"))
    assert ledger.state.motions.open == {}
    assert "fay" in ledger.stakes()


def finalized_by(ledger, name):
    """A block that the member's vote made final, as one keeps it who will hear of another vote; made, if need be."""
    for index in range(1, 20):
        if index > ledger.state.index:
            assert ledger.settles(ledger.statement("ada"))
        if name in finalizers(ledger, index, FOUR[:3]):
            return index
    raise AssertionError(f"{name} makes nothing final")


def burn(ledger, name, index):
    """A vote that contradicts how a member's vote helped to make a block final comes late."""
    network = ledger.network
    view = network.hosts["ada"].archive.finalization(index).ballot.view
    lie = vote(NULLIFY, member=ledger.key(name), epoch=0, view=view, genesis=network.genesis)
    for hearing in FOUR[:3]:
        network.inject("stranger", hearing, encode_message(Votes((tally_of([lie]),))))
    network.run_for(10_000)
    assert ledger.state.stakes.burned_keys == {ledger.key(name).public_key}
