"""What cosigning checkpoints takes of ingest: four real nodes that do, in turn with four that do not."""

import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.network import PARAMS, PER_ROUND, feed, statements_for
from benchmarks.workload import summary
from tallystick.__main__ import main
from tallystick.demo.local_network import COMMAND, LocalNetwork, NodeProcess
from tallystick.host.founding import found_here
from tallystick.node.checkpoints import Checkpoints

ROUNDS = 9
_WITHOUT = (sys.executable, "-m", "benchmarks.checkpoints")
_TICKS = 100
"""Of the processor times in /proc, a second (Linux)."""


def share_of_ingest() -> str:
    """Processor time that a certificate takes at four nodes, cosigning over without."""
    with _running(COMMAND) as cosigning, _running(_WITHOUT) as without:
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
    cosigned, plain = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratios = summary([one / other for one, other in pairs])
    return (
        f"processor time of ingest at four nodes, cosigning / without: {ratios}, goal < 1.03\n"
        f"  ({cosigned:.0f} and {plain:.0f} us a certificate and node; the last checkpoint is of {size:,})"
    )


@contextmanager
def _running(command: Sequence[str]) -> Iterator[LocalNetwork[NodeProcess]]:
    with TemporaryDirectory() as into:
        folders = found_here("bench", Path(into) / "net", 4, "", params=PARAMS)
        with LocalNetwork([NodeProcess(folder, command=command) for folder in folders]) as network:
            for node in network.nodes:
                node.launch("--log-level", "warning")
            network.wait_until_voting()
            yield network


def _spent_us(network: LocalNetwork[NodeProcess], number: int) -> float:
    """Processor time of all nodes and their workers, for each certificate of a round and node."""
    folders = [node.folder for node in network.nodes]
    certificates = statements_for(folders[0], PER_ROUND, number * PER_ROUND)
    before = _ticks(network)
    feed(folders, certificates)
    return 1e6 * (_ticks(network) - before) / _TICKS / PER_ROUND / len(folders)


def _ticks(network: LocalNetwork[NodeProcess]) -> int:
    sessions = {str(node.process.pid) for node in network.nodes if node.process is not None}
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[3] in sessions:
            total += int(fields[11]) + int(fields[12])
    return total


def _run_without() -> None:
    """The command, with nodes that never cosign."""
    Checkpoints.settle = lambda *_: None  # type: ignore[method-assign]
    main()


if __name__ == "__main__":
    _run_without()
