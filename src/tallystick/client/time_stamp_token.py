"""Reads a time stamp token (RFC 3161, in a TimeStampResp in DER): what it says, before anybody has verified it.

The library that verifies tokens takes less than authorities send: certificates in DER's order alone, no list of
revocations. Neither is signed, so `TokenFile.with_certificates` writes the same token as the library takes it.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from tallystick.ledger.errors import Refused, Rule

MAX_TOKEN_BYTES: Final = 64 * 1024
MAX_CERTIFICATES: Final = 16
"""In a token."""

_MOST_ITEMS: Final = 64
_MOST_INTEGER_BYTES: Final = 32
_MOST_ACCURACY_S: Final = 86_400
_INTEGER, _OCTETS, _OID, _TIME, _SEQUENCE, _SET = 0x02, 0x04, 0x06, 0x18, 0x30, 0x31
_CONTEXT_0, _CONTEXT_1, _PRIMITIVE_0, _PRIMITIVE_1 = 0xA0, 0xA1, 0x80, 0x81
_SIGNED_DATA: Final = bytes.fromhex("2a864886f70d010702")
_TST_INFO: Final = bytes.fromhex("2a864886f70d0109100104")
_CONTENT_TYPE: Final = bytes.fromhex("2a864886f70d010903")
_SIGNING_CERTIFICATE: Final = bytes.fromhex("2a864886f70d010910020c")
_SIGNING_CERTIFICATE_V2: Final = bytes.fromhex("2a864886f70d010910022f")
_RSA_PSS: Final = bytes.fromhex("2a864886f70d01010a")
_HASHES: Final[Mapping[bytes, str]] = MappingProxyType(
    {
        bytes.fromhex("608648016503040201"): "sha256",
        bytes.fromhex("608648016503040202"): "sha384",
        bytes.fromhex("608648016503040203"): "sha512",
    }
)
"""That count, by their OID."""
_GENERALIZED_TIME: Final = re.compile(r"(\d{14})(?:\.(\d{0,8}[1-9]))?Z", re.ASCII)
_STATUS: Final = (
    "granted",
    "granted with changes",
    "refused",
    "waiting",
    "a warning of revocation",
    "a notice of revocation",
)


class Element(NamedTuple):
    """One value in DER."""

    tag: int
    body: bytes
    encoded: bytes

    def items(self, *tags: int) -> list["Element"]:
        """What a sequence or set holds, which begins with elements of these tags. Raises `Refused` (P14)."""
        found = list(_elements(self.body))
        if [one.tag for one in found[: len(tags)]] != list(tags):
            raise _malformed("a part of another kind than is expected there")
        return found


class SignerToken(NamedTuple):
    """Who signed, as the token says."""

    issuer: bytes
    """Encoded name: of who issued the signer's certificate."""
    serial: int
    certificate_hash: tuple[str, bytes]
    """The signed fingerprint of the certificate (RFC 5035): name of the hash function, and digest."""
    is_pss: bool


class TokenFile(NamedTuple):
    """A TimeStampResp that grants a token. None of it is verified."""

    hash_name: str
    imprint: bytes
    not_later_ms: int
    """The token's own time and its accuracy, to the end of the smallest unit that it tells; in ms since 1970."""
    nonce: int | None
    signer: SignerToken
    certificates: tuple[bytes, ...]
    """Encoded, as they came."""
    status: bytes
    signed_parts: tuple[bytes, bytes, bytes, bytes]
    """Of SignedData: version, algorithms, content, signers, each encoded."""

    def is_over(self, path: Path, first_bytes: int | None = None) -> bool:
        """Whether its imprint is that of a file, or of its first bytes. Raises `OSError`."""
        with path.open("rb") as file:
            if first_bytes is not None:
                return hashlib.new(self.hash_name, file.read(first_bytes)).digest() == self.imprint
            return hashlib.file_digest(file, self.hash_name).digest() == self.imprint

    def with_certificates(self, certificates: Sequence[bytes]) -> bytes:
        """The same token with these certificates, in DER's order: they are not what is signed."""
        version, algorithms, content, signers = self.signed_parts
        held = _wrapped(_CONTEXT_0, b"".join(sorted(certificates)))
        signed = _wrapped(_SEQUENCE, version + algorithms + content + held + signers)
        token = _wrapped(_SEQUENCE, _wrapped(_OID, _SIGNED_DATA) + _wrapped(_CONTEXT_0, signed))
        return _wrapped(_SEQUENCE, self.status + token)


def read_token(data: bytes) -> TokenFile:
    """Read a TimeStampResp. Raises `Refused` (P14): malformed, not granted, or made with what does not count."""
    if len(data) > MAX_TOKEN_BYTES:
        raise Refused(Rule.P14, f"a time stamp token of more than {MAX_TOKEN_BYTES:,} bytes")
    whole = _only(data, _SEQUENCE).items(_SEQUENCE)
    number = _integer(whole[0].items(_INTEGER)[0])
    if number != 0:
        told = _STATUS[number] if 0 < number < len(_STATUS) else f"status {number}"
        raise Refused(Rule.P14, f"the authority did not grant a token: {told}")
    if len(whole) != 2:
        raise _malformed("no token")
    kind, held = whole[1].items(_OID, _CONTEXT_0)[:2]
    if kind.body != _SIGNED_DATA:
        raise _malformed("no signed data")
    parts = _only(held.body, _SEQUENCE).items(_INTEGER, _SET, _SEQUENCE)
    (version, algorithms, content), further = parts[:3], parts[3:]
    if not further or [one.tag for one in further[:-1]] not in ([], [_CONTEXT_0], [_CONTEXT_1], [0xA0, 0xA1]):
        raise _malformed("parts in another order")
    embedded = next((list(_elements(one.body)) for one in further[:-1] if one.tag == _CONTEXT_0), [])
    certificates = tuple(one.encoded for one in embedded if one.tag == _SEQUENCE)
    if len(certificates) > MAX_CERTIFICATES:
        raise Refused(Rule.P14, f"more than {MAX_CERTIFICATES} certificates in a time stamp token")
    hash_name, imprint, not_later_ms, nonce = _read_info(_content_of(content))
    return TokenFile(
        hash_name,
        imprint,
        not_later_ms,
        nonce,
        _read_signer(further[-1]),
        certificates,
        whole[0].encoded,
        (version.encoded, algorithms.encoded, content.encoded, further[-1].encoded),
    )


def _content_of(content: Element) -> Element:
    kind, held = content.items(_OID, _CONTEXT_0)[:2]
    if kind.body != _TST_INFO:
        raise _malformed("no time stamp in it")
    return _only(_only(held.body, _OCTETS).body, _SEQUENCE)


def _read_info(info: Element) -> tuple[str, bytes, int, int | None]:
    """Hash function, imprint, time and nonce of a TSTInfo (RFC 3161, 2.4.2)."""
    _, _, stated, _, time, *optional = info.items(_INTEGER, _OID, _SEQUENCE, _INTEGER, _TIME)
    algorithm, imprint = stated.items(_SEQUENCE, _OCTETS)[:2]
    not_later_ms = _end_of(time.body)
    if optional and optional[0].tag == _SEQUENCE:
        not_later_ms += _accuracy_ms(optional[0])
    nonce = next((_integer(one) for one in optional if one.tag == _INTEGER), None)
    return _hash_of(algorithm, "the imprint"), imprint.body, not_later_ms, nonce


def _read_signer(signers: Element) -> SignerToken:
    """Who signed (RFC 5652, 5.3), and by which certificate (RFC 5035)."""
    if signers.tag != _SET or len(every := signers.items(_SEQUENCE)) != 1:
        raise _malformed("not signed by one authority")
    parts = every[0].items(_INTEGER)[1:5]
    if [one.tag for one in parts] != [_SEQUENCE, _SEQUENCE, _CONTEXT_0, _SEQUENCE]:
        raise _malformed("a signer that is named in another way than by issuer and number, or signs without attributes")
    named, digest, signed, algorithm = parts
    _hash_of(digest, "the signature")
    issuer, serial = named.items(_SEQUENCE, _INTEGER)[:2]
    attributes = {kind.body: values for kind, values in (one.items(_OID, _SET)[:2] for one in _elements(signed.body))}
    if (stated := attributes.get(_CONTENT_TYPE)) is None or _only(stated.body, _OID).body != _TST_INFO:
        raise _malformed("a signature that is not over a time stamp")
    is_pss = algorithm.items(_OID)[0].body == _RSA_PSS
    return SignerToken(issuer.encoded, _integer(serial), _certificate_hash(attributes), is_pss)


def _certificate_hash(attributes: Mapping[bytes, Element]) -> tuple[str, bytes]:
    """The first fingerprint of the attribute signing-certificate, of version 2 or, with SHA-1, 1."""
    kind = next((one for one in (_SIGNING_CERTIFICATE_V2, _SIGNING_CERTIFICATE) if one in attributes), None)
    if kind is None:
        raise _malformed("a signature that does not say by which certificate (RFC 5035)")
    listed = _only(attributes[kind].body, _SEQUENCE).items(_SEQUENCE)[0].items(_SEQUENCE)[0]
    parts = list(_elements(listed.body))
    name = "sha256" if kind == _SIGNING_CERTIFICATE_V2 else "sha1"
    if parts and parts[0].tag == _SEQUENCE and kind == _SIGNING_CERTIFICATE_V2:
        name = _hash_of(parts.pop(0), "the certificate's fingerprint")
    if not parts or parts[0].tag != _OCTETS:
        raise _malformed("no fingerprint of the certificate")
    return name, parts[0].body


def _end_of(text: bytes) -> int:
    """The last millisecond of what a GeneralizedTime tells: seconds are cut off, and so are their fractions."""
    found = _GENERALIZED_TIME.fullmatch(text.decode("ascii", "replace"))
    if found is None:
        raise _malformed("a time that is none")
    try:
        whole = datetime.strptime(found.group(1), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        raise _malformed("a time that is none") from None
    fraction = found.group(2) or ""
    return int(whole.timestamp()) * 1000 + int(fraction.ljust(3, "9")[:3]) + (len(fraction) >= 3)


def _accuracy_ms(accuracy: Element) -> int:
    """Seconds, milliseconds and microseconds, each if it is there; rounded up."""
    of = {one.tag: _integer(one) for one in _elements(accuracy.body)}
    parts = of.get(_INTEGER, 0), of.get(_PRIMITIVE_0, 0), of.get(_PRIMITIVE_1, 0)
    if min(parts) < 0 or parts[0] > _MOST_ACCURACY_S:
        raise Refused(Rule.P14, f"the token says that it is accurate to {parts[0]} s; 0 to {_MOST_ACCURACY_S} count")
    return parts[0] * 1000 + parts[1] + -(-parts[2] // 1000)


def _hash_of(algorithm: Element, what: str) -> str:
    name = _HASHES.get(algorithm.items(_OID)[0].body)
    if name is None:
        raise Refused(Rule.P14, f"{what} of the token is made with another hash function than SHA-256, -384 or -512")
    return name


# ---- DER ------------------------------------------------------------------------------------------------------------


def _only(data: bytes, tag: int) -> Element:
    """The one value that this is. Raises `Refused` (P14)."""
    found = list(_elements(data))
    if len(found) != 1 or found[0].tag != tag:
        raise _malformed("a part of another kind than is expected there")
    return found[0]


def _elements(data: bytes) -> Iterator[Element]:
    """The values that stand one after the other. Raises `Refused` (P14) unless each is in DER."""
    at = count = 0
    while at < len(data):
        count += 1
        if count > _MOST_ITEMS or len(data) - at < 2 or data[at] & 0x1F == 0x1F:
            raise _malformed("no DER")
        tag, length, begins = data[at], data[at + 1], at + 2
        if length >= 0x80:
            size = length & 0x7F
            begins += size
            length = int.from_bytes(data[at + 2 : begins])
            if not 1 <= size <= 4 or length < 0x80 or length.bit_length() <= 8 * (size - 1):
                raise _malformed("no DER")
        if begins + length > len(data):
            raise _malformed("it is cut off")
        yield Element(tag, data[begins : begins + length], data[at : begins + length])
        at = begins + length


def _integer(element: Element) -> int:
    if not 0 < len(element.body) <= _MOST_INTEGER_BYTES:
        raise _malformed("a number that is none")
    return int.from_bytes(element.body, signed=True)


def _wrapped(tag: int, body: bytes) -> bytes:
    size = (len(body).bit_length() + 7) // 8
    length = bytes((len(body),)) if len(body) < 0x80 else bytes((0x80 | size,)) + len(body).to_bytes(size)
    return bytes((tag,)) + length + body


def _malformed(what: str) -> Refused:
    return Refused(Rule.P14, f"it is no time stamp token as RFC 3161 has it: {what}")
