import threading
from typing import Any

import pytest
from tests.course.people import Diploma, block_after, box, feed, network_of, signed, staked, tips

from tallystick.course import Block, Blockchain, BlockchainNode, Node, ProofOfStake, ProofOfWork, Refused, Wallet
from tallystick.ledger.errors import Rule

ALICE, BOB = Wallet(), Wallet()


# ---- Proof of Stake -------------------------------------------------------------------------------------------------


def test_the_default_forger_forges_as_long_as_nobody_has_stake():
    proof, chain = ProofOfStake(ALICE.publicKey), Blockchain()
    assert proof.defaultForgerPublicKey == ALICE.publicKey
    assert proof.is_next_block_forger_legit(chain.blockList, block_after(chain.blockList[0], ALICE))
    assert not proof.is_next_block_forger_legit(chain.blockList, block_after(chain.blockList[0], BOB))
    proof.defaultForgerPublicKey = BOB.publicKey
    assert proof.is_next_block_forger_legit(chain.blockList, block_after(chain.blockList[0], BOB))


def test_who_has_all_the_stake_forges_whatever_the_list_is_made_of():
    proof, chain = ProofOfStake(ALICE.publicKey), Blockchain()
    chain.add_block(block_after(chain.blockList[0], ALICE, [staked(BOB, 1)]))
    for blocks in (chain.blockList, list(chain.blockList), chain.blockList[:], tuple(chain.blockList)):
        assert proof.is_next_block_forger_legit(blocks, block_after(chain.blockList[1], BOB))
        assert not proof.is_next_block_forger_legit(blocks, block_after(chain.blockList[1], ALICE))
    assert proof.is_next_block_forger_legit(chain.blockList[:1], block_after(chain.blockList[0], ALICE))


def test_nobody_is_legit_after_a_list_that_is_no_chain():
    proof, chain = ProofOfStake(ALICE.publicKey), Blockchain()
    chain.add_block(block_after(chain.blockList[0], ALICE))
    following = block_after(chain.blockList[1], ALICE)
    assert proof.is_next_block_forger_legit(list(chain.blockList), following)
    no_chains: list[Any] = [[], chain.blockList[1:], ["text"], [*chain.blockList, chain.blockList[1]]]
    for blocks in no_chains:
        assert not proof.is_next_block_forger_legit(blocks, following)
    assert not proof.is_next_block_forger_legit(chain.blockList, Block("nonsense", 2, "", []))


def test_blocks_are_shared_out_by_stake():
    nodes = network_of(3)
    for node, stake in zip(nodes, (6, 3, 1), strict=True):
        node.new_certificate(staked(node.wallet, stake))
    feed(nodes[0], ALICE, 2)
    feed(nodes[1], ALICE, 600)
    blocks = nodes[2].blockchain.blockList[2:]
    shares = [sum(block.issuerPublicKey == node.wallet.publicKey for block in blocks) / len(blocks) for node in nodes]
    assert len(blocks) == 120
    assert shares == pytest.approx([0.6, 0.3, 0.1], abs=0.2)  # over four standard deviations
    assert len(tips(nodes)) == 1


@pytest.mark.parametrize("key", [None, "", "Alice", 5, ALICE])
def test_a_default_forger_that_is_no_key_is_refused(key):
    with pytest.raises(Refused, match=r"defaultForgerPublicKey is .*; it has to be a wallet's publicKey"):
        ProofOfStake(key)


# ---- Proof of Work --------------------------------------------------------------------------------------------------


def test_mining_finds_a_nonce_that_shows_the_work():
    proof, chain = ProofOfWork(300), Blockchain(ProofOfWork(300))
    block = Block(ALICE.publicKey, 1, chain.blockList[0].hash(), [signed(BOB)])
    assert proof.mine(block)
    assert int(block.hash(), 16) < 2**256 // 300
    assert proof.is_next_block_forger_legit(chain.blockList, block)
    ALICE.sign(block)
    chain.add_block(block)
    lazy = next(one for one in iter(lambda: block_after(block, ALICE), None) if int(one.hash(), 16) >= 2**256 // 300)
    assert not proof.is_next_block_forger_legit(chain.blockList, lazy)
    with pytest.raises(Refused, match="B4"):
        chain.add_block(lazy)


def test_mining_stops_when_told_to():
    proof, calls = ProofOfWork(2**200), []
    block = Block(ALICE.publicKey, 1, "ab" * 32, [])

    def is_told():
        calls.append(1)
        return len(calls) == 3

    assert not proof.mine(block, is_told)
    assert (len(calls), block.nonce) == (3, 0)
    proof.stop()
    assert not proof.mine(block)


def test_a_node_forges_by_work_in_steps_and_without_recursion():
    nodes = network_of(3, ProofOfWork(20_000))  # about ten steps
    feed(nodes[1], ALICE, 5)
    assert [len(node.blockchain.blockList) for node in nodes] == [2, 2, 2]
    assert len(tips(nodes)) == 1
    assert nodes[0].blockchain.get_latest_block().issuerPublicKey == nodes[1].wallet.publicKey
    assert int(nodes[0].blockchain.get_latest_block().hash(), 16) < 2**256 // 20_000
    assert all(node.blockchain.is_legit() for node in nodes)


def test_a_node_stops_mining_when_told_to_and_goes_on_later():
    proof = ProofOfWork(2**200)
    (node,) = network_of(1, proof)
    threading.Timer(0.05, proof.stop).start()
    feed(node, ALICE, 5)  # would mine for ever
    assert len(node.blockchain.blockList) == 1
    assert len(box(node)) == 5
    feed(node, ALICE, 1)
    proof.difficulty = 10
    proof.resume()
    feed(node, ALICE, 1)
    assert len(node.blockchain.blockList) > 1
    assert node.blockchain.is_legit()


def test_difficulty_can_be_adjusted_and_nonsense_is_refused():
    proof = ProofOfWork(10)
    proof.difficulty = 20
    assert proof.difficulty == 20
    for nonsense in (0, -1, 1.5, True, "20", None, 2**256):
        with pytest.raises(ValueError, match="a difficulty is a whole number from 1"):
            proof.difficulty = nonsense  # type: ignore[assignment]
    with pytest.raises(ValueError, match="a difficulty is a whole number from 1"):
        ProofOfWork(0)
    assert proof.difficulty == 20


# ---- a student's own ------------------------------------------------------------------------------------------------


class InTurn:
    """The nodes forge one after the other, by the block's index; it looks at all it is given."""

    def __init__(self, wallets):
        self.keys = [wallet.publicKey for wallet in wallets]
        self.asked = []

    def is_next_block_forger_legit(self, blockList, block):
        assert [one.index for one in blockList] == list(range(block.index))
        assert block.parentBlockHash == blockList[-1].hash() == blockList[len(blockList) - 1].hash()
        self.asked.append((block.index, len(block.certificateList)))
        return block.issuerPublicKey == self.keys[block.index % len(self.keys)]


def _in_turn(count):
    wallets = [Wallet() for _ in range(count)]
    rule = InTurn(wallets)
    return rule, [BlockchainNode(wallet, rule) for wallet in wallets]


def test_a_students_own_algorithm_decides_who_forges():
    rule, nodes = _in_turn(3)
    certificates = [
        signed(ALICE, Diploma(ALICE.publicKey, "Bob", [number])) if number % 2 else signed(ALICE)
        for number in range(30)
    ]
    assert all(nodes[number % 3].new_certificate(one) for number, one in enumerate(certificates))
    issuers = [block.issuerPublicKey for block in nodes[0].blockchain.blockList[1:]]
    assert issuers == [rule.keys[index % 3] for index in range(1, 7)]
    assert len(tips(nodes)) == 1
    assert all(certificates_asked_about >= 5 for _, certificates_asked_about in rule.asked)
    assert all(node.blockchain.is_legit() for node in nodes)
    wrong = block_after(nodes[0].blockchain.get_latest_block(), ALICE)
    assert not nodes[0].new_block(wrong)
    assert nodes[0].refusals[-1].rule is Rule.B4
    assert "InTurn does not let" in str(nodes[0].refusals[-1])


def test_a_late_joiner_asks_a_students_own_algorithm_about_each_block_in_its_turn():
    rule, nodes = _in_turn(2)
    feed(nodes[0], ALICE, 40)
    late = BlockchainNode(Wallet(), rule)
    feed(nodes[0], ALICE, 5)
    assert tips([late]) == tips(nodes)
    late.blockchain.blockList = late.blockchain.blockList[:4]
    feed(nodes[0], ALICE, 5)
    assert tips([late]) == tips(nodes)


def test_blocks_set_aside_are_judged_with_the_list_that_they_follow():
    _, nodes = _in_turn(1)
    feed(nodes[0], ALICE, 30)
    blocks = list(nodes[0].blockchain.blockList)
    nodes[0].blockchain.blockList = blocks[:1]
    for block in reversed(blocks[1:]):
        nodes[0].new_block(block)
    assert nodes[0].blockchain.blockList == blocks


def test_fields_are_kept_when_blocks_that_waited_are_judged_one_after_the_other():
    rule, nodes = _in_turn(1)
    diplomas = [signed(ALICE, Diploma(ALICE.publicKey, "Bob", [number])) for number in range(10)]
    assert all(nodes[0].new_certificate(diploma) for diploma in diplomas)
    _, first, second = nodes[0].blockchain.blockList
    Node.reset_network()
    other = BlockchainNode(Wallet(), rule)
    other.new_certificate(diplomas[0])
    other.new_block(second)
    assert other.new_block(first)
    assert [one.grades for one in other.blockchain.blockList[1].certificateList] == [[0], [1], [2], [3], [4]]
    assert other.blockchain.blockList == nodes[0].blockchain.blockList
    assert other.blockchain.is_legit()


def test_a_subclass_may_judge_otherwise_and_ask_its_parent():
    class OnlyWithBob(ProofOfStake):
        def is_next_block_forger_legit(self, blockList, block):
            issuers = {one.issuerPublicKey for one in block.certificateList}
            return BOB.publicKey in issuers and super().is_next_block_forger_legit(blockList, block)

    wallet = Wallet()
    nodes = [BlockchainNode(one, OnlyWithBob(wallet.publicKey)) for one in (wallet, Wallet())]
    feed(nodes[1], ALICE, 7)
    assert len(nodes[0].blockchain.blockList) == 1
    feed(nodes[1], BOB, 1)
    assert [len(node.blockchain.blockList[1].certificateList) for node in nodes] == [8, 8]


def test_a_subclass_of_proof_of_work_is_asked_about_each_nonce():
    class EvenHash(ProofOfWork):
        def is_next_block_forger_legit(self, blockList, block):
            return block.hash()[-1] == "7" and block.nonce < 500

    nodes = network_of(2, EvenHash(1))
    feed(nodes[0], ALICE, 10)
    assert [block.hash()[-1] for block in nodes[1].blockchain.blockList[1:]] == ["7", "7"]
    assert nodes[1].blockchain.is_legit()


def test_one_object_may_be_given_another_judgement():
    proof = ProofOfStake(ALICE.publicKey)
    proof.is_next_block_forger_legit = lambda blockList, block: True  # type: ignore[method-assign]
    nodes = network_of(2, proof)
    feed(nodes[1], ALICE, 5)
    assert nodes[0].blockchain.get_latest_block().issuerPublicKey == nodes[1].wallet.publicKey


def test_a_block_that_was_said_yes_to_is_forged_and_not_asked_about_again():
    class YesOnce:
        said = False

        def is_next_block_forger_legit(self, blockList, block):
            yes, self.said = not self.said, True
            return yes

    (node,) = network_of(1, YesOnce())
    feed(node, ALICE, 10)
    assert [len(block.certificateList) for block in node.blockchain.blockList] == [0, 5]
    assert len(box(node)) == 5


def test_an_error_in_a_students_own_algorithm_reaches_them_and_the_node_goes_on():
    class Broken:
        broken = True

        def is_next_block_forger_legit(self, blockList, block):
            if self.broken:
                raise ZeroDivisionError("my own bug")
            return True

    rule = Broken()
    nodes = network_of(2, rule)
    feed(nodes[0], ALICE, 4)
    last = signed(ALICE)
    with pytest.raises(ZeroDivisionError, match="my own bug"):
        nodes[0].new_certificate(last)
    assert [len(box(node)) for node in nodes] == [5, 5]
    with pytest.raises(ZeroDivisionError, match="my own bug"):
        nodes[0].new_block(block_after(nodes[0].blockchain.blockList[0], BOB))
    rule.broken = False
    feed(nodes[0], ALICE, 1)
    assert [len(node.blockchain.blockList) for node in nodes] == [2, 2]
    rule.broken = True
    with pytest.raises(ZeroDivisionError):
        nodes[0].blockchain.is_legit()


def test_a_subclass_that_forgets_its_parents_init_is_told():
    class Forgetful(ProofOfStake):
        def __init__(self):
            pass

    with pytest.raises(TypeError, match=r"Forgetful is not ready: its __init__ has to call super\(\).__init__"):
        BlockchainNode(Wallet(), Forgetful())


@pytest.mark.parametrize("algorithm", [None, 5, "ProofOfStake", ProofOfStake(ALICE.publicKey).rule])
def test_what_is_no_algorithm_is_refused_and_joins_no_network(algorithm):
    wallet = Wallet()
    with pytest.raises(TypeError, match=r"needs a (consensus algorithm|method)"):
        BlockchainNode(wallet, algorithm)
    BlockchainNode(wallet, ProofOfStake(wallet.publicKey))


def test_an_attempt_of_the_algorithm_before_is_given_up():
    (node,) = network_of(1, ProofOfWork(2**200))
    threading.Timer(0.05, node.consensusAlgorithm.stop).start()
    feed(node, ALICE, 5)
    node.consensusAlgorithm = ProofOfStake(node.wallet.publicKey)
    feed(node, ALICE, 1)
    assert [len(block.certificateList) for block in node.blockchain.blockList] == [0, 6]


def test_the_algorithm_can_be_replaced():
    nodes = network_of(2)
    for node in nodes:
        node.consensusAlgorithm = ProofOfStake(nodes[1].wallet.publicKey)
    assert node.consensusAlgorithm == node.blockchain.consensusAlgorithm
    feed(nodes[0], ALICE, 5)
    assert nodes[0].blockchain.get_latest_block().issuerPublicKey == nodes[1].wallet.publicKey
    with pytest.raises(TypeError):
        node.consensusAlgorithm = "nonsense"
    assert isinstance(node.consensusAlgorithm, ProofOfStake)
