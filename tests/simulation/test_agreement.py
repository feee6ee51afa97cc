"""Simplex in the production node, simulated: one final chain, whatever fails below a third of the stake."""

from collections import Counter
from itertools import combinations

import pytest
from msgspec.structs import replace
from tests.builders import (
    ADA,
    BEN,
    CY,
    DOT,
    MEMBERS,
    STRANGER,
    found,
    of_kind,
    sign_block,
    staking,
    statement,
    tips,
    wallet,
)

from tallystick.consensus.signing_guard import Signed
from tallystick.ledger.certificate import Evidence, ProposalEvidence
from tallystick.ledger.errors import Rule
from tallystick.ledger.messages import (
    Blocks,
    Certificates,
    Entry,
    Message,
    NewBlock,
    Proposal,
    Status,
    Votes,
    decode_message,
    encode_message,
)
from tallystick.ledger.vote import FINALIZE, NOTARIZE, Ballot, cast, tally_of
from tallystick.network.simulated import Link, SimulatedNetwork
from tallystick.network.simulated_host import member, observer
from tallystick.node.events import Report, ReportAccepted, ReportRefused, ReportStuck
from tallystick.node.limits import Limits

DELTA_MS = 300
FIVE = {**MEMBERS, "eve": wallet("eve")}


class Assembly:
    """A network of members, what they reported, and the statements submitted so far."""

    def __init__(self, seed, link=None, members=MEMBERS, skews=(), network=SimulatedNetwork, **params):
        params = {"epoch_blocks": 4, "delta_ms": DELTA_MS, **params}
        self.genesis = found(*members.values(), **params)
        self.network = network(self.genesis, int(seed), link)
        self.reports: list[tuple[str, Report]] = []
        self.statements, self.members = [], members
        self.network.on_report = lambda now_ms, name, report: self.reports.append((name, report))
        for name, skew_ms in zip(members, [*skews, *[0] * len(members)], strict=False):
            self.network.add(name, member(members[name]), clock_skew_ms=skew_ms)

    def connect(self):
        self.network.connect_all()
        self.network.run_for(200)
        return self

    def submit(self, count, every_ms=60, to=None):
        for _ in range(count):
            number = len(self.statements)
            names = to or list(self.members)
            one = statement(f"number {number}", ledger=self.genesis.ledger_id)
            self.statements.append(one)
            self.network.submit(names[number % len(names)], Entry(one))
            self.network.run_for(every_ms)

    def settle(self, at_most_ms=240_000):
        """All that was submitted is final everywhere, once, and then there is silence."""
        nodes = [host.node for host in self.network.hosts.values() if host.is_up]
        ids = [one.id for one in self.statements]
        done = self.network.run_until(
            lambda: (
                all(node.chain.place_of(one) for node in nodes for one in ids)
                and len({node.state.tip.hash for node in nodes}) == 1
            ),
            at_most_ms,
        )
        assert done, (self.network.seed, tips(self.network), [len(node.box) for node in nodes])
        return self

    def check_chains(self):
        """No two nodes keep different blocks at one index; each chain's replay gives its node's state."""
        longest = max((list(host.archive.blocks()) for host in self.network.hosts.values()), key=len)
        for host in self.network.hosts.values():
            kept = list(host.archive.blocks())
            assert kept == longest[: len(kept)], (self.network.seed, host.name)
        counted = Counter(one.id for block in longest for one in block.certificates)
        assert set(counted.values()) <= {1}

    def check_votes(self):
        """No honest key ever signed a pair that costs its stake."""
        for host in (self.network.hosts[name] for name in self.members):
            signed = [one for one in host.guard_records if isinstance(one, Signed)]
            ballots = [one.ballot for one in signed if one.ballot is not None]
            assert not any(one.conflicts_with(other) for one, other in combinations(ballots, 2)), (
                self.network.seed,
                host,
            )
            headers = {(one.epoch, one.view, one.header_hash) for one in signed if one.header_hash is not None}
            assert len({place[:2] for place in headers}) == len(headers), (self.network.seed, host)


LINKS = {
    "quick": Link(),
    "lossy": Link(loss=0.3),
    "out of order": Link(delay_max_ms=250, reordering=True, duplication=0.2),
    "all at once": Link(delay_max_ms=200, reordering=True, duplication=0.1, loss=0.2),
}


@pytest.mark.parametrize("link", LINKS.values(), ids=LINKS)
def test_members_agree_over_bad_links(seed, link):
    assembly = Assembly(seed, link).connect()
    assembly.submit(25)
    assembly.settle()
    assembly.check_chains()
    assembly.check_votes()


def test_members_that_forgot_the_votes_of_old_epochs_restart_and_go_on(seed):
    assembly = Assembly(seed).connect()
    assembly.submit(25, every_ms=200)
    assembly.settle()
    for name, host in assembly.network.hosts.items():
        epoch = host.node.state.epoch.number
        kept = [one for one in range(epoch + 1) if any(host.archive.votes(one))]
        assert min(kept) >= epoch - 2 > 0, (seed, name)
        assembly.network.crash(name)
        assembly.network.restart(name)
    assembly.submit(5)
    assembly.settle(20_000)
    assembly.check_votes()


def test_a_quiet_ledger_is_silent(seed):
    assembly = Assembly(seed).connect()
    assembly.submit(8)
    assembly.settle()
    assert assembly.network.run_until_quiet(600_000)
    before = assembly.network.happened
    assembly.network.run_for(3_600_000)
    assert assembly.network.happened == before


def test_any_member_may_be_away_from_the_start(seed):
    for away in MEMBERS:
        assembly = Assembly(seed)
        assembly.network.crash(away)
        assembly.connect().submit(12, to=[name for name in MEMBERS if name != away])
        assembly.settle()
        assembly.check_chains()


def test_every_forger_may_fail_in_turn(seed):
    assembly = Assembly(seed).connect()
    for name in MEMBERS:
        assembly.network.crash(name)
        assembly.submit(6, to=[other for other in MEMBERS if other != name])
        assembly.network.run_for(5_000)
        assembly.network.restart(name)
        assembly.settle()
    assembly.check_chains()
    assembly.check_votes()


def test_all_may_restart_at_once(seed):
    assembly = Assembly(seed).connect()
    for pause_ms in (0, 35, 70, 140):
        assembly.submit(7, every_ms=20)
        assembly.network.run_for(pause_ms)
        for name in MEMBERS:
            assembly.network.crash(name)
        for name in MEMBERS:
            assembly.network.restart(name)
    assembly.submit(4)
    assembly.settle()
    assembly.check_chains()
    assembly.check_votes()


def test_a_certificate_outlives_the_crash_that_follows_its_acceptance(seed):
    """Nobody else is up to hear of it."""
    assembly = Assembly(seed).connect()
    network = assembly.network

    def crash_after_acceptance(host, action):
        if isinstance(action, ReportAccepted):
            host.crash_within(0)

    for name in MEMBERS:
        network.crash(name)
    for name in MEMBERS:
        accepted = len(of_kind(ReportAccepted, [report for _, report in assembly.reports]))
        network.restart(name)
        network.on_action = crash_after_acceptance
        assembly.submit(1, to=[name])
        assert not network.hosts[name].is_up
        assert len(of_kind(ReportAccepted, [report for _, report in assembly.reports])) == accepted + 1
    network.on_action = lambda host, action: None
    for name in MEMBERS:
        assembly.network.restart(name)
    assembly.settle()
    assert all(not list(host.archive.waiting()) for host in assembly.network.hosts.values())


def test_what_became_illegal_while_its_node_was_away_is_refused_and_forgotten(seed):
    assembly = Assembly(seed).connect()
    host = assembly.network.hosts["ada"]
    host.crash_within(2)
    for amount in (100, 150):  # ada has 1,000 free tokens
        operation = staking(amount * 5, ledger=assembly.genesis.ledger_id, at_ms=amount)
        if amount == 100:
            assembly.network.submit("ada", Entry(operation))
            assembly.network.run_for(100)
        else:
            assembly.network.submit("ben", Entry(operation))
    assembly.submit(3, to=["ben", "cy", "dot"])
    assembly.network.run_for(5_000)
    assert len(list(host.archive.waiting())) == 1
    assembly.reports.clear()
    assembly.network.restart("ada")
    assembly.settle()
    assembly.network.run_for(1_000)
    assert list(host.archive.waiting()) == []
    ours = [
        report.refused.rule for name, report in assembly.reports if name == "ada" and of_kind(ReportRefused, [report])
    ]
    assert Rule.S2 in ours


def test_a_member_that_crashes_at_any_action_never_contradicts_itself(seed):
    for actions in range(0, 40, 3):
        assembly = Assembly(int(seed) * 1_000 + actions, Link(loss=0.1)).connect()
        ben = assembly.network.hosts["ben"]
        ben.crash_within(actions)
        assembly.submit(8, to=["ada", "cy", "dot"])
        assembly.network.run_until(lambda ben=ben: not ben.is_up, 5_000)
        assembly.network.crash("ben")
        assembly.network.restart("ben")
        assembly.submit(4, to=["ada", "cy", "dot"])
        assembly.settle()
        assembly.check_chains()
        assembly.check_votes()


def test_two_halves_make_nothing_final_and_go_on_together(seed):
    assembly = Assembly(seed).connect()
    assembly.submit(5)
    assembly.settle()
    index = assembly.network.hosts["ada"].node.state.index
    assembly.network.partition(["ada", "ben"], ["cy", "dot"])
    assembly.submit(10)
    assembly.network.run_for(20_000)
    assert {host.node.state.index for host in assembly.network.hosts.values()} <= {index, index + 1}
    stuck = [report for _, report in assembly.reports if isinstance(report, ReportStuck)]
    ours = {ADA.public_key, BEN.public_key}
    assert any(set(one.missing) in (ours, {CY.public_key, DOT.public_key}) for one in stuck)
    assert all(3 * one.heard_stake <= 2 * one.total_stake or not one.missing for one in stuck[-4:])
    assembly.network.heal()
    assembly.settle()
    assembly.check_chains()


def test_clocks_may_differ_by_seconds(seed):
    assembly = Assembly(seed, skews=(-400, 0, 300, 100)).connect()
    assembly.submit(15)
    assembly.settle()
    assembly.check_chains()


def test_a_joiner_is_led_through_the_epochs_by_finalizations(seed):
    assembly = Assembly(seed).connect()
    assembly.submit(30, every_ms=200)
    assembly.settle()
    assembly.network.add("late", observer)
    for name in MEMBERS:
        assembly.network.connect("late", name)
    assembly.settle()
    late = assembly.network.hosts["late"]
    assert late.node.state.epoch.number >= 2
    assert late.archive.finalization(4) is not None
    assembly.check_chains()


def test_two_votes_that_conflict_cost_the_stake(seed):
    assembly = Assembly(seed)
    assembly.network.crash("dot")
    assembly.connect()
    for receiver, block_hash in (("ada", b"a" * 32), ("ada", b"b" * 32)):
        vote = cast(DOT, assembly.genesis.ledger_id, Ballot(NOTARIZE, 0, 1, block_hash))
        assembly.network.inject("twin", receiver, encode_message(Votes((tally_of([vote]),))))
    assembly.network.run_for(100)
    assembly.submit(4, to=["ada", "ben", "cy"])
    assembly.settle()
    for name in ("ada", "ben", "cy"):
        stakes = assembly.network.hosts[name].node.state.stakes
        assert stakes.account(DOT.public_key).staked == 0
        assert (stakes.burned, stakes.total) == (100, 4_400)


def apart(seed, members, pairs, **params):
    """Members who are connected with their neighbours only."""
    assembly = Assembly(seed, members=members, **params)
    for one, other in pairs:
        assembly.network.connect(one, other)
    assembly.network.run_for(200)
    return assembly


SHAPES = {
    "a ring of five": (5, [(0, 1), (1, 2), (2, 3), (3, 4), (4, 0)]),
    "a line of four": (4, [(0, 1), (1, 2), (2, 3)]),
    "a star of five": (5, [(0, 1), (0, 2), (0, 3), (0, 4)]),
}


@pytest.mark.parametrize(("count", "pairs"), SHAPES.values(), ids=SHAPES)
def test_members_that_are_connected_with_their_neighbours_only_agree(seed, count, pairs):
    names = list(FIVE)[:count]
    members = {name: FIVE[name] for name in names}
    assembly = apart(seed, members, [(names[one], names[other]) for one, other in pairs])
    assembly.submit(12)
    assembly.settle()
    assembly.submit(12, every_ms=700)
    assembly.settle()
    assembly.check_chains()
    assembly.check_votes()
    assert assembly.network.run_until_quiet(600_000)


class TwoFaced(SimulatedNetwork):
    """Where Eve's proposals reach some members as they are, and the others as another block with her vote for it."""

    shown_another: tuple[str, ...] = ("cy", "dot")
    others: dict[bytes, bytes]

    def send(self, sender, receiver, data):
        if sender == "eve" and receiver in self.shown_another:
            message = decode_message(data)
            if isinstance(message, Proposal) and message.header.forger == FIVE["eve"].public_key:
                other = sign_block(replace(message.header, nonce=message.header.nonce + 1), (), FIVE["eve"])
                data = encode_message(replace(message, header=other.header, signature=other.signature))
                self.__dict__.setdefault("others", {})[message.header.hash] = other.hash
            elif isinstance(message, Votes) and message.tallies[0].ballot.block_hash in self.__dict__.get("others", {}):
                ballot = message.tallies[0].ballot
                ballot = replace(ballot, block_hash=self.others[ballot.block_hash])
                data = encode_message(Votes((tally_of([cast(FIVE["eve"], self.genesis.ledger_id, ballot)]),)))
        super().send(sender, receiver, data)


class TwoFacedToOne(TwoFaced):
    """The block that Eve shows to the most is final at once."""

    shown_another = ("dot",)


@pytest.mark.parametrize("network", [TwoFaced, TwoFacedToOne])
def test_a_forger_with_two_faces_loses_its_stake_once(seed, network):
    assembly = Assembly(seed, members=FIVE, network=network, epoch_blocks=1_000).connect()
    assembly.submit(16, every_ms=400, to=list(MEMBERS))
    assembly.settle()
    assembly.submit(2, to=list(MEMBERS))
    assembly.settle()
    assembly.check_chains()
    for name in MEMBERS:
        host = assembly.network.hosts[name]
        evidence = [one for block in host.archive.blocks() for one in block.certificates if isinstance(one, Evidence)]
        assert [(type(one), one.offender) for one in evidence] == [(ProposalEvidence, FIVE["eve"].public_key)], seed
        assert host.node.state.stakes.account(FIVE["eve"].public_key).staked == 0
        assert (host.node.state.stakes.burned, host.node.state.stakes.total) == (100, 5_500)
        assert not any(isinstance(one, Evidence) for one in host.node.box)


@pytest.mark.parametrize("shown_first", ["the proposal", "the final block"])
def test_a_final_block_is_compared_with_what_its_forger_proposed_to_us(shown_first):
    assembly = Assembly(1, epoch_blocks=100)
    assembly.network.crash("dot")
    assembly.connect().submit(3, every_ms=200, to=["ada", "ben", "cy"])
    assembly.network.run_for(3_000)
    archive, dot = assembly.network.hosts["ada"].archive, assembly.network.hosts["dot"]
    blocks, forgers = tuple(archive.blocks()), {one.public_key: one for one in MEMBERS.values()}
    final = blocks[-1].header
    other = sign_block(replace(final, nonce=1), (), forgers[final.forger])
    messages: list[Message] = [
        Proposal(final.view, None, other.header, other.signature, (statement("somebody's").id,)),
        Blocks(1, blocks, (), archive.finalization(len(blocks))),
    ]
    dot.start()
    for message in messages if shown_first == "the proposal" else messages[::-1]:
        dot.receive("cheat", encode_message(status_at(assembly, len(blocks))))
        dot.receive("cheat", encode_message(message))
    assert dot.node.state.index == len(blocks)
    (evidence,) = dot.node.box
    assert isinstance(evidence, ProposalEvidence)
    assert {evidence.first, evidence.second} == {other.signed_header, blocks[-1].signed_header}


@pytest.fixture
def made():
    """A network with a few final blocks, and one of its nodes that has none of them."""
    assembly = Assembly(1).connect()
    assembly.submit(6, every_ms=200)
    assembly.settle()
    assembly.network.add("late", observer)
    return assembly, assembly.network.hosts["late"], assembly.network.hosts["ada"].archive


def status_at(assembly, index):
    """What a member says that has the first blocks, all in the first epoch."""
    block = list(assembly.network.hosts["ada"].archive.blocks())[index - 1]
    return Status(assembly.genesis.ledger_id, 0, index, block.hash, ())


def answered(assembly, host, data, sender="cheat"):
    """What a node refuses of an answer to its request for the blocks from 1 on."""
    host.receive(sender, encode_message(status_at(assembly, 3)))
    assembly.reports.clear()
    host.receive(sender, encode_message(data))
    return [report.refused.rule for _, report in assembly.reports if isinstance(report, ReportRefused)]


def test_blocks_without_a_quorum_are_refused(made):
    assembly, late, archive = made
    blocks = tuple(archive.blocks())[:3]
    good = archive.finalization(3)
    ballot = good.ballot
    short = tally_of(good.votes[:2])
    for finalization in (None, short, archive.finalization(2)):
        assert answered(assembly, late, Blocks(1, blocks, (), finalization)) == [Rule.V2]
        assert late.node.state.index == 0
        late.start()
    for signer in (STRANGER, ADA):
        vote = cast(signer, assembly.genesis.ledger_id, Ballot(FINALIZE, 0, ballot.view + 1, ballot.block_hash))
        assert answered(assembly, late, Blocks(1, blocks, (), tally_of([vote]))) == [Rule.V2]
        late.start()
    assert late.node.state.index == 0
    assert answered(assembly, late, Blocks(1, blocks, (), good)) == []
    assert late.node.state.index == 3


def test_a_forged_vote_is_refused_and_a_block_on_its_own_ignored(made):
    assembly, late, archive = made
    good = archive.finalization(1)
    forged = tally_of([*good.votes[:1], *[type(one)(one.ballot, one.member, bytes(64)) for one in good.votes[1:2]]])
    for message, rules in ((Votes((forged,)), [Rule.V1]), (NewBlock(next(iter(archive.blocks()))), [])):
        assembly.reports.clear()
        late.receive("cheat", encode_message(message))
        assert [report.refused.rule for _, report in assembly.reports] == rules
    assert late.node.state.index == 0


def test_blocks_set_aside_follow_one_that_agreement_made_final(made):
    """Nobody is asked for them again, so they would wait for ever."""
    assembly, _, archive = made
    late = assembly.network.add("later", observer, Limits(range_blocks=1))
    first, second = list(archive.blocks())[:2]
    for message in (
        status_at(assembly, 2),
        Blocks(2, (second,), (), archive.finalization(2)),
        Certificates(tuple(Entry(one) for one in first.certificates)),
        Proposal(first.header.view, None, first.header, first.signature, tuple(one.id for one in first.certificates)),
        Votes((archive.finalization(1),)),
    ):
        assert late.node.state.index == 0
        late.receive("peer", encode_message(message))
    assert late.node.state.index == 2


def test_a_restart_on_the_last_block_of_an_epoch_begins_the_next_at_its_first_view():
    assembly = Assembly(1).connect()
    for _ in range(4):
        assembly.submit(1, every_ms=400)
    assembly.settle()
    assert assembly.network.hosts["ada"].node.state.index == 4
    assert assembly.network.hosts["ada"].node.state.tip.view > 1
    for name in ("ada", "ben"):
        assembly.network.crash(name)
        assembly.network.restart(name)
    assembly.submit(3)
    assembly.settle(10_000)
