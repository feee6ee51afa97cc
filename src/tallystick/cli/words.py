"""How the command line puts keys, times and counts into words."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from tallystick.api.views import Finality, Key

_SHORT_HEX: Final = 12
_UNITS: Final = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s"))

CHECKED_AGAIN: Final = "every hash, signature, vote and rule checked again"
"""What was found good before anything of a kept chain is shown."""


def called(one: Key) -> str:
    """A member's name in the address book, and how its key begins."""
    return f"{one.name} ({one.key[:8]}…)" if one.name else f"{one.key[:_SHORT_HEX]}…"


def whole(one: Key) -> str:
    """A whole key, and its name in the address book."""
    return f"{one.key} ({one.name})" if one.name else one.key


def votes(finality: Finality, block_index: int) -> str:
    """What makes a block final."""
    later = f", for block {finality.by_block}" if finality.by_block != block_index else ""
    return f"votes of {finality.stake:,} of {finality.total_stake:,} tokens at stake{later}"


def utc(timestamp_ms: int) -> str:
    """A time for people; what is beyond the calendar stays a number."""
    try:
        time = datetime.fromtimestamp(timestamp_ms // 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return f"{timestamp_ms} ms after 1970"
    return f"{time:%Y-%m-%d %H:%M:%S}.{timestamp_ms % 1000:03} UTC"


def seconds(duration_ms: int) -> str:
    """A duration for people."""
    return f"{duration_ms / 1000:.1f} s"


def lasting(duration_ms: int) -> str:
    """A span of time for people, in its largest units."""
    whole_s = max(0, duration_ms) // 1000
    for unit_s, unit, smaller_s, smaller in _UNITS:
        if whole_s >= unit_s:
            rest = whole_s % unit_s // smaller_s
            return f"{whole_s // unit_s} {unit}" + (f" {rest} {smaller}" if rest else "")
    return seconds(max(0, duration_ms)) if duration_ms < 10_000 else f"{whole_s} s"


def ago(now_ms: int, time_ms: int) -> str:
    """How long it is since a time, for people."""
    return f"{lasting(now_ms - time_ms)} ago"


def many(count: int, what: str) -> str:
    """The count and the noun, in the plural unless there is one."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def names_of(names: Sequence[str], most: int = 5) -> str:
    """A list of names; beyond `most`, only how many more there are."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
