"""Joining a Simplex ledger late: proof first, then ranges from several peers, whatever some of them do."""

from collections import Counter
from functools import cache

import pytest
from msgspec.structs import replace
from tests.builders import (
    ADA,
    BEN,
    CY,
    DOT,
    MEMBERS,
    START_MS,
    FinalScribe,
    found,
    of_kind,
    refuses,
    staking,
    statement,
)

from tallystick.consensus.agreement import StateMismatch
from tallystick.consensus.simplex import Simplex
from tallystick.ledger.errors import Rule
from tallystick.ledger.fields import ZERO_DIGEST
from tallystick.ledger.messages import (
    BlockRequest,
    Blocks,
    Entry,
    FinalizationRequest,
    Finalizations,
    HeaderRequest,
    Headers,
    Status,
    decode_message,
    encode_message,
)
from tallystick.ledger.vote import tally_of
from tallystick.network.archiving import answer_blocks
from tallystick.network.memory_archive import MemoryArchive
from tallystick.network.replay import replayed
from tallystick.network.simulated import Link, SimulatedNetwork
from tallystick.network.simulated_host import member, observer
from tallystick.node.events import Report, ReportRefused
from tallystick.node.finality_proofs import TrustedBlock
from tallystick.node.limits import Limits

EPOCH_BLOCKS, BLOCKS = 50, 420
LIMITS = Limits(range_blocks=16)
HOLDERS = ("ada", "ben", "cy")


@cache
def chain():
    """Nine epochs, members changing; some blocks are made final by a later one's votes only."""
    scribe = FinalScribe(found(epoch_blocks=EPOCH_BLOCKS))
    ledger = scribe.genesis.ledger_id
    for number in range(1, BLOCKS + 1):
        moves = {
            40: staking(900, ADA, ledger=ledger),
            120: staking(-100, DOT, ledger=ledger),
            121: staking(99, CY, ledger=ledger),
        }
        scribe.forge(
            *[moves[number]] if number in moves else [],
            is_finalized=number % 7 > 1 or number % 50 == 0 or number == BLOCKS,
        )
    return scribe


def copy_of(scribe, count=BLOCKS):
    """An archive with the first blocks of a chain, as a node would have kept them."""
    archive = MemoryArchive()
    for kept in scribe.kept[:count]:
        archive.append(kept)
    return archive


class Liar:
    """A peer that boasts of a long chain, and then does what it is made to do. The others build on it."""

    is_up = True

    def __init__(self, network, name):
        network.add(name, observer)
        network.hosts[name] = self
        self.network, self.name, self.asked = network, name, Counter[type]()
        self.archive = chain().archive

    def handle(self, event):
        if type(event).__name__ == "PeerConnected":
            self.say(event.peer, Status(self.network.genesis.ledger_id, 10**6, 10**6, ZERO_DIGEST, ()))

    def receive(self, peer, data):
        message = decode_message(data)
        self.asked[type(message)] += 1
        if isinstance(message, BlockRequest | FinalizationRequest | HeaderRequest):
            self.answer(peer, message)

    def say(self, peer, message):
        self.network.send(self.name, peer, encode_message(message))

    def answer(self, peer, request):
        """Stall."""


class Faker(Liar):
    """Answers with members of its own making, and blocks without their votes."""

    def answer(self, peer, request):
        match request:
            case FinalizationRequest(epoch):
                (proof,) = chain().proofs(min(epoch + 1, BLOCKS // EPOCH_BLOCKS) * EPOCH_BLOCKS)
                few = tally_of(proof.finalization.votes[:1])
                self.say(peer, Finalizations((replace(proof, finalization=few, members=((BEN.public_key, 5),)),)))
            case BlockRequest(start, count):
                self.say(peer, Blocks(start, tuple(chain().blocks[start - 1 : start - 1 + count])))


class Swapper(Liar):
    """Proves well, and answers for blocks with others than were asked for, or with true blocks in a false order."""

    def answer(self, peer, request):
        match request:
            case FinalizationRequest(epoch):
                ends = range((epoch + 1) * EPOCH_BLOCKS, BLOCKS + 1, EPOCH_BLOCKS)
                self.say(peer, Finalizations(chain().proofs(*ends)))
            case BlockRequest(start, count):
                blocks = chain().blocks[start - 1 : start - 1 + count]
                final = [one for one in range(start + count - 1, BLOCKS + 1) if chain().archive.finalization(one)]
                proof = chain().archive.finalization(min(final, default=BLOCKS))
                self.say(peer, Blocks(start, (*blocks[:1], *blocks[:0:-1]), (), proof))


class EmptyHanded(Liar):
    """Answers that it has nothing of what it boasted of."""

    def answer(self, peer, request):
        match request:
            case BlockRequest(start):
                self.say(peer, Blocks(start, ()))
            case FinalizationRequest():
                self.say(peer, Finalizations(()))
            case _:
                self.say(peer, Headers(()))


class Reporting(SimulatedNetwork):
    """A network that keeps what its hosts report."""

    reports: list[tuple[str, Report]]


def trust(host, trusted_block):
    host.trusted_block = trusted_block
    host.start()


def network_with(seed, liars=(), link=None, trusted_block=None, limits=LIMITS, kept=0):
    """Holders of the chain (they are all the stake that it takes), liars, and a joiner that has `kept` blocks of it."""
    scribe = chain()
    start_ms = scribe.state.tip.timestamp_ms + 1_000
    network = Reporting(scribe.genesis, int(seed), link, start_ms)
    network.reports = []
    network.on_report = lambda now_ms, name, report: network.reports.append((name, report))
    for name in HOLDERS:
        network.add(name, member(MEMBERS[name]), limits, archive=copy_of(scribe))
    for number, liar in enumerate(liars):
        liar(network, f"liar {number}")
    trust(network.add("late", observer, limits, archive=copy_of(scribe, kept)), trusted_block)
    for name in network.hosts:
        if name != "late":
            network.connect("late", name)
    for one, other in (("ada", "ben"), ("ada", "cy"), ("ben", "cy")):
        network.connect(one, other)
    return network


def has_caught_up(network):
    late = network.hosts["late"]
    return late.node.state.index == BLOCKS and late.node.state.tip.hash == chain().state.tip.hash


def check_caught_up(network, at_most_ms=60_000):
    assert network.run_until(lambda: has_caught_up(network), at_most_ms), (
        network.seed,
        network.hosts["late"].node.state.index,
    )
    late = network.hosts["late"]
    assert late.node.state == chain().state, network.seed
    assert list(late.archive.blocks()) == chain().blocks, network.seed
    for end in range(EPOCH_BLOCKS, BLOCKS, EPOCH_BLOCKS):
        assert late.archive.final_header(end) == chain().archive.final_header(end)


def test_a_joiner_takes_ranges_from_several_peers_at_once(seed):
    network, asked, under_way = network_with(seed, link=Link(50, 50)), Counter[str](), []
    send = network.send

    def watch(sender, receiver, data):
        message = decode_message(data)
        if sender == "late" and isinstance(message, BlockRequest):
            asked[receiver] += 1
            under_way.append((network.now_ms, receiver))
        send(sender, receiver, data)

    network.send = watch
    check_caught_up(network)
    assert set(asked) == set(HOLDERS)
    assert max(Counter(now_ms for now_ms, _ in under_way).values()) >= 3, "several at the same moment"


def test_finalizations_are_asked_for_before_any_block_of_a_later_epoch(seed):
    network, asked = network_with(seed), []
    send = network.send

    def watch(sender, receiver, data):
        if sender == "late":
            asked.append(decode_message(data))
        send(sender, receiver, data)

    network.send = watch
    check_caught_up(network)
    proof = next(place for place, one in enumerate(asked) if isinstance(one, FinalizationRequest))
    beyond = [place for place, one in enumerate(asked) if isinstance(one, BlockRequest) and one.start > EPOCH_BLOCKS]
    assert asked[proof] == FinalizationRequest(0)
    assert proof < min(beyond)


LIARS = [[Liar] * 3, [Faker] * 3, [Swapper] * 3, [EmptyHanded] * 3, [Liar, Faker, Swapper, EmptyHanded]]


@pytest.mark.parametrize("liars", LIARS, ids=lambda liars: " ".join(one.__name__ for one in liars))
def test_liars_and_stallers_cost_time_and_never_a_wrong_block(seed, liars):
    network = network_with(seed, liars, Link(delay_max_ms=120, reordering=True, loss=0.05))
    check_caught_up(network, 120_000)
    refused = {
        report.refused.rule for name, report in network.reports if name == "late" and of_kind(ReportRefused, [report])
    }
    assert refused <= {Rule.V2, Rule.N4, Rule.B1, Rule.B2, Rule.N2}, network.seed


@pytest.mark.parametrize("index", [None, 300])
def test_proofs_that_come_late_or_twice_cut_nobody_off(seed, index):
    trusted_block = index and TrustedBlock(index, chain().blocks[index - 1].hash)
    link = Link(delay_max_ms=2_500, duplication=0.5, reordering=True)
    network = network_with(seed, link=link, limits=Limits(answer_bytes=1_500), trusted_block=trusted_block)
    check_caught_up(network, 600_000)
    assert set(network.peers("late")) == set(HOLDERS), network.seed


def test_a_joiner_that_crashes_goes_on_from_what_it_kept(seed):
    network = network_with(seed, link=Link(delay_max_ms=120, loss=0.05))
    late, persisted = network.hosts["late"], []
    keep = late.archive.append

    def note(kept):
        persisted.append(kept.block.index)
        keep(kept)

    late.archive.append = note
    while not has_caught_up(network):
        before = late.node.state.index
        late.crash_within(60)
        network.run_until(lambda: not late.is_up or has_caught_up(network), 20_000)
        network.crash("late")
        network.restart("late")
        assert late.node.state.index >= before
    network.run_for(1_000)
    check_caught_up(network)
    assert persisted == list(range(1, BLOCKS + 1)), "no block was taken twice"


def test_a_joiner_that_has_part_of_the_chain_asks_for_the_rest(seed):
    network = network_with(seed, kept=333)
    check_caught_up(network)


@pytest.mark.parametrize("index", [1, 49, 50, 51, 200, BLOCKS])
def test_a_joiner_starts_from_a_block_that_its_operator_trusts(seed, index):
    network = network_with(seed, [Liar, Swapper], trusted_block=TrustedBlock(index, chain().blocks[index - 1].hash))
    check_caught_up(network, 120_000)


@pytest.mark.parametrize("trusted", [None, 200, 390])
def test_who_came_by_a_trusted_block_brings_others_up_by_it_or_by_votes(seed, trusted):
    """Votes that came with blocks below the trusted block were judged when their turn came, and are kept."""
    network = network_with(seed, trusted_block=TrustedBlock(390, chain().blocks[389].hash))
    check_caught_up(network)
    for name in HOLDERS:
        network.cut("late", name)
    later = network.add("later", observer, Limits(range_blocks=64))
    trust(later, trusted and TrustedBlock(trusted, chain().blocks[trusted - 1].hash))
    network.connect("later", "late")
    assert network.run_until(lambda: later.node.state.index == BLOCKS, 60_000), later.node.state.index
    assert later.node.state == chain().state
    assert set(network.peers("later")) == {"late"}


def test_blocks_too_big_for_one_answer_are_fetched_all_the_same(seed):
    limits = Limits(range_blocks=16, answer_bytes=1_500)
    for trusted_block in (None, TrustedBlock(300, chain().blocks[299].hash)):
        check_caught_up(network_with(seed, limits=limits, trusted_block=trusted_block), 240_000)


def another_history():
    """What the first members' keys could sign together, long after: every vote is good."""
    fake = FinalScribe(chain().genesis)
    for number in range(1, BLOCKS + 30):
        fake.forge(statement(f"a lie {number}", ledger=fake.genesis.ledger_id))
    return fake


def test_sold_keys_cannot_make_up_a_history_below_a_trusted_block(seed):
    fake = another_history()
    start_ms = chain().state.tip.timestamp_ms + 1_000
    for trusted_block in (None, TrustedBlock(40, chain().blocks[39].hash), TrustedBlock(400, chain().blocks[399].hash)):
        network = SimulatedNetwork(fake.genesis, int(seed), None, start_ms)
        for name in ("sold 1", "sold 2"):
            network.add(name, member(BEN), LIMITS, archive=copy_of(fake, len(fake.blocks)))
        network.add("ada", member(ADA), LIMITS, archive=copy_of(chain()))
        trust(network.add("late", observer, LIMITS), trusted_block)
        for name in ("sold 1", "sold 2"):
            network.connect("late", name)
        network.run_for(30_000)
        late = network.hosts["late"].node
        if trusted_block is None:
            assert late.state.tip.hash == fake.state.tip.hash, "without a trusted block nothing tells them apart"
            continue
        assert late.state.index == 0, "no block of the other history was taken"
        network.connect("late", "ada")
        assert network.run_until(lambda: late.state.index == BLOCKS, 120_000)  # noqa: B023
        assert late.state == chain().state


def test_a_kept_chain_without_the_trusted_block_is_refused_at_the_start():
    def started(trusted_block):
        return replayed(chain().genesis, Simplex().check_forger, copy_of(chain()), trusted_block)

    with refuses(Rule.V4):
        started(TrustedBlock(7, bytes(32)))
    trusted = TrustedBlock(7, chain().blocks[6].hash)
    assert started(trusted).state == chain().state


def test_a_node_whose_state_is_not_what_the_voters_agreed_on_stops_and_tells(seed):
    """The state root of block 50 is another than follows from it here: one of us computes wrong."""
    scribe = FinalScribe(chain().genesis)
    for one in chain().blocks[:49]:
        scribe.chain.append(one)
    drifted = scribe.draft(statement("the last one", ledger=scribe.genesis.ledger_id), state_root=b"\x07" * 32)
    proof = scribe.finalization(scribe.state.epoch, drifted, *MEMBERS.values())
    network = SimulatedNetwork(scribe.genesis, int(seed), None, START_MS)
    late, reports, answered = network.add("late", observer, LIMITS), [], []
    network.on_report = lambda now_ms, name, report: reports.append(report)
    network.send = lambda sender, receiver, data: answered.append(  # type: ignore[method-assign]
        decode_message(data)
    )
    late.receive("peer", encode_message(Status(scribe.genesis.ledger_id, 0, 50, ZERO_DIGEST, ())))
    for start, end in ((1, 16), (17, 32), (33, 48)):
        answer = answer_blocks(chain().archive, BlockRequest(start, end - start + 1), 1 << 20)
        late.receive("peer", encode_message(answer))
    late.receive("peer", encode_message(Blocks(49, (chain().blocks[48], drifted), (), proof)))
    assert late.node.state.index == 49
    assert [report.refused.rule for report in of_kind(StateMismatch, reports)] == [Rule.B12]
    assert late.archive.tip_index == 49


def test_a_chain_that_goes_on_meanwhile_is_caught_up_with(seed):
    """Epochs end while the joiner asks: what it heard of peers is old by the time that they answer."""
    scribe = chain()
    network = SimulatedNetwork(scribe.genesis, int(seed), Link(20, 60), scribe.state.tip.timestamp_ms + 1_000)
    refused: list[ReportRefused] = []
    network.on_report = lambda now_ms, name, report: refused.extend(of_kind(ReportRefused, [report]))
    for name in HOLDERS:
        network.add(name, member(MEMBERS[name]), LIMITS, archive=copy_of(scribe))
    for one, other in (("ada", "ben"), ("ada", "cy"), ("ben", "cy")):
        network.connect(one, other)
    late = network.add("late", observer, Limits(range_blocks=16, requests_in_flight=1))
    for name in HOLDERS:
        network.connect("late", name)
    ada = network.hosts["ada"]
    for number in range(120):
        network.submit("ada", Entry(statement(f"more {number}", ledger=scribe.genesis.ledger_id)))
        assert network.run_until(lambda: ada.node.state.index == BLOCKS + number + 1, 60_000)  # noqa: B023
    assert ada.node.state.epoch.number >= BLOCKS // EPOCH_BLOCKS + 2
    assert network.run_until(lambda: late.node.state == ada.node.state, 60_000), seed
    assert refused == [], seed
    assert set(network.peers("late")) == set(HOLDERS), seed
