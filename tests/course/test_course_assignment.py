"""The assignment's own steps, in words of our own, and the flat modules under which it knows the classes."""

import random
import subprocess
import sys
from pathlib import Path

import pytest
from tests.course.people import box, signed, staked, tips

import tallystick.course as course
from tallystick.course import Block, BlockchainNode, Certificate, Node, ProofOfStake, Wallet

SCRIPTS = Path(__file__).parents[2] / "scripts"


def test_a_node_is_made_of_a_wallet_and_an_algorithm():
    wallet = Wallet()
    proof = ProofOfStake(wallet.publicKey)
    node = BlockchainNode(wallet, proof)
    assert node.wallet is wallet
    assert node.wallet.publicKey == proof.defaultForgerPublicKey
    assert node.consensusAlgorithm == proof
    assert node.nodeIdentifier not in (None, "")
    assert node.blockchain.is_legit()
    assert hasattr(node, "_BlockchainNode__certificateBox")


def _people():
    return [Wallet() for _ in range(4)]


def _submitted(person, fraud, alice):
    """The fraud signs in Alice's name."""
    return signed(person, Certificate((alice if person is fraud else person).publicKey))


def test_six_certificates_submitted_twice_one_of_them_a_fraud():
    people = alice, _, charlie, _ = _people()
    forger = Wallet()
    node = BlockchainNode(forger, ProofOfStake(forger.publicKey))
    fakes = []
    for number in range(6):
        person = people[number % 4]
        certificate = Certificate((alice if person is charlie else person).publicKey)
        certificate.timestamp = number
        person.sign(certificate)
        fakes += [certificate] if person is charlie else []
        node.new_certificate(certificate)
        node.new_certificate(certificate)
    assert len(node.blockchain.blockList) == 2
    assert len(box(node)) == 0
    assert [len(block.certificateList) for block in node.blockchain.blockList] == [0, 5]
    assert not any(fake in node.blockchain.blockList[1].certificateList for fake in fakes)


def test_of_twenty_blocks_two_are_legal():
    people = _people()
    forger = Wallet()
    node = BlockchainNode(forger, ProofOfStake(forger.publicKey))
    for _ in range(5):
        node.new_certificate(signed(people[0]))
    for _again in range(2):  # the cell can be executed again
        node.blockchain.blockList = node.blockchain.blockList[:2]
        for number in range(20):
            issuer = forger if number % 2 else people[0]
            parent = node.blockchain.blockList[number % len(node.blockchain.blockList)]
            certificates = [signed(people[place]) for place in range(4)]
            block = Block(issuer.publicKey, 2 + number % 5, parent.hash(), certificates)
            issuer.sign(block)
            node.new_block(block)
        assert len(node.blockchain.blockList) == 4
        assert node.blockchain.is_legit()


@pytest.mark.parametrize("deal", range(5))
def test_three_nodes_agree_and_so_does_one_that_is_late(deal):
    chance = random.Random(deal)
    people = alice, _, charlie, _ = _people()
    wallets = [Wallet() for _ in range(3)]
    proof = ProofOfStake(wallets[0].publicKey)
    nodes = [BlockchainNode(wallet, proof) for wallet in wallets]
    for place, amount in ((0, 2), (1, 1), (1, 1), (2, 1), (2, 1)):
        nodes[place].new_certificate(staked(wallets[place], amount))
    assert nodes[2].blockchain.stakes == {wallet.publicKey: 2 for wallet in wallets}
    for number in range(20):
        chance.choice(nodes).new_certificate(_submitted(people[number % 4], charlie, alice))
    assert len(tips(nodes)) == 1
    assert len(nodes[0].blockchain.blockList) == 5
    late = BlockchainNode(Wallet(), proof)
    for number in range(10):
        chance.choice(nodes).new_certificate(_submitted(people[number % 4], charlie, alice))
    assert len(tips([*nodes, late])) == 1
    assert len(late.blockchain.blockList) == 6
    assert sum(len(node.refusals) for node in nodes) == 7


FLAT = {
    "wallet": ["Wallet"],
    "certificate": ["Certificate"],
    "block": ["Block"],
    "blockchain": ["Blockchain"],
    "stake": ["StakingOperation"],
    "proof_of_stake": ["ProofOfStake"],
    "proof_of_work": ["ProofOfWork"],
    "node": ["BlockchainNode"],
    "network": ["Node"],
    "timestamp": ["now"],
}


def test_the_flat_modules_give_the_same_classes():
    # In a process of their own: module names such as `node` and `block` are anybody's.
    checks = [
        f"from {module} import {name}; assert {name} is course.{name}" for module in FLAT for name in FLAT[module]
    ]
    code = "\n".join(
        [f"import sys; sys.path.insert(0, {str(SCRIPTS)!r})", "import tallystick.course as course", *checks]
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
    files = {path.stem for path in SCRIPTS.glob("*.py")} | {path.parent.name for path in SCRIPTS.glob("*/__init__.py")}
    assert files == set(FLAT)
    assert {name for names in FLAT.values() for name in names} < set(course.__all__)


def test_the_network_begins_anew():
    wallet = Wallet()
    for _ in range(2):
        Node.reset_network()
        node = BlockchainNode(wallet, ProofOfStake(wallet.publicKey))
        assert len(node.blockchain.blockList) == 1
