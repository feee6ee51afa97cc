"""A thousand simulated nodes take a thousand certificates."""

import gc
import time
import tracemalloc
from collections.abc import Iterator

from benchmarks.result import Figure, at_most, figure
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


def thousand_nodes() -> Iterator[Figure]:
    """Events per second, and memory per node beyond what the nodes share."""
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
    tips = {host.node.state.tip.hash for host in network.hosts.values()}
    sizes = {host.node.state.log.size for host in network.hosts.values()}
    assert len(tips) == 1
    assert sizes == {CERTIFICATES}
    what = f"{NODES:,} nodes of {PEERS} peers, {CERTIFICATES:,} certificates, one chain in the end"
    yield figure("events", what, [network.happened / seconds], "events/s")
    yield figure("whole", what, [seconds], "s")
    memory_kib = memory_per_node_bytes() / 1024
    yield figure("memory", "of each further node", [memory_kib], "KiB", goal=at_most(2_048))


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
