"""A block by itself: what its hash and signature cover, and what it shows without its chain."""

import pytest
from msgspec.structs import replace
from tests.builders import BEN, GENESIS, LEDGER, Scribe, found, refuses, staking, statement, statements

from tallystick.ledger.block import block_codec, check_form, genesis_block
from tallystick.ledger.certificate import certificates_hash
from tallystick.ledger.encoding import digest
from tallystick.ledger.errors import Rule
from tallystick.ledger.header import VERSION
from tallystick.ledger.keys import Domain, is_signed
from tallystick.ledger.params import MAX_BLOCK_BYTES

CERTIFICATES = (statement("one"), staking(5), statement("two"))
BLOCK = Scribe().draft(*CERTIFICATES)


def test_the_hash_is_the_headers_and_the_forger_signs_it():
    header = BLOCK.header
    assert BLOCK.hash == header.hash == digest(header.encoded)
    assert header.signed_bytes() == Domain.BLOCK + LEDGER + header.encoded
    assert is_signed(header.signed_bytes(), BLOCK.signature, header.forger)
    check_form(BLOCK, LEDGER)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"ledger_id": bytes(32)},
        {"epoch": 1},
        {"index": 2},
        {"view": 2},
        {"parent_hash": bytes(32)},
        {"timestamp_ms": 5},
        {"forger": BEN.public_key[::-1]},
        {"certificates_hash": bytes(32)},
        {"state_root": bytes(32)},
        {"nonce": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_header_field_changes_the_hash_and_breaks_the_signature(change):
    changed = replace(BLOCK.header, **change)
    assert changed.hash != BLOCK.hash
    assert not is_signed(changed.signed_bytes(), BLOCK.signature, changed.forger)


@pytest.mark.parametrize(
    "others",
    [
        (),
        CERTIFICATES[:2],
        CERTIFICATES[::-1],
        (*CERTIFICATES, CERTIFICATES[-1]),
        (replace(CERTIFICATES[0], signature=CERTIFICATES[2].signature), *CERTIFICATES[1:]),
    ],
    ids=["none", "fewer", "in another order", "the last twice", "with another signature"],
)
def test_the_header_covers_its_certificates_their_order_and_signatures(others):
    assert certificates_hash(others) != certificates_hash(CERTIFICATES)
    with refuses(Rule.B7):
        check_form(replace(BLOCK, certificates=others), LEDGER)


def test_a_block_of_another_ledger_is_refused():
    with refuses(Rule.B10):
        check_form(BLOCK, bytes(32))
    with refuses(Rule.B10):
        check_form(Scribe(found(free=7)).draft(statement()), LEDGER)


def test_a_block_of_another_version_is_refused():
    with refuses(Rule.E4):
        check_form(Scribe().draft(statement(), version=VERSION + 1), LEDGER)


def test_a_block_beyond_its_bytes_is_refused():
    certificates = statements(5_000)
    largest = Scribe().draft(*certificates)
    while len(largest.encoded) <= MAX_BLOCK_BYTES:
        certificates += statements(5_000)
        largest = replace(largest, certificates=tuple(certificates))
    header = replace(largest.header, certificates_hash=certificates_hash(certificates))
    with refuses(Rule.B9):
        check_form(replace(largest, header=header), LEDGER)
    with refuses(Rule.E1):
        block_codec.decode(largest.encoded)


def test_block_0_follows_from_the_genesis_alone():
    assert genesis_block(GENESIS) == genesis_block(GENESIS)
    assert genesis_block(GENESIS).hash != genesis_block(found(free=7)).hash
