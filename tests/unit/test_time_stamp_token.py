"""Time stamp tokens as they come: read without trust, bounded, and judged under named authorities."""

import re
import warnings
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from ssl import DER_cert_to_PEM_cert
from typing import Any

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st
from tests.time_authority import NOW, YEAR, Authority, Holder, certified, founded

from tallystick.api.proof_views import TimeStamp
from tallystick.client import time_stamps
from tallystick.client.time_stamp_token import MAX_CERTIFICATES, MAX_TOKEN_BYTES, read_token
from tallystick.client.time_stamps import TimeStamps, certificates_in
from tallystick.ledger.errors import NotProven, Refused, Rule
from tallystick.problems import BadRequest, DamagedStore

VECTORS = Path(__file__).parents[1] / "vectors" / "c2sp" / "log-5"
NOTE = b"a signed note\n"
BEGAN = datetime(2000, 1, 1, tzinfo=UTC)
EVER = datetime(1951, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
NOW_MS = int(NOW.timestamp()) * 1000
EC, RSA, LONG = founded("ec"), founded("rsa"), founded("rsa", has_between=True)


def named_by_bits(certificate: bytes) -> bytes:
    """The same with names whose text is bits."""
    begins = rb"(\x55\x04\x03)\x0c(.)."  # of a common name in UTF-8
    made = re.sub(begins, lambda found: found[1] + b"\x03" + found[2] + b"\0", certificate, flags=re.DOTALL)
    assert made != certificate
    return made


def numbered_0() -> bytes:
    """As some old roots are; the library takes it with a warning."""
    one = certified("Old", serial=1).der
    made = one.replace(b"\xa0\x03\x02\x01\x02\x02\x01\x01", b"\xa0\x03\x02\x01\x02\x02\x01\x00")
    assert made != one
    return made


def judged(response: bytes, *roots: Holder, note: bytes = NOTE) -> TimeStamp:
    pem = {f"authority-{number}": root.pem for number, root in enumerate(roots)}
    return TimeStamps(lambda: pem).judge(note, response)


def of(authority: Authority, **changes: Any) -> TimeStamp:
    return judged(authority.token(**changes).response(NOTE, 5), authority.root)


# ---- what holds -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hash_name", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("authority", [EC, RSA, LONG], ids=["ecdsa", "rsa", "with a certificate between"])
def test_a_token_under_a_named_root_holds(authority: Authority, hash_name: str) -> None:
    stamp = of(authority, hash_name=hash_name, signs_with=hash_name)
    assert (stamp.state, stamp.known_as, stamp.reason) == ("verified", "authority-0", None)
    assert stamp.authority == "CN=Stamps \u202e[bold]"


def test_a_token_of_another_tool_holds() -> None:
    note, response, pem = ((VECTORS / name).read_bytes() for name in ("checkpoint", "r.tsr", "ca.pem"))
    stamp = TimeStamps(lambda: {"test": pem}).judge(note, response)
    assert (stamp.state, stamp.authority, stamp.known_as) == ("verified", "CN=Test TSA", "test")
    assert stamp.not_later_ms == 1_795_631_764_000 + 999 + 1_000, "the end of the second, and an accuracy of one"
    assert TimeStamps(lambda: {"test": pem}).judge(note + b"x", response).state == "other_note"
    assert TimeStamps(lambda: {"other": EC.root.pem}).judge(note, response).state == "not_trusted"


def orders(authority: Authority) -> list[Sequence[bytes]]:
    chain, root = sorted(authority.chain), authority.root.der
    return [chain, chain[::-1], [*chain, root], [root, *chain[::-1]]]


@pytest.mark.parametrize("order", range(4))
def test_certificates_come_in_any_order_with_the_root_or_without(order: int) -> None:
    assert of(LONG, embedded=orders(LONG)[order]).state == "verified"


def test_further_certificates_in_it_that_are_malformed_do_not_matter() -> None:
    """Nobody signed that they are there."""
    bad = [b"\x30\x03\x02\x01\x01", named_by_bits(EC.signer.der), numbered_0()]
    assert of(LONG, embedded=[*bad, *LONG.chain]).state == "verified"
    stamp = of(EC, embedded=[named_by_bits(EC.signer.der)])
    assert (stamp.state, stamp.reason) == ("not_trusted", "whoever signed it is not in it, and not known here")


def test_lists_of_revocations_in_it_do_not_matter() -> None:
    assert of(LONG, revocations=b"\xa1\x02\x30\x00").state == "verified"
    assert of(LONG, embedded=(), revocations=b"\xa1\x02\x30\x00").state == "not_trusted"


def test_a_token_without_certificates_holds_if_the_named_file_has_them() -> None:
    bare = LONG.token(embedded=()).response(NOTE)
    pem = b"".join(one.pem for one in (LONG.signer, LONG.between, LONG.root) if one is not None)
    assert TimeStamps(lambda: {"all": pem}).judge(NOTE, bare).state == "verified"
    assert judged(bare, LONG.root).state == "not_trusted"


def test_of_several_authorities_the_one_that_it_leads_to_is_named() -> None:
    assert judged(EC.token().response(NOTE), RSA.root, LONG.root, EC.root).known_as == "authority-2"


def test_of_two_certificates_of_one_root_the_one_that_was_valid_then_is_enough() -> None:
    """Authorities renew their roots, with the same name and key."""
    ended = certified("Root ec", is_ca=True, key=EC.root.key, ends=NOW - timedelta(days=1))
    response = EC.token().response(NOTE)
    assert judged(response, ended, EC.root).known_as == "authority-1"
    with pytest.raises(NotProven, match="had expired at the token's own time"):
        judged(response, ended)


def test_it_is_judged_as_of_its_own_time() -> None:
    assert of(founded(ends=NOW + timedelta(days=1))).state == "verified", "expired today, valid then"
    with pytest.raises(NotProven, match="had expired at the token's own time") as failed:
        of(founded(ends=NOW - timedelta(days=1)))
    assert failed.value.rule is Rule.P14
    with pytest.raises(NotProven, match="was not valid yet at the token's own time"):
        of(founded(begins=NOW + timedelta(days=1)))


def chain_that_ended(**ended: datetime) -> Authority:
    """Of a root, who is between and who stamps; by name, when the certificates ended. All began in 2000."""

    def one(name: str, issuer: Holder | None = None, *, is_ca: bool = True) -> Holder:
        return certified(name, issuer, is_ca=is_ca, begins=BEGAN, ends=ended.get(name, BEGAN + 3 * YEAR))

    root = one("root")
    between = one("between", root)
    return Authority(root, between, one("signer", between, is_ca=False))


def test_a_chain_that_expired_decades_ago_held_then() -> None:
    stamp = of(chain_that_ended(), time=BEGAN + YEAR)
    assert (stamp.state, stamp.not_later_ms) == ("verified", int((BEGAN + YEAR).timestamp()) * 1000 + 999)


@pytest.mark.parametrize("which", ["root", "between", "signer"])
def test_no_part_of_the_chain_had_expired_at_the_tokens_own_time(which: str) -> None:
    with pytest.raises(NotProven, match="had expired at the token's own time"):
        of(chain_that_ended(**{which: BEGAN + YEAR - timedelta(days=1)}), time=BEGAN + YEAR)


@pytest.mark.parametrize(
    ("changes", "later_ms"),
    [
        ({}, 999),
        ({"accuracy": {"seconds": 1, "millis": 500, "micros": 3}}, 999 + 1_501),
        ({"accuracy": {"micros": 999}}, 1_000),
        ({"time": "20260301120000.2Z"}, 299),
        ({"time": "20260301120000.25Z"}, 259),
        ({"time": "20260301120000.251Z"}, 252),
    ],
)
def test_the_time_is_the_latest_that_it_can_mean(changes: dict[str, Any], later_ms: int) -> None:
    assert of(EC, **changes).not_later_ms == NOW_MS + later_ms


@pytest.mark.parametrize(
    ("time", "ends_ms"),
    [
        ("19691231235959Z", -1),
        ("20491231235959Z", 2_524_607_999_999),
        ("20500101000000Z", 2_524_608_000_999),
        ("21060301000000Z", 4_296_844_800_999),
        ("99980301000000Z", 253_344_326_400_999),
    ],
)
def test_times_before_1970_and_after_2049_and_2106_are_as_any_other(time: str, ends_ms: int) -> None:
    """Of certificates a UTCTime ends with 2049, and seconds in 32 bits with 2106."""
    root = certified("Root", is_ca=True, begins=EVER[0], ends=EVER[1])
    authority = Authority(root, None, certified("Stamps", root, begins=EVER[0], ends=EVER[1]))
    assert of(authority, time=time).not_later_ms == ends_ms


def test_under_which_policy_an_authority_stamps_is_its_own_affair() -> None:
    assert of(EC, policy="1.2.3.4").state == "verified"


def test_a_fingerprint_with_sha_1_is_that_of_version_1_of_its_attribute() -> None:
    assert of(EC, is_signing_certificate_v1=True).state == "verified"


# ---- what does not ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"is_signature_bad": True}, "its signature does not hold"),
        ({"names_certificate": EC.root}, "signed for another certificate"),
    ],
)
def test_a_bad_token_of_a_trusted_authority_fails(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(NotProven, match=words):
        of(EC, **changes)
    claim = judged(EC.token(**changes).response(NOTE), RSA.root)
    assert (claim.state, claim.not_later_ms) == ("not_trusted", None), "of one that is not trusted it is a claim"


@pytest.mark.parametrize(
    "signer",
    [
        {"usage": None},
        {"usage": [ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]},
        {"usage": [ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.CODE_SIGNING]},
        {"is_critical": False},
    ],
)
def test_only_a_certificate_for_time_stamps_counts(signer: dict[str, Any]) -> None:
    with pytest.raises(NotProven, match="not one for time stamps alone, marked critical"):
        of(founded(**signer))


def test_only_authorities_certify_others() -> None:
    """Whoever has an ordinary certificate of a trusted root can sign another one with it."""
    root = certified("Root", is_ca=True)
    customer = certified("A customer", root)
    with pytest.raises(NotProven, match="its signature does not hold"):
        of(Authority(root, customer, certified("Stamps", customer)))


def test_a_certificate_of_the_same_issuer_and_number_is_not_taken_for_the_signers() -> None:
    """Whoever has an ordinary certificate of a trusted root makes one for time stamps with its number himself."""
    root = certified("Root", is_ca=True)
    plain = certified("A customer", root, usage=None, serial=77)
    forged = certified("A customer", None, key=plain.key, serial=77, issuer_name=root.certificate.subject)
    token = Authority(root, None, plain).token(embedded=[plain.der, forged.der], names_certificate=forged)
    stamp = judged(token.response(NOTE), root)
    assert (stamp.state, stamp.not_later_ms) == ("unreadable", None)
    alone = Authority(root, None, plain).token(embedded=[forged.der], names_certificate=forged)
    assert judged(alone.response(NOTE), root).state == "not_trusted"


def test_a_token_of_another_note_is_one_whoever_signed_it() -> None:
    assert of(EC, imprint=bytes(64)).state == "other_note"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hash_name": "sha1"}, "the imprint of the token is made with another hash function"),
        ({"signs_with": "sha1"}, "the signature of the token is made with another hash function"),
        ({"has_signing_certificate": False}, "does not say by which certificate"),
        ({"status": 1}, "did not grant a token: granted with changes"),
        ({"status": 2}, "did not grant a token: refused"),
        ({"time": "20260231120000Z"}, "a time that is none"),
        ({"time": "202603011200Z"}, "a time that is none"),
        ({"time": "20260301120000.50Z"}, "a time that is none"),
        ({"time": "20260301120000,5Z"}, "a time that is none"),
        ({"time": "20260301120000+0100"}, "a time that is none"),
        ({"time": "20260301120000"}, "a time that is none"),
        ({"time": "260301120000Z"}, "a time that is none"),
        ({"time": "20161231235960Z"}, "a time that is none"),
        ({"time": "00000101000000Z"}, "a time that is none"),
        ({"accuracy": {"seconds": 86_401}}, "accurate to 86401 s"),
        ({"accuracy": {"seconds": -1}}, "accurate to -1 s"),
        ({"embedded": [EC.signer.der] * (MAX_CERTIFICATES + 1)}, "more than 16 certificates"),
    ],
)
def test_what_does_not_count_shows_nothing_and_hinders_nothing(changes: dict[str, Any], words: str) -> None:
    stamp = of(EC, **changes)
    assert (stamp.state, stamp.not_later_ms) == ("unreadable", None)
    assert words in (stamp.reason or "")


@pytest.mark.parametrize(
    ("authority", "changes"), [(founded("ed25519"), {"signs_with": "sha512"}), (RSA, {"is_pss": True})]
)
def test_a_kind_of_signature_that_cannot_be_verified_here_is_no_bad_one(
    authority: Authority, changes: dict[str, Any]
) -> None:
    stamp = of(authority, **changes)
    assert (stamp.state, stamp.not_later_ms) == ("not_verifiable", None)
    assert stamp.reason == "its kind of signature cannot be verified here: RSA (PKCS #1 v1.5) and ECDSA can"


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_stamps, "_LIBRARY", "no_such_library")
    assert of(EC).reason == "to verify it install tallystick[tsa]"
    with pytest.raises(time_stamps.LacksLibrary, match=r"pip install 'tallystick\[tsa\]'"):
        certificates_in(EC.root.pem)


# ---- the form ---------------------------------------------------------------------------------------------------


def test_a_token_is_bounded() -> None:
    with pytest.raises(Refused, match="more than 65,536 bytes"):
        read_token(bytes(MAX_TOKEN_BYTES + 1))


RIGHT = LONG.token().response(NOTE, 5)


def test_what_is_cut_off_or_followed_by_more_is_refused() -> None:
    for end in range(len(RIGHT)):
        with pytest.raises(Refused):
            read_token(RIGHT[:end])
    with pytest.raises(Refused):
        read_token(RIGHT + b"\0")


_SIGNED_DATA, _DATA = bytes.fromhex("06092a864886f70d010702"), bytes.fromhex("06092a864886f70d010701")
_TST_INFO, _OTHER_INFO = bytes.fromhex("060b2a864886f70d0109100104"), bytes.fromhex("060b2a864886f70d0109100103")


def signed_twice() -> bytes:
    token = read_token(RIGHT)
    *others, signers = token.signed_parts
    (body,) = re.findall(rb"1\x82..(.*)", signers, re.DOTALL)
    both = b"1\x82" + (2 * len(body)).to_bytes(2) + 2 * body
    return token._replace(signed_parts=(*others, both)).with_certificates(token.certificates)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (RIGHT.replace(_SIGNED_DATA, _DATA), "no signed data"),
        (RIGHT.replace(_TST_INFO, _OTHER_INFO, 1), "no time stamp in it"),
        (_OTHER_INFO.join(RIGHT.rsplit(_TST_INFO, 1)), "a signature that is not over a time stamp"),
        (signed_twice(), "not signed by one authority"),
        (b"\x30\x83\x00" + RIGHT[2:], "no DER"),
    ],
)
def test_a_token_is_a_time_stamp_signed_once_in_der(data: bytes, words: str) -> None:
    with pytest.raises(Refused, match=words):
        read_token(data)


@given(st.binary(max_size=200))
def test_anything_is_read_or_refused(data: bytes) -> None:
    with pytest.raises(Refused):
        read_token(data)


@given(st.data())
def test_a_changed_token_is_never_later_or_earlier_than_what_was_signed(data: st.DataObject) -> None:
    """One byte changed: it is refused, a claim, or, where nothing that is signed was changed, the same."""
    at = data.draw(st.integers(0, len(RIGHT) - 1))
    changed = RIGHT[:at] + bytes((RIGHT[at] ^ data.draw(st.integers(1, 255)),)) + RIGHT[at + 1 :]
    with suppress(NotProven):
        assert judged(changed, LONG.root).not_later_ms in (None, NOW_MS + 999)


@given(st.permutations([LONG.root.der, *LONG.chain]))
def test_certificates_are_written_anew_in_one_order(order: list[bytes]) -> None:
    token = read_token(RIGHT)
    assert token.with_certificates(order) == token.with_certificates(sorted(order))
    again = read_token(token.with_certificates(order))
    assert again.certificates == tuple(sorted(order))
    assert again.signed_parts == token.signed_parts
    assert token.with_certificates(token.certificates) == again.with_certificates(token.certificates)


# ---- the files of authorities -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pem", "words"),
    [
        (b"no PEM", "no certificate in PEM"),
        (EC.signer.pem, "no root in it"),
        (EC.root.pem * 33, "33 certificates in it, 32 allowed"),
        (DER_cert_to_PEM_cert(named_by_bits(EC.root.der)).encode(), "a certificate in it is malformed"),
    ],
)
def test_a_file_without_a_root_is_none_of_an_authority(pem: bytes, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        certificates_in(pem)
    with pytest.raises(DamagedStore, match="trust remove x, then add it anew"):
        TimeStamps(lambda: {"x": pem}).judge(NOTE, EC.token().response(NOTE))


def test_a_number_that_the_library_complains_of_is_no_complaint_to_the_user() -> None:
    with warnings.catch_warnings(action="error"):
        found = certificates_in(EC.root.pem + DER_cert_to_PEM_cert(numbered_0()).encode())
    assert [(each.subject, each.is_root) for each in found] == [("CN=Root ec", True), ("CN=Old", False)]


def test_what_a_file_holds_is_told() -> None:
    (root,) = certificates_in(EC.root.pem)
    assert (root.subject, root.is_root, len(root.sha256)) == ("CN=Root ec", True, 64)
