"""Address records: only what can be an address, signed by its own key for one ledger."""

import pytest
from hypothesis import given
from msgspec.structs import replace
from tests import strategies as some
from tests.builders import ADA, BEN, GENESIS, LEDGER, START_MS, Bench, cut_off, refuses, rules

from tallystick.ledger.address import AddressRecord, address_codec
from tallystick.ledger.encoding import encode
from tallystick.ledger.errors import Rule
from tallystick.ledger.keys import is_signed
from tallystick.ledger.messages import MAX_ADDRESSES, Addresses, encode_message
from tallystick.ledger.params import MAX_MESSAGE_BYTES
from tallystick.network.archiving import own_record, sign_address
from tallystick.network.memory_archive import MemoryArchive

GOOD = ["h:1", "a-b.c_d.example:65535", "127.0.0.1:7420", "[::1]:80", "[2001:db8::1.2.3.4]:9", f"{'a.' * 126}b:1"]
BAD = [
    "",
    "h",
    "h:",
    ":1",
    "h:0",
    "h:01",
    "h:65536",
    "h:100000",
    "h:-1",
    "h:٣",
    "h:1\n",
    "h:1 ",
    " h:1",
    "h h:1",
    "-h:1",
    "h-:1",
    "h..i:1",
    ".h:1",
    "é:1",
    "tcp://h:1",
    "user@h:1",
    "h/i:1",
    "::1:80",
    "[]:1",
    "[::1]",
    "[::1%eth0]:1",
    f"{'a' * 64}:1",
    f"{'a.' * 126}bc:1",
    "h:1\x00",
]


@pytest.mark.parametrize("address", GOOD)
def test_host_and_port_are_an_address(address):
    record = sign_address(ADA, LEDGER, address, START_MS)
    assert address_codec.decode(encode(record)) == record
    assert is_signed(record.signed_bytes(LEDGER), record.signature, ADA.public_key)


@pytest.mark.parametrize("address", BAD, ids=repr)
def test_anything_else_is_none(address):
    with refuses(Rule.E2):
        sign_address(ADA, LEDGER, address, START_MS)
    bench = Bench()
    actions = bench.receive(Addresses((AddressRecord(ADA.public_key, address, START_MS),)), "x")
    assert (rules(actions), cut_off(actions)) == ([Rule.E2], {"x"})


@given(some.address_records)
def test_records_survive_the_wire(record):
    assert address_codec.decode(encode(record)) == record


def test_a_message_has_room_for_the_longest_records():
    longest = AddressRecord(bytes(32), "a" * 255, 2**53 - 1)
    assert len(encode_message(Addresses((longest,) * MAX_ADDRESSES))) < MAX_MESSAGE_BYTES
    with refuses(Rule.E2):
        sign_address(ADA, LEDGER, "h:1", -1)


RECORD = sign_address(ADA, LEDGER, "h:1", START_MS)
FORGERIES = {
    "another's key": replace(RECORD, key=BEN.public_key),
    "another address": replace(RECORD, address="h:2"),
    "another time": replace(RECORD, time_ms=START_MS + 1),
    "another ledger's": sign_address(ADA, bytes(32), "h:1", START_MS),
    "unsigned": replace(RECORD, signature=bytes(64)),
}


@pytest.mark.parametrize("forged", FORGERIES.values(), ids=FORGERIES)
def test_n7_what_its_key_did_not_sign_for_this_ledger_is_not_kept_nor_blamed_on_its_teller(forged):
    bench = Bench(GENESIS)
    actions = bench.receive(Addresses((sign_address(BEN, LEDGER, "h:3", START_MS), forged)), "x")
    assert (rules(actions), cut_off(actions)) == ([Rule.N7], set())
    assert not bench.node.knowledge.knows_address(forged)


# ---- the record that a node starts with -------------------------------------------------------------------------


def kept(*records):
    archive = MemoryArchive()
    for record in records:
        archive.keep_address(record)
    return archive


def test_a_node_that_stays_where_it_is_has_nothing_new_to_say():
    archive = kept(sign_address(BEN, LEDGER, "h:1", START_MS), RECORD)
    assert own_record(ADA, LEDGER, "h:1", START_MS + 1_000, archive) == RECORD


@pytest.mark.parametrize("now_ms", [START_MS - 60_000, START_MS, START_MS + 1_000])
def test_a_node_that_moved_signs_a_later_record_whatever_its_clock_says(now_ms):
    moved = own_record(ADA, LEDGER, "h:2", now_ms, kept(RECORD))
    assert moved.address == "h:2"
    assert moved.time_ms > START_MS or moved.time_ms == now_ms > RECORD.time_ms
    assert is_signed(moved.signed_bytes(LEDGER), moved.signature, ADA.public_key)


def test_a_record_from_a_time_when_the_clock_was_far_ahead_is_signed_anew():
    ahead = sign_address(ADA, LEDGER, "h:1", START_MS + 86_400_000)
    assert own_record(ADA, LEDGER, "h:1", START_MS, kept(ahead)).time_ms == START_MS


def test_a_kept_record_that_was_tampered_with_is_signed_anew():
    assert own_record(ADA, LEDGER, "h:1", START_MS, kept(replace(RECORD, signature=bytes(64)))).time_ms > START_MS
