"""The node's duties, event by event: keep the chain, take certificates, share news, refuse what is not legal."""

import pytest
from msgspec.structs import replace
from tests.builders import (
    ADA,
    BEN,
    GENESIS,
    LEDGER,
    MEMBERS,
    START_MS,
    STRANGER,
    Bench,
    Scribe,
    cut_off,
    evidence,
    found,
    lone_driver,
    long_chain,
    of_kind,
    payload,
    rules,
    sign_block,
    staking,
    statement,
    statements,
    with_payload,
)

from tallystick.course.stake_rule import StakeRule
from tallystick.course.work_rule import WorkRule
from tallystick.ledger.block import Block
from tallystick.ledger.errors import BLAMES_THE_PEER, Refused, Rule
from tallystick.ledger.messages import (
    MAX_IDS,
    BlockRequest,
    Blocks,
    CertificateRequest,
    Certificates,
    Entry,
    NewBlock,
    PayloadRequest,
    Payloads,
    Prune,
    Status,
)
from tallystick.network.memory_archive import MemoryArchive
from tallystick.node.events import (
    Broadcast,
    CheckedMessage,
    ErasePayload,
    MessageReceived,
    Multicast,
    PayloadErasureAsked,
    PeerConnected,
    PeerDisconnected,
    PersistBlock,
    PersistPayload,
    PersistSigned,
    ReportAccepted,
    ReportBlock,
    ReportRefused,
    Send,
    SendKept,
    SetTimer,
    Started,
    Timer,
    TimerFired,
)
from tallystick.node.limits import Limits


def entries(*certificates):
    return Certificates(tuple(Entry(one) for one in certificates))


def status(tip_index=0, waiting=(), ledger=LEDGER):
    return Status(ledger, 0, tip_index, bytes(32), tuple(waiting))


def summary(bench):
    node = bench.node
    return (
        node.state.tip.hash,
        node.state.stakes,
        node.state.log,
        [one.encoded for one in node.box],
        node.box.size_bytes,
        node.sync.set_aside_count,
    )


def messages(kind, actions):
    return [one.message for one in of_kind((Send, Broadcast, Multicast), actions) if isinstance(one.message, kind)]


def connected(*peers, **more):
    """A node with these peers."""
    bench = Bench(**more)
    for peer in peers:
        bench.handle(PeerConnected(peer))
    return bench


def pushed(actions):
    """Which peers certificates are pushed to."""
    return {peer for one in of_kind(Multicast, actions) if isinstance(one.message, Certificates) for peer in one.peers}


def drawn(scribe=None, **more):
    """A node whose owner is drawn for the next block."""
    scribe = scribe or Scribe()
    return Bench(scribe.genesis, owner=scribe.forger(), blocks=scribe.blocks, **more)


# ---- certificates -----------------------------------------------------------------------------------------------


def test_a_legal_certificate_enters_the_box_and_is_passed_on():
    bench = connected("x", "y")
    actions = bench.submit(statement())
    assert list(bench.node.box) == [statement()]
    assert of_kind(ReportAccepted, actions) == [ReportAccepted((statement(),))]
    assert of_kind(Multicast, actions) == [Multicast(("x", "y"), entries(statement()))]


def test_what_a_peer_brought_does_not_go_back_to_it():
    actions = connected("x", "y", "z").receive(entries(statement()), "x")
    assert of_kind(Multicast, actions) == [Multicast(("y", "z"), entries(statement()))]


def test_who_brings_what_is_known_already_is_pruned_and_pushed_to_no_more():
    bench = connected("x", "y", "z")
    bench.receive(entries(statement()), "x")
    assert of_kind(Send, bench.receive(entries(statement()), "x")) == [], "a line may deliver twice"
    assert of_kind(Send, bench.receive(entries(statement()), "y")) == [], "a lower one may come that decides"
    bench.now_ms += bench.node.limits.announce_first_ms
    assert of_kind(Send, bench.handle(TimerFired(Timer.ANNOUNCE))) == [Send("y", Prune())]
    assert pushed(bench.submit(statement("another"))) == {"x", "z"}


def test_a_pruned_peer_that_asks_is_pushed_to_again():
    bench = connected("x", "y")
    bench.receive(Prune(), "x")
    assert pushed(bench.submit(statement("one"))) == {"y"}
    bench.receive(CertificateRequest((statement("one").id,)), "x")
    bench.now_ms += 1_000
    assert pushed(bench.submit(statement("two"))) == {"x", "y"}


def test_whoever_is_asked_for_certificates_is_pushed_to_again():
    bench = connected("x", "y")
    bench.receive(Prune(), "x")
    bench.receive(status(0, [statement("there").id]), "x")
    assert pushed(bench.submit(statement("here"))) == {"x", "y"}


def test_a_spammer_that_prunes_and_asks_changes_nothing_but_what_is_pushed_to_it():
    bench = connected("x", "spammer", "y")
    before = summary(bench)
    for _ in range(1_000):
        assert bench.receive(Prune(), "spammer") == []
        assert of_kind((Send, Multicast), bench.receive(CertificateRequest(()), "spammer")) == []
        assert bench.receive(Prune(), "a stranger") == []
    assert summary(bench) == before
    assert pushed(bench.submit(statement())) >= {"x", "y"}


def waiting_bench():
    bench = Bench(limits=Limits(box_certificates=4, box_certificates_per_issuer=3))
    bench.receive(NewBlock(Scribe().draft(statement("on the chain"))))
    bench.submit(statement("in the box"))
    return bench


LATER = statement("tomorrow", at_ms=START_MS + 86_400_000)
REFUSED = {
    "in the box": (statement("in the box"), Rule.C4),
    "on the chain": (statement("on the chain"), Rule.C5),
    "from the future": (LATER, Rule.C2),
    "of no tokens": (staking(0), Rule.S1),
    "of more than is free": (staking(1_001), Rule.S2),
    "of a stranger's tokens": (staking(1, STRANGER), Rule.S2),
    "of more than is staked": (staking(-101), Rule.S3),
    "of a key without stake": (evidence(STRANGER), Rule.S6),
}


@pytest.mark.parametrize(("certificate", "rule"), REFUSED.values(), ids=REFUSED)
def test_an_illegal_certificate_is_refused_and_changes_nothing(certificate, rule):
    bench = waiting_bench()
    before = summary(bench)
    actions = bench.submit(certificate)
    assert actions == [ReportRefused(actions[0].refused, None, certificate.id)]
    assert rules(actions) == [rule]
    is_no_news = rule in (Rule.C4, Rule.C5, Rule.S6)
    actions = bench.receive(entries(certificate))
    assert rules(actions) == ([] if is_no_news else [rule]), "others bring it too, or what shows the same"
    assert cut_off(actions) == set()
    assert summary(bench) == before


def test_the_last_stake_does_not_leave_the_ledger():
    bench = Bench(found(ADA))
    assert rules(bench.submit(staking(-100, ledger=bench.node.chain.ledger_id))) == [Rule.S4]


def test_tokens_are_minted_up_to_the_ledgers_bound():
    bench = Bench(found(ADA, mint_freely=True))
    assert rules(bench.submit(staking(2**53 - 1, ledger=bench.node.chain.ledger_id))) == [Rule.S5]


def test_a_full_box_and_a_greedy_issuer_are_refused():
    bench = waiting_bench()
    assert rules(bench.receive(entries(statement("a"), statement("b"), statement("c")))) == [Rule.C7]
    assert rules(bench.receive(entries(statement("a", BEN), statement("b", BEN)))) == [Rule.C6]
    assert len(bench.node.box) == 4


def test_a_certificate_may_be_as_far_ahead_as_the_ledger_allows():
    bench = Bench()
    ahead_ms = GENESIS.params.certificate_ahead_ms
    bench.now_ms = START_MS
    assert ahead_ms is not None
    assert rules(bench.submit(statement("edge", at_ms=START_MS + ahead_ms))) == []
    assert rules(bench.submit(statement("beyond", at_ms=START_MS + ahead_ms + 1))) == [Rule.C2]
    course = Bench(found(certificate_ahead_ms=None))
    assert rules(course.submit(statement(at_ms=2**53 - 1, ledger=course.node.chain.ledger_id))) == []


# ---- forging ----------------------------------------------------------------------------------------------------


def test_a_full_box_makes_the_drawn_forger_forge():
    bench = drawn()
    for certificate in statements(4):
        assert of_kind((PersistBlock, PersistSigned), bench.submit(certificate)) == []
    actions = bench.submit(statement("the fifth"))
    (persisted,) = of_kind(PersistBlock, actions)
    assert persisted.block.certificates == (*statements(4), statement("the fifth"))
    assert bench.node.state.tip == persisted.block.header
    assert len(bench.node.box) == 0
    assert of_kind(ReportBlock, actions) == [ReportBlock(persisted.block, forged_here=True)]
    assert Broadcast(NewBlock(persisted.block)) in actions


def test_a_block_is_kept_and_what_was_signed_is_in_the_guard_before_it_is_sent():
    bench = drawn()
    actions = [action for certificate in statements(5) for action in bench.submit(certificate)]
    persisted = actions.index(of_kind(PersistBlock, actions)[0])
    (signed,) = of_kind(PersistSigned, actions)
    assert [one.header_hash for one in signed.records] == [actions[persisted].block.hash]
    sent = [place for place, action in enumerate(actions) if messages(NewBlock, [action])]
    assert sent
    assert min(sent) > actions.index(signed) > persisted


def test_a_forger_that_is_not_drawn_shares_and_waits():
    scribe = Scribe()
    for member in MEMBERS.values():
        if member is not scribe.forger():
            bench = connected("x", owner=member)
            for certificate in statements(6):
                bench.submit(certificate)
            assert bench.node.state.index == 0
            bench.now_ms += bench.node.limits.gossip_batch_ms
            assert messages(Certificates, bench.handle(TimerFired(Timer.GOSSIP))) == [entries(*statements(6)[1:])]


def test_only_as_many_certificates_as_the_ledger_says_make_a_block_due():
    bench = drawn()
    bench.submit(statement())
    bench.now_ms += 10**9
    bench.handle(TimerFired(Timer.AGREE))
    assert bench.node.state.index == 0


def test_what_waited_when_the_node_stopped_is_forged_when_it_starts():
    scribe = Scribe()
    archive = MemoryArchive()
    archive.keep_certificates([Entry(one) for one in statements(5)])
    bench = Bench(owner=scribe.forger(), archive=archive)
    assert bench.node.state.index == 0
    bench.handle(Started(scribe.forger().public_key, None))
    assert bench.node.state.index == 1


def test_an_empty_box_makes_no_block():
    bench = drawn()
    bench.now_ms += 10**9
    assert of_kind(PersistBlock, bench.handle(TimerFired(Timer.AGREE))) == []


def test_a_new_tip_may_make_it_our_turn():
    scribe = Scribe()
    blocks = list[Block]()
    while scribe.forger() is not ADA or not blocks:
        blocks.append(scribe.forge())
    bench = Bench(owner=ADA, blocks=blocks[:-1])
    for certificate in statements(5):
        bench.submit(certificate)
    actions = bench.receive(NewBlock(blocks[-1]))
    assert [one.block.index for one in of_kind(PersistBlock, actions)][:2] == [len(blocks), len(blocks) + 1]


@pytest.mark.parametrize("behind_ms", [1, 400, 500, 501, 5_000, 86_400_000])
def test_a_forger_whose_clock_is_behind_its_tip_waits(behind_ms):
    """Nothing raises, and no block ahead of the own clock is made: others would refuse it (B8)."""
    scribe = Scribe(found(ADA))
    scribe.forge(timestamp_ms=START_MS + 86_400_000)
    bench = drawn(scribe)
    tip_ms = scribe.state.tip.timestamp_ms
    bench.now_ms = tip_ms - behind_ms
    made = [a for one in statements(6, ledger=scribe.genesis.ledger_id) for a in bench.submit(one)]
    assert all(one.block.header.timestamp_ms <= bench.now_ms + 500 for one in of_kind(PersistBlock, made))
    bench.now_ms = tip_ms + 1
    bench.handle(TimerFired(Timer.AGREE))
    assert bench.node.state.index >= 2


def test_a_backlog_of_many_blocks_is_forged_without_running_ahead_of_the_clock():
    scribe = Scribe(found(ADA, max_block_certificates=1, forge_at_certificates=1))
    bench = Bench(scribe.genesis)
    backlog = statements(1_200, ledger=scribe.genesis.ledger_id)
    owner = Bench(scribe.genesis, owner=ADA)
    owner.now_ms = START_MS
    made = owner.receive(entries(*backlog))
    while len(owner.node.box):
        owner.now_ms += 100
        made += owner.handle(TimerFired(Timer.AGREE))
        bench.now_ms = owner.now_ms
    for persisted in of_kind(PersistBlock, made):
        assert rules(bench.receive(NewBlock(persisted.block))) == []
    assert bench.node.state.index == 1_200


def worker_at(difficulty, owner=ADA):
    """A node that works for its blocks, and its rule."""
    rule = WorkRule(difficulty)
    return Bench(agreement=lone_driver(owner, rule=rule)), rule


def test_work_is_done_in_steps_between_which_the_node_hears_others():
    (worker, rule), (quick, _) = worker_at(2**200), worker_at(1, BEN)
    actions = [action for one in statements(5) for action in worker.submit(one)]
    assert SetTimer(Timer.AGREE, worker.now_ms) in actions
    assert SetTimer(Timer.AGREE, worker.now_ms) in worker.handle(TimerFired(Timer.AGREE))
    for one in statements(5):
        quick.submit(one)
    assert quick.node.state.index == 1
    rule.difficulty = 1
    actions = worker.receive(NewBlock(sign_block(quick.node.state.tip, statements(5), BEN)))
    assert [one.forged_here for one in of_kind(ReportBlock, actions)] == [False]
    assert len(worker.node.box) == 0
    assert of_kind(PersistBlock, worker.handle(TimerFired(Timer.AGREE))) == [], "nothing is left to forge"


# ---- blocks -----------------------------------------------------------------------------------------------------


def test_a_legal_block_is_added_kept_and_passed_on():
    bench, block = Bench(), Scribe().forge(statement(), staking(5))
    bench.submit(statement())
    bench.submit(statement("another"))
    actions = bench.receive(NewBlock(block), "x")
    assert bench.node.state.tip == block.header
    assert list(bench.node.box) == [statement("another")]
    assert bench.node.chain.place_of(staking(5).id).block_index == 1
    assert of_kind(PersistBlock, actions) == [PersistBlock(block, (), members_hash=bench.node.state.members_hash)]
    assert Broadcast(NewBlock(block), but="x") in actions


def test_a_known_block_is_no_news():
    bench, block = Bench(), Scribe().forge()
    bench.receive(NewBlock(block))
    before = summary(bench)
    assert of_kind((PersistBlock, Broadcast, ReportRefused), bench.receive(NewBlock(block), "y")) == []
    assert summary(bench) == before


ILLEGAL = {
    "unsigned": (lambda s: replace(s.draft(statement()), signature=bytes(64)), Rule.B3),
    "by a stranger": (lambda s: s.draft(statement(), signer=STRANGER), Rule.B4),
    "of a second view": (lambda s: s.draft(statement(), view=9), Rule.B4),
    "with a counterfeit": (lambda s: s.draft(replace(statement(), signature=bytes(64))), Rule.B5),
    "with stake from nothing": (lambda s: s.draft(staking(5, STRANGER)), Rule.B5),
    "with one twice": (lambda s: s.draft(statement(), statement()), Rule.B6),
    "with one from the chain": (lambda s: s.draft(*s.blocks[0].certificates), Rule.B6),
    "covering others": (lambda s: replace(s.draft(statement()), certificates=(statement("x"),)), Rule.B7),
    "without certificates": (lambda s: s.draft(), Rule.B9),
    "of another ledger": (lambda s: s.draft(statement(), ledger_id=bytes(32)), Rule.B10),
    "of a later epoch": (lambda s: s.draft(statement(), epoch=1), Rule.B11),
    "with another root": (lambda s: s.draft(statement(), state_root=b"r" * 32), Rule.B12),
    "of a later version": (lambda s: s.draft(statement(), version=2), Rule.E4),
    "before the tip": (lambda s: s.draft(statement(), index=1), Rule.B1),
    "on another parent": (lambda s: s.draft(statement(), parent_hash=bytes(32)), Rule.B2),
    "ahead of the clock": (lambda s: s.draft(statement(), timestamp_ms=START_MS + 10**9), Rule.B8),
    "no later than its parent": (lambda s: s.draft(statement(), timestamp_ms=START_MS), Rule.B8),
}


@pytest.mark.parametrize(("make", "rule"), ILLEGAL.values(), ids=ILLEGAL)
def test_an_illegal_block_is_refused_and_changes_nothing_and_nobody_is_blamed(make, rule):
    """Whoever sends it may have it from others: it is ignored."""
    scribe = Scribe()
    scribe.forge()
    bench = Bench(blocks=scribe.blocks)
    bench.submit(statement("waiting"))
    block = make(scribe)
    for message in (NewBlock(block), Blocks(2, (block,))):
        before = summary(bench)
        bench.receive(status(2))
        actions = bench.receive(message)
        if isinstance(message, NewBlock) or block.index == 2:
            assert rules(actions) == [rule]
            assert cut_off(actions) == set()
        assert of_kind((PersistBlock, Broadcast), actions) == []
        assert summary(bench) == before


def test_only_what_the_sender_made_itself_is_blamed_on_it():
    """Form and order of its own message, another ledger, and answers to something else than was asked."""
    assert {rule.name for rule in BLAMES_THE_PEER} == {"E1", "E2", "E3", "N1", "N4"}


@pytest.mark.parametrize("rule", Rule, ids=lambda rule: rule.name)
def test_n5_disconnects_for_what_no_honest_peer_does_and_for_nothing_else(rule):
    """`Rule.N5`: being late, early, full, on a slow clock, or handed a counterfeit is nobody's fault."""
    actions = Bench().handle(MessageReceived("x", CheckedMessage(None, (Refused(rule, "because"),))))
    assert cut_off(actions) == ({"x"} if rule in BLAMES_THE_PEER else set())
    assert rules(actions) == [rule]


GARBAGE = {
    "oversized": (bytes(2 * 1024 * 1024 + 1), Rule.E1),
    "garbage": (b"\xff\xff\xff", Rule.E2),
    "empty": (b"", Rule.E2),
    "unknown kind": (b"\x92\x63\x01", Rule.E2),
    "not canonical": (b"\x93\x05\xcc\x01\x01", Rule.E3),
}


@pytest.mark.parametrize(("data", "rule"), GARBAGE.values(), ids=GARBAGE)
def test_bytes_that_are_no_message_disconnect_their_sender_and_change_nothing(data, rule):
    bench = Bench()
    before = summary(bench)
    actions = bench.receive(data, "x")
    assert (rules(actions), cut_off(actions)) == ([rule], {"x"})
    assert summary(bench) == before


# ---- early blocks and catching up -------------------------------------------------------------------------------


def test_an_early_block_is_set_aside_and_the_missing_ones_are_asked_for():
    bench, blocks = Bench(), Scribe().forge_many(5)
    actions = bench.receive(NewBlock(blocks[4]), "x")
    assert (bench.node.state.index, bench.node.sync.set_aside_count) == (0, 1)
    assert of_kind(Send, actions) == [Send("x", BlockRequest(1, 4))]
    assert of_kind(Broadcast, actions) == []
    actions = bench.receive(Blocks(1, tuple(blocks[:4])), "x")
    assert (bench.node.state.index, bench.node.sync.set_aside_count) == (5, 0)
    assert [one.block for one in of_kind(PersistBlock, actions)] == blocks


def test_a_set_aside_block_is_judged_when_its_turn_comes():
    bench, scribe = Bench(), Scribe()
    first = scribe.forge()
    usurped = scribe.draft(statement(), signer=STRANGER)
    bench.receive(NewBlock(usurped), "liar")
    bench.receive(NewBlock(scribe.forge()), "x")
    actions = bench.receive(NewBlock(first), "x")
    assert bench.node.state.index == 2
    assert (rules(actions), cut_off(actions)) == ([Rule.B4], set())


def test_three_thousand_blocks_in_reverse_order():
    genesis, blocks = long_chain()
    bench = Bench(genesis)
    bench.now_ms = blocks[-1].header.timestamp_ms
    asked = []
    for block in reversed(blocks):
        asked += messages(BlockRequest, bench.receive(NewBlock(block)))
        assert bench.node.sync.set_aside_count <= bench.node.limits.set_aside_blocks_per_peer
    assert bench.node.state.index == 1 + bench.node.limits.set_aside_blocks_per_peer
    while asked:
        request = asked.pop(0)
        answer = tuple(blocks[request.start - 1 : request.start - 1 + request.count])
        asked += messages(BlockRequest, bench.receive(Blocks(request.start, answer)))
    assert bench.node.state.tip == blocks[-1].header


def wrong_blocks(first, count):
    """Blocks of this ledger that anybody can make: well signed, on a parent that is nobody's."""
    for index in range(first, first + count):
        yield Scribe().draft(statement(), signer=STRANGER, index=index, view=index, parent_hash=b"\x07" * 32)


def test_a_liar_that_answers_with_wrong_blocks_is_not_asked_again_at_once():
    """Or the two would spin at the speed of the line, and whoever has the right blocks might never be asked."""
    bench = Bench()
    asked, answers = messages(BlockRequest, bench.receive(status(1_000), "liar")), 0
    while asked and answers < 100:
        request = asked.pop(0)
        lies = tuple(wrong_blocks(request.start, request.count + 1))
        asked += messages(BlockRequest, bench.receive(Blocks(request.start, lies), "liar"))
        asked += messages(BlockRequest, bench.receive(status(1_000), "liar"))
        answers += 1
    assert bench.node.state.index == 0
    assert answers <= 2 * bench.node.limits.requests_in_flight


def test_answers_must_be_consecutive():
    blocks = Scribe().forge_many(5)
    for wrong in ((blocks[0], blocks[2]), (blocks[1],), tuple(blocks[::-1]), (blocks[0], blocks[0])):
        bench = Bench()
        bench.receive(status(5), "x")
        before = summary(bench)
        actions = bench.receive(Blocks(1, wrong), "x")
        assert (rules(actions), cut_off(actions)) == ([Rule.N4], {"x"})
        assert summary(bench) == before


def test_blocks_that_were_not_asked_for_are_ignored():
    bench, blocks = Bench(), Scribe().forge_many(5)
    assert bench.receive(Blocks(1, tuple(blocks)), "x") == []
    assert bench.node.state.index == 0


def test_a_peer_that_leaves_takes_its_set_aside_blocks_along():
    bench, blocks = Bench(), Scribe().forge_many(9)
    for block in blocks[1:]:
        bench.receive(NewBlock(block), "x")
    bench.receive(NewBlock(blocks[8]), "y")
    bench.handle(PeerDisconnected("x"))
    assert bench.node.sync.set_aside_count == 1


def test_set_aside_blocks_stay_within_the_share_of_their_sender():
    bench, blocks = Bench(limits=Limits(set_aside_blocks_per_peer=3)), Scribe().forge_many(9)
    for block in blocks[2:5]:
        assert rules(bench.receive(NewBlock(block), "x")) == []
    actions = bench.receive(NewBlock(blocks[8]), "x")
    assert (rules(actions), cut_off(actions)) == ([Rule.N2], set())
    assert rules(bench.receive(NewBlock(blocks[8]), "y")) == []
    assert bench.node.sync.set_aside_count == 4


# ---- peers ------------------------------------------------------------------------------------------------------


def test_peers_tell_each_other_where_they_stand():
    scribe = Scribe()
    scribe.forge_many(3)
    bench = Bench(blocks=scribe.blocks)
    bench.submit(statement())
    (sent,) = messages(Status, bench.handle(PeerConnected("x")))
    assert sent == Status(LEDGER, 0, 3, scribe.state.tip.hash, (statement().id,))


def test_a_peer_that_is_behind_is_told():
    bench = Bench(blocks=Scribe().forge_many(3))
    assert messages(Status, bench.receive(status(2)))
    assert not messages(Status, bench.receive(status(3)))


def test_certificates_that_a_peer_has_and_we_lack_are_asked_for():
    bench = Bench(blocks=[Scribe().forge(statement("on the chain"))])
    bench.submit(statement("here"))
    waiting = [statement(one).id for one in ("here", "on the chain", "there")]
    assert messages(CertificateRequest, bench.receive(status(1, waiting), "x")) == [CertificateRequest((waiting[2],))]
    assert not messages(CertificateRequest, bench.receive(status(1, waiting), "y")), "it was just asked of another"


def test_a_peer_of_another_ledger_is_disconnected():
    bench = Bench()
    actions = bench.receive(status(9, ledger=bytes(32)), "x")
    assert (rules(actions), cut_off(actions)) == ([Rule.N1], {"x"})
    assert of_kind(Send, actions) == []


def test_requests_are_answered_from_the_box_and_from_what_is_kept():
    bench = Bench()
    entry = with_payload("covered")
    bench.submit(entry)
    unknown = statement("unknown").id
    actions = bench.receive(CertificateRequest((unknown, entry.certificate.id)), "x")
    assert actions == [Send("x", Certificates((entry,)))]
    assert bench.receive(CertificateRequest((unknown,)), "x") == []
    assert bench.receive(BlockRequest(1, 9), "x") == [SendKept("x", BlockRequest(1, 9))]
    assert bench.receive(PayloadRequest((bytes(32),)), "x") == [SendKept("x", PayloadRequest((bytes(32),)))]


def test_asking_for_the_same_certificate_many_times_gives_it_once():
    """Or 130 KB of request would draw a quarter of a gigabyte of answer."""
    bench = Bench()
    entry = with_payload("x" * 60_000)
    bench.submit(entry)
    actions = bench.receive(CertificateRequest((entry.certificate.id,) * MAX_IDS), "x")
    assert actions == [Send("x", Certificates((entry,)))]


def test_an_answer_stays_near_its_bound():
    bench = Bench(limits=Limits(answer_bytes=300_000))
    for number in range(40):
        bench.submit(with_payload(f"{number}" + "x" * 60_000))
    actions = bench.receive(CertificateRequest(bench.node.box.ids(MAX_IDS)), "x")
    sent = sum(len(entry.payload.content) for one in messages(Certificates, actions) for entry in one.entries)
    assert 0 < sent <= 300_000


@pytest.mark.parametrize("request_of", [BlockRequest(1, 9), CertificateRequest(()), PayloadRequest(())], ids=repr)
def test_a_peer_that_asks_too_much_is_refused_and_may_ask_again_later(request_of):
    bench = Bench()
    per_second = bench.node.limits.requests_per_second
    bench.handle(PeerConnected("greedy"))
    for _ in range(2 * per_second):
        assert rules(bench.receive(request_of, "greedy")) == []
    actions = bench.receive(request_of, "greedy")
    assert (rules(actions), cut_off(actions)) == ([Rule.N3], set())
    assert rules(bench.receive(request_of, "modest")) == []
    bench.now_ms += 1_000
    refused = [rule for _ in range(per_second + 1) for rule in rules(bench.receive(request_of, "greedy"))]
    assert refused == [Rule.N3]


def test_a_peer_that_tells_its_status_too_often_is_not_heard_for_a_while():
    bench, tips = Bench(), iter(range(1_000))
    per_second = bench.node.limits.statuses_per_second
    for _ in range(8 * per_second):
        assert rules(bench.receive(status(next(tips)), "talkative")) == []
    actions = bench.receive(status(999, [statement("there").id]), "talkative")
    assert (rules(actions), cut_off(actions), messages(CertificateRequest, actions)) == ([Rule.N3], set(), [])
    assert bench.node.sync.best_index < 999
    assert messages(CertificateRequest, bench.receive(status(1, [statement("there").id]), "modest"))
    bench.now_ms += 1_000
    refused = [rule for _ in range(per_second + 1) for rule in rules(bench.receive(status(next(tips)), "talkative"))]
    assert refused == [Rule.N3]


def test_news_is_announced_some_times_and_then_there_is_silence():
    bench = connected("x", "y")
    block = Scribe().forge(statement())
    assert len(told(bench, bench.receive(NewBlock(block), "x"))) == 7


def told(bench, actions, at_most=50):
    """Fire every timer when its time has come; return whom a status was sent to, each time."""
    peers, pending = list[object](), of_kind(SetTimer, actions)
    while pending and len(peers) < at_most:
        timer = pending.pop(0)
        bench.now_ms = max(bench.now_ms, timer.at_ms)
        actions = bench.handle(TimerFired(timer.timer))
        peers += [one.peers for one in of_kind(Multicast, actions) if isinstance(one.message, Status)]
        pending += of_kind(SetTimer, actions)
    return peers


def test_while_a_certificate_waits_it_is_announced_to_whoever_may_lack_it_until_everybody_has_it():
    """Or it would be lost to the others, once a minute of announcements was lost on a bad line."""
    bench = connected("x", "y")
    actions = bench.submit(statement())
    assert told(bench, actions) == [("x", "y")] * 50
    tip_hash = bench.node.state.tip.hash
    for peer, later in (("x", [("y",)] * 50), ("y", [])):
        bench.receive(Status(LEDGER, 0, 0, tip_hash, (statement("of theirs").id, statement().id)), peer)
        assert told(bench, [SetTimer(Timer.ANNOUNCE, bench.now_ms)]) == later


def test_what_was_just_pushed_is_not_announced_yet():
    bench = connected("x")
    bench.submit(statement("old"))
    bench.now_ms += bench.node.limits.announce_first_ms
    bench.submit(statement("new"))
    actions = bench.handle(TimerFired(Timer.ANNOUNCE))
    assert [one.waiting for one in messages(Status, actions)] == [(statement("old").id,)]
    (timer,) = [one for one in of_kind(SetTimer, actions) if one.timer is Timer.ANNOUNCE]
    assert timer.at_ms == bench.now_ms + bench.node.limits.announce_first_ms
    bench.now_ms = timer.at_ms
    (later,) = messages(Status, bench.handle(TimerFired(Timer.ANNOUNCE)))
    assert later.waiting == (statement("new").id,)


def test_news_without_end_does_not_put_an_announcement_off():
    bench = connected("x")
    (timer,) = [one for one in of_kind(SetTimer, bench.submit(statement("0"))) if one.timer is Timer.ANNOUNCE]
    for number in range(1, 9):
        bench.now_ms += 50
        actions = bench.submit(statement(f"{number}"))
        assert not [one for one in of_kind(SetTimer, actions) if one.timer is Timer.ANNOUNCE]
    assert timer.at_ms > bench.now_ms


# ---- payloads ---------------------------------------------------------------------------------------------------


def test_a_payload_at_hand_is_kept_with_its_block():
    bench, entry = Bench(), with_payload("covered")
    bench.submit(entry)
    (persisted,) = of_kind(PersistBlock, bench.receive(NewBlock(Scribe().forge(entry.certificate))))
    assert persisted.payloads == (entry.payload,)


def test_a_missing_payload_is_asked_for_and_kept_when_it_comes():
    bench, entry = Bench(), with_payload("covered")
    covered = entry.payload.hash()
    actions = bench.receive(NewBlock(Scribe().forge(entry.certificate, statement())), "x")
    assert messages(PayloadRequest, actions) == [PayloadRequest((covered,))]
    assert bench.receive(Payloads((payload("unasked"), entry.payload)), "x") == [PersistPayload(entry.payload)]
    assert bench.receive(Payloads((entry.payload,)), "x") == [], "once is enough"


def test_a_missing_payload_is_asked_for_again_when_no_answer_comes():
    bench, entry = Bench(), with_payload("covered")
    bench.receive(NewBlock(Scribe().forge(entry.certificate)), "x")
    bench.now_ms += bench.node.limits.request_timeout_ms
    assert Send("x", PayloadRequest((entry.payload.hash(),))) in bench.handle(TimerFired(Timer.SYNC))


def test_a_payload_that_one_peer_lacks_is_asked_of_the_next():
    bench, entry = Bench(), with_payload("covered")
    asking = PayloadRequest((entry.payload.hash(),))
    bench.receive(NewBlock(Scribe().forge(entry.certificate)), "x")
    assert messages(PayloadRequest, bench.receive(Payloads(()), "x")) == []
    assert Send("y", asking) in bench.handle(PeerConnected("y"))
    assert bench.receive(Payloads((entry.payload,)), "y") == [PersistPayload(entry.payload)]


def test_a_forger_without_the_payload_asks_for_it_too():
    bench, entry = drawn(), with_payload("covered")
    bench.submit(entry.certificate)
    for certificate in statements(4):
        bench.submit(certificate)
    assert bench.node.state.index == 1
    asking = PayloadRequest((entry.payload.hash(),))
    assert messages(PayloadRequest, bench.handle(PeerConnected("x"))) == [asking]


def test_an_erased_payload_is_forgotten_and_never_taken_again():
    entry = with_payload("covered")
    covered, block = entry.payload.hash(), Scribe().forge(entry.certificate)
    bench = Bench()
    bench.submit(entry)
    assert bench.handle(PayloadErasureAsked(covered)) == [ErasePayload(covered)]
    assert bench.node.box.get(entry.certificate.id) == Entry(entry.certificate)
    bench.receive(Certificates((entry,)), "x")
    assert bench.node.box.get(entry.certificate.id) == Entry(entry.certificate)
    actions = bench.receive(NewBlock(block))
    assert of_kind(PersistBlock, actions) == [PersistBlock(block, (), members_hash=bench.node.state.members_hash)]
    assert messages(PayloadRequest, actions + bench.handle(TimerFired(Timer.ANNOUNCE))) == []
    assert bench.receive(Payloads((entry.payload,))) == []


def test_erasure_is_remembered_over_a_restart_and_before_the_certificate_comes():
    entry = with_payload("covered")
    for bench in (Bench(erased=[entry.payload.hash()]), Bench()):
        bench.handle(PayloadErasureAsked(entry.payload.hash()))
        bench.receive(Certificates((entry,)))
        assert bench.node.box.get(entry.certificate.id) == Entry(entry.certificate)


def test_an_erased_payload_is_not_passed_on_any_more():
    bench, entry = connected("x"), with_payload("covered")
    bench.submit(statement("leaves at once"))
    bench.submit(entry)
    bench.handle(PayloadErasureAsked(entry.payload.hash()))
    bench.now_ms += 1_000
    assert messages(Certificates, bench.handle(TimerFired(Timer.GOSSIP))) == [entries(entry.certificate)]


# ---- restart ----------------------------------------------------------------------------------------------------


def test_a_node_restarted_from_its_blocks_stands_where_it_stood():
    scribe = Scribe()
    scribe.forge(staking(7))
    scribe.forge_many(20)
    bench = Bench(blocks=scribe.blocks)
    assert summary(bench)[:3] == (scribe.state.tip.hash, scribe.state.stakes, scribe.state.log)
    for block in scribe.blocks:
        assert bench.receive(NewBlock(block)) == [], "it is known again"
        for one in block.certificates:
            assert bench.node.chain.place_of(one.id) == scribe.chain.place_of(one.id)


def test_a_store_that_was_tampered_with_is_refused():
    blocks = Scribe().forge_many(3)
    for wrong in (blocks[1:], [blocks[0], blocks[2]], [blocks[0], blocks[0]]):
        with pytest.raises(Refused) as caught:
            Bench(blocks=wrong)
        assert caught.value.rule is Rule.B1


class Reckless(StakeRule):
    """A forger rule that is no rule of ours: it has its own forger forge what it then does not accept."""

    def may_forge(self, state, forger):
        return True


def test_a_rule_that_forges_what_is_illegal_costs_a_refusal_and_no_more():
    bench = Bench(agreement=lone_driver(STRANGER, rule=Reckless()))
    before = bench.node.state
    for certificate in statements(5):
        actions = bench.submit(certificate)
    assert rules(actions) == [Rule.B4]
    assert bench.node.state is before
    assert of_kind(PersistBlock, actions) == []


def test_no_block_takes_all_time_that_is_left():
    bench = Bench(found(block_ahead_ms=None))
    scribe = Scribe(bench.node.chain.genesis)
    for time_ms, legal in ((2**53 - 1, False), (2**52 + 1, False), (2**52, True)):
        block = scribe.draft(statement(ledger=bench.node.chain.ledger_id), timestamp_ms=time_ms)
        assert rules(bench.receive(NewBlock(block))) == ([] if legal else [Rule.B8])
    assert bench.node.state.index == 1
