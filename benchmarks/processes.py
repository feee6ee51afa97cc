"""What processes have used, as Linux tells it, and networks of processes that end with their benchmark."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

from tallystick.host.addresses import drawn_port
from tallystick.problems import Problem

_TICKS = os.sysconf("SC_CLK_TCK")
_SESSION, _USER, _CHILDREN_SYSTEM = 3, 11, 14
"""Fields of /proc/PID/stat after the name."""
_BLOCK_BYTES = 512
_START_S = 60.0
_STOP_S = 10.0
_TAKEN = range(26_650, 26_670)
"""Where CometBFT listens unless told otherwise."""


def spent_s(sessions: Collection[int]) -> float:
    """Processor time, of user and system, of all processes of these sessions, and of those of theirs that ended."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[_SESSION]) in sessions:
            total += sum(map(int, fields[_USER : _CHILDREN_SYSTEM + 1]))
    return total / _TICKS


class NotInstalled(Problem):
    """A peer is not on this machine, and cannot be had."""


class Processes:
    """Processes of one network, each in a session of its own. Leaving them ends all."""

    def __init__(self) -> None:
        self._running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._running:
            one.terminate()
        for one in self._running:
            try:
                one.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait()

    def launch(self, command: Sequence[str], log: Path) -> None:
        """Start one, whose output goes to this file."""
        with log.open("wb") as output:
            self._running.append(subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True))

    def wait_until(self, is_ready: Callable[[], bool]) -> None:
        """Wait until that comes true, and fail when a process ends before."""
        until_s = time.monotonic() + _START_S
        while not is_ready():
            assert time.monotonic() < until_s, f"not ready within {_START_S:.0f} s"
            assert all(one.poll() is None for one in self._running), "a process has ended"
            time.sleep(0.05)

    @property
    def sessions(self) -> list[int]:
        """Of them all."""
        return [one.pid for one in self._running]

    def stop(self, place: int) -> None:
        """Let one stand still."""
        self._running[place].send_signal(signal.SIGSTOP)

    def kill(self, place: int) -> None:
        """End one without a word."""
        self._running[place].kill()
        self._running[place].wait()


class Memory(NamedTuple):
    """What a process holds of it, in bytes."""

    rss: int
    """All that is resident."""
    pss: int
    """Its share of that, with what several processes have in common divided among them."""


def memory_of(pid: int) -> Memory:
    """Of a process. Raises `OSError` where it has ended."""
    told = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    return Memory(*(1024 * int(told[name].split()[0]) for name in ("Rss", "Pss")))


def held_bytes(session: int) -> int:
    """The memory of all processes of a session; what several of them share counts once."""
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            if os.getsid(int(process.name)) == session:
                total += memory_of(int(process.name)).pss
    return total


def disk_bytes(folder: Path) -> int:
    """What the files below a folder take of the disk."""
    return _BLOCK_BYTES * sum(_blocks(folder))


def ports(how_many: int) -> range:
    """Free ones in a row, drawn, and none where somebody's CometBFT may listen."""
    while True:
        first = drawn_port(how_many)
        if first + how_many <= _TAKEN.start or first >= _TAKEN.stop:
            return range(first, first + how_many)


def _blocks(folder: Path) -> Iterator[int]:
    for one in folder.rglob("*"):
        try:
            yield one.lstat().st_blocks
        except FileNotFoundError:  # gone meanwhile
            continue
