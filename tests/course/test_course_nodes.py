import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.course.people import FIELDS, Diploma, block_after, box, feed, network_of, signed, staked, tips

from tallystick.course import (
    Block,
    BlockchainNode,
    Certificate,
    NetworkError,
    Node,
    ProofOfStake,
    Refused,
    StakingOperation,
    Wallet,
)
from tallystick.ledger.errors import Rule

ALICE, BOB, CHARLIE = Wallet(), Wallet(), Wallet()


class Recorder(BlockchainNode):
    """Keeps what it sends."""

    def __init__(self, *arguments):
        self.sent = []
        super().__init__(*arguments)

    def broadcast_object(self, obj):
        self.sent.append(obj)
        super().broadcast_object(obj)


class Gossip(Node):
    """No honest node: says what the test has it say, and hears everything."""

    def __init__(self, nodeIdentifier="gossip"):
        super().__init__(nodeIdentifier)
        self.heard = []

    def receive_object_from_node(self, obj, senderNodeIdentifier):
        self.heard.append(obj)


# ---- certificates ---------------------------------------------------------------------------------------------------


def test_a_new_certificate_waits_in_every_box():
    nodes = network_of(3)
    certificate = signed(ALICE)
    assert nodes[1].new_certificate(certificate)
    for node in nodes:
        assert certificate in box(node)
        assert len(box(node)) == 1
        assert node.refusals == []


def test_a_full_box_makes_the_drawn_forger_forge_whoever_was_handed_the_certificates():
    nodes = network_of(3)
    feed(nodes[2], ALICE, 4)
    assert [len(node.blockchain.blockList) for node in nodes] == [1, 1, 1]
    feed(nodes[1], ALICE, 1)
    assert [len(node.blockchain.blockList) for node in nodes] == [2, 2, 2]
    assert [len(box(node)) for node in nodes] == [0, 0, 0]
    assert nodes[2].blockchain.get_latest_block().issuerPublicKey == nodes[0].wallet.publicKey
    assert len(tips(nodes)) == 1
    assert all(node.blockchain.is_legit() for node in nodes)


def _changed(certificate):
    certificate.timestamp += 1
    return certificate


ILLEGAL = {
    "unsigned": (lambda: Certificate(ALICE.publicKey), Rule.C1),
    "another's": (lambda: signed(CHARLIE, Certificate(ALICE.publicKey)), Rule.C1),
    "changed": (lambda: _changed(signed(ALICE)), Rule.C1),
    "no tokens": (lambda: staked(ALICE, 0), Rule.S1),
    "not staked": (lambda: staked(ALICE, -1), Rule.S3),
    "no key": (lambda: Certificate("Alice"), Rule.E2),
    "field": (lambda: Diploma(ALICE.publicKey, "Bob", object()), Rule.E2),
    "amount": (lambda: StakingOperation(ALICE.publicKey, 1.5), Rule.E2),  # type: ignore[arg-type]
    "a block": (lambda: Block(ALICE.publicKey, 1, "ab" * 32, []), Rule.E2),
    "text": (lambda: "certificate", Rule.E2),
    "nothing": (lambda: None, Rule.E2),
    "its class": (lambda: Certificate, Rule.E2),
}


@pytest.mark.parametrize(("make", "rule"), ILLEGAL.values(), ids=ILLEGAL.keys())
def test_an_illegal_certificate_is_refused_and_changes_nothing(make, rule):
    nodes = network_of(2)
    feed(nodes[0], ALICE, 4)
    assert nodes[0].new_certificate(make()) is False
    assert [one.rule for one in nodes[0].refusals] == [rule]
    assert [len(box(node)) for node in nodes] == [4, 4]
    assert nodes[1].refusals == []


def test_a_certificate_is_taken_once():
    nodes = network_of(2)
    waiting = signed(ALICE)
    assert nodes[0].new_certificate(waiting)
    assert not nodes[0].new_certificate(waiting)
    assert not nodes[1].new_certificate(waiting)
    assert [node.refusals[-1].rule for node in nodes] == [Rule.C4, Rule.C4]
    feed(nodes[0], BOB, 4)
    assert not nodes[0].new_certificate(waiting)
    assert nodes[0].refusals[-1].rule is Rule.C5
    assert [len(box(node)) for node in nodes] == [0, 0]


def test_subclasses_arrive_as_what_they_are():
    nodes = network_of(3)
    diploma = signed(ALICE, Diploma(ALICE.publicKey, "Bob", {"maths": (1, [2.5, None])}))
    nodes[0].new_certificate(diploma)
    for node in nodes:
        (arrived,) = box(node)
        assert type(arrived) is Diploma
        assert arrived is not diploma
        assert vars(arrived) == vars(diploma)
    feed(nodes[1], BOB, 4)
    late = network_of(1, nodes[0].consensusAlgorithm)[0]
    feed(nodes[1], BOB, 5)
    for node in (*nodes, late):
        kept = next(one for one in node.blockchain.blockList[1].certificateList if one == diploma)
        assert type(kept) is Diploma
        assert vars(kept) == vars(diploma)
        assert node.blockchain.is_legit()


def test_the_box_looks_like_a_set_and_is_live():
    (node,) = network_of(1)
    waiting = box(node)
    assert waiting == set()
    first, second = feed(node, ALICE, 2)
    assert waiting == {first, second}
    assert first in waiting
    assert signed(ALICE) not in waiting
    assert "stranger" not in waiting
    assert Certificate("nonsense") not in waiting
    assert waiting & {first} == {first}
    assert waiting - {first} == {second}
    assert {first} < waiting
    assert sorted(one.timestamp for one in waiting) == [first.timestamp, second.timestamp]
    assert repr(waiting).startswith("{<Certificate of ")
    next(iter(waiting)).timestamp = 0
    assert waiting == {first, second}
    assert not hasattr(waiting, "add")
    feed(node, ALICE, 3)
    assert len(waiting) == 0


# ---- blocks ---------------------------------------------------------------------------------------------------------


def test_a_block_from_a_person_is_added_and_shared_and_its_certificates_leave_the_boxes():
    nodes = network_of(3)
    pending = feed(nodes[1], ALICE, 2)
    block = block_after(nodes[0].blockchain.blockList[0], nodes[0].wallet, [pending[0], signed(BOB)])
    assert nodes[2].new_block(block) is True
    assert len(tips(nodes)) == 1
    assert all(box(node) == {pending[1]} for node in nodes)
    assert nodes[2].new_block(block) is False
    assert nodes[2].refusals[-1].rule is Rule.B1


def test_a_block_of_pending_certificates_may_make_it_our_turn_to_forge():
    nodes = network_of(1)
    feed(nodes[0], ALICE, 4)
    stake = block_after(nodes[0].blockchain.blockList[0], nodes[0].wallet, [staked(BOB, 1)])
    nodes[0].new_block(stake)
    feed(nodes[0], ALICE, 4)  # the box is full, but it is Bob's turn
    assert len(nodes[0].blockchain.blockList) == 2
    assert nodes[0].new_block(block_after(stake, BOB, [staked(BOB, -1)]))
    assert len(nodes[0].blockchain.blockList) == 4
    assert len(nodes[0].blockchain.blockList[3].certificateList) == 8


def _unsigned(tip, wallet):
    return Block(wallet.publicKey, tip.index + 1, tip.hash(), [])


def _changed_block(tip, wallet):
    block = block_after(tip, wallet, [signed(ALICE)])
    block.certificateList.append(signed(ALICE))
    return block


def _twice(tip, wallet):
    certificate = signed(ALICE)
    return block_after(tip, wallet, [certificate, certificate])


def _wrong_parent(tip, wallet):
    return block_after(Block(wallet.publicKey, tip.index, "ab" * 32, []), wallet)


def _from_the_past(tip, wallet):
    block = Block(wallet.publicKey, tip.index + 1, tip.hash(), [])
    block.timestamp = tip.timestamp
    wallet.sign(block)
    return block


def _nonsense(tip, wallet):
    return Block(wallet.publicKey, "next", tip.hash(), [])  # type: ignore[arg-type]


ILLEGAL_BLOCKS = {
    "index": (lambda tip, wallet: block_after(Block(wallet.publicKey, 0, "ab" * 32, []), wallet), Rule.B1),
    "parent": (_wrong_parent, Rule.B2),
    "unsigned": (_unsigned, Rule.B3),
    "forger": (lambda tip, wallet: block_after(tip, ALICE), Rule.B4),
    "illegal certificate": (
        lambda tip, wallet: block_after(tip, wallet, [signed(CHARLIE, Certificate(ALICE.publicKey))]),
        Rule.B5,
    ),
    "on the chain": (lambda tip, wallet: block_after(tip, wallet, tip.certificateList[:1]), Rule.B6),
    "twice": (_twice, Rule.B6),
    "changed": (_changed_block, Rule.B3),
    "time": (_from_the_past, Rule.B8),
    "nonsense": (_nonsense, Rule.E2),
    "certificate": (lambda tip, wallet: signed(ALICE), Rule.E2),
    "text": (lambda tip, wallet: "block", Rule.E2),
}


@pytest.mark.parametrize(("make", "rule"), ILLEGAL_BLOCKS.values(), ids=ILLEGAL_BLOCKS.keys())
def test_an_illegal_block_is_refused_and_changes_nothing(make, rule):
    nodes = network_of(2)
    feed(nodes[0], ALICE, 6)
    tip = nodes[0].blockchain.get_latest_block()
    assert nodes[0].new_block(make(tip, nodes[0].wallet)) is False
    assert [one.rule for one in nodes[0].refusals] == [rule]
    assert [len(node.blockchain.blockList) for node in nodes] == [2, 2]
    assert [len(box(node)) for node in nodes] == [1, 1]
    assert nodes[0].blockchain.is_legit()
    assert nodes[1].refusals == []


ANYTHING = (
    FIELDS | st.integers() | st.sampled_from([object(), Wallet, ALICE, float("nan"), [Certificate("x")], 10**400])
)


@given(st.sampled_from(["issuerPublicKey", "timestamp", "signature", "amount", "student"]), ANYTHING)
def test_whatever_is_written_into_a_certificate_a_node_takes_it_or_refuses_it(name, value):
    Node.reset_network()
    (node,) = network_of(1)
    certificate = staked(ALICE, 5)
    setattr(certificate, name, value)
    for sent in (node.new_certificate, lambda one: node.receive_object_from_node(one, "somebody")):
        sent(certificate)
        assert len(box(node)) == (not node.refusals)
    assert name != "student" or node.refusals


@given(st.sampled_from([*vars(Block("", 0, "", [])), "note"]), ANYTHING)
def test_whatever_is_written_into_a_block_a_node_takes_it_or_refuses_it(name, value):
    Node.reset_network()
    (node,) = network_of(1)
    block = block_after(node.blockchain.blockList[0], node.wallet, [signed(ALICE)])
    setattr(block, name, value)
    taken = node.new_block(block)
    assert taken == (len(node.blockchain.blockList) == 2)
    assert taken == (not node.refusals)
    assert node.blockchain.is_legit()


# ---- objects from other nodes ---------------------------------------------------------------------------------------


def test_illegal_objects_from_a_node_are_refused_go_no_further_and_leave_it_heard():
    nodes, stranger = network_of(2), Gossip()
    for obj in ("text", 3.14, None, True, False, [1], object(), Certificate, -1, 10**400, Wallet()):
        stranger.send_object_to_node(obj, nodes[0].nodeIdentifier)
    illegal = signed(CHARLIE, Certificate(ALICE.publicKey))
    stranger.send_object_to_node(illegal, nodes[0].nodeIdentifier)
    stranger.send_object_to_node(_unsigned(nodes[0].blockchain.blockList[0], nodes[0].wallet), nodes[0].nodeIdentifier)
    assert [one.rule for one in nodes[0].refusals] == [Rule.E2] * 11 + [Rule.C1, Rule.B3]
    assert stranger.heard == []
    assert nodes[1].refusals == []
    legal = signed(ALICE)
    stranger.send_object_to_node(legal, nodes[0].nodeIdentifier)
    assert all(legal in box(node) for node in nodes)


def test_a_node_ignores_what_comes_from_itself():
    (node,) = network_of(1)
    node.receive_object_from_node(signed(ALICE), node.nodeIdentifier)
    assert len(box(node)) == 0


def test_integers_ask_for_blocks_and_booleans_do_not():
    nodes, asker = network_of(1), Gossip()
    feed(nodes[0], ALICE, 5)
    del asker.heard[:]
    for obj in (1, True, 0, 2, 10**6):
        asker.send_object_to_node(obj, nodes[0].nodeIdentifier)
    assert asker.heard == [nodes[0].blockchain.blockList[1]]


# ---- late to the party ----------------------------------------------------------------------------------------------


def test_a_late_joiner_hundreds_of_blocks_behind_catches_up_and_asks_for_each_block_once():
    nodes = network_of(3)
    feed(nodes[0], ALICE, 5 * 300)
    late = Recorder(Wallet(), nodes[0].consensusAlgorithm)
    feed(nodes[1], ALICE, 4)
    assert len(late.blockchain.blockList) == 1
    feed(nodes[1], ALICE, 1)
    assert len(late.blockchain.blockList) == 302
    assert tips([late]) == tips(nodes)
    assert late.refusals == []
    assert late.setAsideCount == 0
    assert box(late) == set()
    asked = [obj for obj in late.sent if isinstance(obj, int)]
    assert sorted(asked) == list(range(1, 301))
    assert not any(isinstance(obj, Block) for obj in late.sent), "old blocks are no news to anybody"
    feed(late, BOB, 5)
    assert tips([late]) == tips(nodes)


def test_three_thousand_blocks_in_reverse_order_end_up_on_the_chain():
    nodes, stranger = network_of(1), Gossip()
    blocks = [nodes[0].blockchain.blockList[0]]
    for _ in range(3_000):
        blocks.append(block_after(blocks[-1], nodes[0].wallet))
    for block in blocks[:1:-1]:
        stranger.send_object_to_node(block, nodes[0].nodeIdentifier)
    assert len(nodes[0].blockchain.blockList) == 1
    assert nodes[0].setAsideCount == 2_999
    stranger.send_object_to_node(blocks[1], nodes[0].nodeIdentifier)
    assert len(nodes[0].blockchain.blockList) == 3_001
    assert nodes[0].blockchain.get_latest_block() == blocks[-1]
    assert nodes[0].refusals == []


def test_early_blocks_from_a_person_are_set_aside_and_the_missing_ones_asked_for():
    nodes = network_of(2)
    feed(nodes[0], ALICE, 15)
    blocks = list(nodes[0].blockchain.blockList)
    alone = Recorder(Wallet(), nodes[0].consensusAlgorithm)
    assert alone.new_block(blocks[3]) is True, "the others had the missing ones"
    assert alone.sent == [1, 2]
    Node.reset_network()
    alone = Recorder(alone.wallet, nodes[0].consensusAlgorithm)
    assert alone.new_block(blocks[3]) is False
    assert alone.setAsideCount == 1
    assert alone.refusals == []
    assert alone.new_block(blocks[1]) is True
    assert alone.new_block(blocks[2]) is True
    assert alone.blockchain.blockList == blocks


def test_a_liar_that_answers_first_does_not_keep_a_late_joiner_from_catching_up():
    class Liar(BlockchainNode):
        def receive_object_from_node(self, obj, senderNodeIdentifier):
            if isinstance(obj, int):
                lie = Block(self.wallet.publicKey, obj, "ab" * 32, [])
                self.wallet.sign(lie)
                self.send_object_to_node(lie, senderNodeIdentifier)
            else:
                super().receive_object_from_node(obj, senderNodeIdentifier)

    honest = Wallet()
    rule = ProofOfStake(honest.publicKey)
    Liar(Wallet(), rule)  # joined first, so it is asked first and answers first
    node = BlockchainNode(honest, rule)
    feed(node, ALICE, 100)
    late = BlockchainNode(Wallet(), rule)
    feed(node, ALICE, 5)
    assert tips([late]) == tips([node])
    assert late.refusals
    assert {one.rule for one in late.refusals} <= {Rule.B1, Rule.B2}


def test_a_far_block_from_a_liar_keeps_nobody_from_going_on():
    nodes, liar = network_of(2), Gossip()
    lie = Block(ALICE.publicKey, 10**6, "ab" * 32, [])
    ALICE.sign(lie)
    liar.broadcast_object(lie)
    assert [obj for obj in liar.heard if isinstance(obj, int)] == [*range(1, 65)] * 2
    feed(nodes[1], ALICE, 50)
    assert [len(node.blockchain.blockList) for node in nodes] == [11, 11]
    assert len(tips(nodes)) == 1


def test_requests_nobody_answered_are_made_again_when_their_time_is_over(monkeypatch):
    nodes = network_of(1)
    feed(nodes[0], ALICE, 10)
    blocks = list(nodes[0].blockchain.blockList)
    rule = nodes[0].consensusAlgorithm
    Node.reset_network()
    alone = Recorder(Wallet(), rule)
    alone.new_block(blocks[2])
    assert alone.sent == [1]
    hour = blocks[2].timestamp + 3_600_000
    monkeypatch.setattr("tallystick.course.engine.reading", lambda: hour)
    alone.new_certificate(signed(BOB))
    assert alone.sent.count(1) == 2


# ---- many nodes -----------------------------------------------------------------------------------------------------


def test_three_hundred_nodes_agree_without_recursion():
    nodes = network_of(300)
    feed(nodes[7], ALICE, 5)
    assert {len(node.blockchain.blockList) for node in nodes} == {2}
    assert len(tips(nodes)) == 1
    assert all(len(box(node)) == 0 and node.refusals == [] for node in nodes)


def test_what_a_node_has_seen_is_dropped_at_the_post_and_what_was_changed_is_not():
    class Counting(BlockchainNode):
        received = 0

        def receive_object_from_node(self, obj, senderNodeIdentifier):
            self.received += 1
            super().receive_object_from_node(obj, senderNodeIdentifier)

    wallet = Wallet()
    nodes = [Counting(one, ProofOfStake(wallet.publicKey)) for one in (wallet, Wallet(), Wallet(), Wallet())]
    stranger = Gossip()
    nodes[0].new_certificate(signed(ALICE))
    assert [node.received for node in nodes] == [0, 1, 1, 1]
    (certificate, *_) = stranger.heard
    assert len(stranger.heard) == 4  # who keeps nothing has seen nothing
    certificate.signature = "00" * 64
    stranger.broadcast_object(certificate)
    assert [node.received for node in nodes] == [1, 2, 2, 2]
    assert [one.rule for node in nodes for one in node.refusals] == [Rule.C1] * 4
    feed(nodes[1], ALICE, 4)
    before = [node.received for node in nodes]
    stranger.broadcast_object(nodes[0].blockchain.blockList[1])
    stranger.broadcast_object(signed(ALICE))
    assert [node.received - count for node, count in zip(nodes, before, strict=True)] == [1, 1, 1, 1]


def test_a_students_own_names_are_taken_from_nobody():
    class Flooder(Node):
        def __init__(self, name):
            super().__init__(name)
            self.has_seen, self.got = set(), []

        def receive_object_from_node(self, obj, senderNodeIdentifier):
            if obj not in self.has_seen:
                self.has_seen.add(obj)
                self.got.append(obj)
                self.broadcast_object(obj)

    one, *others = [Flooder(name) for name in "abc"]
    one.broadcast_object("news")
    assert [node.got for node in others] == [["news"], ["news"]]


# ---- how it is used -------------------------------------------------------------------------------------------------


def test_a_nodes_own_broadcast_may_hand_it_the_next_thing():
    class Busy(BlockchainNode):
        more = 20

        def broadcast_object(self, obj):
            super().broadcast_object(obj)
            if self.more:
                self.more -= 1
                self.new_certificate(signed(BOB))

    wallet = Wallet()
    rule = ProofOfStake(wallet.publicKey)
    nodes = [Busy(wallet, rule), BlockchainNode(Wallet(), rule)]
    nodes[0].new_certificate(signed(ALICE))
    assert len(tips(nodes)) == 1
    assert len(nodes[0].blockchain.blockList) == 5
    assert len(box(nodes[0])) == 1
    assert all(node.blockchain.is_legit() for node in nodes)


def test_an_error_in_a_students_own_broadcast_reaches_them_and_the_node_goes_on():
    class Broken(BlockchainNode):
        def broadcast_object(self, obj):
            raise ZeroDivisionError("my own bug")

    wallet = Wallet()
    node = Broken(wallet, ProofOfStake(wallet.publicKey))
    for _ in range(4):
        with pytest.raises(ZeroDivisionError, match="my own bug"):
            node.new_certificate(signed(ALICE))
    with pytest.raises(ZeroDivisionError, match="my own bug"):
        node.new_certificate(signed(ALICE))
    assert len(node.blockchain.blockList) == 2
    assert node.blockchain.is_legit()


def test_a_node_from_before_the_reset_is_told_and_takes_nothing():
    (node,) = network_of(1)
    Node.reset_network()
    with pytest.raises(NetworkError, match="Make it anew"):
        node.new_certificate(signed(ALICE))
    with pytest.raises(NetworkError, match="Make it anew"):
        node.new_block(block_after(node.blockchain.blockList[0], node.wallet))
    assert len(box(node)) == 0
    assert len(node.blockchain.blockList) == 1


def test_a_block_refused_when_added_by_hand_is_passed_on_when_it_is_legal():
    nodes, listener = network_of(1), Gossip()
    genesis = nodes[0].blockchain.blockList[0]
    with pytest.raises(Refused):
        nodes[0].blockchain.add_block(block_after(genesis, ALICE))
    legal = block_after(genesis, nodes[0].wallet)
    assert nodes[0].new_block(legal)
    assert listener.heard == [legal]


def test_a_block_added_by_hand_stays_here():
    nodes, listener = network_of(1), Gossip()
    nodes[0].blockchain.add_block(block_after(nodes[0].blockchain.blockList[0], nodes[0].wallet))
    assert len(nodes[0].blockchain.blockList) == 2
    assert listener.heard == []


def test_one_wallet_has_one_node():
    wallet = Wallet()
    BlockchainNode(wallet, ProofOfStake(wallet.publicKey))
    with pytest.raises(NetworkError, match="another wallet"):
        BlockchainNode(wallet, ProofOfStake(wallet.publicKey))


@pytest.mark.parametrize("wallet", [None, "Alice", ALICE.publicKey, Wallet], ids=["none", "name", "key", "class"])
def test_a_node_needs_a_wallet(wallet):
    with pytest.raises(TypeError, match=r"needs a Wallet\(\)"):
        BlockchainNode(wallet, ProofOfStake(ALICE.publicKey))


@pytest.mark.parametrize("name", ["wallet", "blockchain"])
def test_what_a_node_is_made_of_stays(name):
    (node,) = network_of(1)
    with pytest.raises(AttributeError):
        setattr(node, name, None)


def test_blocks_made_by_hand_are_later_than_blocks_forged_in_haste():
    (node,) = network_of(1)
    for _ in range(30):
        feed(node, ALICE, 5)
        assert node.new_block(block_after(node.blockchain.get_latest_block(), node.wallet))


def test_the_clock_does_not_follow_a_block_from_the_far_future():
    (node,) = network_of(1)
    block = Block(node.wallet.publicKey, 1, node.blockchain.blockList[0].hash(), [])
    block.timestamp = 2**52
    node.wallet.sign(block)
    assert node.new_block(block)
    assert Certificate(ALICE.publicKey).timestamp < 2**50
