"""Three course nodes, beside a straightforward implementation of the assignment, at the same work."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from benchmarks import straightforward
from benchmarks.result import Figure, at_least, at_most, figure
from benchmarks.workload import cpu_seconds
from tallystick import course

ROUNDS = {250: 5, 500: 3, 1000: 3}
"""Rounds by the length of a chain: the baseline takes seconds for a long one."""
MANY_NODES = 300


class Network(NamedTuple):
    """Three nodes of one kind, and how to make a signed certificate and to read a chain's length with it."""

    nodes: list[Any]
    certificate: Callable[[], Any]
    chain_length: Callable[[Any], int]


def against_the_straightforward_one() -> Iterator[Figure]:
    """Certificates per second of three nodes, ours over the baseline's, in turn, for chains of growing length."""
    what = "three course nodes / a straightforward implementation of the assignment, certificates a second"
    for count, rounds in ROUNDS.items():
        pairs = [(_seconds(_straightforward_nodes(), count), _seconds(_course_nodes(), count)) for _ in range(rounds)]
        ratios, rates = [theirs / ours for theirs, ours in pairs], [count / ours for _, ours in pairs]
        yield figure("ours / straightforward", what, ratios, goal=at_least(60), at=count)
        yield figure("ours", "certificates of three course nodes", rates, "certificates/s", at=count)
    what = f"processor time until each of {MANY_NODES} course nodes has a certificate that one was handed"
    yield figure("many nodes", what, [_one_certificate_seconds() for _ in range(3)], "s", goal=at_most(0.3))


def _one_certificate_seconds() -> float:
    """Processor time until each of many nodes has a certificate that one of them was handed; all pass it on to all."""
    network = _course_nodes(MANY_NODES)
    certificate = network.certificate()
    return cpu_seconds(lambda: network.nodes[0].new_certificate(certificate))


def _seconds(network: Network, count: int) -> float:
    certificates = [network.certificate() for _ in range(count)]

    def feed() -> None:
        for number, certificate in enumerate(certificates):
            network.nodes[number % 3].new_certificate(certificate)

    seconds = cpu_seconds(feed)
    # Block 0, the block with the stakes, and five certificates in each further block.
    assert [network.chain_length(node) for node in network.nodes] == [2 + count // 5] * 3
    return seconds


def _signed(wallet: Any, certificate: Any) -> Any:
    wallet.sign(certificate)
    return certificate


def _straightforward_nodes() -> Network:
    kit = straightforward
    wallets = [kit.Wallet() for _ in range(3)]
    consensus = kit.ProofOfStake(wallets[0].public_key)
    nodes = [kit.Node(wallet, consensus) for wallet in wallets]
    for node in nodes:
        node.others = [other for other in nodes if other is not node]
    for number in range(5):
        wallet = wallets[number % 3]
        nodes[number % 3].new_certificate(_signed(wallet, kit.StakingOperation(wallet.public_key, 2)))
    person = kit.Wallet()
    return Network(
        nodes,
        lambda: _signed(person, kit.Certificate(person.public_key)),
        lambda node: len(node.blockchain.blocks),
    )


def _course_nodes(count: int = 3) -> Network:
    course.Node.reset_network()
    wallets = [course.Wallet() for _ in range(count)]
    consensus = course.ProofOfStake(wallets[0].publicKey)
    nodes = [course.BlockchainNode(wallet, consensus) for wallet in wallets]
    for number in range(5):
        wallet = wallets[number % 3]
        nodes[number % 3].new_certificate(_signed(wallet, course.StakingOperation(wallet.publicKey, 2)))
    person = course.Wallet()
    return Network(
        nodes,
        lambda: _signed(person, course.Certificate(person.publicKey)),
        lambda node: len(node.blockchain.blockList),
    )
