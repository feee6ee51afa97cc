"""Measure, keep what was measured, and write it into docs/performance.md.

python -m benchmarks [NAME …]    run these, or all of them
python -m benchmarks --quick     run those that take a minute or two at most, with fewer rounds where they have them
python -m benchmarks --document  write the tables and plots of docs/performance.md from what is kept; nothing runs

Each run writes benchmarks/results/NAME.json, and ends with a table of figures, targets and whether they are met.
"""

import argparse
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from benchmarks import (
    agreement,
    api,
    batches,
    certificates,
    checkpoints,
    course,
    decisions,
    document,
    hops,
    length,
    mirror,
    network,
    page,
    peers,
    proofs,
    scale,
    simulator,
    stages,
    table,
    traffic,
    transport,
    trie,
    verifier,
)
from benchmarks.result import Absent, Figure, Result, read_results, result
from tallystick.demo.local_network import terminated_like_interrupted

FAILED = "the rest"
"""What is absent of a benchmark that failed."""

Run = Callable[[], Iterable[Figure | Absent]]


class Benchmark(NamedTuple):
    """How it is run, and how among the quick ones, if it is one of them."""

    run: Run
    quick: Run | None = None


def _quick(run: Run) -> Benchmark:
    return Benchmark(run, run)


BENCHMARKS = {
    "one-node": _quick(network.one_node),
    "four-nodes": _quick(network.four_nodes),
    "throughput": Benchmark(partial(peers.throughput, 5, 32_768), partial(peers.throughput, 3, 12_288)),
    "latency": Benchmark(partial(peers.latency, 5, 40), partial(peers.latency, 2, 15)),
    "hops": Benchmark(partial(hops.of_a_lone_certificate, 200), partial(hops.of_a_lone_certificate, 60)),
    "one-dead": Benchmark(partial(peers.one_dead, 3, 400), partial(peers.one_dead, 1, 300)),
    "sync": _quick(partial(network.sync, 100_000, 5)),
    "sync-million": Benchmark(partial(network.sync, 1_000_000, 3)),
    "beside-verifying": _quick(network.beside_verifying),
    "length": Benchmark(partial(length.by_length, (10_240, 102_400, 1_024_000)), partial(length.by_length, (51_200,))),
    "scale": Benchmark(partial(scale.long_lived, scale.CERTIFICATES)),
    "scale-ten-million": Benchmark(partial(scale.long_lived, 10 * scale.CERTIFICATES)),
    "verification": _quick(certificates.against_bare_verification),
    "verifier": _quick(verifier.in_worker_processes),
    "height": Benchmark(certificates.by_height),
    "batch": _quick(certificates.by_batch),
    "native": _quick(batches.natively),
    "stages": Benchmark(stages.of_a_certificate),
    "course": Benchmark(course.against_the_straightforward_one),
    "agreement": Benchmark(agreement.hops_and_cost),
    "traffic": Benchmark(traffic.bytes_per_certificate),
    "transport": Benchmark(transport.against_bare_sockets),
    "simulator": Benchmark(simulator.thousand_nodes),
    "checkpoints": Benchmark(checkpoints.share_of_ingest),
    "decisions": Benchmark(decisions.motions_and_rotations),
    "reads": Benchmark(api.reads),
    "listeners": Benchmark(api.listeners),
    "search": Benchmark(api.search),
    "trie": Benchmark(trie.large),
    "proofs": Benchmark(proofs.of_a_million),
    "export": Benchmark(mirror.export),
    "tiles": Benchmark(mirror.tiles),
    "page": Benchmark(page.four_members),
}


def main() -> int:
    """Do what the command line asks for; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Speed, as ratios within one run.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHMARKS)}")
    parser.add_argument("--quick", action="store_true", help="those that take a minute or two at most")
    parser.add_argument("--document", action="store_true", help="write docs/performance.md from what is kept")
    asked = parser.parse_args()
    if unknown := [name for name in asked.names if name not in BENCHMARKS]:
        parser.error(f"no benchmark {', '.join(unknown)}; there are: {', '.join(BENCHMARKS)}")
    if asked.document:
        document.write()
        print(table.text(read_results(), only_targets=True))
        return 0
    with terminated_like_interrupted():  # so that no node or peer outlives its benchmark
        results = [_measured(name, asked.quick) for name in _chosen(asked.names, is_quick=asked.quick)]
    print(f"\n{table.text(results, only_targets=True)}")
    return int(any(gap.name == FAILED for one in results for gap in one.absent))


def _chosen(names: list[str], *, is_quick: bool) -> list[str]:
    return [name for name in names or BENCHMARKS if not is_quick or BENCHMARKS[name].quick is not None]


def _measured(name: str, is_quick: bool) -> Result:
    one = BENCHMARKS[name]
    run = one.quick if is_quick and one.quick is not None else one.run
    print(f"{name} …", flush=True)
    began_s = time.monotonic()
    taken: list[Figure | Absent] = []
    try:
        taken.extend(run())
    except Exception as error:  # whatever it is, the others are measured
        traceback.print_exc()
        taken.append(Absent(FAILED, f"it failed with {type(error).__name__}"))
    measured = result(name, taken, is_quick=run is not one.run)
    measured.write()
    print(f"{table.text([measured])}\n({time.monotonic() - began_s:.0f} s)\n", flush=True)
    return measured


if __name__ == "__main__":
    sys.exit(main())
