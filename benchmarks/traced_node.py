"""A node that writes down when it did what, for `benchmarks.hops`: `python -m benchmarks.traced_node run --data …`."""

import sys
import time
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from tallystick.__main__ import main
from tallystick.host import process
from tallystick.host.runner import Runner
from tallystick.ledger.messages import Certificates, Proposal, Votes
from tallystick.ledger.vote import NAMES
from tallystick.node import events

SUBMITTED, RECEIVED, GOSSIPED, PROPOSED, FINAL = "submitted", "received", "gossiped", "proposed", "final"
STORE, GUARD = "store", "guard"


class Step(NamedTuple):
    """When, by the machine's one clock, a node began or had done what; `took_s`: of a sync."""

    at_s: float
    what: str
    took_s: float = 0.0


_steps: Final[list[Step]] = []


def trace_path(folder: Path) -> Path:
    """Where a node of this folder leaves its steps when it has ended."""
    return folder.with_name(f"{folder.name}.steps")


def read_trace(folder: Path) -> list[Step]:
    """The steps of a node that has ended."""
    return msgspec.msgpack.decode(trace_path(folder).read_bytes(), type=list[Step])


class TracedRunner(Runner):
    """Notes events when they come, and actions when they are carried out."""

    def handle(self, event: events.Event) -> None:
        match event:
            case events.CertificatesSubmitted():
                _note(SUBMITTED)
            case events.MessageReceived(_, events.CheckedMessage(message=Certificates())):
                _note(RECEIVED)
        super().handle(event)

    def _persist(self, changes: list[events.ArchiveChange], beside: events.PersistSigned | None) -> None:
        began_s, is_due = time.monotonic(), bool(changes)
        super()._persist(changes, beside)
        if is_due:
            _note(STORE, time.monotonic() - began_s)

    def _do(self, action: events.Action) -> None:
        began_s = time.monotonic()
        super()._do(action)
        match action:
            case events.PersistSigned():
                _note(GUARD, time.monotonic() - began_s)
            case events.Broadcast(Proposal()):
                _note(PROPOSED)
            case events.Broadcast(Votes(tallies)):
                for one in tallies:
                    _note(NAMES[one.ballot.kind])
            case events.Multicast(_, Certificates()):
                _note(GOSSIPED)
            case events.ReportBlock():
                _note(FINAL)


def _note(what: str, took_s: float = 0.0) -> None:
    _steps.append(Step(time.monotonic(), what, took_s))


if __name__ == "__main__":
    vars(process)["Runner"] = TracedRunner
    try:
        main()
    finally:
        data = Path(sys.argv[sys.argv.index("--data") + 1])
        trace_path(data).write_bytes(msgspec.msgpack.encode(_steps))
