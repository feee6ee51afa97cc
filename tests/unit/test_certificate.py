"""Certificates: what their id and signature cover, who may sign them, and the payloads beside them."""

from hashlib import sha256

import msgspec
import pytest
from hypothesis import given
from msgspec.structs import replace
from tests import strategies as some
from tests.builders import ADA, BEN, LEDGER, START_MS, payload, refuses, staking, statement, with_payload

from tallystick.ledger.certificate import (
    Payload,
    StakingOperation,
    Statement,
    certificate_codec,
    check_payload,
    issue_stake,
    issue_statement,
    sign_certificate,
)
from tallystick.ledger.encoding import encode
from tallystick.ledger.errors import Rule
from tallystick.ledger.fields import MAX_TIMESTAMP_MS, UNSIGNED
from tallystick.ledger.keys import Domain, is_signed
from tallystick.ledger.merkle import leaf_hash
from tallystick.ledger.messages import Entry, entry_codec
from tallystick.ledger.params import MAX_PAYLOAD_BYTES

OTHER_LEDGER = bytes(32)


def is_signed_on(certificate, ledger):
    return is_signed(certificate.signed_bytes(ledger), certificate.signature, certificate.issuer)


def test_a_certificate_is_signed_by_its_issuer_for_one_ledger():
    for certificate in (statement(), staking(5), with_payload("covered").certificate):
        assert is_signed_on(certificate, LEDGER)
        assert not is_signed_on(certificate, OTHER_LEDGER)


@given(some.certificates)
def test_the_signature_and_the_id_cover_all_fields_but_the_signature(certificate):
    resigned = replace(certificate, signature=bytes([certificate.signature[0] ^ 1]) + certificate.signature[1:])
    assert resigned.id == certificate.id == sha256(certificate.body).digest()
    assert resigned.leaf_hash != certificate.leaf_hash == leaf_hash(certificate.encoded)
    assert certificate.signed_bytes(LEDGER) == Domain.CERTIFICATE + LEDGER + certificate.body
    assert certificate.encoded == certificate.body + b"\xc4\x40" + certificate.signature


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": BEN.public_key},
        {"timestamp_ms": START_MS + 1},
        {"subject": "another"},
        {"payload_hash": payload().hash()},
        {"amount": 6},
    ],
    ids=lambda change: next(iter(change)),
)
def test_changing_a_field_changes_the_id_and_breaks_the_signature(change):
    changed = replace(staking(5), **change)
    assert changed.id != staking(5).id
    assert not is_signed_on(changed, LEDGER)


def test_a_kind_is_covered_too():
    as_statement = Statement(ADA.public_key, START_MS, "", None, staking(5).signature)
    assert as_statement.id != staking(5).id
    assert not is_signed_on(as_statement, LEDGER)


def test_nobody_signs_in_another_name():
    unsigned = Statement(BEN.public_key, START_MS, "subject", None)
    assert unsigned.signature == UNSIGNED
    with refuses(Rule.C1):
        sign_certificate(unsigned, ADA, LEDGER)


@pytest.mark.parametrize("amount", [1.0, 1.5, True, "1", None, 2**53, -(2**53), 2**64, 10**30, float("nan")], ids=repr)
def test_an_amount_that_is_no_whole_number_in_range_is_never_signed(amount):
    with refuses(Rule.E2):
        issue_stake(ADA, LEDGER, START_MS, amount)


@pytest.mark.parametrize("timestamp_ms", [-1, 1.5, True, "now", None, 2**53, 2**70], ids=repr)
def test_a_time_that_is_no_whole_number_in_range_is_never_signed(timestamp_ms):
    with refuses(Rule.E2):
        issue_statement(ADA, LEDGER, timestamp_ms, "subject")


@pytest.mark.parametrize(
    "subject", ["x" * 257, "a\nb", "tab\t", "nul\x00", "\x7f", "\x9f", "\ud800", b"bytes", 5, None, ["a"]], ids=repr
)
def test_a_subject_that_is_no_line_of_text_is_never_signed(subject):
    with refuses(Rule.E2):
        issue_statement(ADA, LEDGER, START_MS, subject)


@pytest.mark.parametrize("subject", ["", "x" * 256, "\U0001f600" * 256, "naïve — 密码", "<script>", "\u202e"], ids=len)
def test_a_subject_may_be_any_line_of_text(subject):
    certificate = issue_statement(ADA, LEDGER, START_MS, subject)
    assert certificate_codec.decode(certificate.encoded).subject == subject


@pytest.mark.parametrize(
    "change",
    [
        {"salt": bytes(31)},
        {"salt": bytes(33)},
        {"salt": None},
        {"media_type": "x" * 129},
        {"media_type": "text/\nplain"},
        {"media_type": 5},
        {"content": "text"},
        {"content": None},
        {"content": bytes(64 * 1024 + 1)},
    ],
    ids=lambda change: f"{next(iter(change))}={next(iter(change.values()))!r:.20}",
)
def test_a_payload_out_of_bounds_is_never_signed(change):
    with refuses(Rule.E2):
        issue_statement(ADA, LEDGER, START_MS, "subject", replace(payload(), **change))


def test_a_payload_is_the_one_its_certificate_covers_or_none():
    entry = with_payload("covered")
    check_payload(entry.certificate, entry.payload)
    check_payload(entry.certificate, None)
    check_payload(statement(), None)
    for other in (
        payload("other"),
        replace(entry.payload, salt=bytes(32)),
        replace(entry.payload, media_type="text/html"),
        replace(entry.payload, content=entry.payload.content + b"\x00"),
    ):
        with refuses(Rule.C3):
            check_payload(entry.certificate, other)
    with refuses(Rule.C3):
        check_payload(statement(), payload())


def test_a_payload_hash_tells_apart_how_the_same_bytes_are_divided():
    assert Payload(bytes(32), "", "ab", b"c").hash() != Payload(bytes(32), "", "a", b"bc").hash()
    assert Payload(bytes(32), "a", "b", b"c").hash() != Payload(bytes(32), "", "ab", b"c").hash()


def test_a_payload_takes_a_subject_and_there_is_one_of_a_subject_alone():
    covered = Payload(b"s" * 32, "", "text/plain", b"content")
    assert Payload.about("Ada: BSc", covered, b"t" * 32) == Payload(b"s" * 32, "Ada: BSc", "text/plain", b"content")
    assert Payload.about("Ada: BSc", None, b"t" * 32) == Payload(b"t" * 32, "Ada: BSc", "", b"")


def test_the_longest_payload_with_the_longest_certificate_is_an_entry():
    most = Payload(bytes(32), "\U0010ffff" * 256, "\U0010ffff" * 128, bytes(MAX_PAYLOAD_BYTES))
    entry = Entry(issue_statement(ADA, LEDGER, MAX_TIMESTAMP_MS, "\U0010ffff" * 256, most), most)
    assert entry_codec.decode(encode(entry)) == entry


def test_a_copy_with_another_field_has_hashes_of_its_own():
    certificate = statement("one")
    assert certificate.id == statement("one").id
    assert replace(certificate, subject="two").id == replace(statement("one"), subject="two").id != certificate.id


def test_certificates_are_values():
    assert statement() == statement()
    assert len({statement(), statement(), staking(1), staking(2)}) == 3
    with pytest.raises(AttributeError):
        statement().subject = "changed"  # type: ignore[misc]
    assert isinstance(certificate_codec.decode(staking(1).encoded), StakingOperation)
    assert msgspec.msgpack.decode(staking(1).encoded)[0] == 2
