"""A store as it grows to millions of certificates: what each costs early and late, and what a node then holds.

10 million take 10 GB and, on a machine that does nothing else, some twenty minutes. Signatures are made and verified
only of what nodes then sync, the first and the last certificates: neither depends on the length.
`python -m benchmarks.scale FILE` starts a chain from a store and tells what that takes.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from hashlib import sha256
from itertools import islice
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.late_sync import SYNCED, Stores, at_both_ends
from benchmarks.processes import memory_of
from benchmarks.result import Figure, at_most, figure
from benchmarks.workload import CREATED_MS, ISSUERS, ledger, statements
from tallystick.consensus.proof_of_stake import check_drawn
from tallystick.ledger.block import Block, VerifiedBlock, verified
from tallystick.ledger.blockchain import Blockchain
from tallystick.ledger.certificate import Statement
from tallystick.ledger.keys import Domain
from tallystick.ledger.transition import make_header
from tallystick.ledger.vote import FINALIZE, Ballot, Tally, cast, tally_of
from tallystick.network.replay import TAIL_SIGNATURES, replayed
from tallystick.node.events import PersistBlock
from tallystick.storage.store import Store

CERTIFICATES = 1_000_000
BLOCK = 1_024
STRETCH_BLOCKS = 48
"""Three snapshots' worth."""
LOOK_UPS = 20_000
STARTS = 3
SIGNED = SYNCED + TAIL_SIGNATURES + BLOCK
"""Of the last certificates: what nodes sync, and what a start verifies of those before."""


class Stretch(NamedTuple):
    """Processor time of one certificate, in microseconds, over some blocks."""

    at: int
    """How many certificates there were before."""
    gate_us: float
    append_us: float
    snapshot_us: float
    worst_snapshot_ms: float

    @property
    def total_us(self) -> float:
        """All of it."""
        return self.gate_us + self.append_us + self.snapshot_us


class Started(NamedTuple):
    """A node's chain in a process of its own."""

    start_s: float
    rss_bytes: int
    miss_us: float
    """Looking up an id that is not on the chain, processor time."""
    hit_us: float
    """Looking up any certificate's, wall time."""


def grown(path: Path, until: int, count: int) -> Iterator[Stretch]:
    """Grow the store at `path`, of a ledger that is to have `count`, as a node does beside verifying."""
    with Store.open(path) as store:
        chain = replayed(store.genesis, check_drawn, store)
        blocks = _blocks(chain, until, count)
        while len(chain.certificate_index) < until:
            yield _stretch(store, chain, islice(blocks, STRETCH_BLOCKS))
        store.keep_snapshot(chain)


def _stretch(store: Store, chain: Blockchain, blocks: Iterator[VerifiedBlock]) -> Stretch:
    at, gate, append, snapshots = len(chain.certificate_index), 0.0, 0.0, [0.0]
    for block in blocks:
        votes = _finalization(chain, block)
        start = time.process_time()
        chain.append(block)
        passed = time.process_time()
        store.append(PersistBlock(block, (), votes))
        appended = time.process_time()
        if store.is_snapshot_due:
            store.keep_snapshot(chain)
            snapshots.append(time.process_time() - appended)
        gate, append = gate + passed - start, append + appended - passed
    share = 1e6 / (len(chain.certificate_index) - at)
    return Stretch(at, gate * share, append * share, sum(snapshots) * share, 1e3 * max(snapshots))


def _blocks(chain: Blockchain, until: int, count: int) -> Iterator[VerifiedBlock]:
    """Signed are those that nodes sync, and those that a start verifies."""
    forger = ISSUERS[0]
    for first in range(len(chain.certificate_index), until, BLOCK):
        size = min(until - first, BLOCK)
        is_signed = first < SYNCED or first + SIGNED >= count
        chosen = (
            statements(chain.genesis, size, first) if is_signed else [_statement(first + one) for one in range(size)]
        )
        header = make_header(chain.state, chain.state.index + 1, 0, forger.public_key, chosen)
        signature = forger.sign(Domain.BLOCK, header.ledger_id, header.encoded)
        yield verified(Block(header, signature, tuple(chosen)))


def _finalization(chain: Blockchain, block: Block) -> Tally:
    """The votes of the only member."""
    ballot = Ballot(FINALIZE, block.header.epoch, block.header.view, block.hash)
    return tally_of([cast(ISSUERS[0], chain.ledger_id, ballot)])


def _statement(number: int) -> Statement:
    """One of about 200 bytes, whose signature nobody made."""
    issuer = ISSUERS[number % len(ISSUERS)].public_key
    digest = sha256(number.to_bytes(8, "big")).digest()
    subject = f"sample {number:>8} of a batch of measurements, as filed"
    return Statement(issuer, CREATED_MS + number, subject, None, 2 * digest)


def started(path: Path) -> Started:
    """Start a chain from its store, and measure it; in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.scale", str(path)]
    return Started(**json.loads(subprocess.run(command, check=True, capture_output=True).stdout))


def _measured(path: Path) -> Started:
    start = time.perf_counter()
    with Store.open(path) as store:
        chain = replayed(store.genesis, check_drawn, store)
        start_s = time.perf_counter() - start
        rss_bytes = memory_of(os.getpid()).rss
        index = chain.certificate_index
        absent = [sha256(number.to_bytes(9, "big")).digest() for number in range(LOOK_UPS)]
        begun = time.process_time()
        found = [one for one in absent if one in index]
        miss_us = 1e6 * (time.process_time() - begun) / LOOK_UPS
        assert not found
        step = max(1, len(index) // (LOOK_UPS // 20))
        present = [index.ids(number, 1) for number in range(0, len(index), step)]
        begun = time.perf_counter()
        assert all(index.find(one) is not None for one in present)
        hit_us = 1e6 * (time.perf_counter() - begun) / len(present)
    return Started(start_s, rss_bytes, miss_us, hit_us)


def long_lived(count: int) -> Iterator[Figure]:
    """A store of so many certificates."""
    with tempfile.TemporaryDirectory() as folder:
        stores = Stores(*(Path(folder) / f"{name}.db" for name in Stores._fields))
        Store.create(stores.whole, ledger(ISSUERS[:1])).close()
        stretches = list(grown(stores.whole, SYNCED, count))
        shutil.copy(stores.whole, stores.beginning)
        stretches += grown(stores.whole, count - SYNCED, count)
        shutil.copy(stores.whole, stores.but_the_end)
        stretches += grown(stores.whole, count, count)
        starts = [started(stores.whole) for _ in range(STARTS)]
        size_bytes = stores.whole.stat().st_size
        ends = list(at_both_ends(stores))
    first, last = (median(one.total_us for one in part) for part in (stretches[:3], stretches[-9:]))
    for part, name in (("gate_us", "gate"), ("append_us", "store"), ("snapshot_us", "snapshots")):
        for one in stretches[:: max(1, len(stretches) // 10)]:
            yield figure(name, f"processor time of a certificate: {name}", [getattr(one, part)], "µs", at=one.at)
    without = "gate, store and snapshots at the end / at the beginning, without verification"
    yield figure("end / beginning", without, [last / first], at=count)
    yield figure(
        "longest snapshot", "processor time", [max(one.worst_snapshot_ms for one in stretches)], "ms", at=count
    )
    yield figure("file", "bytes of file a certificate", [size_bytes / count], "bytes", at=count)
    yield figure(
        "start", "a node's chain, on the clock", [one.start_s for one in starts], "s", goal=at_most(2), at=count
    )
    held = [one.rss_bytes / 1e6 for one in starts]
    goal = at_most(120 if count <= CERTIFICATES else 150)
    yield figure("memory", "a process with a node's chain, resident", held, "MB", goal=goal, at=count)
    yield figure("look-up, absent", "processor time", [one.miss_us for one in starts], "µs", at=count)
    yield figure("look-up, present", "on the clock", [one.hit_us for one in starts], "µs", at=count)
    what, bound = (
        f"{SYNCED:,} certificates that a node fetches, verifies and keeps",
        1.05 if count <= CERTIFICATES else 1.1,
    )
    costs = [end.spent_us / beginning.spent_us for beginning, end in ends]
    about = f"{what}, processor time: the last ones / the first ones"
    yield figure("sync, end / beginning", about, costs, goal=at_most(bound), at=count)
    rates = [end.rate / beginning.rate for beginning, end in ends]
    yield figure("sync, speed", f"{what}, a second: the last ones / the first ones", rates, at=count)


if __name__ == "__main__":
    print(json.dumps(_measured(Path(sys.argv[1]))._asdict()))
