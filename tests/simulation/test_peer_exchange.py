"""Nodes that find each other: from one address, and again whatever dies, moves or lies."""

import pytest
from tests.builders import MEMBERS, STRANGER, found, statement, wallet

from tallystick.ledger.errors import Rule
from tallystick.ledger.messages import Addresses, Entry, encode_message
from tallystick.network.archiving import sign_address
from tallystick.network.simulated import Home, SimulatedNetwork
from tallystick.network.simulated_host import SimulatedHost, member, observer
from tallystick.node.events import PeerConnected, Report, ReportRefused
from tallystick.node.limits import Limits

MANY = {name: wallet(name) for name in (*MEMBERS, *(f"member {number}" for number in range(8)))}
CROWD = {name: wallet(name) for name in (f"observer {number}" for number in range(40))}
EVERYBODY = {**MANY, **CROWD, "stranger": STRANGER}
REDIALLED_MS = 40_000
"""More than the longest back-off."""


class Consortium:
    """Nodes that dial, on Simplex. The first member's address is all that any other is told."""

    def __init__(self, seed, members=MANY, **params):
        self.members = members
        self.network = SimulatedNetwork(found(*members.values(), **params), seed)
        self.ledger = self.network.genesis.ledger_id
        self.said: list[tuple[str, Report]] = []
        self.network.on_report = lambda now_ms, name, report: self.said.append((name, report))
        self.first = next(iter(members))

    def add(self, *names, known=None, limits=None, listens=True):
        """Start nodes; `known` are the names of those whose first address their operator gives."""
        for name in names:
            owner = EVERYBODY[name]
            named = [one for one in (known or [self.first]) if one != name]
            home = Home(owner, address(name) if listens else None, tuple((key(one), address(one)) for one in named))
            self.network.homes[name] = home
            self.network.add(name, member(owner) if name in self.members else observer, limits)
        return self

    def move(self, name, to):
        """A node stops, and starts at another address."""
        self.network.crash(name)
        home = self.network.homes[name]
        self.network.homes[name] = Home(home.wallet, to, home.known)
        self.network.restart(name)

    def forget_what_operators_said(self, *names):
        for name in names:
            home = self.network.homes[name]
            self.network.homes[name] = Home(home.wallet, home.address)

    def peers(self, name):
        return set(self.network.peers(name))

    def knows(self, name):
        """The keys of which a node knows an address."""
        return set(self.network.hosts[name].node.exchange.records)

    def is_mesh(self, names):
        """Whether each of these is connected with each other one."""
        return all(self.peers(one) >= set(names) - {one} for one in names)

    def meets(self, *names, within_ms=5_000):
        return self.network.run_until(lambda: self.is_mesh(names), within_ms)

    def refusals(self):
        return [(name, one.refused.rule, one.peer) for name, one in self.said if isinstance(one, ReportRefused)]

    def certify(self, *names, within_ms=60_000):
        """Somebody submits a certificate at one of these nodes, and all of them make it final."""
        network = self.network
        one = statement(f"at {network.now_ms}", MANY[self.first], self.ledger, at_ms=network.now_ms)
        network.submit(names[0], Entry(one))
        return network.run_until(
            lambda: all(network.hosts[name].node.chain.place_of(one.id) for name in names), within_ms
        )


def key(name):
    return EVERYBODY[name].public_key


def address(name):
    return f"{name.replace(' ', '-')}:1"


# ---- finding each other -----------------------------------------------------------------------------------------


def test_from_one_address_everybody_finds_everybody_and_the_ledger_runs(seed):
    consortium = Consortium(seed).add(*MANY)
    assert consortium.meets(*MANY, within_ms=2_000), f"seed {seed}"
    assert consortium.certify(*MANY), f"seed {seed}"
    assert consortium.refusals() == []


def test_a_newcomer_with_one_address_learns_everybody(seed):
    consortium = Consortium(seed)
    old = list(MANY)[:-1]
    (new,) = MANY.keys() - set(old)
    consortium.add(*old)
    assert consortium.meets(*old)
    consortium.add(new, known=[old[-1]])
    assert consortium.meets(*MANY, within_ms=1_000), f"seed {seed}"


def test_members_in_a_row_each_knowing_only_the_one_before_end_up_a_mesh(seed):
    consortium = Consortium(seed)
    for before, name in zip([None, *MANY], MANY, strict=False):
        consortium.add(name, known=[before or name])
    assert consortium.meets(*MANY), f"seed {seed}"


def test_forty_members_become_a_mesh():
    members = {name: wallet(name) for name in (f"one of forty {number}" for number in range(40))}
    EVERYBODY.update(members)
    consortium = Consortium(1, members).add(*members)
    consortium.network.run_for(2_000)
    assert consortium.is_mesh(members)
    assert all(consortium.knows(name) == {key(one) for one in members} for name in members)


def test_members_that_cannot_be_dialled_are_reached_because_they_dial(seed):
    consortium = Consortium(seed)
    hidden = list(MANY)[-3:]
    consortium.add(*[name for name in MANY if name not in hidden])
    consortium.add(*hidden, listens=False)
    open_to_all = set(MANY) - set(hidden)
    consortium.network.run_for(5_000)
    for name in hidden:
        assert consortium.peers(name) == open_to_all, f"seed {seed}"
    assert consortium.certify(*MANY), f"seed {seed}"


def test_when_nothing_happens_nothing_is_said(seed):
    consortium = Consortium(seed).add(*MANY, "stranger")
    assert consortium.meets(*MANY)
    assert consortium.certify(*MANY)
    assert consortium.network.run_until_quiet(600_000), f"seed {seed}"


# ---- what dies, moves and parts ---------------------------------------------------------------------------------


def test_the_bootstrap_node_dies_for_ever_and_the_rest_stays_connected(seed):
    consortium = Consortium(seed).add(*MANY)
    rest = [name for name in MANY if name != consortium.first]
    assert consortium.meets(*MANY)
    consortium.network.crash(consortium.first)
    consortium.network.run_for(1_000)
    assert consortium.is_mesh(rest), f"seed {seed}"
    for name in rest:
        consortium.network.crash(name)
    for name in rest:
        consortium.network.restart(name)
    assert consortium.meets(*rest, within_ms=REDIALLED_MS), f"seed {seed}: addresses outlive a restart"
    assert consortium.certify(*rest, within_ms=120_000), f"seed {seed}"


def test_the_bootstrap_node_restarts_with_an_empty_disk_and_is_found_by_the_others(seed):
    consortium = Consortium(seed).add(*MANY)
    assert consortium.meets(*MANY)
    network = consortium.network
    network.crash(consortium.first)
    network.run_for(5_000)
    network.hosts[consortium.first].archive = type(network.hosts[consortium.first].archive)()
    network.restart(consortium.first)
    assert consortium.meets(*MANY, within_ms=REDIALLED_MS), f"seed {seed}"


def test_a_member_that_moves_is_found_again(seed):
    consortium = Consortium(seed).add(*MANY)
    assert consortium.meets(*MANY)
    name = list(MANY)[3]
    consortium.move(name, "elsewhere:2")
    assert consortium.meets(*MANY, within_ms=1_000), f"seed {seed}"
    network = consortium.network
    network.partition([name], [one for one in MANY if one != name])
    consortium.forget_what_operators_said(name)
    network.run_for(1_000)
    network.heal()
    assert consortium.meets(*MANY, within_ms=REDIALLED_MS), f"seed {seed}: at the new address"


def test_two_members_that_moved_while_they_could_not_hear_each_other_meet_through_others(seed):
    consortium = Consortium(seed).add(*MANY)
    assert consortium.meets(*MANY)
    one, other = list(MANY)[2:4]
    consortium.forget_what_operators_said(one, other)
    consortium.network.crash(one)
    consortium.move(other, "elsewhere:2")
    consortium.network.run_for(1_000)
    home = consortium.network.homes[one]
    consortium.network.homes[one] = Home(home.wallet, "far-away:3")
    consortium.network.restart(one)
    assert consortium.meets(*MANY, within_ms=2_000), f"seed {seed}"


def test_everybody_moves_at_once_but_one(seed):
    consortium = Consortium(seed).add(*MANY)
    assert consortium.meets(*MANY)
    for number, name in enumerate(MANY):
        if name != consortium.first:
            consortium.move(name, f"elsewhere-{number}:2")
    assert consortium.meets(*MANY, within_ms=REDIALLED_MS), f"seed {seed}"


def test_a_partition_heals_by_itself(seed):
    consortium = Consortium(seed).add(*MANY)
    assert consortium.meets(*MANY)
    names = list(MANY)
    consortium.network.partition(names[:5], names[5:])
    consortium.network.run_for(20_000)
    assert consortium.is_mesh(names[:5])
    assert consortium.is_mesh(names[5:])
    assert not consortium.is_mesh(names)
    consortium.network.heal()
    assert consortium.meets(*MANY, within_ms=REDIALLED_MS), f"seed {seed}"
    assert consortium.certify(*MANY), f"seed {seed}"


# ---- observers --------------------------------------------------------------------------------------------------


def test_an_observer_is_connected_with_a_few_members_and_follows(seed):
    consortium = Consortium(seed).add(*MANY, "stranger")
    consortium.network.run_for(5_000)
    assert 8 <= len(consortium.peers("stranger")) <= 9, f"seed {seed}: the few, and whom its operator named"
    assert consortium.certify(*MANY, "stranger"), f"seed {seed}"


def test_an_observer_whose_peers_die_finds_others(seed):
    limits = Limits(dialled_by_observers=2)
    consortium = Consortium(seed).add(*MANY).add("stranger", limits=limits)
    consortium.network.run_for(5_000)
    for name in list(consortium.peers("stranger")):
        consortium.network.crash(name)
    consortium.network.run_for(60_000)
    assert len(consortium.peers("stranger")) >= 2, f"seed {seed}"


def test_a_crowd_of_observers_does_not_come_between_an_observer_and_the_members(seed):
    consortium = Consortium(seed).add(*MANY)
    consortium.network.run_for(2_000)
    consortium.add(*CROWD)
    consortium.network.run_for(5_000)
    consortium.add("stranger", known=["observer 7"])
    consortium.network.run_for(30_000)
    assert len(consortium.peers("stranger") & set(MANY)) >= 8, f"seed {seed}"


def test_a_ledger_of_one_member_is_followed_by_observers_that_also_know_each_other(seed):
    members = {"ada": MEMBERS["ada"]}
    consortium = Consortium(seed, members).add("ada", *list(CROWD)[:12])
    consortium.network.run_for(5_000)
    assert all(len(consortium.peers(name)) >= 8 for name in list(CROWD)[:12]), f"seed {seed}"
    assert consortium.certify("ada", *list(CROWD)[:12]), f"seed {seed}"


def test_a_ledger_that_admits_no_observers_keeps_them_out(seed):
    consortium = Consortium(seed, admits_observers=False).add(*MANY, "stranger")
    assert consortium.meets(*MANY)
    consortium.network.run_for(60_000)
    assert consortium.peers("stranger") == set(), f"seed {seed}"
    assert all(key("stranger") not in consortium.knows(name) for name in MANY), f"seed {seed}"


# ---- liars ------------------------------------------------------------------------------------------------------


class Liar(SimulatedHost):
    """Tells every peer that connects what `lies` says, too."""

    def lies(self):
        return ()

    def handle(self, event):
        super().handle(event)
        if isinstance(event, PeerConnected) and self.is_up:
            lies = tuple(self.lies())
            if lies:
                data = encode_message(Addresses(lies))
                self.network.send(self.name, self.network.name_of(event.peer), data)


def with_liar(seed, lies):
    """Members that are told of the first one, who is a liar, and of the last one."""
    consortium = Consortium(seed)
    liar = type("Told", (Liar,), {"lies": lambda self: lies(consortium)})
    consortium.network.make_host[consortium.first] = liar
    return consortium.add(*MANY, known=[consortium.first, list(MANY)[-1]])


def old_records(consortium):
    return [sign_address(MANY[name], consortium.ledger, "old:9", 1) for name in MANY]


def test_old_records_lead_nobody_astray(seed):
    consortium = with_liar(seed, old_records)
    assert consortium.meets(*MANY), f"seed {seed}"
    assert consortium.refusals() == []
    consortium.network.crash(consortium.first)
    victim = list(MANY)[-1]
    consortium.move(victim, "elsewhere:2")
    rest = [name for name in MANY if name != consortium.first]
    assert consortium.meets(*rest, within_ms=REDIALLED_MS), f"seed {seed}"


@pytest.mark.parametrize("owner", [STRANGER, MANY["ben"]], ids=["signed by another", "another ledger's"])
def test_foreign_records_are_left_out_and_nobody_is_cut_off(seed, owner):
    def lies(consortium):
        ledger = consortium.ledger if owner is STRANGER else bytes(32)
        record = sign_address(owner, ledger, "trap:9", 2)
        return [type(record)(MANY["ben"].public_key, record.address, record.time_ms, record.signature)]

    consortium = with_liar(seed, lies)
    assert consortium.meets(*MANY), f"seed {seed}"
    consortium.network.run_for(10_000)
    assert {(rule, peer) for _, rule, peer in consortium.refusals()} == {(Rule.N7, key(consortium.first))}
    assert consortium.is_mesh(MANY), f"seed {seed}"
    known = [record for host in consortium.network.hosts.values() for record in host.node.exchange.records.values()]
    assert all(record.address != "trap:9" for record in known), f"seed {seed}"


def test_records_from_the_future_are_left_out(seed):
    def lies(consortium):
        return [sign_address(STRANGER, consortium.ledger, "trap:9", consortium.network.now_ms + 86_400_000)]

    consortium = with_liar(seed, lies)
    assert consortium.meets(*MANY), f"seed {seed}"
    assert {rule for _, rule, _ in consortium.refusals()} == {Rule.N8}
    assert all(key("stranger") not in consortium.knows(name) for name in MANY), f"seed {seed}"


def test_a_member_whose_address_lies_about_where_it_is_harms_only_itself(seed):
    """It says that it is where Ben is: whoever dials finds another key there."""

    def lies(consortium):
        return [sign_address(MANY["cy"], consortium.ledger, address("ben"), consortium.network.now_ms)]

    consortium = with_liar(seed, lies)
    others = [name for name in MANY if name not in ("cy", consortium.first)]
    assert consortium.meets(*others), f"seed {seed}"
    assert consortium.certify(*others), f"seed {seed}"


def test_a_member_whose_process_ended_is_waited_for_in_no_view(seed):
    consortium = Consortium(seed, MEMBERS).add(*MEMBERS)
    assert consortium.meets(*MEMBERS, within_ms=2_000)
    *others, gone = MEMBERS
    assert consortium.certify(*MEMBERS)
    consortium.network.crash(gone)
    timeout_ms = 2 * consortium.network.genesis.params.delta_ms
    for _ in range(8):
        assert consortium.certify(*others, within_ms=timeout_ms - 1), f"seed {seed}"
    consortium.network.restart(gone)
    assert consortium.meets(*MEMBERS)
    assert consortium.certify(*MEMBERS)
