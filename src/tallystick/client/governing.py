"""What a client asks and decides on a ledger with a directory."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Final, TypeVar

from tallystick.api import decisions as d
from tallystick.api import questions as q
from tallystick.api import views
from tallystick.api.governed_views import (
    Admission,
    Erasures,
    Motion,
    Motions,
    Organisation,
    Organisations,
    SignedDecision,
    Validity,
    ValidityAnswer,
)
from tallystick.client.doors import segment
from tallystick.host.clock import now_ms
from tallystick.host.text import is_hex_digest
from tallystick.ledger.changes import sign_admission
from tallystick.ledger.encoding import encode
from tallystick.ledger.wallet import Wallet
from tallystick.problems import NotThere

EXPIRES_AFTER_MS: Final = 14 * 86_400_000
"""How long a motion stays open unless it says otherwise."""

V = TypeVar("V")


class Governing(ABC):
    """A part of `AsyncClient`.

    Decisions are signed by the client's wallet, or else by the node with its own key, which only its own user may ask
    for. Each method that decides waits until that is final, or for so long (0: not at all; `None`: for ever), and tells
    the outcome; `words` say why, in a payload that can be erased.
    """

    ledger_id: bytes
    wallet: Wallet | None

    # ---- reading ------------------------------------------------------------------------------------------------

    async def validity(self, certificate_id: str, at_ms: int | None = None) -> Validity:
        """Whether a statement was valid at a time, or is as of the ledger's tip. Raises `AnswerProblem`.

        `(await client.validity("5f0c93ab")).state` is `valid`, `superseded`, `revoked`, `void` or `not_yet`.
        """
        path = f"/v1/certificates/{segment(certificate_id.lower())}/validity"
        return (await self._get(ValidityAnswer, path, at_ms=at_ms)).validity

    async def organisations(self, limit: int = q.MOST_ITEMS, cursor: str | None = None) -> Organisations:
        """A page of the organisations that ever were, in the order of their ids."""
        return await self._get(Organisations, "/v1/organisations", limit=limit, cursor=cursor)

    async def organisation(self, organisation_id: str) -> Organisation:
        """An organisation with all its keys, by its id. Raises `AnswerProblem`."""
        return await self._get(Organisation, f"/v1/organisations/{segment(organisation_id)}")

    async def motions(self, limit: int = 50, cursor: str | None = None) -> Motions:
        """A page of motions: the open ones, then those that were decided, the latest first of each."""
        return await self._get(Motions, "/v1/motions", limit=limit, cursor=cursor)

    async def motion(self, motion_id: str) -> Motion:
        """A motion with the word of each member, by its id or how that begins. Raises `AnswerProblem`."""
        return await self._get(Motion, f"/v1/motions/{segment(motion_id.lower())}")

    async def erasures(self, limit: int = 50, cursor: str | None = None) -> Erasures:
        """A page of what is to be erased everywhere, and who has confirmed; of one statement, see its certificate."""
        return await self._get(Erasures, "/v1/erasures", limit=limit, cursor=cursor)

    # ---- deciding -----------------------------------------------------------------------------------------------

    async def move(
        self, change: d.AnyChange, *, expires_ms: int | None = None, words: str = "", timeout_s: float | None = 60.0
    ) -> SignedDecision:
        """Move that something be changed, and approve it; it is open until a block time, by default for 14 days.

        `await client.move(decisions.Rename("ada", "University of Ada", "Ada's", None, None))`
        While it is open, `(await client.motion(told.id)).danger` says if the ledger stops without somebody after it.
        """
        until_ms = now_ms() + EXPIRES_AFTER_MS if expires_ms is None else expires_ms
        return await self._decide(d.Move(change, until_ms), words, timeout_s)

    async def approve(self, motion_id: str, *, words: str = "", timeout_s: float | None = 60.0) -> SignedDecision:
        """Approve a motion, by its id or how that begins: `await client.approve("5f0c93ab")`."""
        return await self._decide(d.Approve(await self._whole(motion_id)), words, timeout_s)

    async def object(self, motion_id: str, *, words: str = "", timeout_s: float | None = 60.0) -> SignedDecision:
        """Object to a motion: `await client.object("5f0c93ab", words="too early")`."""
        return await self._decide(d.Object(await self._whole(motion_id)), words, timeout_s)

    async def change_keys(
        self, operation: d.AnyKeyOperation, *, words: str = "", timeout_s: float | None = 60.0
    ) -> SignedDecision:
        """Change keys of the organisation whose organisation key, or else member key, signs.

        `await client.change_keys(decisions.EndIssuer(key, compromised_since=None))`
        """
        return await self._decide(d.ChangeKeys(operation), words, timeout_s)

    async def revoke(
        self,
        certificate_id: str,
        effect: d.Effect = "revoked",
        reason: d.Reason = "unspecified",
        *,
        words: str = "",
        timeout_s: float | None = 60.0,
    ) -> SignedDecision:
        """Revoke a statement of the organisation's from now on, or declare that it never was valid.

        `await client.revoke("5f0c93ab", "void", "mistake", words="issued to another person")`
        """
        target = await self._whole(certificate_id)
        return await self._decide(d.Revoke(target, effect, reason), words, timeout_s)

    async def supersede(
        self, certificate_id: str, successor_id: str, *, words: str = "", timeout_s: float | None = 60.0
    ) -> SignedDecision:
        """Put another statement of the organisation's in a statement's place: `await client.supersede(old, new)`."""
        ids = await self._whole(certificate_id), await self._whole(successor_id)
        return await self._decide(d.Supersede(*ids), words, timeout_s)

    async def order_erasure(
        self, certificate_id: str, *, words: str = "", timeout_s: float | None = 60.0
    ) -> SignedDecision:
        """Order that the payload of a statement of the organisation's be erased everywhere.

        No node erases by that: each operator does (`erase` at its node). Of another's: `move(decisions.Erase(id))`.
        `(await client.certificate("5f0c93ab")).erasure` tells who has confirmed.
        """
        return await self._decide(d.OrderErasure(await self._whole(certificate_id)), words, timeout_s)

    async def confirm_erasure(self, certificate_id: str, *, timeout_s: float | None = 60.0) -> SignedDecision:
        """Confirm, by the member key that signs, that what was ordered of a statement was erased: `erase` does it, too.

        Raises `NotThere` if nothing was ordered.
        """
        found = (await self.certificate(certificate_id)).erasure
        if found is None:
            raise NotThere(f"nothing orders that the payload of {certificate_id[:16]} be erased everywhere")
        return await self._decide(d.ConfirmErasure(found.orders[0].id, found.target), "", timeout_s)

    async def admission(self, organisation_id: str, key: Wallet | None = None) -> Admission:
        """That a key wants to be the organisation's: this key, or the client's, or else the node's signs it.

        Whoever admits it puts it into the decision: `(await client.admission("eve")).admitted`.
        """
        wallet = key if key is not None else self.wallet
        if wallet is None:
            return await self._send(Admission, "/v1/admissions", body=d.AdmissionTo(organisation_id))
        admitted = sign_admission(wallet, self.ledger_id, organisation_id)
        return Admission(organisation=organisation_id, key=wallet.public_key.hex(), admitted=admitted.hex())

    async def _decide(self, decision: d.AnyDecision, words: str, timeout_s: float | None) -> SignedDecision:
        if self.wallet is None:
            body = d.NewDecision(decision, words)
            told = await self._send(SignedDecision, "/v1/decisions", body=body, is_repeatable=False)
            (outcome,) = await self._settled([told.outcome], timeout_s)
            return SignedDecision(id=told.id, entry=told.entry, outcome=outcome)
        entry = encode(d.signed_decision(decision, words, self.wallet, self.ledger_id, now_ms()))
        (outcome,) = await self.submit([entry], timeout_s=timeout_s)
        return SignedDecision(id=outcome.id, entry=entry.hex(), outcome=outcome)

    async def _whole(self, certificate_id: str) -> str:
        """A whole id, of how it begins."""
        beginning = certificate_id.lower()
        return beginning if is_hex_digest(beginning) else (await self.certificate(beginning)).id

    # ---- of `AsyncClient` ---------------------------------------------------------------------------------------

    @abstractmethod
    async def certificate(self, certificate_id: str) -> views.Certificate:
        """A final certificate, by its id or how that begins."""

    @abstractmethod
    async def submit(self, entries: Sequence[bytes], *, timeout_s: float | None = 60.0) -> list[views.Outcome]:
        """Submit encoded entries."""

    @abstractmethod
    async def _settled(self, outcomes: list[views.Outcome], timeout_s: float | None) -> list[views.Outcome]: ...

    @abstractmethod
    async def _get(self, kind: type[V], path: str, /, **query: Any) -> V: ...

    @abstractmethod
    async def _send(self, kind: type[V], path: str, method: str = "POST", **how: Any) -> V: ...
