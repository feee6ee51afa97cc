"""Where the time of a certificate goes: the stages of nodes that are fed, by samples of their stacks."""

import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from benchmarks.network import BATCH, PER_ROUND, feed, running_network, sessions_of, statements_for
from benchmarks.processes import spent_s
from benchmarks.result import Figure, figure

ROUNDS = 3
_PATIENCE_S = 30.0


def of_a_certificate() -> Iterator[Figure]:
    """Of a lone node, and of four, of which each verifies and keeps everything."""
    for members, name in ((1, "a lone node"), (4, "each of four nodes")):
        rounds = list(_rounds(members))
        stages = sorted({stage for one in rounds for stage in one}, key=lambda stage: -rounds[0].get(stage, 0))
        for stage in stages:
            yield figure(f"{stage} ({name})", f"processor time of {name}, a certificate", _of(rounds, stage), "µs")


def _of(rounds: list[dict[str, float]], stage: str) -> list[float]:
    return [one.get(stage, 0.0) for one in rounds]


def _rounds(members: int) -> Iterator[dict[str, float]]:
    """Microseconds of one node for a certificate, by stage."""
    with tempfile.TemporaryDirectory() as told:
        command = (sys.executable, "-m", "benchmarks.sampled", told)
        with running_network(members, command) as nodes:
            folders, sessions = [one.folder for one in nodes.nodes], sessions_of(nodes)
            feed(folders, statements_for(folders[0], BATCH, 0))
            for number in range(ROUNDS):
                certificates = statements_for(folders[0], PER_ROUND, (number + 1) * PER_ROUND)
                for one in nodes.nodes:
                    one.send_signal(signal.SIGUSR1)
                before_s = spent_s(sessions)
                feed(folders, certificates)
                workers_s = spent_s(sessions) - before_s
                seconds = dict[str, float]()
                for node in nodes.nodes:
                    node.send_signal(signal.SIGUSR2)
                for pid in sessions:
                    for stage, one_s in _told(Path(told, f"{pid}.json")).items():
                        seconds[stage] = seconds.get(stage, 0.0) + one_s
                seconds["signatures, by worker processes"] = workers_s - sum(seconds.values())
                yield {stage: 1e6 * one / PER_ROUND / members for stage, one in seconds.items()}


def _told(path: Path) -> dict[str, float]:
    """What a node has written, once it has."""
    until_s = time.monotonic() + _PATIENCE_S
    while not path.exists():
        assert time.monotonic() < until_s, f"{path} is not there"
        time.sleep(0.01)
    told = msgspec.json.decode(path.read_bytes(), type=dict[str, float])
    path.unlink()
    return told
