"""Nodes of one ledger as processes on this machine, for demos, tests and benchmarks. None outlives its network."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Final, Generic, Self, TypeVar

from tallystick.api.views import Status
from tallystick.cli.options import PASSPHRASE_VARIABLE
from tallystick.client.blocking import Client
from tallystick.host.data_folder import DataFolder
from tallystick.problems import NotInTime, NotRunning, Problem

COMMAND: Final = (sys.executable, "-m", "tallystick")
_START_SECONDS: Final = 90.0

_POLL_SECONDS: Final = 0.02
_STOP_SECONDS: Final = 30.0


class NodeProcess:
    """A node's folder, and the process that runs it, if one does. The log of its processes is beside the folder."""

    def __init__(self, folder: DataFolder, passphrase: str = "", *, command: Sequence[str] = COMMAND) -> None:
        self.folder = folder
        self.log_path = folder.path.with_name(f"{folder.path.name}.log")
        self.process: subprocess.Popen[bytes] | None = None
        self._input: IO[bytes] | None = None
        self._environment = {**os.environ, PASSPHRASE_VARIABLE: passphrase}
        self._command = [*command, "run", "--data", str(folder.path), *([] if passphrase else ["--no-passphrase"])]

    @property
    def name(self) -> str:
        """Of its folder."""
        return self.folder.path.name

    @property
    def log(self) -> str:
        """All that its processes have written."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    @property
    def last_words(self) -> str:
        """The last line of its log that says anything."""
        return next((line.strip() for line in reversed(self.log.split("\n")) if line.strip()), "nothing")

    def launch(self, *options: str) -> None:
        """Start the process, in a group of its own (Ctrl-C on the terminal is ours to pass on).

        It ends with this one, even if this one is killed: then its standard input ends.
        """
        assert self.process is None, f"{self.name} runs already"
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603  ourselves
                [*self._command, *options, "--until-eof"],
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._input = self.process.stdin

    def send_signal(self, number: int) -> None:
        """Send it to the process, unless that has ended."""
        assert self.process is not None, f"{self.name} does not run"
        self.process.send_signal(number)

    def kill(self) -> None:
        """End the process without a word. What it had open is closed, as it is not where a machine loses its power."""
        self.send_signal(signal.SIGKILL)
        self.wait()

    def wait(self, patience_s: float | None = None) -> int:
        """Wait for the process to end, and kill it when the time is up; its exit code."""
        assert self.process is not None, f"{self.name} does not run"
        try:
            code = self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self.process = None
        if self._input is not None:
            self._input.close()
            self._input = None
        return code

    def client(self) -> Client:
        """A client at the node's own door. Raises `NotRunning`."""
        return Client(self.folder.path)

    def status(self) -> Status:
        """How the node is. Raises `Problem`."""
        with self.client() as client:
            return client.status()


N = TypeVar("N", bound=NodeProcess)


class LocalNetwork(Generic[N]):
    """The nodes, in order. Leaving it ends their processes."""

    def __init__(self, nodes: Sequence[N] = ()) -> None:
        self.nodes = list(nodes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def running(self) -> list[N]:
        """The nodes that were started, and neither killed nor stopped."""
        return [node for node in self.nodes if node.process is not None]

    def start(self) -> None:
        """Start all nodes that do not run, and wait until they vote. Raises `Problem`."""
        for node in self.nodes:
            if node.process is None:
                node.launch()
        self.wait_until_voting()

    def stop(self) -> dict[str, int]:
        """Ask all nodes to end, kill those that do not; their exit codes by name."""
        running, until_s = self.running, time.monotonic() + _STOP_SECONDS
        try:
            for node in running:
                node.send_signal(signal.SIGTERM)
            return {node.name: node.wait(max(0.1, until_s - time.monotonic())) for node in running}
        finally:
            for node in self.running:  # interrupted meanwhile
                node.kill()

    def wait_until(self, is_done: Callable[[], object], what: str) -> None:
        """Wait for something. Raises `NotInTime`, and `Problem` when a node has ended meanwhile."""
        until_s = time.monotonic() + _START_SECONDS
        while True:
            for node, code in self.ended():
                raise Problem(f"{node.name} has ended with {code}: {node.last_words}")
            with suppress(NotRunning):  # it listens a moment after it was started
                if is_done():
                    return
            if time.monotonic() > until_s:
                told = "; ".join(f"{node.name}: {node.last_words}" for node in self.running)
                late = f"{what}: that did not come within {_START_SECONDS:.0f} s"
                raise NotInTime(f"{late}. The nodes' last words: {told}")
            time.sleep(_POLL_SECONDS)

    def wait_until_voting(self) -> None:
        """Wait until all nodes that run are connected, and all of them that have stake vote. Raises `Problem`."""

        def all_vote() -> bool:
            said = [node.status() for node in self.running]
            return all(one.peers >= len(said) - 1 and (one.is_voting or not one.stake) for one in said)

        self.wait_until(all_vote, "waiting for the nodes to find each other")

    def ended(self) -> list[tuple[N, int]]:
        """The nodes that have ended by themselves since this was asked last, with their exit codes."""
        over = [node for node in self.running if node.process is not None and node.process.poll() is not None]
        return [(node, node.wait()) for node in over]


@contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM unwind the program as Ctrl-C does, so that it cleans up."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
