"""Simplex over links of 50 ms: block time and finality in network hops, and processor time a block by members."""

import statistics
import time
from collections.abc import Iterator
from itertools import pairwise

from benchmarks.result import Figure, at_most, figure
from benchmarks.workload import HOP_MS, MEMBERS, cpu_seconds, ledger, member_wallets, statements
from tallystick.host.verification import verify_in_line
from tallystick.ledger.messages import Entry
from tallystick.ledger.params import Params
from tallystick.ledger.vote import FINALIZE, NOTARIZE, Ballot, cast
from tallystick.network.simulated import Link, SimulatedNetwork
from tallystick.network.simulated_host import member
from tallystick.node.events import Report, ReportBlock

BLOCKS = 20
ROUNDS = 5


def hops_and_cost() -> Iterator[Figure]:
    """Of ledgers with ever more members."""
    what, hops = f"Simplex in the simulator over links of {HOP_MS} ms", at_most(3.1)
    for members in MEMBERS:
        between, final, seconds = _run(members)
        yield figure("block every", what, [between], "hops", goal=hops, at=members)
        yield figure("final after", what, [final], "hops", goal=hops, at=members)
        yield figure("cost", f"{what}, a block and member, without verification", [1000 * seconds], "ms", at=members)
        yield figure(
            "votes", "verifying those of a block at one member, each for itself", _votes_ms(members), "ms", at=members
        )


def _votes_ms(members: int) -> list[float]:
    """Processor time of verifying two votes of each other member as they come."""
    wallets = member_wallets(members)
    ledger_id = ledger(wallets).ledger_id
    ballots = [Ballot(kind, 0, 1, ledger_id) for kind in (NOTARIZE, FINALIZE)]
    votes = [cast(wallet, ledger_id, ballot) for ballot in ballots for wallet in wallets[1:]]
    claims = [(one.ballot.signed_bytes(ledger_id), one.signature, one.member) for one in votes]
    return [1000 * cpu_seconds(lambda: [verify_in_line([one]) for one in claims]) for _ in range(ROUNDS)]


def _run(members: int) -> tuple[float, float, float]:
    wallets = member_wallets(members)
    genesis = ledger(wallets, Params(max_block_certificates=8))
    network = SimulatedNetwork(genesis, seed=1, link=Link(HOP_MS, HOP_MS))
    proposed: dict[int, int] = {}
    finality: list[float] = []

    def note(now_ms: int, name: str, report: Report) -> None:
        if isinstance(report, ReportBlock):
            proposed[report.block.index] = report.block.header.timestamp_ms
            finality.append((now_ms - report.block.header.timestamp_ms) / HOP_MS)

    network.on_report = note
    for number, wallet in enumerate(wallets):
        network.add(f"member {number}", member(wallet))
    network.connect_all()
    network.run_for(1_000)
    # Every member has every certificate from the start, so that a block never waits for gossip.
    for one in statements(genesis, BLOCKS * 8):
        network.submit("member 0", Entry(one))
    network.run_for(2 * HOP_MS)
    start = time.process_time()
    assert network.run_until(lambda: len(proposed) >= BLOCKS and len(finality) == members * len(proposed), 600_000)
    seconds = time.process_time() - start
    times = [proposed[index] for index in sorted(proposed)]
    between = statistics.median(later - earlier for earlier, later in pairwise(times))
    return between / HOP_MS, statistics.median(finality), seconds / len(times) / members
