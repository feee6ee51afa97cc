"""What is decided on a ledger with a directory, in JSON: as it is told, and as a node is asked to sign it."""

import os
from collections.abc import Mapping
from enum import IntEnum
from typing import Annotated, Any, Final, Literal, cast, get_args, get_type_hints

from msgspec import Meta, Struct
from msgspec.structs import fields

from tallystick.api import questions as q
from tallystick.api.questions import Hex32, WaitMs
from tallystick.ledger import certificate as core
from tallystick.ledger import changes
from tallystick.ledger.certificate import SALT_BYTES, Payload
from tallystick.ledger.encoding import Encoded
from tallystick.ledger.fields import (
    Index,
    Label,
    Milliseconds,
    Subject,
    Title,
    Tokens,
    WebDomain,
)
from tallystick.ledger.messages import Entry
from tallystick.ledger.wallet import Wallet

Hex64 = Annotated[str, Meta(pattern=r"^[0-9a-f]{128}$(?!\n)", description="64 bytes in lower-case hex.")]
HexMlDsaKey = Annotated[
    str,
    Meta(pattern=r"^[0-9a-f]{2624}$(?!\n)", description="A public key of ML-DSA-44: 1,312 bytes in lower-case hex."),
]
TitleText = Annotated[Title, Meta(description="A line of text of 1 to 64 characters.")]
LabelText = Annotated[Label, Meta(description="A line of text of at most 64 characters.")]
DomainText = Annotated[WebDomain, Meta(description="A web domain in lower case, as law.example.org.")]
MemberRole = Literal["member", "voter"]
Effect = Literal["revoked", "void"]
Reason = Literal["unspecified", "mistake", "fraud", "withdrawn", "key_compromised", "organisation_ended"]

_ENUMS: Final[Mapping[str, type[IntEnum]]] = {"role": changes.Role, "effect": changes.Effect, "reason": changes.Reason}
"""Of the fields that are told in words."""


class Part(Struct, frozen=True, forbid_unknown_fields=True):
    """A decision, or a part of one: the fields of the part of the protocol with its name."""


# ---- by motion --------------------------------------------------------------------------------------------------


class Admit(Part, frozen=True, tag_field="change", tag="admit"):
    """Another organisation; without stake it certifies and does not vote."""

    organisation: q.Organisation
    title: TitleText
    domain: DomainText | None
    key: Hex32
    """Its member key."""
    role: MemberRole
    """`voter`: the member key does not certify."""
    stake: Tokens
    admitted: Hex64
    """Signed by the key itself: POST /v1/admissions at its node."""


class Remove(Part, frozen=True, tag_field="change", tag="remove"):
    """An organisation's keys end."""

    organisation: q.Organisation
    stake: Tokens
    """That it has."""


class StakeOf(Part, frozen=True):
    """One organisation's stake, before and after."""

    organisation: q.Organisation
    before: Tokens
    after: Tokens


class SetStakes(Part, frozen=True, tag_field="change", tag="set_stakes"):
    """Stakes of organisations, in ascending order of their ids."""

    stakes: Annotated[list[StakeOf], Meta(min_length=1, max_length=changes.MAX_STAKES_A_MOTION)]


class ReplaceMemberKey(Part, frozen=True, tag_field="change", tag="replace_member_key"):
    """An organisation's member key, when it is lost or stolen."""

    organisation: q.Organisation
    before: Hex32
    after: Hex32
    compromised_since: Index | None
    """What the key before certified from this log index on is void; `null`: nothing is."""
    admitted: Hex64
    """Signed by the key after."""


class SetOrganisationKey(Part, frozen=True, tag_field="change", tag="set_organisation_key"):
    """The key that an organisation keeps offline."""

    organisation: q.Organisation
    before: Hex32 | None
    after: Hex32 | None
    """`null`: none."""
    admitted: Hex64 | None
    """Signed by the key after."""


class Rename(Part, frozen=True, tag_field="change", tag="rename"):
    """An organisation's title and domain; its id stays."""

    organisation: q.Organisation
    title_before: TitleText
    title: TitleText
    domain_before: DomainText | None
    domain: DomainText | None


class SetParameter(Part, frozen=True, tag_field="change", tag="set_parameter"):
    """A parameter of the ledger; a boolean is 0 or 1."""

    parameter: Annotated[str, Meta(max_length=64)]
    before: Milliseconds | None
    after: Milliseconds


class SetStatus(Part, frozen=True, tag_field="change", tag="set_status"):
    """The status of a statement whose organisation is gone; of one that is `superseded`, by which statement."""

    target: Hex32
    effect: Effect | Literal["superseded"]
    reason: Reason
    successor: Hex32 | None = None


class StopRotation(Part, frozen=True, tag_field="change", tag="stop_rotation"):
    """A rotation of a member key that is announced and not in effect yet."""

    organisation: q.Organisation
    key: Hex32


class Erase(Part, frozen=True, tag_field="change", tag="erase"):
    """A statement's payload, at every node: each operator erases it, and confirms that."""

    target: Hex32


class SetCompromised(Part, frozen=True, tag_field="change", tag="set_compromised"):
    """Since when a key of an organisation that is gone was compromised."""

    key: Hex32
    before: Index | None
    """What was said of that already; `null`: nothing."""
    since: Index
    """What the key certified from this log index on is void."""


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


# ---- by an organisation, for itself -----------------------------------------------------------------------------


class AddIssuer(Part, frozen=True, tag_field="operation", tag="add_issuer"):
    """Another issuer key; it certifies at once."""

    organisation: q.Organisation
    key: Hex32
    label: LabelText
    until_ms: Milliseconds | None
    """The block time from which it certifies no more."""
    admitted: Hex64
    """Signed by the key itself."""


class EndIssuer(Part, frozen=True, tag_field="operation", tag="end_issuer"):
    """An issuer key certifies no more."""

    key: Hex32
    compromised_since: Index | None
    """What it certified from this log index on is void; `null`: nothing is."""


class RotateMemberKey(Part, frozen=True, tag_field="operation", tag="rotate_member_key"):
    """Another member key: at once by the organisation key, else after the ledger's delay."""

    organisation: q.Organisation
    before: Hex32
    after: Hex32
    compromised_since: Index | None
    admitted: Hex64
    """Signed by the key after."""


class SetMemberRole(Part, frozen=True, tag_field="operation", tag="set_member_role"):
    """Whether the member key certifies."""

    key: Hex32
    role: MemberRole


class SetMlDsaKey(Part, frozen=True, tag_field="operation", tag="set_ml_dsa_key"):
    """The ML-DSA-44 key by which the member cosigns at the ends of epochs, too."""

    member: Hex32
    """The organisation's member key."""
    key: HexMlDsaKey | None
    """`null`: none any more."""


AnyKeyOperation = AddIssuer | EndIssuer | RotateMemberKey | SetMemberRole | SetMlDsaKey


# ---- certificates -----------------------------------------------------------------------------------------------


class Move(Part, frozen=True, tag_field="kind", tag="motion"):
    """A member moves that something be changed, and approves it."""

    change: AnyChange
    expires_ms: Milliseconds
    """By block time; 90 days ahead at most."""


class Approve(Part, frozen=True, tag_field="kind", tag="approval"):
    """A member's word for a motion; its last word counts."""

    motion: Hex32


class Object(Part, frozen=True, tag_field="kind", tag="objection"):
    """A member's word against a motion; its last word counts."""

    motion: Hex32


class ChangeKeys(Part, frozen=True, tag_field="kind", tag="key_change"):
    """An organisation changes its own keys."""

    operation: AnyKeyOperation


class Revoke(Part, frozen=True, tag_field="kind", tag="revocation"):
    """A statement is not valid any more, or never was."""

    target: Hex32
    effect: Effect
    reason: Reason


class Supersede(Part, frozen=True, tag_field="kind", tag="supersession"):
    """Another statement stands in a statement's place."""

    target: Hex32
    successor: Hex32


class OrderErasure(Part, frozen=True, tag_field="kind", tag="erasure"):
    """The organisation that certified a statement has its payload erased everywhere, without a vote."""

    target: Hex32


class ConfirmErasure(Part, frozen=True, tag_field="kind", tag="erasure_confirmation"):
    """A member's node has erased what an order is about. It has no time and no words: there is one for each order."""

    order: Hex32
    """An erasure, or a motion to erase that passed."""
    target: Hex32


AnyDecision = Move | Approve | Object | ChangeKeys | Revoke | Supersede | OrderErasure | ConfirmErasure


class NewDecision(Struct, frozen=True, forbid_unknown_fields=True):
    """A decision that the node signs with its own key, and submits."""

    decision: AnyDecision
    words: Annotated[Subject, Meta(description="Why, in a line of text: its payload, which can be erased.")] = ""
    wait_ms: WaitMs = 0


class AdmissionTo(Struct, frozen=True, forbid_unknown_fields=True):
    """The organisation whose key the node's own is to become."""

    organisation: q.Organisation


# ---- to and from what is signed ---------------------------------------------------------------------------------

_CORE: Final[Mapping[type[Part], type[Encoded]]] = {
    StakeOf: changes.StakeChange,
    **{told: getattr(changes, told.__name__) for told in (*get_args(AnyChange), *get_args(AnyKeyOperation))},
    Move: core.Motion,
    Approve: core.Approval,
    Object: core.Objection,
    ChangeKeys: core.KeyChange,
    Revoke: core.Revocation,
    Supersede: core.Supersession,
    OrderErasure: core.Erasure,
    ConfirmErasure: core.ErasureConfirmation,
}
_TOLD: Final = {kind: told for told, kind in _CORE.items()}


def signed_decision(told: AnyDecision, words: str, wallet: Wallet, ledger_id: bytes, timestamp_ms: int) -> Entry:
    """The decision as a wallet signs it; the words, if any, are its payload. Raises `Refused` (E1, E2)."""
    payload = Payload.about(words, None, os.urandom(SALT_BYTES)) if words else None
    kind = cast(type[core.Decision], _CORE[type(told)])
    timestamp_ms = 0 if isinstance(told, ConfirmErasure) else timestamp_ms
    return Entry(core.issue_decision(kind, wallet, ledger_id, timestamp_ms, _values(told), payload), payload)


def change_in(told: AnyChange) -> changes.AnyChange:
    """The change, as a motion has it."""
    return cast(changes.AnyChange, _encoded(told))


def decision_view(decision: core.Decision) -> AnyDecision:
    """What a certificate decides, as it is told."""
    return cast(AnyDecision, _told(decision))


def change_view(change: changes.AnyChange) -> AnyChange:
    """What a motion is about, as it is told."""
    return cast(AnyChange, _told(change))


def _encoded(told: Part) -> Encoded:
    return _CORE[type(told)](*_values(told))


def _values(told: Part) -> list[Any]:
    hints = get_type_hints(_CORE[type(told)])
    return [_value(one.name, getattr(told, one.name), hints[one.name]) for one in fields(told)]


def _value(name: str, value: Any, hint: Any) -> Any:
    if isinstance(value, Part):
        return _encoded(value)
    if isinstance(value, list):
        return tuple(_encoded(one) for one in value)
    if isinstance(value, str) and name in _ENUMS:
        return int(_ENUMS[name][value.upper()])
    return bytes.fromhex(value) if isinstance(value, str) and bytes in (hint, *get_args(hint)) else value


def _told(one: Encoded) -> Part:
    kind = _TOLD[type(one)]
    return kind(*(_in_json(field.name, getattr(one, field.name)) for field in fields(kind)))


def _in_json(name: str, value: Any) -> Any:
    if isinstance(value, Encoded):
        return _told(value)
    if isinstance(value, tuple):
        return [_told(one) for one in value]
    if isinstance(value, bytes):
        return value.hex()
    return _ENUMS[name](value).name.lower() if name in _ENUMS else value
