"""A time stamping authority (RFC 3161) for tests: right, or wrong in any one way; made with asn1crypto."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any, Final, NamedTuple

from asn1crypto import algos, cms, core, tsp  # type: ignore[import-untyped]
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW: Final = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
YEAR: Final = timedelta(days=365)
_HASHES: Final = {one.name: one for one in (hashes.SHA1(), hashes.SHA256(), hashes.SHA384(), hashes.SHA512())}


class Holder(NamedTuple):
    """A key with its certificate."""

    key: Any
    certificate: x509.Certificate

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


def new_key(kind: str = "ec") -> Any:
    match kind:
        case "rsa":
            return rsa.generate_private_key(65537, 2048)
        case "ed25519":
            return ed25519.Ed25519PrivateKey.generate()
        case _:
            return ec.generate_private_key(ec.SECP256R1())


def certified(
    name: str,
    issuer: Holder | None = None,
    *,
    is_ca: bool = False,
    key: Any = None,
    begins: datetime = NOW - 2 * YEAR,
    ends: datetime = NOW + 20 * YEAR,
    usage: Sequence[x509.ObjectIdentifier] | None = (ExtendedKeyUsageOID.TIME_STAMPING,),
    is_critical: bool = True,
    serial: int | None = None,
    issuer_name: x509.Name | None = None,
) -> Holder:
    """A certificate, of its own key if nobody else's. Of an authority's `usage` `None` leaves the extension out."""
    key = key or new_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = issuer.key if issuer else key
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer_name or (issuer.certificate.subject if issuer else subject))
        .public_key(key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(is_ca, None), critical=True)
    )
    if not is_ca and usage is not None:
        made = made.add_extension(x509.ExtendedKeyUsage(usage), critical=is_critical)
    algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return Holder(key, made.sign(signer, algorithm))


class Token(NamedTuple):
    """How an authority makes a token; the default is right. Change one thing to have a wrong one."""

    signer: Holder
    embedded: Sequence[bytes] = ()
    """Encoded certificates, in this order, however DER would have them."""
    revocations: bytes = b""
    """The field crls, encoded."""
    time: datetime | str = NOW
    """As a text: the GeneralizedTime itself."""
    accuracy: dict[str, int] | None = None
    hash_name: str = "sha512"
    """Of the imprint."""
    imprint: bytes | None = None
    nonce: int | None = None
    """`None`: that of the request."""
    has_nonce: bool = True
    signs_with: str = "sha256"
    is_pss: bool = False
    policy: str = "1.3.6.1.4.1.99999.1"
    status: int = 0
    is_signature_bad: bool = False
    names_certificate: Holder | None = None
    """In the attribute signing-certificate-v2; `None`: the signer's."""
    has_signing_certificate: bool = True
    is_signing_certificate_v1: bool = False

    def response(self, message: bytes, nonce: int | None = None) -> bytes:
        """The encoded TimeStampResp."""
        status = tsp.PKIStatusInfo({"status": self.status}).dump()
        if self.status not in (0, 1):
            return _tagged(0x30, status)
        kind = cms.ContentType("signed_data").dump()
        token = _tagged(0x30, kind + _tagged(0xA0, self._signed(message, nonce)))
        return _tagged(0x30, status + token)

    def _info(self, message: bytes, nonce: int | None) -> bytes:
        imprint = self.imprint if self.imprint is not None else hashlib.new(self.hash_name, message).digest()
        info: dict[str, Any] = {
            "version": 1,
            "policy": self.policy,
            "message_imprint": {"hash_algorithm": {"algorithm": self.hash_name}, "hashed_message": imprint},
            "serial_number": 7,
            "gen_time": self.time if isinstance(self.time, datetime) else NOW,
        }
        if self.accuracy is not None:
            info["accuracy"] = self.accuracy
        stated = self.nonce if self.nonce is not None else nonce
        if stated is not None and self.has_nonce:
            info["nonce"] = stated
        encoded = tsp.TSTInfo(info)
        if isinstance(self.time, str):
            encoded["gen_time"] = core.GeneralizedTime.load(b"\x18" + bytes((len(self.time),)) + self.time.encode())
        return bytes(encoded.dump())

    def _signed(self, message: bytes, nonce: int | None) -> bytes:
        info = self._info(message, nonce)
        algorithm = _HASHES[self.signs_with]
        attributes = [
            {"type": "content_type", "values": ["tst_info"]},
            {"type": "message_digest", "values": [hashlib.new(self.signs_with, info).digest()]},
        ]
        if self.has_signing_certificate:
            attributes.append(self._signing_certificate())
        signed_attributes = cms.CMSAttributes(attributes)
        signature = _sign(self.signer.key, signed_attributes.dump(), algorithm, is_pss=self.is_pss)
        if self.is_signature_bad:
            signature = signature[:-1] + bytes((signature[-1] ^ 1,))
        loaded = asn1_x509.Certificate.load(self.signer.der)
        signer_info = {
            "version": "v1",
            "sid": cms.SignerIdentifier(
                "issuer_and_serial_number",
                cms.IssuerAndSerialNumber({"issuer": loaded.issuer, "serial_number": loaded.serial_number}),
            ),
            "digest_algorithm": {"algorithm": self.signs_with},
            "signed_attrs": signed_attributes,
            "signature_algorithm": _signature_algorithm(self.signer.key, self.signs_with, is_pss=self.is_pss),
            "signature": signature,
        }
        encapsulated = cms.EncapsulatedContentInfo(
            {"content_type": "tst_info", "content": core.ParsableOctetString(info)}
        )
        parts = (
            b"\x02\x01\x03",
            cms.DigestAlgorithms([{"algorithm": self.signs_with}]).dump(),
            encapsulated.dump(),
            _tagged(0xA0, b"".join(self.embedded)) if self.embedded else b"",  # not sorted, as some authorities do
            self.revocations,
            cms.SignerInfos([signer_info]).dump(),
        )
        return _tagged(0x30, b"".join(parts))

    def _signing_certificate(self) -> dict[str, Any]:
        der = (self.names_certificate or self.signer).der
        if self.is_signing_certificate_v1:
            one = tsp.ESSCertID({"cert_hash": hashlib.sha1(der).digest()})
            return {"type": "signing_certificate", "values": [tsp.SigningCertificate({"certs": [one]})]}
        two = tsp.ESSCertIDv2({"cert_hash": hashlib.sha256(der).digest()})
        return {"type": "signing_certificate_v2", "values": [tsp.SigningCertificateV2({"certs": [two]})]}


def _tagged(tag: int, body: bytes) -> bytes:
    if len(body) < 128:
        return bytes((tag, len(body))) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(length))) + length + body


def _sign(key: Any, data: bytes, algorithm: Any, *, is_pss: bool) -> bytes:
    if is_pss:
        return bytes(key.sign(data, padding.PSS(padding.MGF1(algorithm), algorithm.digest_size), algorithm))
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), algorithm)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    return bytes(key.sign(data, ec.ECDSA(algorithm)))


def _signature_algorithm(key: Any, hash_name: str, *, is_pss: bool) -> algos.SignedDigestAlgorithm:
    if is_pss:
        digest = {"algorithm": hash_name}
        mask = {"algorithm": "mgf1", "parameters": digest}
        stated = {"hash_algorithm": digest, "mask_gen_algorithm": mask, "salt_length": _HASHES[hash_name].digest_size}
        return algos.SignedDigestAlgorithm({"algorithm": "rsassa_pss", "parameters": stated})
    if isinstance(key, rsa.RSAPrivateKey):
        return algos.SignedDigestAlgorithm({"algorithm": f"{hash_name}_rsa"})
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return algos.SignedDigestAlgorithm({"algorithm": "ed25519"})
    return algos.SignedDigestAlgorithm({"algorithm": f"{hash_name}_ecdsa"})


class Authority(NamedTuple):
    """A root, and who stamps under it, with a certificate between them or without."""

    root: Holder
    between: Holder | None
    signer: Holder

    @property
    def chain(self) -> list[bytes]:
        """What is embedded: the signer's, and that between; not the root."""
        return [self.signer.der, *([self.between.der] if self.between else [])]

    def token(self, **changes: Any) -> Token:
        return Token(**{"signer": self.signer, "embedded": self.chain, **changes})


def founded(kind: str = "ec", *, has_between: bool = False, **signer: Any) -> Authority:
    root = certified(f"Root {kind}", is_ca=True)
    between = certified("Between", root, is_ca=True) if has_between else None
    return Authority(root, between, certified("Stamps \u202e[bold]", between or root, key=new_key(kind), **signer))


# ---- over HTTP --------------------------------------------------------------------------------------------------


class Answer(NamedTuple):
    """What the server says to one request."""

    body: bytes
    code: int = 200
    kind: str = "application/timestamp-reply"
    encoding: str | None = None
    """As which the body is said to be compressed."""
    has_headers_that_never_end: bool = False
    has_body_that_never_ends: bool = False


class Asked(NamedTuple):
    """What one request says."""

    imprint: bytes
    nonce: int | None
    wants_certificates: bool
    kind: str
    encoding: str
    """As which the answer may be compressed."""

    @classmethod
    def of(cls, body: bytes, headers: Mapping[str, str]) -> "Asked":
        read = tsp.TimeStampReq.load(body)
        imprint = read["message_imprint"]["hashed_message"].native
        said = headers["Content-Type"], headers["Accept-Encoding"]
        return cls(imprint, read["nonce"].native, read["cert_req"].native, *said)


@contextmanager
def serving(answer: Callable[[Asked], Answer]) -> Iterator[tuple[str, list[Asked]]]:
    """An authority at 127.0.0.1 on a port of its own: its URL, and what it was asked."""
    asked: list[Asked] = []
    stopped = Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(Asked.of(body, dict(self.headers)))
            told = answer(asked[-1])
            self.send_response(told.code)
            self.send_header("Content-Type", told.kind)
            if told.encoding is not None:
                self.send_header("Content-Encoding", told.encoding)
            if told.has_headers_that_never_end:
                self._drip()
                return
            if told.has_body_that_never_ends:
                self.end_headers()
                self._drip()
                return
            self.send_header("Content-Length", str(len(told.body)))
            self.end_headers()
            self.wfile.write(told.body)

        def _drip(self) -> None:
            """A byte of the header or the body now and then, until the client is gone."""
            with suppress(OSError):
                self.flush_headers()
                while not stopped.wait(0.02):
                    self.wfile.write(b"x")

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/tsr", asked
    finally:
        stopped.set()
        server.shutdown()
        server.server_close()
        thread.join()


def stamping(authority: Authority, **changes: Any) -> Callable[[Asked], Answer]:
    """Answers as the authority does, whose tokens are changed so."""

    def answer(asked: Asked) -> Answer:
        token = authority.token(**{"imprint": asked.imprint, **changes})
        return Answer(token.response(b"", asked.nonce))

    return answer
