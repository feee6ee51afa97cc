"""The store of a long-lived node: its start, memory, size and rate of appending, with a million certificates in it."""

import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from benchmarks.processes import most_held_bytes
from benchmarks.result import Figure, at_most, figure
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
LENGTHS = (10_240, 102_400, 512_000, CERTIFICATES)
STARTS = 5
STRETCH = 10_000
MEMBERS = 4


def long_lived() -> Iterator[Figure]:
    """Figures of one store as it grows to `CERTIFICATES`, and of a node that starts from it at some lengths."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        filled = _Filled(path, ledger(ISSUERS[:MEMBERS]))
        held = {length: [one["held_bytes"] for one in filled.until(length)] for length in LENGTHS}
        opened = [_seconds_to_open(path) for _ in range(STARTS)]
        starts = [_start(path) for _ in range(STARTS)]
        size_bytes = path.stat().st_size
    what = f"with {CERTIFICATES:,} certificates"
    yield figure("start", what, [one["start"] for one in starts], "s", goal=at_most(2))
    yield figure("imports", "interpreter and imports, before that", [one["imports"] for one in starts], "s")
    yield figure("SQLite's open", what, [1000 * one for one in opened], "ms")
    for length, sizes in held.items():
        megabytes = [one / 1e6 for one in sizes]
        goal = at_most(120) if length == CERTIFICATES else None
        yield figure("memory", "of the process that holds a node", megabytes, "MB", goal=goal, at=length)
    first, last = (statistics.median(held[length]) for length in (LENGTHS[0], CERTIFICATES))
    beyond = (last - first) / (CERTIFICATES - LENGTHS[0])
    yield figure("memory beyond", f"of each certificate beyond {LENGTHS[0]:,}", [beyond], "bytes", goal=at_most(44))
    yield figure("size", "file / encoded certificates", [size_bytes / filled.encoded_bytes], goal=at_most(1.5))
    size_bytes -= filled.voted_bytes
    yield figure("size, no votes", f"without {MEMBERS} members' votes", [size_bytes / filled.encoded_bytes])
    about = f"certificates a second, durable, blocks of {BLOCK}"
    late = filled.rates[-5:]
    yield figure("append", f"{about}, at the end", late, "certificates/s")
    early = filled.rates[0]
    yield figure("append late / early", f"{about}, at the end / up to {STRETCH:,}", [one / early for one in late])


class _Filled:
    """A store that grows; what went in, and how fast it took each stretch."""

    def __init__(self, path: Path, genesis: Genesis) -> None:
        self.rates: list[float] = []
        self.encoded_bytes = self.voted_bytes = 0
        self._chain = Blockchain(genesis, LoneForger(StakeRule()).check_forger)
        self._blocks = _blocks(self._chain)
        self._path = path
        Store.create(path, genesis).close()

    def until(self, length: int) -> list[dict[str, float]]:
        """Grow to so many certificates, and start nodes from them."""
        with Store.open(self._path) as store:
            seconds, count = 0.0, 0
            while (size := self._chain.state.log.size) < length:
                block = next(self._blocks)
                self._chain.append(block)
                votes = _finalization(self._chain, block)
                self.encoded_bytes += sum(len(one.encoded) for one in block.certificates)
                self.voted_bytes += len(encode(votes))
                start = time.perf_counter()
                store.append(PersistBlock(block, (), votes))
                if store.is_snapshot_due:
                    store.keep_snapshot(self._chain)
                seconds += time.perf_counter() - start
                count += self._chain.state.log.size - size
                if count >= STRETCH:
                    self.rates.append(count / seconds)
                    seconds, count = 0.0, 0
            store.keep_snapshot(self._chain)
        return [_start(self._path) for _ in range(STARTS)]


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
        assert len(node.chain.certificate_index) == node.state.log.size
    return {"imports": imported - begun, "start": seconds, "held_bytes": most_held_bytes()}


if __name__ == "__main__":
    print(json.dumps(_in_process(Path(sys.argv[1]), float(sys.argv[2]))))
