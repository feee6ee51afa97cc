"""Four nodes of this ledger and of peers, in turn in one run: throughput, processor time, disk, latency, a death.

Ours check each certificate's signature at each node; CometBFT's key-value store checks none. Both agree by quorums of
signed votes, and sync what they keep. Records are of one size, and fed to all four nodes. Each round is a new network,
and no other runs beside it.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from benchmarks import cometbft, etcd, network
from benchmarks.processes import NotInstalled, disk_bytes, spent_s
from benchmarks.result import Absent, Figure, Goal, at_least, at_most, figure

OURS: Final = "Tallystick"
_WARM_UP: Final = 4_096
_REPEATED: Final = 4_096
"""Of the last records, handed in again: CometBFT's default remembers 10,000."""
_SETTLE_S: Final = 0.5
"""After the last record is final: what is still to be done for it counts as well."""
_IDLE_S: Final = 0.05
_DEATH_EVERY_S: Final = 0.05
_DEATH_AFTER: Final = 40
"""Records handed in before one of the nodes dies."""


class Network(Protocol):
    """Nodes that run, of one system."""

    @property
    def folders(self) -> Sequence[Path]:
        """What each keeps."""

    @property
    def sessions(self) -> Sequence[int]:
        """Of its processes."""

    def prepare(self, count: int) -> list[bytes]:
        """So many new records, as the requests that hand them in."""

    def feed(self, bodies: Sequence[bytes], count: int) -> float:
        """Hand them in at all nodes; seconds until all are final at all nodes."""

    def submit(self, node: int) -> float:
        """Hand one new record in at a node; milliseconds until that says that it is final."""

    def repeat(self, bodies: Sequence[bytes]) -> bool:
        """Hand final records in again, at all nodes, which takes what doors take; whether they are known there."""

    def kill(self, node: int) -> None:
        """End a node's process. The machine goes on, and closes its connections."""

    def stop(self, node: int) -> None:
        """Let a node stand still and close nothing, as where a machine loses its power."""


class System(NamedTuple):
    """What is compared."""

    name: str
    running: Callable[[], AbstractContextManager[Network]]


SYSTEMS: Final = (
    System(OURS, network.four_running),
    System("CometBFT tuned", partial(cometbft.running, cometbft.TUNED, network.RECORD_BYTES, 16_384)),
    System("CometBFT default", partial(cometbft.running, cometbft.DEFAULT, network.RECORD_BYTES, 4_096)),
    System("etcd of three", partial(etcd.running, network.RECORD_BYTES)),
)


def throughput(rounds: int, records: int) -> Iterator[Figure | Absent]:
    """Final records a second, processor time and disk of each, at four nodes."""
    taken, gaps = _in_turn(rounds, partial(_fed, records=records))
    rates, costs, sizes, doors = (
        {name: [one[place] for one in all_of if place < len(one)] for name, all_of in taken.items()}
        for place in range(4)
    )
    goals = {"CometBFT tuned": at_least(1.2), "CometBFT default": at_least(3)}
    yield from _compared("rate", "records a second, final at all nodes", "records/s", rates, goals)
    about = "processor time of all nodes for a record"
    yield from _compared("processor time", about, "µs", costs, {"CometBFT tuned": at_most(1.4, native=0.8)})
    for name, each in doors.items():
        if each:
            yield figure(f"door, {name}", "of it for a record handed in again, which is known", each, "µs")
    for name, each in doors.items():
        if each and name != OURS:
            ratios = [our / (their - door) for our, their, door in zip(costs[OURS], costs[name], each, strict=True)]
            yield figure(f"processor time / {name} without its door", f"{about}, ours with its door", ratios)
    yield from _compared("disk", "bytes of the disk for a record and node", "bytes", sizes, {})
    yield from _absent(gaps, ("rate", "processor time", "disk"))


def latency(rounds: int, records: int) -> Iterator[Figure | Absent]:
    """From handing a record in to hearing that it is final, one at a time, at four idle nodes."""
    taken, gaps = _in_turn(rounds, partial(_one_by_one, records=records))
    medians = {name: [statistics.median(one) for one in all_of] for name, all_of in taken.items()}
    goals = {"CometBFT tuned": at_most(0.7), "CometBFT default": at_most(1 / 40)}
    yield from _compared("idle", "a record handed in, until it is final, median", "ms", medians, goals)
    for name, all_of in taken.items():
        samples = [one for each in all_of for one in each]
        yield figure(f"samples, {name}", "each of the records", samples, "ms")
        for percent in (95, 99):
            cuts = [statistics.quantiles(one, n=100, method="inclusive")[percent - 1] for one in all_of]
            yield figure(f"p{percent}, {name}", f"the same, {percent}th percentile of a round", cuts, "ms")
    yield from _absent(gaps, ("idle", "p95", "p99"))


def one_dead(rounds: int, records: int) -> Iterator[Figure | Absent]:
    """The worst wait of a record while one of four nodes dies, and after: its process, or its whole machine."""
    every = f"of {records} records, one each {1000 * _DEATH_EVERY_S:.0f} ms at those that live"
    goals = {"CometBFT tuned": at_most(0.1), "CometBFT default": at_most(0.1)}
    for name, about, is_closed in (
        ("process killed", "killed", True),
        ("standing still", "stopped, no link closed", False),
    ):
        taken, gaps = _in_turn(rounds, partial(_with_a_death, records=records, is_closed=is_closed))
        worst = {system: [max(one) for one in all_of] for system, all_of in taken.items()}
        yield from _compared(f"worst wait, {name}", f"{every}, one node {about}", "ms", worst, goals)
        yield from _absent(gaps, (f"worst wait, {name}",))


# ---- one round of each ----------------------------------------------------------------------------------------------


def _fed(network: Network, records: int) -> list[float]:
    """Records a second; microseconds of processor time of all nodes for a record; bytes on disk for one and node.

    And microseconds of all nodes for one that is handed in again, where that can be told.
    """
    network.feed(network.prepare(_WARM_UP), _WARM_UP)
    bodies = network.prepare(records)
    before_s, before_bytes = spent_s(network.sessions), sum(map(disk_bytes, network.folders))
    took_s = network.feed(bodies, records)
    time.sleep(_SETTLE_S)
    cost_us = 1e6 * (spent_s(network.sessions) - before_s) / records
    size_bytes = (sum(map(disk_bytes, network.folders)) - before_bytes) / records / len(network.folders)
    before_s, last = spent_s(network.sessions), bodies[-(len(bodies) * _REPEATED // records) :]
    door = [1e6 * (spent_s(network.sessions) - before_s) / _REPEATED] if network.repeat(last) else []
    return [records / took_s, cost_us, size_bytes, *door]


def _one_by_one(network: Network, records: int) -> list[float]:
    took_ms = []
    network.submit(0)
    for _ in range(records):
        time.sleep(_IDLE_S)
        took_ms.append(network.submit(0))
    return took_ms


def _with_a_death(network: Network, records: int, *, is_closed: bool) -> list[float]:
    alive = len(network.folders) - 1
    with ThreadPoolExecutor(records) as pool:
        network.submit(0)
        waiting = []
        for number in range(records):
            if number == _DEATH_AFTER:
                (network.kill if is_closed else network.stop)(alive)
            waiting.append(pool.submit(network.submit, number % alive))
            time.sleep(_DEATH_EVERY_S)
        took_ms = [one.result() for one in waiting]
    if not is_closed:
        network.kill(alive)
    return took_ms


# ---- side by side ---------------------------------------------------------------------------------------------------


def _in_turn(
    rounds: int, measure: Callable[[Network], list[float]]
) -> tuple[dict[str, list[list[float]]], dict[str, str]]:
    """What each round gave of each system, one after the other within a round; why systems are absent."""
    taken: dict[str, list[list[float]]] = {one.name: [] for one in SYSTEMS}
    gaps: dict[str, str] = {}
    for _ in range(rounds):
        for one in SYSTEMS:
            if one.name not in gaps:
                try:
                    with one.running() as nodes:
                        taken[one.name].append(measure(nodes))
                except NotInstalled as error:
                    gaps[one.name] = str(error)
    return {name: all_of for name, all_of in taken.items() if all_of}, gaps


def _compared(
    name: str, about: str, unit: str, taken: dict[str, list[float]], goals: dict[str, Goal]
) -> Iterator[Figure]:
    """Ours over each of the others', round by round, and each by itself."""
    for other, their in taken.items():
        if other != OURS:
            ratios = [our / one for our, one in zip(taken[OURS], their, strict=True)]
            yield figure(f"{name} / {other}", f"{about}: {OURS} / {other}", ratios, goal=goals.get(other))
    for system, each in taken.items():
        yield figure(f"{name}, {system}", about, each, unit)


def _absent(gaps: dict[str, str], names: Sequence[str]) -> Iterator[Absent]:
    for system, reason in gaps.items():
        yield from (Absent(f"{name} / {system}", reason) for name in names)
