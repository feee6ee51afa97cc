"""What a log asks of a witness (C2SP tlog-witness): how it is written, and when the log only grew."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import refuses, unless_refused
from tests.tiled_log import TiledLog

from tallystick.ledger.checkpoint import Checkpoint
from tallystick.ledger.errors import Rule
from tallystick.ledger.merkle import EMPTY_ROOT
from tallystick.ledger.note import make_note
from tallystick.ledger.tlog_witness import MAX_REQUEST_BYTES, AddCheckpoint, parse_add_checkpoint

LOG = TiledLog().grow(9)


def asked(log: TiledLog, old_size: int) -> AddCheckpoint:
    return AddCheckpoint(old_size, tuple(log.proof(old_size)), log.note(), log.checkpoint())


GOOD = asked(LOG, 6)
WRITTEN = GOOD.encoded


def test_a_request_is_written_and_read_again():
    assert parse_add_checkpoint(WRITTEN.encode()) == GOOD
    assert WRITTEN.startswith("old 6\n")
    assert WRITTEN.count("\n") == 1 + len(LOG.proof(6)) + 1 + 3 + 1 + 1


@given(st.integers(0, 30), st.integers(0, 30))
def test_a_log_that_only_grew_goes_on(old_size, more):
    log = TiledLog().grow(old_size + more)
    asked(log, old_size).check_goes_on(log.checkpoint(old_size))


@given(st.integers(1, 30), st.integers(0, 30), st.data())
def test_a_log_that_forked_does_not(old_size, more, data):
    log = TiledLog().grow(old_size)
    fork = log.fork(data.draw(st.integers(0, old_size - 1))).grow(old_size + more, "other")
    with refuses(Rule.T3):
        asked(fork, old_size).check_goes_on(log.checkpoint())


def test_an_empty_log_has_one_root_and_no_proof_leads_from_it():
    empty = TiledLog()
    asked(empty, 0).check_goes_on(empty.checkpoint())
    text = Checkpoint(LOG.key.name, 0, bytes(32)).text
    note = make_note(text, [LOG.key.signature(LOG.wallet.sign_note(text.encode()))])
    with refuses(Rule.T3, "an empty log has another root"):
        AddCheckpoint(0, (), note, Checkpoint(LOG.key.name, 0, bytes(32))).check_goes_on(empty.checkpoint())
    with refuses(Rule.T3, "no hashes lead on"):
        asked(LOG, 0)._replace(path=(EMPTY_ROOT,)).check_goes_on(empty.checkpoint())


def test_of_one_size_there_is_one_root_and_no_proof():
    asked(LOG, 9).check_goes_on(LOG.checkpoint())
    for other in (LOG.fork(3).grow(9, "other"), LOG.fork(8).add(b"x")):
        with refuses(Rule.T3):
            asked(other, 9).check_goes_on(LOG.checkpoint())
    with refuses(Rule.T3, "1 hashes, 0 expected"):
        asked(LOG, 9)._replace(path=(EMPTY_ROOT,)).check_goes_on(LOG.checkpoint())


LINES = WRITTEN.split("\n")
HASH = LINES[1]
MALFORMED = {
    "nothing": "",
    "no old line": WRITTEN.partition("\n")[2],
    "no number": WRITTEN.replace("old 6", "old six"),
    "a sign": WRITTEN.replace("old 6", "old +6"),
    "a leading zero": WRITTEN.replace("old 6", "old 06"),
    "two spaces": WRITTEN.replace("old 6", "old  6"),
    "huge": WRITTEN.replace("old 6", f"old {2**64}"),
    "larger than the new": WRITTEN.replace("old 6", "old 10"),
    "no empty line": WRITTEN.replace("\n\n", "\n", 1),
    "64 hashes": WRITTEN.replace(HASH, "\n".join([HASH] * 64), 1),
    "a hash of 31 bytes": WRITTEN.replace(HASH, "A" * 40 + "AA==", 1),
    "a hash in another Base64": WRITTEN.replace(HASH, "_" * 43 + "=", 1),
    "carriage returns": WRITTEN.replace("\n", "\r\n"),
    "no checkpoint": "old 0\n\n",
    "an unsigned checkpoint": WRITTEN.rpartition("— ")[0],
    "a huge checkpoint": WRITTEN.replace("\n9\n", f"\n{2**70}\n"),
    "no text": b"\xff" + WRITTEN.encode(),
    "too long": WRITTEN + "x" * MAX_REQUEST_BYTES,
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_request_is_refused(body):
    with refuses(Rule.P1):
        parse_add_checkpoint(body if isinstance(body, bytes) else body.encode())


def test_63_hashes_are_a_request_though_no_log_needs_so_many():
    body = WRITTEN.replace(HASH, "\n".join([HASH] * (63 - len(LOG.proof(6)) + 1)), 1)
    assert len(parse_add_checkpoint(body.encode()).path) == 63


@given(st.data())
def test_a_changed_request_is_refused_or_says_something_else(data):
    body = bytearray(WRITTEN.encode())
    body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    assert unless_refused(parse_add_checkpoint, bytes(body), Rule.P1) != GOOD
