"""Peer exchange in one node: what it remembers, tells and passes on, whom it dials, and whom it turns away."""

from itertools import count

import pytest
from tests.builders import (
    ADA,
    BEN,
    CY,
    DOT,
    MEMBERS,
    START_MS,
    STRANGER,
    Bench,
    Scribe,
    cut_off,
    evidence,
    found,
    lone_driver,
    of_kind,
    rules,
    started_node,
    statement,
    wallet,
)

from tallystick.ledger.address import MAX_AHEAD_MS
from tallystick.ledger.certificate import issue_stake
from tallystick.ledger.errors import Rule
from tallystick.ledger.genesis import Allotment, make_genesis
from tallystick.ledger.messages import MAX_ADDRESSES, Addresses, Certificates, Entry, NewBlock
from tallystick.ledger.params import Params
from tallystick.network.archiving import sign_address
from tallystick.network.memory_archive import MemoryArchive
from tallystick.node import peer_exchange
from tallystick.node.events import (
    Admit,
    Broadcast,
    Dial,
    Forget,
    PeerConnected,
    PeerDisconnected,
    PersistAddress,
    Send,
    SetTimer,
    Started,
    Timer,
    TimerFired,
    UnbanAsked,
)
from tallystick.node.limits import Limits

OPEN = found()
CLOSED = found(admits_observers=False)
MANY = [wallet(f"member {number}") for number in range(20)]
CROWD = [wallet(f"observer {number}") for number in range(200)]
CROWDED = found(*MANY)
KEYS = {name: member.public_key for name, member in MEMBERS.items()}


class Exchanging(Bench):
    """A node of somebody's that its host has started."""

    def __init__(self, owner=ADA, genesis=OPEN, address=None, known=(), **more):
        super().__init__(genesis, **more)
        self.ledger = genesis.ledger_id
        self.owner = owner
        record = None if address is None else self.record(owner, address, START_MS)
        self.began = self.handle(Started(owner.public_key, record, tuple(known)))

    def record(self, owner, address, time_ms=START_MS):
        return sign_address(owner, self.ledger, address, time_ms)

    def connect(self, *peers):
        return [action for peer in peers for action in self.handle(PeerConnected(peer))]

    def tell(self, *records, peer="x"):
        return self.receive(Addresses(records), peer)

    def learn(self, *owners, peer="x"):
        """A peer tells where these listen."""
        return self.tell(*(self.record(one, address_of(one)) for one in owners), peer=peer)


def address_of(owner):
    return f"{owner.public_key.hex()[:8]}:1"


def told(actions):
    """The records in each message to somebody, by receiver."""
    return [(one.peer, one.message.records) for one in of_kind(Send, actions) if isinstance(one.message, Addresses)]


def passed_on(actions):
    return [one for one in of_kind(Broadcast, actions) if isinstance(one.message, Addresses)]


def dialled(actions):
    return {one.peer: one.address for one in of_kind(Dial, actions)}


def forgotten(actions):
    return {one.peer for one in of_kind(Forget, actions)}


# ---- telling ----------------------------------------------------------------------------------------------------


def test_a_peer_is_told_the_own_address_first_then_members_then_others():
    bench = Exchanging(address="ada:1")
    bench.learn(STRANGER, BEN, CY)
    ((peer, records),) = told(bench.connect(DOT.public_key))
    assert peer == DOT.public_key
    assert [one.key for one in records][::3] == [ADA.public_key, STRANGER.public_key]
    assert {one.key for one in records} == {one.public_key for one in (ADA, BEN, CY, STRANGER)}


def test_a_node_that_knows_nothing_says_nothing():
    assert told(Exchanging().connect("x")) == []


def test_a_peer_is_not_told_its_own_address():
    bench = Exchanging()
    bench.learn(BEN)
    assert told(bench.connect(BEN.public_key)) == []


def test_what_is_new_is_passed_on_to_all_but_who_told_it_and_kept_first():
    bench = Exchanging()
    bench.connect("x", "y")
    record = bench.record(BEN, "ben:1")
    actions = bench.tell(record)
    assert passed_on(actions) == [Broadcast(Addresses((record,)), but="x")]
    assert actions.index(PersistAddress(record)) < actions.index(passed_on(actions)[0])


def test_what_is_known_or_older_is_not_passed_on_and_replaces_nothing():
    bench = Exchanging()
    newer, older = (bench.record(BEN, address, START_MS + place) for address, place in (("new:1", 1), ("old:1", 0)))
    bench.tell(newer)
    assert bench.tell(newer, peer="y") == []
    assert bench.tell(older, peer="y") == []
    assert bench.tell(bench.record(BEN, "other:1", START_MS + 1), peer="y") == [], "the first of two of one time counts"
    assert told(bench.connect("z")) == [("z", (newer,))]


def test_a_later_record_takes_the_place_of_an_earlier_one():
    bench = Exchanging()
    bench.learn(BEN)
    later = bench.record(BEN, "later:1", START_MS + 1)
    assert len(passed_on(bench.tell(later))) == 1
    assert told(bench.connect("z")) == [("z", (later,))]


def test_nobody_tells_a_node_where_it_is_itself():
    bench = Exchanging(address="ada:1")
    assert bench.tell(bench.record(ADA, "elsewhere:1", START_MS + 1)) == []
    ((_, (own,)),) = told(bench.connect("z"))
    assert own.address == "ada:1"


@pytest.mark.parametrize("ahead_ms", [0, 1])
def test_n8_a_record_may_be_dated_a_little_ahead_of_the_clock_and_no_more(ahead_ms):
    bench = Exchanging()
    record = bench.record(BEN, "ben:1", bench.now_ms + MAX_AHEAD_MS + ahead_ms)
    other = bench.record(CY, "cy:1")
    actions = bench.tell(record, other)
    assert rules(actions) == [Rule.N8] * ahead_ms
    assert cut_off(actions) == set(), "it may be this node's clock that is wrong"
    assert bench.node.knowledge.knows_address(record) == (not ahead_ms)
    assert bench.node.knowledge.knows_address(other)


def test_many_records_go_in_several_messages():
    members = [wallet(f"one of many {number}") for number in range(MAX_ADDRESSES + 5)]
    bench = Exchanging(genesis=found(*members), address="ada:1")
    bench.learn(*members[:MAX_ADDRESSES])
    bench.learn(*members[MAX_ADDRESSES:], peer="y")
    messages = told(bench.connect("z"))
    assert [len(records) for _, records in messages] == [MAX_ADDRESSES, 6]
    assert messages[0][1][0].address == "ada:1"


# ---- what is kept -----------------------------------------------------------------------------------------------


def test_addresses_of_all_members_and_of_few_observers_are_remembered():
    bench = Exchanging(genesis=CROWDED, limits=Limits(observer_addresses=5, addresses_per_second=1))
    bench.learn(*CROWD)
    bench.learn(*MANY)
    bench.learn(*CROWD[::-1], peer="y")
    ((_, records),) = told(bench.connect("z"))
    keys = {one.key for one in records}
    assert keys > {one.public_key for one in MANY}
    assert len(keys) == len(MANY) + 5


def test_which_observers_are_remembered_does_not_hang_on_who_came_first():
    def kept(*crowd):
        bench = Exchanging(limits=Limits(observer_addresses=5))
        for one in crowd:
            bench.learn(one)
        return {record.key for _, records in told(bench.connect("z")) for record in records}

    assert kept(*CROWD) == kept(*CROWD[::-1])


def test_the_more_made_up_keys_came_the_fewer_more_are_passed_on():
    bench = Exchanging(limits=Limits(observer_addresses=4))
    news = [len(passed_on(bench.learn(one))) for one in CROWD]
    assert news[:4] == [1, 1, 1, 1]
    assert sum(news[4:100]) > sum(news[100:])
    assert sum(news) < 40


def test_only_addresses_of_keys_with_tokens_and_the_own_are_persisted():
    genesis = make_genesis(
        "test", START_MS, [Allotment(ADA.public_key, 0, 5), Allotment(BEN.public_key, 5, 0)], Params()
    )
    bench = Exchanging(genesis=genesis, owner=STRANGER, address="own:1")
    kept = [one.record for one in of_kind(PersistAddress, bench.began + bench.learn(ADA, BEN, CY))]
    assert [one.key for one in kept] == [STRANGER.public_key, ADA.public_key, BEN.public_key]


def test_kept_addresses_are_known_after_a_restart_but_not_those_that_were_tampered_with():
    bench, archive = Exchanging(), MemoryArchive()
    good, bad = bench.record(BEN, "ben:1"), sign_address(CY, bytes(32), "cy:1", START_MS)
    archive.keep_address(good)
    archive.keep_address(bad)
    bench.node = started_node(OPEN, lone_driver(ADA), archive)
    actions = bench.handle(Started(ADA.public_key, None))
    assert dialled(actions) == {BEN.public_key: "ben:1"}
    assert told(bench.connect("z")) == [("z", (good,))]


def test_a_node_that_listens_no_more_does_not_tell_where_it_did():
    bench, archive = Exchanging(), MemoryArchive()
    archive.keep_address(bench.record(ADA, "ada:1"))
    bench.node = started_node(OPEN, lone_driver(ADA), archive)
    bench.handle(Started(ADA.public_key, None))
    assert told(bench.connect("z")) == []


# ---- the allowance ----------------------------------------------------------------------------------------------


def test_n9_a_peer_that_tells_addresses_without_end_is_held_to_its_allowance():
    bench = Exchanging(genesis=CROWDED, limits=Limits(addresses_per_second=4))
    times = count(START_MS)

    def burst(peer, size):
        records = [bench.record(MANY[0], "h:1", next(times)) for _ in range(size)]
        return bench.tell(*records, peer=peer)

    for _ in range(8):
        assert rules(burst("flood", 512)) == []
    actions = burst("flood", 512)
    assert rules(actions) == [Rule.N9]
    assert cut_off(actions) == set()
    assert passed_on(actions) == []
    assert rules(burst("other", 10)) == [], "another peer has an allowance of its own"
    bench.handle(PeerDisconnected("flood"))
    bench.handle(PeerConnected("flood"))
    assert rules(burst("flood", 1)) == [Rule.N9], "connecting again renews nothing"
    bench.now_ms += 1_000
    actions = burst("flood", 5)
    assert rules(actions) == [Rule.N9]
    assert len(passed_on(actions)[0].message.records) == 4


def test_what_is_known_already_costs_no_allowance():
    bench = Exchanging(genesis=CROWDED)
    bench.learn(*MANY)
    for _ in range(1_000):
        assert bench.learn(*MANY, peer="y") == []
    assert rules(bench.tell(bench.record(MANY[0], "h:1", START_MS + 1), peer="y")) == []


# ---- whom to dial -----------------------------------------------------------------------------------------------


def test_a_member_dials_every_other_member_that_it_hears_of_and_no_observer():
    bench = Exchanging()
    assert dialled(bench.learn(ADA, BEN, CY, STRANGER)) == {one.public_key: address_of(one) for one in (BEN, CY)}
    assert dialled(bench.learn(DOT)) == {DOT.public_key: address_of(DOT)}


def test_a_member_dials_no_more_members_than_its_limit():
    bench = Exchanging(owner=MANY[0], genesis=CROWDED, limits=Limits(dialled_members=7))
    chosen = dialled(bench.learn(*MANY))
    assert len(chosen) == 7
    other = Exchanging(owner=MANY[1], genesis=CROWDED, limits=Limits(dialled_members=7))
    assert dialled(other.learn(*MANY)) != chosen, "not all choose the same ones"


def test_who_is_connected_is_not_dialled_until_the_connection_ends():
    bench = Exchanging()
    bench.connect(BEN.public_key)
    assert dialled(bench.learn(BEN)) == {}
    assert dialled(bench.handle(PeerDisconnected(BEN.public_key))) == {BEN.public_key: address_of(BEN)}


def test_who_moved_is_dialled_at_the_new_address():
    bench = Exchanging()
    bench.learn(BEN)
    assert dialled(bench.tell(bench.record(BEN, "new:1", START_MS + 1))) == {BEN.public_key: "new:1"}


def test_who_moved_while_connected_is_dialled_at_the_new_address_when_that_ends():
    bench = Exchanging()
    bench.learn(BEN)
    bench.connect(BEN.public_key)
    assert dialled(bench.tell(bench.record(BEN, "new:1", START_MS + 1))) == {}
    assert dialled(bench.handle(PeerDisconnected(BEN.public_key))) == {BEN.public_key: "new:1"}


def test_the_operators_address_is_dialled_until_the_peer_itself_tells_another():
    bench = Exchanging(owner=STRANGER, known=[(BEN.public_key, "given:1"), (STRANGER.public_key, "own:1")])
    assert dialled(bench.began) == {BEN.public_key: "given:1"}
    assert dialled(bench.tell(bench.record(BEN, "own:1"))) == {BEN.public_key: "own:1"}


def test_an_observer_dials_a_few_members_and_made_up_keys_change_nothing():
    bench = Exchanging(owner=STRANGER, genesis=CROWDED)
    bench.learn(*CROWD)
    actions = bench.learn(*MANY)
    assert len(dialled(actions)) == 8
    assert set(dialled(actions)) <= {one.public_key for one in MANY}
    assert set(forgotten(actions)) <= {one.public_key for one in CROWD}, "members take the place of observers"
    again = bench.learn(*CROWD[::-1], peer="y")
    assert (dialled(again), forgotten(again)) == ({}, set())


def test_an_observer_dials_others_only_where_there_are_too_few_members():
    bench = Exchanging(owner=STRANGER)
    chosen = dialled(bench.learn(*MEMBERS.values(), *CROWD))
    assert len(chosen) == 8
    assert chosen.keys() > set(KEYS.values())


def test_an_observer_looks_further_when_those_it_dialled_do_not_answer():
    bench = Exchanging(owner=STRANGER, genesis=CROWDED)
    first = bench.learn(*MANY)
    reached = set(list(dialled(first))[:3])
    bench.connect(*reached)
    (timer,) = [one for one in of_kind(SetTimer, first) if one.timer is Timer.DIAL]
    bench.now_ms = timer.at_ms
    further = bench.handle(TimerFired(Timer.DIAL))
    assert len(dialled(further)) == 5, "three answered"
    assert not dialled(further).keys() & dialled(first).keys()
    assert forgotten(further) == set(), "who did not answer may come back"
    late = dialled(first).keys() - reached
    back = bench.connect(*late)
    assert forgotten(back) == dialled(further).keys(), "when all are back, nobody else is needed"


def test_an_observer_whose_peers_leave_looks_for_others_and_then_rests():
    bench = Exchanging(owner=STRANGER, genesis=CROWDED)
    actions = bench.learn(*MANY)
    chosen = dialled(actions)
    bench.connect(*chosen)
    left = [one for peer in list(chosen)[:2] for one in bench.handle(PeerDisconnected(peer))]
    assert dialled(left) == {}, "they may be back at once"
    timers = 0
    while fired := [one for one in of_kind(SetTimer, actions) if one.timer is Timer.DIAL]:
        timers += 1
        bench.now_ms = fired[0].at_ms
        actions = bench.handle(TimerFired(Timer.DIAL))
        chosen |= dialled(actions)
        assert timers < 20
    assert len(chosen) == 20, "nobody answers, so all 20 were tried"


def test_an_observer_dials_no_more_than_32_however_few_answer():
    members = [wallet(f"away {number}") for number in range(60)]
    bench = Exchanging(owner=STRANGER, genesis=found(*members))
    actions = bench.learn(*members)
    chosen = dialled(actions)
    while fired := [one for one in of_kind(SetTimer, actions) if one.timer is Timer.DIAL]:
        bench.now_ms = fired[0].at_ms
        actions = bench.handle(TimerFired(Timer.DIAL))
        chosen |= dialled(actions)
    assert len(chosen) == 32


def test_n5_who_broke_what_no_honest_peer_breaks_is_dialled_no_more():
    bench = Exchanging()
    bench.learn(BEN)
    bench.connect(BEN.public_key)
    actions = bench.receive(b"\xff", BEN.public_key)
    assert cut_off(actions) == {BEN.public_key}
    assert forgotten(actions) == {BEN.public_key}
    actions = bench.handle(PeerDisconnected(BEN.public_key))
    actions += bench.tell(bench.record(BEN, "new:1", START_MS + 1))
    assert dialled(actions) == {}


# ---- bans -------------------------------------------------------------------------------------------------------


def broken(bench, who=BEN):
    """Somebody who is dialled, and then sends what no honest peer sends."""
    bench.learn(who)
    bench.connect(who.public_key)
    return bench.receive(b"\xff", who.public_key)


def test_a_ban_tells_the_host_whom_not_to_admit_and_ends_by_itself_after_an_hour():
    bench = Exchanging(limits=Limits(ban_ms=60_000))
    actions = broken(bench)
    assert of_kind(Admit, actions) == [Admit(None, frozenset({BEN.public_key}))]
    ((banned, ban),) = bench.node.exchange.bans.items()
    until_ms = ban.until_ms
    assert (banned, until_ms, ban.refused.rule) == (BEN.public_key, bench.now_ms + 60_000, Rule.E2)
    assert SetTimer(Timer.DIAL, until_ms) in actions
    bench.handle(PeerDisconnected(BEN.public_key))
    bench.now_ms = until_ms - 1
    assert of_kind((Admit, Dial), bench.handle(TimerFired(Timer.DIAL))) == []
    bench.now_ms = until_ms
    actions = bench.handle(TimerFired(Timer.DIAL))
    assert of_kind(Admit, actions) == [Admit(None)]
    assert dialled(actions) == {BEN.public_key: address_of(BEN)}
    assert bench.node.exchange.bans == {}
    assert of_kind(Send, bench.connect(BEN.public_key)) != []


def test_a_banned_peer_is_turned_away_and_not_listened_to_and_is_not_banned_for_longer():
    bench = Exchanging()
    broken(bench)
    bans = dict(bench.node.exchange.bans)
    bench.handle(PeerDisconnected(BEN.public_key))
    bench.now_ms += 1_000
    actions = bench.connect(BEN.public_key)
    assert cut_off(actions) == {BEN.public_key}
    assert of_kind((Send, Admit), actions) == []
    assert bench.learn(CY, peer=BEN.public_key) == []
    assert bench.node.exchange.bans == bans != {}


def test_a_person_lets_a_banned_peer_in_again():
    bench = Exchanging()
    broken(bench)
    broken(bench, CY)
    bench.handle(PeerDisconnected(BEN.public_key))
    actions = bench.handle(UnbanAsked(BEN.public_key))
    assert of_kind(Admit, actions) == [Admit(None, frozenset({CY.public_key}))]
    assert dialled(actions) == {BEN.public_key: address_of(BEN)}
    assert list(bench.node.exchange.bans) == [CY.public_key]
    assert bench.handle(UnbanAsked(BEN.public_key)) == [], "nobody is banned twice"


def test_who_has_no_tokens_is_turned_away_and_not_banned():
    bench = Exchanging(genesis=CLOSED)
    bench.connect(STRANGER.public_key)
    assert bench.node.exchange.bans == {}


def test_bans_are_bounded_and_the_oldest_goes_first(monkeypatch: pytest.MonkeyPatch):
    most = 64  # thousands take seconds: at each event it looks which of them have ended
    monkeypatch.setattr(peer_exchange, "_BANNED", most)
    bench = Exchanging()
    for number in range(most + 1):
        bench.connect(number)
        bench.receive(b"\xff", number)
        bench.handle(PeerDisconnected(number))
    assert list(bench.node.exchange.bans) == list(range(1, most + 1))


# ---- when members change ----------------------------------------------------------------------------------------


def test_who_stakes_is_dialled_and_who_no_longer_has_stake_is_forgotten():
    """With epochs of one block: stake counts while it is there at the tip, or in the epoch."""
    allotments = [Allotment(ADA.public_key, 0, 50), Allotment(BEN.public_key, 50, 0), Allotment(CY.public_key, 0, 50)]
    params = Params(epoch_blocks=1, epoch_ms=0, unbonding_blocks=2, unbonding_ms=0)
    scribe = Scribe(make_genesis("test", START_MS, allotments, params))
    bench = Exchanging(genesis=scribe.genesis)
    assert dialled(bench.learn(BEN, CY)) == {CY.public_key: address_of(CY)}
    ledger = scribe.genesis.ledger_id
    stakes = scribe.forge(issue_stake(BEN, ledger, START_MS, 50), issue_stake(CY, ledger, START_MS, -50))
    actions = bench.receive(NewBlock(stakes))
    assert dialled(actions) == {BEN.public_key: address_of(BEN)}
    assert forgotten(actions) == {CY.public_key}


# ---- who may be a peer ------------------------------------------------------------------------------------------


def test_the_host_is_told_at_the_start_who_may_be_a_peer():
    assert of_kind(Admit, Exchanging().began) == [Admit(None)]
    assert of_kind(Admit, Exchanging(genesis=CLOSED).began) == [Admit(frozenset(KEYS.values()))]


def test_n6_who_has_no_tokens_is_turned_away_where_observers_are_not_admitted():
    bench = Exchanging(genesis=CLOSED, address="ada:1")
    actions = bench.connect(STRANGER.public_key)
    assert (rules(actions), cut_off(actions)) == ([Rule.N6], {STRANGER.public_key})
    assert of_kind(Send, actions) == []
    assert bench.receive(Certificates((Entry(statement(ledger=CLOSED.ledger_id)),)), STRANGER.public_key) == []
    assert len(bench.node.box) == 0
    assert of_kind(Send, bench.connect(BEN.public_key)) != []


def test_n6_whose_tokens_are_burned_is_turned_away_where_observers_are_not_admitted():
    genesis = found(free=0, epoch_blocks=1, admits_observers=False)
    bench = Exchanging(genesis=genesis)
    bench.learn(BEN, CY, peer=DOT.public_key)
    bench.connect(BEN.public_key, CY.public_key)
    actions = bench.receive(NewBlock(Scribe(genesis).forge(evidence(BEN, genesis=genesis))), CY.public_key)
    assert of_kind(Admit, actions) == [Admit(frozenset(set(KEYS.values()) - {BEN.public_key}))]
    assert (rules(actions), cut_off(actions)) == ([Rule.N6], {BEN.public_key})
    assert [one.key for _, records in told(bench.connect(DOT.public_key)) for one in records] == [CY.public_key]


def test_where_observers_are_not_admitted_their_addresses_are_nobodys_business():
    bench = Exchanging(genesis=CLOSED)
    bench.connect(BEN.public_key)
    assert of_kind((Broadcast, PersistAddress, Dial), bench.learn(STRANGER, peer=BEN.public_key)) == []
    assert told(bench.connect(CY.public_key)) == []
    named = Exchanging(genesis=CLOSED, known=[(STRANGER.public_key, "h:1")])
    assert dialled(named.began) == {}


def test_tokens_that_are_not_staked_admit_too():
    allotments = [Allotment(ADA.public_key, 0, 5), Allotment(BEN.public_key, 5, 0)]
    genesis = make_genesis("test", START_MS, allotments, Params(admits_observers=False))
    bench = Exchanging(genesis=genesis)
    assert of_kind(Send, bench.connect(BEN.public_key)) != []
    assert told(bench.connect(BEN.public_key)) == []
    assert len(passed_on(bench.learn(BEN, peer=BEN.public_key))) == 1
