"""The course's one clock: milliseconds, each handed out at most once in a process.

Signing is faster than the clock ticks. Two certificates of one issuer made in a row would otherwise be the same one.
"""

from threading import Lock
from time import time
from typing import Final

_FURTHEST_AHEAD_MS: Final = 3_600_000

_lock = Lock()
_last_ms = 0


def now() -> int:
    """Milliseconds since 1970, later than at every call before."""
    global _last_ms  # noqa: PLW0603 - a process has one clock
    with _lock:
        _last_ms = max(int(time() * 1000), _last_ms + 1)
        return _last_ms


def follow(time_ms: int) -> None:
    """A block of this time was accepted: what is made from now on is later, as the next block has to be.

    The clock does not follow a time that is far ahead, which is somebody's mistake.
    """
    global _last_ms  # noqa: PLW0603
    with _lock:
        if time_ms <= time() * 1000 + _FURTHEST_AHEAD_MS:
            _last_ms = max(_last_ms, time_ms)


def reading() -> int:
    """The clock's time, not handed out: what a node goes by. Never before a time that `now` gave."""
    return max(int(time() * 1000), _last_ms)
