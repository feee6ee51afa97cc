"""What a client checks by itself of what a door tells of a certificate: its hashes and its signature.

Where it stands, and what became of it, takes a proof to know.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from msgspec.structs import replace

from tallystick.api import views
from tallystick.api.certificate_view import Beside, certificate_view
from tallystick.ledger.certificate import certificate_codec, check_payload, payload_codec
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.keys import is_signed
from tallystick.problems import DamagedStore


def check_certificate(told: views.Certificate, ledger_id: bytes) -> None:
    """Check that a certificate is what its fields say: id, signature and payload.

    Raises `DamagedStore`, with the rule that is broken.
    """
    with _explained(f"certificate {told.id[:16]}…"):
        certificate = certificate_codec.decode(bytes.fromhex(told.encoded))
        if not is_signed(certificate.signed_bytes(ledger_id), certificate.signature, certificate.issuer):
            raise Refused(Rule.C1, "its issuer did not sign it so")
        payload = payload_codec.decode(bytes.fromhex(told.payload.encoded)) if told.payload else None
        check_payload(certificate, payload)
        beside = Beside(told.place, payload, told.is_erased, told.validity, told.erasure)
        if told != certificate_view(certificate, beside, _ToldKeys(told)):
            raise Refused(Rule.B7, "its fields are told otherwise than it says them")


class _ToldKeys(NamedTuple):
    """Keys as they were told with a certificate: what the directory and an address book say of them is not checked."""

    told: views.Certificate

    def view(self, key: bytes, log_index: int | None = None) -> views.Key:
        """The issuer has a log index, whoever is accused none."""
        told = self.told.issuer if log_index is not None else self.told.offender
        return replace(told, key=key.hex()) if told is not None else views.Key(key.hex(), None)

    def is_listed(self, _key: bytes, _log_index: int) -> bool | None:
        return self.told.is_listed


@contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except Refused as refused:
        message = f"{what}, as it was told, does not hold: {refused}; ask another node, or run tallystick check"
        raise DamagedStore(message, refused) from None
    except ValueError:
        raise DamagedStore(f"{what} was told in a form that is not known here") from None
