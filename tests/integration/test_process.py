"""A node in this process: however and whenever it fails, that is how it ended."""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.builders import ADA
from tests.integration.network import QUICK
from tests.ports import drawn_port

from tallystick.host.data_folder import DataFolder
from tallystick.host.founding import found_here
from tallystick.host.logs import ReportLog
from tallystick.host.process import Hosted, run_node
from tallystick.host.runner import Runner
from tallystick.ledger.vote import FINALIZE, Ballot, cast, tally_of
from tallystick.node import events
from tallystick.problems import NodeExit, Problem, StoreFailed
from tallystick.storage.store import Store

Act = Callable[[Runner], object]


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    (made,) = found_here("alone", tmp_path / "net", 1, "", params=QUICK, port=drawn_port())
    return made


def run(folder: DataFolder, in_doors: Act, while_closing: Act) -> NodeExit:
    """How a node ended that is told to stop."""

    @asynccontextmanager
    async def doors(hosted: Hosted) -> AsyncIterator[None]:
        in_doors(hosted.submissions.runner)
        os.kill(os.getpid(), signal.SIGTERM)
        yield
        while_closing(hosted.submissions.runner)

    return run_node(folder, folder.settings(), folder.wallet(""), doors)


def nothing(_: Runner) -> None:
    pass


@pytest.mark.parametrize("is_broken", [False, True])
def test_input_that_ended_before_the_node_ran_stops_it_in_order(
    folder: DataFolder, is_broken: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    @asynccontextmanager
    async def doors(_: Hosted) -> AsyncIterator[None]:
        yield

    reading, writing = os.pipe()
    if not is_broken:
        os.close(writing)
    try:
        descriptor = writing if is_broken else reading  # that end of a pipe cannot be read
        ended = run_node(folder, folder.settings(), folder.wallet(""), doors, None, descriptor)
    finally:
        os.close(reading)
        if is_broken:
            os.close(writing)
    assert ended is NodeExit.STOPPED
    assert "stopped" in caplog.text, "it ended in order"


def has_snapshot(folder: DataFolder) -> bool:
    with Store.open(folder.ledger_path, read_only=True) as store:
        return bool(store.database.select("SELECT 1 FROM snapshot"))


def broken(*_: object) -> Any:
    raise StoreFailed("the disk is broken")


def test_a_node_that_is_told_to_stop_has_stopped(folder: DataFolder) -> None:
    assert run(folder, nothing, nothing) is NodeExit.STOPPED


def test_a_node_that_fails_while_its_doors_close_has_failed(
    folder: DataFolder, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(runner: Runner) -> None:
        monkeypatch.setattr(runner.node, "handle", broken)
        runner.handle(events.TimerFired(events.Timer.GOSSIP))

    with caplog.at_level(logging.ERROR, "tallystick"):
        assert run(folder, nothing, fail) is NodeExit.FAILED
    assert [vars(one)["msg"]["event"] for one in caplog.records] == ["failed"]
    assert not has_snapshot(folder)


def test_why_a_node_failed_is_written_down_though_its_doors_fail_to_close(
    folder: DataFolder, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(runner: Runner) -> None:
        runner._fail(StoreFailed("the disk is broken"))
        raise Problem("a door is stuck")

    with caplog.at_level(logging.ERROR, "tallystick"), pytest.raises(Problem, match="a door is stuck"):
        run(folder, nothing, fail)
    assert [vars(one)["msg"]["event"] for one in caplog.records] == ["failed"]


def test_a_fault_while_doors_close_is_raised(folder: DataFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(runner: Runner) -> None:
        monkeypatch.setattr(runner.node, "handle", lambda *_: 1 / 0)
        runner.handle(events.TimerFired(events.Timer.GOSSIP))

    with pytest.raises(ZeroDivisionError):
        run(folder, nothing, fail)


def test_a_fault_in_a_look_at_agreement_ends_the_node(folder: DataFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(runner: Runner) -> None:
        monkeypatch.setattr(ReportLog, "note_agreement", lambda *_: 1 / 0)
        asyncio.get_running_loop().call_soon(runner._look_at_agreement)

    with pytest.raises(ZeroDivisionError):
        run(folder, look, nothing)


def test_votes_that_a_node_wants_read_are_not_once_it_stops(
    folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = tally_of([cast(ADA, bytes(32), Ballot(FINALIZE, 0, 1, bytes(32)))])

    def ask(runner: Runner) -> None:
        monkeypatch.setattr(runner.store, "votes_of", broken)
        monkeypatch.setattr(runner.node, "handle", lambda *_: [events.ReadVotes(late)])
        runner.handle(events.TimerFired(events.Timer.GOSSIP))

    assert run(folder, nothing, ask) is NodeExit.STOPPED
