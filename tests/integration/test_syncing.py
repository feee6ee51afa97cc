"""Guard and database of a node that runs: synced at the same time where that is allowed, and always before it tells."""

import asyncio
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest
from tests.builders import ADA, BEN, FinalScribe, found, simplex_driver, statement, vote
from tests.integration.fault_disk import Delete, Disk, Sync, Write
from tests.integration.wire import Wire

from tallystick.consensus.agreement import PersistQuorum
from tallystick.consensus.signing_guard import Signed
from tallystick.host.guard_file import GuardFailed, GuardFile, create_guard, read_guard
from tallystick.host.runner import Kept, Runner
from tallystick.host.submissions import Submissions
from tallystick.ledger.certificate_index import Place
from tallystick.ledger.keys import is_signed
from tallystick.ledger.messages import Entry, Votes
from tallystick.ledger.vote import NOTARIZE, tally_of
from tallystick.network.replay import replayed
from tallystick.network.transport import Connected
from tallystick.node.events import Action, Event, FreshCheckpointAsked, PersistSigned, Send, Started
from tallystick.node.keeping import kept_first
from tallystick.node.node import Node
from tallystick.problems import StoreFailed
from tallystick.storage.store import Store

ALONE = found(ADA, epoch_blocks=1_000)
BLOCK = FinalScribe(ALONE).forge(statement("kept", ledger=ALONE.ledger_id))
VOTE = vote(NOTARIZE, BLOCK.hash, ADA, 0, 1, ALONE)
SIGNED = PersistSigned((Signed(ALONE.ledger_id, 0, 1, None, VOTE.ballot),))
PEER = BEN.public_key
VOTED: list[Action] = [SIGNED, PersistQuorum((), (BLOCK,)), Send(PEER, Votes((tally_of([VOTE]),)))]
WITH_OWN_VOTE: list[Action] = [SIGNED, PersistQuorum((tally_of([VOTE]),), ()), VOTED[-1]]
PATIENCE_S = 60


class LoggedWire(Wire):
    """Writes down that something leaves."""

    def __init__(self, log: list[str]) -> None:
        super().__init__()
        self._log = log

    def send(self, peer: bytes, frame: bytes) -> None:
        self._log.append("sent")


class Scripted(Node):
    """Asks for what a test says, in the order of every node."""

    script: Sequence[Action] = ()

    def handle(self, now_ms: int, event: Event) -> list[Action]:
        return kept_first(self.script) if isinstance(event, FreshCheckpointAsked) else super().handle(now_ms, event)


class Machine:
    """A node on a disk whose syncs are written down, in order, and may be held up or fail."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.log: list[str] = []
        self.done: list[str] = []
        """What of it the script took."""
        self._before: dict[str, Callable[[], object]] = {}
        """Called before a sync of "guard" or "store" is done."""
        self.disk = Disk(before=self._on_disk)
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self._sync_guard)

    def _on_disk(self, event: Write | Sync | Delete) -> None:
        if isinstance(event, Sync):
            self._synced("store")

    def _sync_guard(self, descriptor: int) -> None:
        self._synced("guard")
        self._fsync(descriptor)

    def _synced(self, what: str) -> None:
        self._before.get(what, lambda: None)()
        self.log.append(what)

    @contextmanager
    def runner(self) -> Iterator[Runner]:
        store = Store.create(self.path / "ledger", ALONE, connect_to=self.disk.connect)
        create_guard(self.path / "guard", ADA.public_key)
        with store, GuardFile.open(self.path / "guard", ADA.public_key) as guard_file:
            agreement = simplex_driver(ADA, ALONE)
            node = Scripted(replayed(ALONE, agreement.check_forger, store), agreement, archive=store)
            wire: Any = LoggedWire(self.log)
            runner = Runner(node, Kept(store, guard_file), wire, _verify)
            yield runner

    def does(self, script: Sequence[Action], **before: Callable[[], object]) -> BaseException | None:
        """Carry these out; why it ended, if it did."""

        async def run() -> BaseException | None:
            with self.runner() as runner:
                assert isinstance(runner.node, Scripted)
                runner.node.script = script
                await runner.start(Started(ADA.public_key, None, ()))
                runner._on_event(Connected(PEER, None))
                self.log.clear()
                self._before = before
                runner.handle(FreshCheckpointAsked())
                self.done, self._before = self.log.copy(), {}
                failure = runner.failed.exception() if runner.failed.done() else None
                await runner.stop()
                return failure

        return asyncio.run(run())


async def _verify(claims: Any, *, is_urgent: bool = False) -> list[bool]:
    return [is_signed(*one) for one in claims]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def fail_guard() -> None:
    raise OSError(5, "Input/output error")


def fail_store() -> None:
    raise apsw.IOError("disk I/O error")


def test_a_vote_and_the_block_it_is_for_are_synced_at_the_same_time_and_both_before_it_leaves(machine: Machine) -> None:
    """Each waits for the other to begin: one after the other they would wait for ever."""
    begun = threading.Barrier(2)
    assert machine.does(VOTED, guard=lambda: begun.wait(PATIENCE_S), store=lambda: begun.wait(PATIENCE_S)) is None
    assert (sorted(machine.done[:2]), machine.done[2:]) == (["guard", "store"], ["sent"])


def test_what_holds_the_vote_itself_is_synced_after_the_guard(machine: Machine) -> None:
    """Nothing else is done meanwhile: it is the very thread that goes on to the database."""
    threads = []
    assert machine.does(WITH_OWN_VOTE, guard=lambda: threads.append(threading.current_thread())) is None
    assert machine.done == ["guard", "store", "sent"]
    assert threads == [threading.main_thread()]


@pytest.mark.parametrize("script", [VOTED, WITH_OWN_VOTE, [SIGNED]], ids=["beside", "after", "alone"])
def test_watchers_are_told_of_what_is_signed_once_the_guard_holds_it(machine: Machine, script: list[Action]) -> None:
    held = []

    def watch(action: Action) -> None:
        if isinstance(action, PersistSigned):
            held.append(len(read_guard(machine.path / "guard", ADA.public_key).records))

    async def run() -> None:
        with machine.runner() as runner:
            assert isinstance(runner.node, Scripted)
            await runner.start(Started(ADA.public_key, None, ()))
            before = len(read_guard(machine.path / "guard", ADA.public_key).records)
            runner.watchers.append(watch)
            runner.node.script = script
            runner.handle(FreshCheckpointAsked())
            await runner.stop()
            assert held == [before + 1]

    asyncio.run(run())


@pytest.mark.parametrize("script", [VOTED, WITH_OWN_VOTE], ids=["beside", "after"])
def test_nothing_leaves_once_the_guard_failed(machine: Machine, script: Sequence[Action]) -> None:
    assert isinstance(machine.does(script, guard=fail_guard), GuardFailed)
    assert "sent" not in machine.done


def test_nothing_leaves_once_the_database_failed_and_the_guard_holds_what_was_signed(machine: Machine) -> None:
    assert isinstance(machine.does(VOTED, store=fail_store), StoreFailed)
    assert "sent" not in machine.done
    assert read_guard(machine.path / "guard", ADA.public_key).records == list(SIGNED.records)


def test_what_a_lone_member_is_handed_is_final_after_two_syncs_of_the_guard_and_two_of_the_database(
    machine: Machine,
) -> None:
    async def run() -> None:
        with machine.runner() as runner:
            await runner.start(Started(ADA.public_key, None, ()))
            submissions = Submissions(runner)
            machine.log.clear()
            entry = Entry(statement("handed in", ledger=ALONE.ledger_id))
            (outcome,) = await submissions.submit([entry], PATIENCE_S)
            assert isinstance(outcome, Place)
            assert machine.log == ["guard", "store", "guard", "store"]
            await runner.stop()

    asyncio.run(run())
