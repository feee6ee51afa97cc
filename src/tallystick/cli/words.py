"""How the command line puts keys, times and counts into words."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from tallystick.api.governed_views import Erasure, MotionLine, Validity
from tallystick.api.views import Continuation, Finality, Key
from tallystick.api.words import SHORT_ID

_SHORT_HEX: Final = 12
_UNITS: Final = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s"))

CHECKED_AGAIN: Final = "every hash, signature, vote and rule checked again"
"""What was found good before anything of a kept chain is shown."""

IN_NO_ORGANISATION: Final = "Its issuer's key is in no organisation of this ledger: anybody can have made it"
"""What is said loudly, where there are organisations."""

KEY_HAD_ENDED: Final = "Its issuer's key had ended by then: its organisation does not stand behind it"


def called(one: Key) -> str:
    """Its organisation, or else its name in the address book, and how the key begins."""
    name = whose(one)
    return f"{name} ({one.key[:8]}…)" if name else f"{one.key[:_SHORT_HEX]}…"


def whole(one: Key) -> str:
    """A whole key, and its organisation, or else its name in the address book."""
    name = whose(one)
    return f"{one.key} ({name})" if name else one.key


def whose(one: Key) -> str:
    """Its organisation's title and the key's label; without one, its name in the address book; else nothing."""
    if one.title:
        return f"{one.title}, {one.label}" if one.label else one.title
    return one.name or ""


def validity(one: Validity) -> str:
    """Whether a statement is valid, or was at a time, since when not, and as of when that is known."""
    since = (
        f", since {utc(one.since_ms)}" if one.state in ("revoked", "superseded") and one.since_ms is not None else ""
    )
    since = f", as decided on {utc(one.by_ms)}" if one.state == "void" and one.by_ms is not None else since
    then = f"{utc(one.at_ms)}: " if one.at_ms != one.as_of_ms else ""
    state, semicolon, of_the_key = one.summary.partition("; ")
    return f"{then}{state}{since}{semicolon}{of_the_key}; as of {utc(one.as_of_ms)}"


def erasure_fields(one: Erasure) -> dict[str, str]:
    """Who orders that a payload be erased everywhere, who has confirmed, who has not, and what is not reached."""
    by = [f"{called(order.by)}{', by motion' if order.kind == 'motion' else ''}" for order in one.orders]
    silent = ", ".join(map(called, one.unconfirmed))
    return {
        "to be erased": f"ordered on {utc(one.orders[0].since_ms)} by {'; '.join(by)}",
        "erased by": "; ".join(f"{called(said.member)}, {utc(said.block_timestamp_ms)}" for said in one.confirmed),
        "not yet by": f"{silent}: each operator runs tallystick erase {one.target[:SHORT_ID]}" if silent else "",
        "not reached": one.not_reached,
    }


def without(one: MotionLine) -> str:
    """Of a motion, for the end of a line, without whom the ledger stops after it."""
    return f"; afterwards the ledger stops without any of: {', '.join(one.stops_without)}" if one.stops_without else ""


def continued(one: Continuation) -> str:
    """That a ledger continues another, by how many, and which."""
    return f"{one.summary}: it goes on from {one.name} ({one.ledger_id[:SHORT_ID]}…) after block {one.block_index:,}"


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
    plural = f"{what.removesuffix('y')}ies" if what.endswith("try") else f"{what}s"
    return f"{count:,} {what if count == 1 else plural}"


def with_ml_dsa(members: int) -> str:
    """What an earlier proof has that so many signed by ML-DSA-44, and not the new one."""
    return f"with ML-DSA-44 signatures of {many(members, 'member')} that the new one lacks"


def how_to_verify(named: str, ledger_id: str) -> str:
    """What to tell people to whom a proof is handed on: it counts for those who trust its ledger."""
    return (
        f"Whoever trusts the ledger {ledger_id} can verify it, offline: tallystick verify {named} --ledger {ledger_id}"
    )


def names_of(names: Sequence[str], most: int = 5) -> str:
    """A list of names; beyond `most`, only how many more there are."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
