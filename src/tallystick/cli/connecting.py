"""Connecting to the running node of a data folder, and what its folder knows of the ledger."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from tallystick.cli.options import node_folder
from tallystick.host.control import Answer, Client, Request
from tallystick.host.data_folder import DataFolder
from tallystick.ledger.genesis import Genesis
from tallystick.problems import HostError
from tallystick.storage.store import Store

PATIENCE_SECONDS: Final = 30.0
"""For what a node answers at once."""

A = TypeVar("A", bound=Answer)


@dataclass(frozen=True)
class RunningNode:
    """A node that can be asked."""

    folder: DataFolder
    client: Client

    def ask(self, request: Request, until_s: float | None = None) -> Iterator[Answer]:
        """The answers as they come, all of them by `until_s` of the monotonic clock. Raises `HostError`."""
        return self.client.ask(request, until_s)

    def all(self, request: Request, kind: type[A]) -> list[A]:
        """All answers, which have to be of this kind. Raises `HostError`."""
        answers = list(self.ask(request, time.monotonic() + PATIENCE_SECONDS))
        if not all(isinstance(one, kind) for one in answers):
            raise HostError("the node answered something else than it was asked; is it of another version? Restart it")
        return [one for one in answers if isinstance(one, kind)]

    def one(self, request: Request, kind: type[A]) -> A:
        """The one answer. Raises `HostError`."""
        answers = self.all(request, kind)
        if len(answers) != 1:
            raise HostError(f"the node gave {len(answers)} answers, not one; is it of another version? Restart it")
        return answers[0]


@contextmanager
def connect(folder: DataFolder) -> Iterator[RunningNode]:
    """Connect to the node of a folder. Raises `NotRunning`, `HostError`; a folder without a node is told as such."""
    if not folder.is_there:
        folder.settings()
    with Client(folder.socket_path) as client:
        yield RunningNode(folder, client)


@contextmanager
def connect_at(data: Path | None) -> Iterator[RunningNode]:
    """The same, for the folder that was named, or the usual one."""
    with connect(node_folder(data)) as node:
        yield node


def ledger_info(folder: DataFolder) -> tuple[Genesis, Mapping[bytes, str]]:
    """The ledger's first document and the folder's address book. Raises `StoreError`."""
    with Store.open(folder.ledger_path, read_only=True) as store:
        return store.genesis, store.names()
