"""What processes have used, as Linux tells it, and networks of processes that end with their benchmark."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from tallystick.host.addresses import drawn_port

_TICKS = os.sysconf("SC_CLK_TCK")
_SESSION, _USER, _CHILDREN_SYSTEM = 3, 11, 14
"""Fields of /proc/PID/stat after the name."""
_BLOCK_BYTES = 512
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


def most_held_bytes() -> int:
    """The most memory that this process has held; `ru_maxrss` would tell of the one that started it as well."""
    (line,) = (one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmHWM:"))
    return 1024 * int(line.split()[1])


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
