"""What cosigning checkpoints takes of ingest: four real nodes that do, in turn with four that do not."""

import sys
from collections.abc import Iterator

from benchmarks.network import PER_ROUND, feed, running_network, sessions_of, statements_for
from benchmarks.processes import spent_s
from benchmarks.result import Figure, at_most, figure
from tallystick.__main__ import main
from tallystick.demo.local_network import LocalNetwork, NodeProcess
from tallystick.node.checkpoints import Checkpoints

ROUNDS = 9
_WITHOUT = (sys.executable, "-m", "benchmarks.checkpoints")


def share_of_ingest() -> Iterator[Figure]:
    """Processor time that a certificate takes at four nodes, cosigning over without."""
    with running_network(4) as cosigning, running_network(4, _WITHOUT) as without:
        for network in (cosigning, without):
            _spent_us(network, 0)
        pairs = [
            (_spent_us(cosigning, number), _spent_us(without, number))
            if number % 2
            else (_spent_us(without, number), _spent_us(cosigning, number))[::-1]
            for number in range(1, ROUNDS + 1)
        ]
        with cosigning.nodes[0].client() as client:
            size = client.checkpoint().log_size
    assert size
    what = "processor time of ingest at four nodes"
    ratios = [one / other for one, other in pairs]
    yield figure("cosigning / without", f"{what}, members cosigning checkpoints / not", ratios, goal=at_most(1.03))
    yield figure("cosigning", f"{what}, a certificate and node", [one for one, _ in pairs], "µs")


def _spent_us(network: LocalNetwork[NodeProcess], number: int) -> float:
    """Processor time of all nodes and their workers, for each certificate of a round and node."""
    folders = [node.folder for node in network.nodes]
    certificates = statements_for(folders[0], PER_ROUND, number * PER_ROUND)
    before_s = spent_s(sessions_of(network))
    feed(folders, certificates)
    return 1e6 * (spent_s(sessions_of(network)) - before_s) / PER_ROUND / len(folders)


def _run_without() -> None:
    """The command, with nodes that never cosign."""
    Checkpoints.settle = lambda *_: None  # type: ignore[method-assign]
    main()


if __name__ == "__main__":
    _run_without()
