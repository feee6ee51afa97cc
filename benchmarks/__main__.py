"""Run every benchmark, one after the other: `python -m benchmarks [NAME …]`."""

import sys

from benchmarks import (
    agreement,
    api,
    certificates,
    checkpoints,
    course,
    decisions,
    mirror,
    network,
    page,
    proofs,
    scale,
    simulator,
    store,
    traffic,
    transport,
    trie,
    verifier,
)

BENCHMARKS = {
    "verification": certificates.against_bare_verification,
    "verifier": verifier.in_worker_processes,
    "height": certificates.by_height,
    "course": course.against_the_straightforward_one,
    "agreement": agreement.hops_and_cost,
    "traffic": traffic.bytes_per_certificate,
    "transport": transport.against_bare_sockets,
    "simulator": simulator.thousand_nodes,
    "one-node": network.one_node,
    "four-nodes": network.four_nodes,
    "checkpoints": checkpoints.share_of_ingest,
    "latency": network.latency,
    "decisions": decisions.motions_and_rotations,
    "sync": network.sync,
    "reads": api.reads,
    "listeners": api.listeners,
    "search": api.search,
    "store": store.long_lived,
    "scale": scale.long_lived,
    "trie": trie.large,
    "proofs": proofs.of_a_million,
    "export": mirror.export,
    "tiles": mirror.tiles,
    "page": page.four_members,
}


def main() -> int:
    names = sys.argv[1:] or list(BENCHMARKS)
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are: {', '.join(BENCHMARKS)}")
        return 2
    for name in names:
        print(f"{name}: {BENCHMARKS[name]()}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
