"""Whether a statement was valid at a time: what counts, from when on, and what is said of its issuer's key."""

import pytest
from msgspec.structs import replace

from tallystick.ledger.changes import Effect, Reason, Role
from tallystick.ledger.directory import Directory, KeyEntry, Organisation
from tallystick.ledger.status import Status, StatusEntry
from tallystick.ledger.validity import KeyState, Stated, Validity, ValidityState, validity_at

ISSUER, ACTING = b"i" * 32, b"a" * 32
STATED = Stated(ISSUER, 10, 1_000)


def entry(effect: Effect, timestamp_ms: int, reason: Reason = Reason.MISTAKE) -> StatusEntry:
    return StatusEntry(effect, reason, 20, timestamp_ms, ACTING)


def directory(**of_the_key: int) -> Directory:
    """With the issuer's key, from log index 5 on unless it says otherwise."""
    holder = Organisation("ada", "Ada", None, b"m" * 32)
    return Directory.of([holder], {ISSUER: replace(KeyEntry("ada", Role.ISSUER, "", 5), **of_the_key)})


def at(at_ms: int, *entries: StatusEntry, **of_the_key: int) -> Validity:
    return validity_at(STATED, directory(**of_the_key).keys.get(STATED.issuer), entries, at_ms)


SUPERSEDED, REVOKED, VOID = (entry(one, 1_000 * place) for place, one in enumerate(Effect, start=2))


@pytest.mark.parametrize(
    ("entries", "at_ms", "state", "since_ms"),
    [
        ((), 999, ValidityState.NOT_YET, None),
        ((), 1_000, ValidityState.VALID, 1_000),
        ((), 9_999, ValidityState.VALID, 1_000),
        ((REVOKED,), 999, ValidityState.NOT_YET, None),
        ((REVOKED,), 2_999, ValidityState.VALID, 1_000),
        ((REVOKED,), 3_000, ValidityState.REVOKED, 3_000),
        ((SUPERSEDED,), 1_999, ValidityState.VALID, 1_000),
        ((SUPERSEDED,), 2_000, ValidityState.SUPERSEDED, 2_000),
        ((SUPERSEDED, REVOKED), 2_999, ValidityState.SUPERSEDED, 2_000),
        ((SUPERSEDED, REVOKED), 3_000, ValidityState.REVOKED, 3_000),
        ((VOID,), 999, ValidityState.NOT_YET, None),
        ((VOID,), 1_000, ValidityState.VOID, 1_000),
        ((SUPERSEDED, REVOKED, VOID), 3_500, ValidityState.VOID, 1_000),
    ],
)
def test_a_revocation_counts_from_its_block_time_on_and_void_always(
    entries: tuple[StatusEntry, ...], at_ms: int, state: ValidityState, since_ms: int | None
) -> None:
    found = at(at_ms, *entries)
    assert (found.state, found.since_ms) == (state, since_ms)
    is_decided = state in (ValidityState.SUPERSEDED, ValidityState.REVOKED, ValidityState.VOID)
    assert (found.entry is not None) is is_decided
    if found.entry is not None:
        assert found.entry.effect.name == state.name
    reason = Reason.MISTAKE if is_decided and state is not ValidityState.SUPERSEDED else None
    assert found.reason is reason


@pytest.mark.parametrize(
    ("of_the_key", "state", "key", "key_since"),
    [
        ({}, ValidityState.VALID, KeyState.IN_FORCE, None),
        ({"since": 10}, ValidityState.VALID, KeyState.IN_FORCE, None),
        ({"since": 11}, ValidityState.VALID, None, None),
        ({"until": 11}, ValidityState.VALID, KeyState.ENDED_AFTER, 11),
        ({"until": 10}, ValidityState.VALID, KeyState.ENDED_BEFORE, 10),
        ({"until_ms": 1_001}, ValidityState.VALID, KeyState.IN_FORCE, None),
        ({"until_ms": 1_000}, ValidityState.VALID, KeyState.ENDED_BEFORE, None),
        ({"until": 30, "until_ms": 1_000}, ValidityState.VALID, KeyState.ENDED_BEFORE, None),
        ({"until": 30, "until_ms": 1_001}, ValidityState.VALID, KeyState.ENDED_AFTER, 30),
        ({"until": 30, "compromised_since": 11}, ValidityState.VALID, KeyState.COMPROMISED_AFTER, 11),
        ({"until": 30, "compromised_since": 10}, ValidityState.VOID, KeyState.COMPROMISED_BEFORE, 10),
        ({"until": 30, "compromised_since": 5}, ValidityState.VOID, KeyState.COMPROMISED_BEFORE, 5),
    ],
)
def test_what_is_said_of_the_key_and_from_which_log_index_its_compromise_makes_void(
    of_the_key: dict[str, int], state: ValidityState, key: KeyState | None, key_since: int | None
) -> None:
    found = at(5_000, **of_the_key)
    assert (found.state, found.key, found.key_since) == (state, key, key_since)
    assert found.since_ms == 1_000, "it is, or never was, valid from its own block on"
    assert found.reason is (Reason.KEY_COMPROMISED if state is ValidityState.VOID else None)


def test_a_compromised_key_is_above_a_revocation_and_an_entry_that_says_void_above_that() -> None:
    compromised = {"until": 30, "compromised_since": 1}
    assert at(5_000, REVOKED, **compromised) == at(5_000, **compromised)
    assert at(999, **compromised).state is ValidityState.NOT_YET
    found = at(5_000, entry(Effect.VOID, 4_000, Reason.FRAUD), **compromised)
    assert (found.state, found.reason, found.key) == (ValidityState.VOID, Reason.FRAUD, KeyState.COMPROMISED_BEFORE)


def test_a_key_that_is_in_no_directory_is_told_as_that() -> None:
    found = validity_at(STATED, None, [REVOKED], 3_000)
    assert (found.state, found.key, found.key_since) == (ValidityState.REVOKED, None, None)


@pytest.mark.parametrize(
    ("at_ms", "state", "since_ms"),
    [
        (1_999, ValidityState.VALID, 1_000),
        (2_000, ValidityState.SUPERSEDED, 2_000),
        (3_999, ValidityState.SUPERSEDED, 2_000),
        (4_000, ValidityState.REVOKED, 4_000),
    ],
)
def test_the_last_entry_alone_tells_that_it_was_superseded_before(
    at_ms: int, state: ValidityState, since_ms: int
) -> None:
    superseded = Status().after(b"t" * 32, entry(Effect.SUPERSEDED, 2_000))
    last = superseded.after(b"t" * 32, entry(Effect.REVOKED, 4_000)).of(b"t" * 32)
    assert last is not None
    found = validity_at(STATED, None, [last], at_ms)
    assert (found.state, found.since_ms) == (state, since_ms)
