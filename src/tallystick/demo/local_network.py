"""Nodes of one ledger as processes on this machine. Whatever happens, none of them outlives its network."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Final

from tallystick.cli.connecting import RunningNode, connect
from tallystick.cli.options import PASSPHRASE_VARIABLE
from tallystick.host.control import GetStatus, NotRunning, Status
from tallystick.host.data_folder import DataFolder
from tallystick.problems import HostError

COMMAND: Final = (sys.executable, "-m", "tallystick")
START_SECONDS: Final = 60.0

_POLL_SECONDS: Final = 0.05
_STOP_SECONDS: Final = 10.0
_LOG: Final = "log"


class LocalNetwork:
    """The nodes by name, and their processes. Leaving it ends them all."""

    def __init__(self, folders: Mapping[str, DataFolder], passphrase: str) -> None:
        self.folders = dict(folders)
        self._environment = {**os.environ, PASSPHRASE_VARIABLE: passphrase}
        self._options = [] if passphrase else ["--no-passphrase"]
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "LocalNetwork":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def running(self) -> list[str]:
        """The nodes that were started, and neither killed nor stopped."""
        return list(self._processes)

    def start(self, name: str) -> None:
        """Start a node. Its log goes into its folder."""
        folder = self.folders[name]
        with (folder.path / _LOG).open("ab") as log:
            self._processes[name] = subprocess.Popen(  # noqa: S603  ourselves
                [*COMMAND, "run", "--data", str(folder.path), *self._options],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C on the terminal is ours to pass on
            )

    def kill(self, name: str) -> None:
        """End a node without a word, as a power cut does."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def stop(self) -> dict[str, int]:
        """Ask all nodes to end, kill those that do not; their exit codes by name."""
        processes, self._processes = self._processes, {}
        for process in processes.values():
            process.terminate()
        until_s = time.monotonic() + _STOP_SECONDS
        try:
            for process in processes.values():
                process.wait(max(0.1, until_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            pass
        finally:
            for process in processes.values():
                if process.poll() is None:
                    process.kill()
                    process.wait()
        return {name: process.returncode for name, process in processes.items()}

    @contextmanager
    def connect(self, name: str) -> Iterator[RunningNode]:
        """Connect to a node. Raises `HostError`."""
        with connect(self.folders[name]) as node:
            yield node

    def status(self, name: str) -> Status:
        """How a node is. Raises `HostError`."""
        with self.connect(name) as node:
            return node.one(GetStatus(), Status)

    def wait_until(self, is_done: Callable[[], bool], what: str, at_most_s: float = START_SECONDS) -> None:
        """Wait for something. Raises `HostError` when a node has ended meanwhile, or the time is up."""
        until_s = time.monotonic() + at_most_s
        while True:
            self._check_alive()
            try:
                if is_done():
                    return
            except NotRunning:
                pass  # it listens a moment after it was started
            if time.monotonic() > until_s:
                told = "; ".join(f"{name}: {self._last_words(name)}" for name in self.running)
                raise HostError(f"{what}: that did not come within {at_most_s:.0f} s. The nodes' last words: {told}")
            time.sleep(_POLL_SECONDS)

    def wait_until_voting(self) -> None:
        """Wait until every node that runs, and has stake, votes, and all these are connected. Raises `HostError`."""

        def all_vote() -> bool:
            members = [one for one in map(self.status, self.running) if one.stake]
            return all(one.is_voting and one.members_connected >= len(members) for one in members)

        self.wait_until(all_vote, "waiting for the nodes to find each other")

    def ended(self) -> dict[str, int]:
        """The nodes that have ended by themselves since this was asked last; their exit codes by name."""
        codes = {name: code for name, process in self._processes.items() if (code := process.poll()) is not None}
        for name in codes:
            del self._processes[name]
        return codes

    def _check_alive(self) -> None:
        for name, process in self._processes.items():
            if process.poll() is not None:
                raise HostError(f"{name} has ended with {process.returncode}: {self._last_words(name)}")

    def _last_words(self, name: str) -> str:
        lines = (self.folders[name].path / _LOG).read_text(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "nothing")


def in_order(name: str) -> tuple[int, str]:
    """Sorts node-2 before node-10."""
    return len(name), name


@contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM unwind the program as Ctrl-C does, so that it cleans up."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
