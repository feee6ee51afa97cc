"""Following a node's checkpoints: what passes by itself is waited for, and nothing else."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.mirrors import files_in, grow, head_of, read_whole
from tests.proving import ProvenLedger

from tallystick.api import views
from tallystick.client import exporting
from tallystick.client.doors import AnswerProblem
from tallystick.client.exporting import follow
from tallystick.problems import Busy, DamagedStore, ExitCode, NotInTime, NotRunning, NotYet, Problem
from tallystick.storage.mirror_files import MirrorFolder


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


def test_a_state_that_a_newer_checkpoint_took_the_place_of_is_not_waited_for(tmp_path: Path) -> None:
    """A node whose checkpoint changes between the two questions: the newer one is asked for."""
    ledger, answers = ProvenLedger(tmp_path / "ledger.db"), list[tuple[str, bytes | None]]()
    grow(ledger, 1)
    answers += [("checkpoint", head_of(ledger)[0].encode()), ("tallystick/state/1", None)]
    grow(ledger, 1)
    note, state = head_of(ledger)
    answers += [("checkpoint", note.encode()), ("tallystick/state/2", state)]
    answering = iter(answers)

    class Changing:
        is_file = False

        def mirrored(self, path: str) -> bytes:
            asked, data = next(answering)
            assert path == asked
            if data is None:
                told = {"type": "urn:tallystick:problem:no-such-file", "title": "none", "detail": "begin anew"}
                raise AnswerProblem(views.Problem(**told, status=404, code="no-such-file", exit_code=5))
            return data

    mirror, troubles = MirrorFolder(tmp_path / "mirror", ledger.store), list[Problem]()
    with mirror.held():
        done = next(follow(Changing(), mirror, troubles.append))  # type: ignore[arg-type]
    assert (done.checkpoint.size, troubles) == (2, [])
    assert read_whole(files_in(tmp_path / "mirror")).checkpoint.size == 2
