"""A thousand simulated nodes take a thousand certificates."""

import gc
import os
import re
import subprocess
import sys
import tarfile
import time
import tracemalloc
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from benchmarks.result import Absent, Figure, at_least, at_most, figure
from benchmarks.workload import ISSUERS, ledger, statements
from tallystick.course.lone_driver import LoneDriver
from tallystick.course.lone_forger import LoneForger
from tallystick.course.stake_rule import StakeRule
from tallystick.ledger.messages import Entry
from tallystick.ledger.wallet import Wallet
from tallystick.network.simulated import SimulatedNetwork
from tallystick.network.simulated_host import MakeAgreement

NODES = 1000
CERTIFICATES = 1000
PEERS = 6
ROUNDS = 3
EARLIER: Final = "05d02e7"
"""A commit before the simulator was made faster, with the same benchmark of 1,000 nodes."""

_EARLIER_RUN: Final = """
import sys
from benchmarks import simulator
simulator.NODES, simulator.CERTIFICATES = map(int, sys.argv[1:])
simulator.memory_per_node_bytes = lambda: 0
print(simulator.thousand_nodes())
"""


class Run(NamedTuple):
    """How many events it took, in how much processor time."""

    events: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Events."""
        return self.events / self.seconds


def thousand_nodes() -> Iterator[Figure | Absent]:
    """Events per second, in turn with an earlier simulator, and memory per node beyond what the nodes share."""
    with TemporaryDirectory(prefix="tallystick-bench-") as folder:
        is_there = _unpacked(Path(folder))
        pairs = [(_run(), _earlier(Path(folder)) if is_there else None) for _ in range(ROUNDS)]
    ours, theirs = [one for one, _ in pairs], [one for _, one in pairs if one is not None]
    what = f"{NODES:,} nodes of {PEERS} peers, {CERTIFICATES:,} certificates, one chain in the end"
    yield figure("events", what, [one.per_second for one in ours], "events/s")
    yield figure("whole", what, [one.seconds for one in ours], "s")
    if theirs:
        both = list(zip(ours, theirs, strict=True))
        what = f"events a second / those of commit {EARLIER}, in turn"
        yield figure("events / earlier", what, [new.per_second / old.per_second for new, old in both], goal=at_least(5))
        what = f"processor time of commit {EARLIER} for the same certificates / this one's, in turn"
        yield figure("whole / earlier", what, [old.seconds / new.seconds for new, old in both])
    else:
        yield Absent("events / earlier", f"git does not have commit {EARLIER} here")
    memory_kib = memory_per_node_bytes() / 1024
    yield figure("memory", "of each further node", [memory_kib], "KiB", goal=at_most(2_048))


def _run() -> Run:
    """All nodes take all certificates, once."""
    genesis = ledger(ISSUERS)
    network = SimulatedNetwork(genesis, seed=1)
    for number in range(NODES):
        network.add(f"node {number}", _forger(ISSUERS[number] if number < len(ISSUERS) else None))
    network.connect_some(PEERS)
    entries = [Entry(one) for one in statements(genesis, CERTIFICATES)]
    start = time.process_time()
    for number, entry in enumerate(entries):
        network.submit(f"node {number * 7 % NODES}", entry)
        if number % 5 == 4:
            network.run_for(1)
    assert network.run_until_quiet()
    seconds = time.process_time() - start
    assert len({host.node.state.tip.hash for host in network.hosts.values()}) == 1
    assert {host.node.state.log.size for host in network.hosts.values()} == {CERTIFICATES}
    return Run(network.happened, seconds)


def _unpacked(folder: Path) -> bool:
    """Put the earlier simulator there. Returns whether git has it."""
    command = ["git", "-C", str(Path(__file__).parent.parent), "archive", EARLIER, "src", "benchmarks"]
    try:
        archive = subprocess.run(command, check=True, capture_output=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return False
    with tarfile.open(fileobj=BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    return True


def _earlier(folder: Path) -> Run:
    """The same by the earlier simulator, which tells in words."""
    environment = {**os.environ, "PYTHONPATH": f"{folder / 'src'}{os.pathsep}{folder}"}
    command = [sys.executable, "-c", _EARLIER_RUN, str(NODES), str(CERTIFICATES)]
    told = subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout
    found = re.search(r"([\d,]+) events, ([\d,]+) events/s", told)
    assert found is not None, told
    happened, per_second = (int(one.replace(",", "")) for one in found.groups())
    return Run(happened, happened / per_second)


def memory_per_node_bytes() -> float:
    """What each further node adds with 1,000 certificates on its chain: (100 nodes - 20 nodes) / 80."""
    sizes = {}
    for count in (20, 100):
        gc.collect()
        tracemalloc.start()
        network = _settled(count)
        gc.collect()
        sizes[count] = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert len(network.hosts) == count
    return (sizes[100] - sizes[20]) / 80


def _settled(nodes: int) -> SimulatedNetwork:
    genesis = ledger(ISSUERS[:16])
    network = SimulatedNetwork(genesis, seed=2)
    for number in range(nodes):
        network.add(f"node {number}", _forger(ISSUERS[number] if number < 16 else None))
    network.connect_some(PEERS)
    for number, one in enumerate(statements(genesis, CERTIFICATES)):
        network.submit(f"node {number % nodes}", Entry(one))
    network.run_until_quiet()
    return network


def _forger(wallet: Wallet | None) -> MakeAgreement:
    """A host that forges with this key, or only follows."""
    return lambda host: LoneDriver(LoneForger(StakeRule(), host.guard(wallet) if wallet else None))
