"""`StakingOperation`: puts an issuer's tokens at stake, or takes them out."""

from typing import ClassVar

from tallystick.course.certificate import Certificate
from tallystick.course.fields import checked
from tallystick.ledger.certificate import AnyCertificate, Payload
from tallystick.ledger.certificate import StakingOperation as EngineStakingOperation
from tallystick.ledger.fields import Amount


class StakingOperation(Certificate):
    """A certificate that stakes `amount` tokens; below zero it withdraws them. The course mints what is staked."""

    _engine_fields: ClassVar[frozenset[str]] = Certificate._engine_fields | {"amount"}

    def __init__(self, issuerPublicKey: str, amount: int) -> None:
        super().__init__(issuerPublicKey)
        self.amount = amount

    def _as_engine(self, payload: Payload | None) -> AnyCertificate:
        amount = checked("amount", self._attribute("amount"), Amount, "it has to be a whole number of tokens")
        payload_hash = payload.hash() if payload else None
        return EngineStakingOperation(
            self._issuer(), self._time(), self._subject(), payload_hash, amount, self._signature()
        )

    @classmethod
    def _engine_attributes(cls, certificate: AnyCertificate) -> dict[str, object]:
        assert isinstance(certificate, EngineStakingOperation)
        return {"amount": certificate.amount}
