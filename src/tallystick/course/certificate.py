"""`Certificate`: a statement that anybody may change at any time, and that only its issuer can sign."""

from operator import is_
from typing import Any, ClassVar, Self

from tallystick.course.fields import SCALARS, checked, decode_fields, encode_fields, from_hex
from tallystick.course.ledger import LEDGER_ID, verify
from tallystick.course.timestamp import now
from tallystick.ledger.certificate import AnyCertificate, Payload, Statement
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.fields import UNSIGNED, Milliseconds, Subject
from tallystick.ledger.keys import Domain, signed_bytes
from tallystick.ledger.messages import Entry

KEY_EXPECTED = "it has to be a wallet's publicKey"
HASH_EXPECTED = "it has to be a block's hash()"
SHOWN_DIGITS = 10
"""Digits of a public key that `display` shows, as the assignment does."""


_Memo = tuple[tuple[str, ...], tuple[object, ...], Entry]
"""An encoding, and the very attributes it was made from: their names, their values."""


class Certificate:
    """A certificate as the assignment has it; subclasses add fields of their own, and those are covered too.

    Every use encodes it anew as the engine's certificate, so nothing is remembered of what it was before a change.
    """

    __slots__ = ("__dict__", "__weakref__", "_memo")

    _engine_fields: ClassVar[frozenset[str]] = frozenset({"issuerPublicKey", "timestamp", "signature"})
    """Attributes with a place of their own in the engine's certificate; all others go into the payload."""

    _memo: Any

    def __new__(cls, *_args: object, **_fields: object) -> Self:
        """Make it without fields; `__init__` sets them."""
        self = super().__new__(cls)
        self._memo = None
        return self

    def __init__(self, issuerPublicKey: str) -> None:
        self.issuerPublicKey = issuerPublicKey
        self.timestamp = now()
        self.signature = ""

    def __init_subclass__(cls) -> None:
        if "__slots__" in vars(cls):
            raise TypeError(f"{cls.__name__}: remove __slots__, a certificate's fields have to be in its __dict__")

    def __getstate__(self) -> dict[str, object]:
        return dict(vars(self))  # a copy encodes itself

    # ---- what the assignment asks of it -----------------------------------------------------------------------

    def hash(self) -> str:
        """Hex hash of everything but the signature. Raises `Refused` (E1, E2) for what cannot be encoded."""
        return self._digest().hex()

    def equals(self, otherCertificate: object) -> bool:
        """Whether both have the same hash."""
        if not isinstance(otherCertificate, Certificate):
            return False
        try:
            return self._digest() == otherCertificate._digest()
        except Refused:
            return self is otherCertificate

    def __hash__(self) -> int:
        return int.from_bytes(self._digest(), "big")

    def __eq__(self, other: object) -> bool:
        return self.equals(other) if isinstance(other, Certificate) else NotImplemented

    def is_signed(self) -> bool:
        """Whether the signature is its issuer's, over what it says now."""
        try:
            domain, body = self.signed_part()
            return verify(signed_bytes(domain, LEDGER_ID, body), self._signature(), self._issuer())
        except Refused:
            return False

    def describe(self) -> dict[str, object]:
        """What `Blockchain.display` prints of it."""
        own = {name: value for name, value in vars(self).items() if name not in Certificate._engine_fields}
        return {
            "type": type(self).__name__,
            "issuerPublicKey": str(self.issuerPublicKey)[:SHOWN_DIGITS],
            "timestamp": self.timestamp,
            "hash": self.hash(),
            "signature": self.signature,
            **own,
        }

    def __repr__(self) -> str:
        issuer = str(vars(self).get("issuerPublicKey"))[:SHOWN_DIGITS]
        return f"<{type(self).__name__} of {issuer}… at {vars(self).get('timestamp')}>"

    # ---- from and to the engine -------------------------------------------------------------------------------

    def as_entry(self) -> Entry:
        """The engine's certificate and payload for what this one says now. Raises `Refused` (E1, E2)."""
        attributes = self.__dict__
        memo: _Memo | None = self._memo
        if memo is not None:
            names, values, entry = memo
            if names == tuple(attributes) and all(map(is_, values, attributes.values())):
                return entry
        own = {name: value for name, value in attributes.items() if name not in self._engine_fields}
        payload = encode_fields(own) if own else None
        entry = Entry(self._as_engine(payload), payload)
        self._remember(entry)
        return entry

    @classmethod
    def from_entry(cls, entry: Entry) -> Self:
        """A new object that says what the entry does."""
        certificate = entry.certificate
        self = Certificate.__new__(cls)
        attributes = vars(self)
        attributes["issuerPublicKey"] = certificate.issuer.hex()
        attributes["timestamp"] = certificate.timestamp_ms
        attributes["signature"] = "" if certificate.signature == UNSIGNED else certificate.signature.hex()
        attributes.update(cls._engine_attributes(certificate))
        if entry.payload is not None:
            attributes.update(decode_fields(entry.payload))
        self._remember(entry)
        return self

    def signed_part(self) -> tuple[Domain, bytes]:
        """What a signature of it is for, and the bytes that it covers. Raises `Refused` (E1, E2)."""
        return Domain.CERTIFICATE, self.as_entry().certificate.body

    def _digest(self) -> bytes:
        return self.as_entry().certificate.id

    def _as_engine(self, payload: Payload | None) -> AnyCertificate:
        payload_hash = payload.hash() if payload else None
        return Statement(self._issuer(), self._time(), self._subject(), payload_hash, self._signature())

    @classmethod
    def _engine_attributes(cls, _certificate: AnyCertificate) -> dict[str, object]:
        """The attributes that a kind has besides the ones that all have."""
        return {}

    def _remember(self, entry: Entry) -> None:
        attributes = vars(self)
        values = tuple(attributes.values())
        if SCALARS.issuperset(map(type, values)):
            self._memo = (tuple(attributes), values, entry)

    def _attribute(self, name: str) -> object:
        try:
            return vars(self)[name]
        except KeyError:
            kind = type(self).__name__
            raise Refused(Rule.E2, f"{kind} has no {name}; its __init__ has to call super().__init__(…)") from None

    def _issuer(self) -> bytes:
        return from_hex("issuerPublicKey", self._attribute("issuerPublicKey"), 32, KEY_EXPECTED)

    def _subject(self) -> str:
        return checked("the name of the class", type(self).__name__, Subject, "give the class a shorter, plain name")

    def _time(self) -> int:
        expected = "it has to be a whole number of milliseconds, 0 or more"
        return checked("timestamp", self._attribute("timestamp"), Milliseconds, expected)

    def _signature(self) -> bytes:
        signature = self._attribute("signature")
        if signature == "":
            return UNSIGNED
        return from_hex("signature", signature, 64, "have the issuer's wallet sign it")
