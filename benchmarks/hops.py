"""The way of one lone certificate through four idle nodes, hop by hop: where its milliseconds go."""

import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from benchmarks.network import UnixConnection
from benchmarks.result import Figure, figure
from benchmarks.traced_node import FINAL, GOSSIPED, GUARD, PROPOSED, RECEIVED, STORE, SUBMITTED, Step, read_trace
from tallystick.api.questions import NewStatement, SignedHere
from tallystick.demo.local_network import LocalNetwork, NodeProcess
from tallystick.host.data_folder import DataFolder
from tallystick.host.founding import found_here
from tallystick.ledger.params import Params
from tallystick.ledger.vote import FINALIZE, NAMES, NOTARIZE

MEMBERS: Final = 4
QUORUM: Final = 3
_APART_S: Final = 0.05
_COMMAND: Final = (sys.executable, "-m", "benchmarks.traced_node")

HOPS: Final = (
    "handed in over HTTP, signed, checked, with the node",
    "passed on by it",
    "with the leader",
    "proposed: header in the guard, certificate and block kept",
    "notarized by a quorum: vote in the guard and block kept at once",
    "voted final by a quorum: notarization there, vote in the guard and it kept at once",
    "final where it was handed in: votes there, block kept",
    "told over HTTP",
)


class Hop(NamedTuple):
    """One hop of those certificates that the leader was handed itself, or another member."""

    at_leader: bool
    name: str
    took_ms: list[float]
    """One for each certificate."""
    syncs: list[int]
    """How often the node that did so most often synced the guard, the store or both at once meanwhile."""
    syncs_ms: list[float]
    """How long the node that needed longest needed for that."""


class _Sample(NamedTuple):
    began_s: float
    told_s: float


def hops(samples: int) -> list[Hop]:
    """Hand certificates in, one after the other at members in turn, and see when each came how far."""
    with tempfile.TemporaryDirectory() as into:
        folders = found_here("hops", Path(into) / "net", MEMBERS, "", params=Params())
        with LocalNetwork([NodeProcess(folder, command=_COMMAND) for folder in folders]) as network:
            for node in network.nodes:
                node.launch("--log-level", "warning")
            network.wait_until_voting()
            taken = [_hand_in(folders[number % MEMBERS], number) for number in range(samples)]
        traces = [read_trace(folder.path) for folder in folders]
    return _measured([(number % MEMBERS, one) for number, one in enumerate(taken)], traces)


def of_a_lone_certificate(samples: int) -> Iterator[Figure]:
    """The hops as figures: what each took, and how long of that guard and store were synced."""
    found = hops(samples)
    for at_leader, where in (True, "at the leader"), (False, "elsewhere"):
        these = [one.took_ms for one in found if one.at_leader is at_leader and one.took_ms]
        if these:
            whole = [sum(parts) for parts in zip(*these, strict=True)]
            yield figure(
                f"{where}, all", f"lone certificate handed in {where}: from the request to the answer", whole, "ms"
            )
    for number, one in enumerate(found):
        if one.took_ms:
            where = "at the leader" if one.at_leader else "elsewhere"
            name = f"{where} {number % len(HOPS) + 1}"
            what = f"lone certificate handed in {where}: {one.name}"
            yield figure(name, what, one.took_ms, "ms")
            syncs = f"of this syncs of guard and store, {statistics.median(one.syncs):.0f} as a rule"
            yield figure(f"{name}: syncs", syncs, one.syncs_ms, "ms")


def _hand_in(folder: DataFolder, number: int) -> _Sample:
    """The node signs and certifies; returns when it was asked, and when it told that it is final."""
    connection = UnixConnection(folder.api_path)
    connection.connect()
    time.sleep(_APART_S)
    body = msgspec.json.encode(SignedHere([NewStatement(f"sample {number}")], wait_ms=60_000))
    began_s = time.monotonic()
    connection.request("POST", "/v1/sign", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    told = answer.read()
    assert answer.status == 200, told
    told_s = time.monotonic()
    connection.close()
    return _Sample(began_s, told_s)


def _measured(taken: Sequence[tuple[int, _Sample]], traces: Sequence[list[Step]]) -> list[Hop]:
    found = [Hop(at_leader, name, [], [], []) for at_leader in (True, False) for name in HOPS]
    for at, sample in taken:
        steps = [[one for one in trace if sample.began_s <= one.at_s <= sample.told_s] for trace in traces]
        if (marks := _marks(at, sample, steps)) is None:
            continue  # the view ended without its leader's proposal
        is_leader = marks[2] == marks[3]
        for hop, (start_s, end_s) in zip(found[0 if is_leader else len(HOPS) :], pairwise(marks), strict=False):
            hop.took_ms.append(1000 * (end_s - start_s))
            syncs = [_syncs(one, start_s, end_s) for one in steps]
            hop.syncs.append(max(map(len, syncs)))
            hop.syncs_ms.append(1000 * max(map(sum, syncs)))
    return found


def _marks(at: int, sample: _Sample, steps: Sequence[list[Step]]) -> list[float] | None:
    """When each hop began, and when the last ended."""
    proposed = [(when, number) for number, one in enumerate(steps) for when in _first(one, PROPOSED)]
    finals = _first(steps[at], FINAL)
    notarized, finalized = (
        sorted(when for one in steps for when in _first(one, NAMES[kind])) for kind in (NOTARIZE, FINALIZE)
    )
    submitted = _first(steps[at], SUBMITTED)
    if not (len(proposed) == 1 and finals and submitted and len(notarized) >= QUORUM and len(finalized) >= QUORUM):
        return None
    (proposed_s, leader), (with_node_s,) = proposed[0], submitted
    passed_on: Sequence[float] = [with_node_s]
    received = passed_on
    if leader != at:
        passed_on, received = _first(steps[at], GOSSIPED), _first(steps[leader], RECEIVED)
    if not passed_on or not received:
        return None
    votes = notarized[QUORUM - 1], finalized[QUORUM - 1]
    return [sample.began_s, with_node_s, passed_on[0], received[0], proposed_s, *votes, finals[0], sample.told_s]


def _first(steps: Iterable[Step], what: str) -> Sequence[float]:
    return [one.at_s for one in steps if one.what == what][:1]


def _syncs(steps: Iterable[Step], start_s: float, end_s: float) -> list[float]:
    """How long one node took for each sync of this time: those of others go on beside it."""
    return [one.took_s for one in steps if one.what in (GUARD, STORE) and start_s < one.at_s <= end_s]
