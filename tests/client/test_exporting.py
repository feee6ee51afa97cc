"""Following a node's checkpoints: what passes by itself is waited for, and nothing else."""

from collections.abc import Iterator

import pytest

from tallystick.client import exporting
from tallystick.client.exporting import follow
from tallystick.problems import Busy, DamagedStore, ExitCode, NotInTime, NotRunning, NotYet, Problem


class NoFile(Problem):
    code, exit_code = "no-such-file", ExitCode.NOT_THERE


class Failing:
    """A node that answers with one problem after the other."""

    is_file = False

    def __init__(self, problems: list[Problem]) -> None:
        self.problems: Iterator[Problem] = iter(problems)

    def mirrored(self, path: str) -> bytes:
        raise next(self.problems)


def test_a_node_that_is_busy_or_restarts_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "_PAUSE_S", 0)
    passing = [Busy("busy"), NotYet("not yet"), NotRunning("away"), NotInTime("slow"), NoFile("none")]
    told = list[Problem]()
    with pytest.raises(DamagedStore, match="damaged"):
        next(follow(Failing([*passing, DamagedStore("damaged")]), None, told.append))  # type: ignore[arg-type]
    assert told == passing[:1], "it is told once"
