"""The store of a long-lived node: its start, memory, size and rate of appending, with a million certificates in it."""

import json
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from benchmarks.workload import ISSUERS, ledger, statements
from tallystick.course.lone_driver import LoneDriver
from tallystick.course.lone_forger import LoneForger
from tallystick.course.stake_rule import StakeRule
from tallystick.ledger.block import Block, VerifiedBlock, verified
from tallystick.ledger.blockchain import Blockchain
from tallystick.ledger.encoding import encode
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.keys import Domain
from tallystick.ledger.transition import make_header
from tallystick.ledger.vote import FINALIZE, Ballot, Tally, cast, tally_of
from tallystick.network.replay import replayed
from tallystick.node.events import PersistBlock
from tallystick.node.node import Node
from tallystick.storage.store import Store

CERTIFICATES = 1_000_000
BLOCK = 256
STARTS = 5
STRETCH = 10_000
MEMBERS = 4


def long_lived() -> str:
    """Figures of one store as it grows to `CERTIFICATES`, and of a node that starts from it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        genesis = ledger(ISSUERS[:MEMBERS])
        early, late, encoded_bytes, voted_bytes = _fill(path, genesis)
        opened = [_seconds_to_open(path) for _ in range(STARTS)]
        starts = [_start(path) for _ in range(STARTS)]
        size_bytes = path.stat().st_size
    started, bare = statistics.median(one["start"] for one in starts), statistics.median(opened)
    held = max(one["held_bytes"] for one in starts)
    return (
        f"start with {CERTIFICATES:,} certificates: {started:.2f} s (interpreter and imports "
        f"{statistics.median(one['imports'] for one in starts):.2f} s more), goal < 2; "
        f"SQLite's own open {1000 * bare:.1f} ms\n"
        f"  process that holds the node: {held / 1e6:.0f} MB, goal <= 300\n"
        f"  file / encoded certificates: {size_bytes / encoded_bytes:.2f}, goal <= 1.50; "
        f"{(size_bytes - voted_bytes) / encoded_bytes:.2f} without the votes of {MEMBERS} members\n"
        f"  appending, durable, blocks of {BLOCK}: {early:,.0f} certificates/s up to {STRETCH:,}, {late:,.0f} at the "
        f"end: {late / early:.2f}"
    )


def _fill(path: Path, genesis: Genesis) -> tuple[float, float, int, int]:
    """Early and late certificates a second; bytes of the encoded certificates, and of the finalizations."""
    rates: list[float] = []
    encoded_bytes = voted_bytes = 0
    chain = Blockchain(genesis, LoneForger(StakeRule()).check_forger)
    with Store.create(path, genesis) as store:
        seconds, count = 0.0, 0
        for block in _blocks(chain):
            chain.append(block)
            votes = _finalization(chain, block)
            encoded_bytes += sum(len(one.encoded) for one in block.certificates)
            voted_bytes += len(encode(votes))
            start = time.perf_counter()
            store.append(PersistBlock(block, (), votes))
            if store.is_snapshot_due:
                store.keep_snapshot(chain)
            seconds += time.perf_counter() - start
            count += len(block.certificates)
            if count >= STRETCH:
                rates.append(count / seconds)
                seconds, count = 0.0, 0
        store.keep_snapshot(chain)
    return rates[0], statistics.median(rates[-5:]), encoded_bytes, voted_bytes


def _blocks(chain: Blockchain) -> Iterator[VerifiedBlock]:
    wallets = {one.public_key: one for one in ISSUERS}
    for first in range(0, CERTIFICATES, BLOCK):
        chosen = statements(chain.genesis, min(BLOCK, CERTIFICATES - first), first)
        drawn = StakeRule().forger_after(chain.state)
        assert drawn is not None
        header = make_header(chain.state, chain.state.index + 1, 0, drawn, chosen)  # dated just after the tip
        signature = wallets[drawn].sign(Domain.BLOCK, header.ledger_id, header.encoded)
        yield verified(Block(header, signature, tuple(chosen)))


def _finalization(chain: Blockchain, block: Block) -> Tally:
    """Votes of all members; the store keeps them, whatever they are worth."""
    ballot = Ballot(FINALIZE, 0, block.header.view, block.hash)
    return tally_of([cast(one, chain.ledger_id, ballot) for one in ISSUERS[:MEMBERS]])


def _seconds_to_open(path: Path) -> float:
    start = time.perf_counter()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("SELECT max(block_index) FROM blocks").fetchall()
    return time.perf_counter() - start


def _start(path: Path) -> dict[str, float]:
    """A node in a process of its own."""
    begun = time.time()
    command = [sys.executable, "-m", "benchmarks.store", str(path), str(begun)]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))


def _in_process(path: Path, begun: float) -> dict[str, float]:
    imported, start = time.time(), time.perf_counter()
    with Store.open(path) as store:
        agreement = LoneDriver(LoneForger(StakeRule()))
        node = Node(replayed(store.genesis, agreement.check_forger, store), agreement, archive=store)
        seconds = time.perf_counter() - start
        assert len(node.chain.certificate_index) == node.state.log.size == CERTIFICATES
    held = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"imports": imported - begun, "start": seconds, "held_bytes": held}


if __name__ == "__main__":
    print(json.dumps(_in_process(Path(sys.argv[1]), float(sys.argv[2]))))
