"""Checkpoints of the log, simulated: members countersign what the chain names and an idle tip, and everybody knows."""

from collections import defaultdict

from tests.builders import MEMBERS, found, statement
from tests.simulation.governed_ledger import SEVEN, GovernedLedger

from tallystick.consensus.signing_guard import Cosigned, GuardStatus, Lost
from tallystick.ledger.checkpoint import Checkpoint, Cosignature
from tallystick.ledger.messages import Cosignatures, Entry
from tallystick.ledger.state import CHECKPOINT_EVERY_MS
from tallystick.ledger.wallet import Wallet
from tallystick.network.memory_archive import MemoryArchive
from tallystick.network.simulated import Link, SimulatedNetwork
from tallystick.network.simulated_host import member, observer
from tallystick.node.checkpoints import ANEW_AFTER_S
from tallystick.node.events import Broadcast, FreshCheckpointAsked, PersistCosignatures

DELTA_MS = 300


class Counting(SimulatedNetwork):
    """Holds the cosignatures that were sent over any link."""

    def __init__(self, *found):
        super().__init__(*found)
        self.carried = []

    def send(self, sender, receiver, data):
        message = self.decode(data)
        self.carried.extend(message.cosignatures if isinstance(message, Cosignatures) else ())
        super().send(sender, receiver, data)


class Ledger:
    """Members who countersign, and observers; what they cosigned, in the order in which it left."""

    def __init__(self, seed, link=None, members=MEMBERS, **params):
        params = {"epoch_blocks": 1_000, "unbonding_blocks": 2_000, "delta_ms": DELTA_MS, **params}
        self.genesis = found(*members.values(), **params)
        self.network = Counting(self.genesis, int(seed), link)
        self.network.on_action = self._on_action
        self.said = defaultdict(list)
        self.kept_alone = 0
        self._number = 0
        for name, key in members.items():
            self.network.add(name, member(key))

    def _on_action(self, host, action):
        match action:
            case Broadcast(Cosignatures((one,))):
                assert Cosigned(self.genesis.ledger_id, one.size, one.root, one.time_s) in host.guard_records
                self.said[host.name].append(one)
            case PersistCosignatures() if not host.node.box:
                self.kept_alone += 1

    def submit(self, count=1, every_ms=60, to="ada"):
        for _ in range(count):
            self._number += 1
            one = statement(f"number {self._number}", ledger=self.genesis.ledger_id)
            self.network.submit(to, Entry(one))
            self.network.run_for(every_ms)
        return self

    def run(self, duration_ms=4 * DELTA_MS):
        self.network.run_for(duration_ms)
        return self

    def nodes(self, *names):
        return {
            name: host.node for name, host in self.network.hosts.items() if host.is_up and name in (names or {name})
        }

    def sizes(self, *names):
        """The log's size at the newest countersigned checkpoint, as these nodes know it."""
        found = {name: node.checkpoint for name, node in self.nodes(*names).items()}
        return {name: one.state.log.size if one else None for name, one in found.items()}

    def check(self, cosigners=None):
        """All know the tip countersigned, by these members, with signatures that are good."""
        for name, node in self.nodes().items():
            found = node.checkpoint
            assert found is not None, name
            assert found.state == node.state, name
            check_countersigned(found, self.genesis.origin)
            if cosigners is not None:
                assert {one.member for one in found.cosignatures} >= {MEMBERS[one].public_key for one in cosigners}, (
                    name
                )


def check_countersigned(found, origin):
    checkpoint = Checkpoint(origin, found.state.log.size, found.state.log.root())
    assert [one.member for one in found.cosignatures] == sorted({one.member for one in found.cosignatures})
    for one in found.cosignatures:
        assert (one.size, one.root) == checkpoint[1:]
        assert one.is_signed(origin)
    assert found.voters.hash == found.state.voters
    assert found.voters.is_quorum(sum(found.voters.stake(one.member) for one in found.cosignatures))


def test_an_idle_ledger_is_countersigned_up_to_its_last_certificate_within_a_few_delta(seed):
    ledger = Ledger(seed)
    ledger.network.connect_all()
    ledger.run(200)
    for _ in range(3):
        ledger.submit().run(4 * DELTA_MS)
        ledger.check(MEMBERS)


def test_nothing_is_countersigned_before_the_first_certificate(seed):
    ledger = Ledger(seed)
    ledger.network.connect_all()
    ledger.run(5_000)
    assert not ledger.said
    assert set(ledger.sizes().values()) == {None}


def test_a_cosignature_goes_over_each_link_a_few_times_however_many_members_there_are(seed):
    members = {f"member {number}": Wallet(bytes([number]) * 32) for number in range(1, 25)}
    ledger = Ledger(seed, members=members)
    ledger.network.connect_all()
    ledger.run(200).submit(2, to="member 1").run(20_000)
    ledger.network.carried.clear()
    ledger.submit(to="member 1").run(600_000)
    ledger.check()
    signed = sum(one.size == 3 for said in ledger.said.values() for one in said)
    assert signed == len(members)
    # To each other member once by who signed it, and at most twice along the tree of gossip: once a direction.
    assert len(ledger.network.carried) <= 3 * signed * (len(members) - 1)


def test_under_load_a_checkpoint_a_second_has_a_quorum_and_none_is_kept_by_itself(seed):
    ledger = Ledger(seed, Link(delay_min_ms=5, delay_max_ms=30))
    ledger.network.connect_all()
    ledger.run(200).submit(20, every_ms=25)
    kept_alone, start, seen = ledger.kept_alone, ledger.network.hosts["ada"].node.state.tip.timestamp_ms, set()
    for _ in range(200):
        ledger.submit(2, every_ms=25)
        for node in ledger.nodes().values():
            if (found := node.checkpoint) is not None:
                check_countersigned(found, ledger.genesis.origin)
                seen.add(found.state.tip.timestamp_ms)
    times = sorted(one for one in seen if one >= start)
    assert len(times) >= 8
    assert (
        max(later - earlier for earlier, later in zip([start, *times], times, strict=False)) < 2 * CHECKPOINT_EVERY_MS
    )
    assert ledger.kept_alone == kept_alone


def test_one_of_four_members_may_be_away(seed):
    ledger = Ledger(seed)
    ledger.network.connect_all()
    ledger.run(200)
    ledger.network.crash("dot")
    ledger.submit(3).run(20_000)
    ledger.check(["ada", "ben", "cy"])
    ledger.network.restart("dot")
    ledger.run()
    ledger.check(MEMBERS)


def test_two_halves_have_no_quorum_and_when_they_meet_again_they_do(seed):
    ledger = Ledger(seed)
    ledger.network.connect_all()
    ledger.run(200).submit().run()
    ledger.network.partition(("ada", "ben"), ("cy", "dot"))
    ledger.submit().run(20_000)
    assert set(ledger.sizes().values()) == {1}
    ledger.network.heal()
    ledger.run(60_000)
    ledger.check(MEMBERS)


def test_members_that_were_parted_before_they_cosigned_tell_each_other_when_they_meet_again(seed):
    ledger = Ledger(seed)
    ledger.network.connect_all()
    ledger.run(200).submit(every_ms=0).run(200)
    assert {node.state.index for node in ledger.nodes().values()} == {1}
    assert not ledger.said
    ledger.network.partition(*((name,) for name in MEMBERS))
    ledger.run(5_000)
    assert set(ledger.said) == set(MEMBERS)
    assert set(ledger.sizes().values()) == {None}
    ledger.network.heal()
    ledger.run(200)
    ledger.check(MEMBERS)


def test_an_observer_gets_it_through_one_peer_and_so_does_who_joins_late(seed):
    ledger = Ledger(seed)
    ledger.network.connect_all()
    ledger.network.add("eve", observer)
    ledger.network.connect("eve", "dot")
    ledger.run(200).submit(3).run()
    ledger.check(MEMBERS)
    ledger.network.add("fay", observer)
    ledger.network.connect("fay", "eve")
    ledger.run(5_000)
    ledger.check(MEMBERS)


def test_members_in_a_line_know_it_too(seed):
    ledger = Ledger(seed)
    for one, other in (("ada", "ben"), ("ben", "cy"), ("cy", "dot")):
        ledger.network.connect(one, other)
    ledger.run(200).submit(3).run(60_000)
    ledger.check(MEMBERS)


def test_after_a_restart_of_all_it_is_known_at_once_from_what_was_kept_and_nothing_smaller_is_cosigned(seed):
    ledger = Ledger(seed)
    ledger.network.connect_all()
    ledger.run(200).submit(5).run(10_000)
    before = {name: node.checkpoint for name, node in ledger.nodes().items()}
    said = {name: list(ones) for name, ones in ledger.said.items()}
    for name in MEMBERS:
        ledger.network.crash(name)
    for name in MEMBERS:
        ledger.network.restart(name)
        found = ledger.network.hosts[name].node.checkpoint
        assert found.cosignatures == before[name].cosignatures
        assert found.state == before[name].state
    ledger.run(20_000)
    assert said == ledger.said, "what is kept is not signed again"
    ledger.submit().run()
    ledger.check(MEMBERS)


def test_who_lost_its_guard_cosigns_nothing_of_before_and_goes_on_when_it_votes_again(seed):
    ledger = Ledger(seed)
    ledger.network.connect_all()
    ledger.run(200).submit(3).run(5_000)
    largest = ledger.said["ada"][-1].size
    ledger.network.crash("ada")
    host = ledger.network.hosts["ada"]
    host.guard_records = [Lost(None)]
    ledger.said["ada"].clear()
    ledger.network.restart("ada")
    ledger.run(20_000)
    assert host.simplex.guard.status is GuardStatus.READY
    assert ledger.said["ada"] == [], "the tip is of the time before"
    ledger.submit(8, every_ms=2_000).run(5_000)
    assert ledger.said["ada"], "later blocks it cosigns"
    assert min(one.size for one in ledger.said["ada"]) > largest
    ledger.check(MEMBERS)


def test_who_starts_from_an_older_database_cosigns_nothing_smaller(seed):
    ledger = Ledger(seed)
    ledger.network.connect_all()
    ledger.run(200).submit(3).run(5_000)
    host = ledger.network.hosts["ada"]
    ledger.network.crash("ada")
    host.archive = MemoryArchive(list(host.archive.blocks())[:1])
    ledger.network.restart("ada")
    ledger.run(20_000)
    sizes = [one.size for one in ledger.said["ada"]]
    assert sizes == sorted(sizes)
    ledger.submit().run()
    ledger.check(MEMBERS)


def test_each_epochs_last_block_is_countersigned_by_its_own_members(seed):
    ledger = Ledger(seed, epoch_blocks=3, epoch_ms=100, unbonding_blocks=6, unbonding_ms=200)
    ledger.network.connect_all()
    ledger.run(200)
    ends = 0
    for _ in range(12):
        ledger.submit(every_ms=400)
        for node in ledger.nodes().values():
            found = node.checkpoint
            if found is not None:
                check_countersigned(found, ledger.genesis.origin)
                ends += found.state.epoch.number != found.state.tip.epoch
    ledger.run()
    ledger.check(MEMBERS)
    assert ends


def test_a_removed_member_cosigns_the_last_block_of_its_epoch_and_no_later_one(seed):
    ledger = GovernedLedger(int(seed), *SEVEN[:4])
    said: defaultdict[str, list[Cosignature]] = defaultdict(list)

    def on_action(host, action):
        if isinstance(action, Broadcast) and isinstance(action.message, Cosignatures):
            said[host.name] += action.message.cosignatures

    ledger.network.on_action = on_action
    assert ledger.decide(ledger.remove("dot"), *SEVEN[:4])
    ledger.network.run_for(3_000)
    end = ledger.state
    assert (end.tip.epoch, end.epoch.number) == (0, 1)
    assert said["dot"][-1].size == end.log.size
    for host in ledger.up.values():
        found = host.node.checkpoint
        check_countersigned(found, ledger.network.genesis.origin)
        assert found.state == end
        assert len(found.cosignatures) == 4
    assert ledger.settles(ledger.statement("ada"))
    ledger.network.run_for(3_000)
    assert said["dot"][-1].size == end.log.size
    found = ledger.network.hosts["ada"].node.checkpoint
    check_countersigned(found, ledger.network.genesis.origin)
    assert len(found.cosignatures) == 3


def with_new_keys(seed, *away):
    """A ledger whose members' keys were replaced one by one, by hosts of their own; the old ones are stopped."""
    ledger, now = GovernedLedger(int(seed), *SEVEN[: 4 + len(away)]), {name: name for name in SEVEN[:4]}
    for name in away:
        ledger.network.crash(name)
    for name in list(now)[: 4 - len(away)]:
        ledger.add(new := f"{name} two")
        for one in away:
            if ledger.network.hosts[one].is_up:
                ledger.network.crash(one)
        voters = [now[one] for one in SEVEN[:4]]
        motion = ledger.move(ledger.replace(name, new), voters[0], at=voters[1])
        assert ledger.settles(motion, within_ms=120_000)
        assert ledger.settles(*ledger.approve(motion, *voters[1:], at=voters[1]), within_ms=120_000)
        now[name] = new
        ledger.network.run_for(3_000)
        assert ledger.settles(ledger.statement(new, at=new), within_ms=60_000)
        ledger.network.run_for(5_000)
        ledger.network.crash(name)
    ledger.network.run_for(60_000)
    return ledger


def test_who_joins_an_idle_ledger_after_all_members_changed_knows_its_checkpoint_unasked(seed):
    ledger = with_new_keys(seed)
    ledger.network.add("late", observer)
    ledger.network.connect_all()
    ledger.network.run_for(5_000)
    found = ledger.network.hosts["late"].node.checkpoint
    check_countersigned(found, ledger.network.genesis.origin)
    assert found.state == ledger.state


def test_a_member_that_was_away_while_the_others_changed_knows_the_checkpoint_of_an_idle_ledger(seed):
    ledger = with_new_keys(seed, "eve")
    ledger.network.restart("eve")
    ledger.network.connect_all()
    ledger.network.run_for(10_000)
    found = ledger.network.hosts["eve"].node.checkpoint
    check_countersigned(found, ledger.network.genesis.origin)
    assert found.state == ledger.state


def test_who_catches_up_cosigns_no_log_that_is_old(seed):
    ledger = Ledger(seed)
    ledger.network.connect_all()
    ledger.run(200).submit(2).run(3_000)
    ledger.network.crash("dot")
    ledger.submit(150, every_ms=1_100).run(5_000)
    ledger.said["dot"].clear()
    ledger.network.restart("dot")
    ledger.run(20_000)
    tip = ledger.network.hosts["ada"].node.state
    assert {one.size for one in ledger.said["dot"]} == {tip.log.size}
    ledger.check(MEMBERS)


def test_an_idle_tip_is_cosigned_anew_when_somebody_asks_and_once_a_minute(seed):
    ledger = Ledger(seed)
    for one, other in (("ada", "ben"), ("ben", "cy"), ("cy", "dot")):
        ledger.network.connect(one, other)
    ledger.network.add("eve", observer)
    ledger.network.connect("eve", "ada")
    ledger.run(200).submit(3).run(10_000)
    ledger.check(MEMBERS)
    ledger.network.hosts["eve"].handle(FreshCheckpointAsked())
    ledger.run(52_000)  # what is fresh is not asked for
    before = {name: len(said) for name, said in ledger.said.items()}
    for _ in range(3):
        ledger.network.hosts["eve"].handle(FreshCheckpointAsked())
        ledger.run(3_000)
    assert {name: len(said) - before[name] for name, said in ledger.said.items()} == dict.fromkeys(MEMBERS, 1)
    times = {one.time_s for one in ledger.network.hosts["eve"].node.checkpoint.cosignatures}
    assert min(times) >= ledger.network.now_ms // 1000 - 10
    ledger.run(1_000 * ANEW_AFTER_S)
    assert {name: len(said) - before[name] for name, said in ledger.said.items()} == dict.fromkeys(MEMBERS, 1)
    ledger.network.hosts["eve"].handle(FreshCheckpointAsked())
    ledger.run(3_000)
    assert {name: len(said) - before[name] for name, said in ledger.said.items()} == dict.fromkeys(MEMBERS, 2)
    ledger.check(MEMBERS)
