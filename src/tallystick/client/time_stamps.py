"""Time stamps over a proof's checkpoint (check P14): verified offline, as of their own time, under named authorities.

What is verified must hold; what is not trusted is only a claim. A token counts if it is of this note and its signer's
certificate leads to a root that the user named: then all of it has to hold. Any other token proves nothing, and hinders
nothing: whoever hands on a file can put anything beside it.
"""

import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, NamedTuple

from tallystick.api.proof_views import TimeStamp
from tallystick.client.time_stamp_token import TokenFile, read_token
from tallystick.ledger.errors import NotProven, Refused, Rule
from tallystick.problems import BadRequest, DamagedStore, Problem

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from rfc3161_client import TimeStampResponse

_LIBRARY: Final = "rfc3161_client"
_INSTALL: Final = "install tallystick[tsa]"
_LONGEST_CHAIN: Final = 8
_MOST_NAMED: Final = 32
"""Certificates in the file of one authority."""
_MOST_SUBJECT: Final = 256
_WEAK: Final = ("md5", "sha1")
_REASONS: Final[Mapping[str, str]] = {
    "certificate has expired": "its authority's certificate had expired at the token's own time",
    "certificate is not yet valid": "its authority's certificate was not valid yet at the token's own time",
    "unsuitable certificate purpose": "its signer's certificate is not one for time stamps alone, marked critical",
}
"""By what OpenSSL says."""
_FURTHER: Final = "its signature does not hold"


class LacksLibrary(Problem):
    """The optional part of the program that verifies time stamps is not installed."""

    code = "lacks-library"


class NamedCertificate(NamedTuple):
    """One certificate of an authority that the user named."""

    subject: str
    sha256: str
    ends_ms: int
    is_root: bool


class _Named(NamedTuple):
    """An authority that the user named, with what stands in its file."""

    name: str
    roots: tuple["Certificate", ...]
    between: tuple["Certificate", ...]


def is_available() -> bool:
    """Whether time stamps can be verified here."""
    return find_spec(_LIBRARY) is not None


def check_available(what: str) -> None:
    """Raise `LacksLibrary` unless time stamps can be verified here."""
    if not is_available():
        raise LacksLibrary(f"to {what} {_INSTALL}: pip install 'tallystick[tsa]'")


def certificates_in(pem: bytes) -> list[NamedCertificate]:
    """What an authority's file holds, for people. Raises `BadRequest` unless there is a root among them."""
    check_available("name an authority")
    named = _named("", pem)
    return [
        NamedCertificate(
            _subject(one),
            hashlib.sha256(_der(one)).hexdigest(),
            int(one.not_valid_after_utc.timestamp()) * 1000,
            one in named.roots,
        )
        for one in (*named.roots, *named.between)
    ]


class TimeStamps:
    """Judges the tokens beside proofs under the authorities that the user named."""

    def __init__(self, read_named: Callable[[], Mapping[str, bytes]]) -> None:
        """`read_named` gives certificates in PEM by the authority's local name; called for the first token only."""
        self._read_named = read_named
        self._named: list[_Named] | None = None

    def judge(self, note: bytes, response: bytes) -> TimeStamp:
        """What a TimeStampResp says of this signed note.

        Raises `NotProven` (P14) if it is by a trusted authority, of this note, and does not hold.
        """
        try:
            token = read_token(response)
        except Refused as refused:
            return TimeStamp(state="unreadable", reason=refused.reason)
        if hashlib.new(token.hash_name, note).digest() != token.imprint:
            return TimeStamp(state="other_note", reason="it is not of this checkpoint with these signatures")
        if not is_available():
            return TimeStamp(state="not_verifiable", reason=f"to verify it {_INSTALL}")
        return self._judge_signer(note, token)

    def _judge_signer(self, note: bytes, token: TokenFile) -> TimeStamp:
        try:
            embedded = [one for one in map(_loaded, token.certificates) if one is not None]
            signer, trusted = self._signer(token, embedded)
        except Refused as refused:
            return TimeStamp(state="unreadable", reason=refused.reason)
        if signer is None:
            return TimeStamp(state="not_trusted", reason="whoever signed it is not in it, and not known here")
        claimed = _subject(signer)
        if not trusted:
            return TimeStamp(state="not_trusted", authority=claimed, reason="its authority is not one that you trust")
        if (lacking := _lacking_method(signer, token)) is not None:
            return TimeStamp(state="not_verifiable", authority=claimed, reason=lacking)
        if (response := _decoded(token, signer, embedded)) is None:
            return TimeStamp(state="not_verifiable", authority=claimed, reason="its form cannot be verified here")
        _check_fingerprint(signer, token)
        reasons = {one.name: _why_not(note, response, one) for one in trusted}
        by = next((name for name, why in reasons.items() if why is None), None)
        if by is None:
            why = next(iter(reasons.values()))
            raise NotProven(Rule.P14, f"the time stamp beside it is one of an authority that you trust, and {why}")
        return TimeStamp(state="verified", not_later_ms=token.not_later_ms, authority=claimed, known_as=by)

    def _signer(self, token: TokenFile, embedded: Sequence["Certificate"]) -> tuple["Certificate | None", list[_Named]]:
        """Whose certificate signed, and to which authorities it leads: whether they are valid is judged later."""
        if self._named is None:
            self._named = [_kept(name, pem) for name, pem in self._read_named().items()]
        known = [one for named in self._named for one in (*named.roots, *named.between)]
        signers = {_der(one): one for one in (*embedded, *known) if _is_of_signer(one, token)}
        if len(signers) > 1:
            raise Refused(Rule.P14, "two certificates have the issuer and number of the one that signed")
        signer = next(iter(signers.values()), None)
        if signer is None:
            return None, []
        return signer, [one for one in self._named if _leads_to(signer, [*embedded, *one.between], one.roots)]


def _decoded(token: TokenFile, signer: "Certificate", embedded: Sequence["Certificate"]) -> "TimeStampResponse | None":
    """The token as the library reads it; `None`: it does not."""
    from rfc3161_client import decode_timestamp_response  # noqa: PLC0415  # optional

    try:
        return decode_timestamp_response(token.with_certificates(list({_der(one) for one in (signer, *embedded)})))
    except ValueError:
        return None


def _why_not(note: bytes, response: "TimeStampResponse", named: _Named) -> str | None:
    """Why the token does not hold under these roots; `None`: it does."""
    from rfc3161_client import VerifierBuilder  # noqa: PLC0415  # optional

    verifier = VerifierBuilder(roots=list(named.roots), intermediates=list(named.between)).build()
    try:
        verifier.verify_message(response, note)
    except Exception as error:
        return next((told for said, told in _REASONS.items() if said in str(error)), _FURTHER)
    return None


def _check_fingerprint(signer: "Certificate", token: TokenFile) -> None:
    """Raise `NotProven` (P14) unless the signer meant this certificate (RFC 3161, 2.2): the library does not look."""
    name, digest = token.signer.certificate_hash
    if hashlib.new(name, _der(signer)).digest() != digest:  # SHA-1 is that of version 1 of the attribute
        told = "the time stamp beside it is one of an authority that you trust, and signed for another certificate"
        raise NotProven(Rule.P14, told)


def _lacking_method(signer: "Certificate", token: TokenFile) -> str | None:
    """What the library cannot verify; `None`: it can."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey  # noqa: PLC0415  # optional
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey  # noqa: PLC0415

    try:
        is_known = isinstance(signer.public_key(), RSAPublicKey | EllipticCurvePublicKey)
    except (ValueError, UnsupportedAlgorithm):
        is_known = False
    if is_known and not token.signer.is_pss:
        return None
    return "its kind of signature cannot be verified here: RSA (PKCS #1 v1.5) and ECDSA can"


# ---- certificates ---------------------------------------------------------------------------------------------------


def _named(name: str, pem: bytes) -> _Named:
    """Raises `BadRequest` unless these are certificates, with a root among them."""
    from cryptography import x509  # noqa: PLC0415  # optional

    with warnings.catch_warnings(action="ignore"):  # old roots have the number 0, which the library complains of
        try:
            every = x509.load_pem_x509_certificates(pem)
        except (ValueError, x509.InvalidVersion):
            told = "there is no certificate in PEM in it, or a malformed one: -----BEGIN CERTIFICATE-----"
            raise BadRequest(told) from None
        if len(every) > _MOST_NAMED:
            raise BadRequest(f"there are {len(every)} certificates in it, {_MOST_NAMED} allowed: name one authority's")
        try:
            for one in every:
                _read_whole(one)
        except ValueError:
            raise BadRequest("a certificate in it is malformed: get the authority's root from it anew") from None
    roots = [one for one in every if _is_root(one)]
    if not roots:
        told = "there is no root in it, a certificate that is signed with its own key: ask the authority for its root"
        raise BadRequest(told)
    return _Named(name, tuple(roots), tuple(one for one in every if one not in roots))


def _kept(name: str, pem: bytes) -> _Named:
    """Raises `DamagedStore`."""
    try:
        return _named(name, pem)
    except BadRequest as problem:
        advice = f"tallystick trust remove {name}, then add it anew"
        raise DamagedStore(f"the file of the authority {name} is damaged: {problem}; {advice}") from None


def _loaded(der: bytes) -> "Certificate | None":
    """One that a token holds; `None`: it is malformed, and left out, as nobody signed that it is there."""
    from cryptography import x509  # noqa: PLC0415  # optional

    try:
        with warnings.catch_warnings(action="error"):  # of what a later version of the library refuses
            one = x509.load_der_x509_certificate(der)
            _read_whole(one)
            return one
    except (ValueError, x509.InvalidVersion, Warning):
        return None


def _read_whole(one: "Certificate") -> None:
    """Read what is asked of a certificate later: the library does so no sooner. Raises `ValueError`."""
    try:
        one.subject.rfc4514_string(), one.issuer.public_bytes(), one.not_valid_before_utc, one.not_valid_after_utc
        _has_weak_signature(one)
    except TypeError as error:  # of a name whose text is bits
        raise ValueError(str(error)) from None


def _is_of_signer(one: "Certificate", token: TokenFile) -> bool:
    return one.serial_number == token.signer.serial and one.issuer.public_bytes() == token.signer.issuer


def _leads_to(one: "Certificate", between: Sequence["Certificate"], roots: Sequence["Certificate"]) -> bool:
    """Whether signatures lead from a certificate to one of the roots; what else it takes is judged later."""
    reached, front = {_der(one)}, [one]
    ends = {_der(root) for root in roots}
    for _ in range(_LONGEST_CHAIN):
        if not ends.isdisjoint(reached):
            return True
        front = [
            issuer
            for issuer in (*roots, *between)
            if _der(issuer) not in reached and any(_is_issued_by(below, issuer) for below in front)
        ]
        reached |= {_der(issuer) for issuer in front}
    return False


def _is_root(one: "Certificate") -> bool:
    """Whether it is signed with its own key. An old hash function does no harm there: it is the user who vouches."""
    return one.issuer == one.subject and (_has_weak_signature(one) or _is_issued_by(one, one))


def _is_issued_by(one: "Certificate", issuer: "Certificate") -> bool:
    """Whether one certificate is signed with another's key, by a hash function that still counts."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm  # noqa: PLC0415  # optional

    try:
        one.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return not _has_weak_signature(one)


def _has_weak_signature(one: "Certificate") -> bool:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415  # optional

    try:
        algorithm = one.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return False
    return algorithm is not None and algorithm.name in _WEAK


def _subject(one: "Certificate") -> str:
    """Who it is for, in a line."""
    text = one.subject.rfc4514_string()
    return text if len(text) <= _MOST_SUBJECT else f"{text[:_MOST_SUBJECT]}…"


def _der(one: "Certificate") -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415  # optional

    return one.public_bytes(Encoding.DER)
