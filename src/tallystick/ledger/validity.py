"""Whether a statement was valid at a time: from its place in the log and final block times, never from its own date."""

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from tallystick.ledger.changes import Effect, Reason
from tallystick.ledger.directory import KeyEntry
from tallystick.ledger.status import StatusEntry


class ValidityState(Enum):
    """What a statement is at a time."""

    NOT_YET = "not_yet"
    """It was not final then."""
    VALID = "valid"
    SUPERSEDED = "superseded"
    """Another statement stands in its place since then."""
    REVOKED = "revoked"
    VOID = "void"
    """It never was valid."""


class KeyState(Enum):
    """What is known of the issuer's key, as of the directory."""

    IN_FORCE = "in_force"
    ENDED_AFTER = "ended_after"
    """After the statement: the statement stands."""
    ENDED_BEFORE = "ended_before"
    """Only where anybody certifies."""
    COMPROMISED_AFTER = "compromised_after"
    """From a later log index on: the statement stands."""
    COMPROMISED_BEFORE = "compromised_before"
    """From the statement's log index on, or from an earlier one: the statement is void."""


class Stated(NamedTuple):
    """A statement's place in the log."""

    issuer: bytes
    log_index: int
    timestamp_ms: int
    """Of its block."""


class Validity(NamedTuple):
    """What a statement is at a time."""

    state: ValidityState
    since_ms: int | None
    """Since when: the block time of what made it so, or of the statement itself; `None`: it is not yet."""
    entry: StatusEntry | None
    """By which certificate, and why, if one made it so."""
    key: KeyState | None
    """`None`: the directory does not have the key."""
    key_since: int | None
    """The log index from which the key is ended, or compromised, if one is known."""

    @property
    def reason(self) -> Reason | None:
        """Why it is revoked or void."""
        if self.entry is not None and self.entry.effect is not Effect.SUPERSEDED:
            return Reason(self.entry.reason)
        return Reason.KEY_COMPROMISED if self.entry is None and self.state is ValidityState.VOID else None


_STATES = {
    Effect.SUPERSEDED: ValidityState.SUPERSEDED,
    Effect.REVOKED: ValidityState.REVOKED,
    Effect.VOID: ValidityState.VOID,
}


def validity_at(stated: Stated, entry: KeyEntry | None, entries: Sequence[StatusEntry], at_ms: int) -> Validity:
    """What the statement is at a time, by all that is known now.

    `entry` is that of the issuer's key in the directory. `entries` are those that its status had, in order of the log;
    the last one alone does, too, as it says since when the statement was superseded before. A revocation counts from
    its block time on. What is void, by its status or because the key was compromised, is so at all times.
    """
    key, key_since = _key_state(stated, entry)
    counting = [one for one in entries if one.effect is Effect.VOID or one.timestamp_ms <= at_ms]
    last = counting[-1] if counting else None
    superseded_ms = next((one.superseded_ms for one in entries if one.superseded_ms), None)
    if at_ms < stated.timestamp_ms:
        state, since_ms, last = ValidityState.NOT_YET, None, None
    elif key is KeyState.COMPROMISED_BEFORE and (last is None or last.effect is not Effect.VOID):
        state, since_ms, last = ValidityState.VOID, stated.timestamp_ms, None
    elif last is None and superseded_ms is not None and superseded_ms <= at_ms:
        state, since_ms = ValidityState.SUPERSEDED, superseded_ms
    elif last is None or last.effect is Effect.VOID:
        state = ValidityState.VALID if last is None else ValidityState.VOID
        since_ms = stated.timestamp_ms
    else:
        state, since_ms = _STATES[last.effect], last.timestamp_ms
    return Validity(state, since_ms, last, key, key_since)


def _key_state(stated: Stated, entry: KeyEntry | None) -> tuple[KeyState | None, int | None]:
    if entry is None or stated.log_index < entry.since:
        return None, None
    if entry.compromised_since is not None:
        is_before = entry.compromised_since <= stated.log_index
        return KeyState.COMPROMISED_BEFORE if is_before else KeyState.COMPROMISED_AFTER, entry.compromised_since
    if entry.until is not None and entry.until <= stated.log_index:
        return KeyState.ENDED_BEFORE, entry.until
    if entry.until_ms is not None and entry.until_ms <= stated.timestamp_ms:
        return KeyState.ENDED_BEFORE, None
    return KeyState.IN_FORCE if entry.until is None else KeyState.ENDED_AFTER, entry.until
