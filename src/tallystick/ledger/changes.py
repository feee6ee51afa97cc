"""What can be changed in common: by motion, or by an organisation for itself. `Motion` and `KeyChange` carry these."""

from enum import IntEnum
from typing import Annotated, Final, NamedTuple

from msgspec import Meta

from tallystick.ledger.encoding import Encoded, encode
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.fields import (
    UNSIGNED,
    Digest,
    Index,
    Label,
    Milliseconds,
    MlDsaKey,
    OrganisationId,
    PublicKey,
    Signature,
    Title,
    Tokens,
    WebDomain,
)
from tallystick.ledger.keys import Domain, Verify, signed_bytes
from tallystick.ledger.wallet import Wallet

MAX_STAKES_A_MOTION: Final = 16


class Role(IntEnum):
    """What a key in the directory may do."""

    MEMBER = 1
    """Votes and certifies."""
    VOTER = 2
    """Votes; its organisation certifies by other keys alone."""
    ISSUER = 3
    ORGANISATION = 4
    """Kept offline: while one is set, it alone changes the organisation's other keys."""


VOTING: Final = frozenset({Role.MEMBER, Role.VOTER})
CERTIFYING: Final = frozenset({Role.MEMBER, Role.ISSUER})

MemberRole = Annotated[int, Meta(ge=1, le=2)]


class Effect(IntEnum):
    """What became of a statement, in ascending strength."""

    SUPERSEDED = 1
    REVOKED = 2
    """From the log index on."""
    VOID = 3
    """From the beginning."""


class Reason(IntEnum):
    """Why."""

    UNSPECIFIED = 0
    MISTAKE = 1
    FRAUD = 2
    WITHDRAWN = 3
    """What was certified holds no more."""
    KEY_COMPROMISED = 4
    ORGANISATION_ENDED = 5


class Admission(NamedTuple):
    """That a key wants to be an organisation's."""

    organisation: str
    key: bytes
    signature: bytes

    def check(self, ledger_id: bytes, verify: Verify) -> None:
        """Raise `Refused` (D3) unless the key itself signed it: else one organisation could list another's key."""
        if not verify(_admission_bytes(self.organisation, ledger_id), self.signature, self.key):
            raise Refused(Rule.D3, f"{self.key.hex()[:16]}… did not sign its admission to {self.organisation}")


def sign_admission(wallet: Wallet, ledger_id: bytes, organisation: str) -> bytes:
    """The key's signature for its own admission (64 bytes)."""
    return wallet.sign(Domain.ADMISSION, ledger_id, encode(organisation))


def _admission_bytes(organisation: str, ledger_id: bytes) -> bytes:
    return signed_bytes(Domain.ADMISSION, ledger_id, encode(organisation))


# ---- by motion ------------------------------------------------------------------------------------------------


class Change(Encoded, tag_field="change"):
    """What a motion is about. It names the values that it changes from, and is void when they no longer hold."""


class Admit(Change, tag=1):
    """Another organisation; without stake it certifies and does not vote."""

    organisation: OrganisationId
    title: Title
    domain: WebDomain | None
    key: PublicKey
    role: MemberRole
    stake: Tokens
    admitted: Signature


class Remove(Change, tag=2):
    """The organisation's keys end; its stake stays liable for the unbonding time."""

    organisation: OrganisationId
    stake: Tokens


class StakeChange(Encoded):
    """One organisation's stake, before and after."""

    organisation: OrganisationId
    before: Tokens
    after: Tokens


class SetStakes(Change, tag=3):
    """Stakes of organisations, in ascending order of their ids."""

    stakes: Annotated[tuple[StakeChange, ...], Meta(min_length=1, max_length=MAX_STAKES_A_MOTION)]


class ReplaceMemberKey(Change, tag=4):
    """An organisation's member key, when it is lost or stolen."""

    organisation: OrganisationId
    before: PublicKey
    after: PublicKey
    compromised_since: Index | None
    admitted: Signature


class SetOrganisationKey(Change, tag=5):
    """The key that is kept offline; `None`: none."""

    organisation: OrganisationId
    before: PublicKey | None
    after: PublicKey | None
    admitted: Signature | None


class Rename(Change, tag=6):
    """An organisation's title and domain; its id stays."""

    organisation: OrganisationId
    title_before: Title
    title: Title
    domain_before: WebDomain | None
    domain: WebDomain | None


class SetParameter(Change, tag=7):
    """One of `params.CHANGEABLE`; a boolean is 0 or 1."""

    parameter: Annotated[str, Meta(max_length=64)]
    before: Milliseconds | None
    after: Milliseconds


class SetStatus(Change, tag=8):
    """The status of a statement whose organisation is gone; `successor`: of one that is superseded, of no other."""

    target: Digest
    effect: Annotated[int, Meta(ge=1, le=3)]
    reason: Annotated[int, Meta(ge=0, le=5)]
    successor: Digest | None = None


class StopRotation(Change, tag=9):
    """A rotation of a member key that is announced and not in effect yet."""

    organisation: OrganisationId
    key: PublicKey


class Erase(Change, tag=10):
    """A statement's payload, at every node: each operator erases it, and confirms that (`ErasureConfirmation`)."""

    target: Digest


class SetCompromised(Change, tag=11):
    """Since when a key of an organisation that is gone was compromised; `before`: what was said of that already."""

    key: PublicKey
    before: Index | None
    since: Index


AnyChange = (
    Admit
    | Remove
    | SetStakes
    | ReplaceMemberKey
    | SetOrganisationKey
    | Rename
    | SetParameter
    | SetStatus
    | StopRotation
    | Erase
    | SetCompromised
)


# ---- by an organisation, for itself ---------------------------------------------------------------------------


class KeyOperation(Encoded, tag_field="operation"):
    """What an organisation's key does with the organisation's keys."""


class AddIssuer(KeyOperation, tag=1):
    """Another issuer key; it certifies at once, until the time given."""

    organisation: OrganisationId
    key: PublicKey
    label: Label
    until_ms: Milliseconds | None
    admitted: Signature


class EndIssuer(KeyOperation, tag=2):
    """An issuer key certifies no more; what it certified from `compromised_since` on is void."""

    key: PublicKey
    compromised_since: Index | None


class RotateMemberKey(KeyOperation, tag=3):
    """The member key follows itself: at once by the organisation key, else after a delay."""

    organisation: OrganisationId
    before: PublicKey
    after: PublicKey
    compromised_since: Index | None
    admitted: Signature


class SetMemberRole(KeyOperation, tag=4):
    """Whether the member key certifies."""

    key: PublicKey
    role: MemberRole


class SetMlDsaKey(KeyOperation, tag=5):
    """The key by which the member key's holder cosigns at epoch ends, too; `None`: none any more.

    It signs no admission, and its form alone is a rule: nodes need no library for it. Nor could another's be of use: a
    cosignature names the member key that it is of (docs/adr/0034).
    """

    member: PublicKey
    key: MlDsaKey | None


AnyKeyOperation = AddIssuer | EndIssuer | RotateMemberKey | SetMemberRole | SetMlDsaKey


def admission_of(change: AnyChange | AnyKeyOperation) -> Admission | None:
    """The admission of the key that the change brings, if it brings one."""
    match change:
        case Admit(organisation=organisation, key=key, admitted=admitted):
            return Admission(organisation, key, admitted)
        case AddIssuer(organisation=organisation, key=key, admitted=admitted):
            return Admission(organisation, key, admitted)
        case ReplaceMemberKey(organisation=organisation, after=key, admitted=admitted):
            return Admission(organisation, key, admitted)
        case RotateMemberKey(organisation=organisation, after=key, admitted=admitted):
            return Admission(organisation, key, admitted)
        case SetOrganisationKey(organisation=organisation, after=bytes() as key, admitted=signature):
            return Admission(organisation, key, signature or UNSIGNED)
    return None
