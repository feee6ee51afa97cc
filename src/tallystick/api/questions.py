"""What may be asked and submitted: parameters and bodies, each bounded."""

from typing import Annotated, Final

from msgspec import Meta, Struct

from tallystick.ledger.fields import NO_CONTROLS, Amount, Index, Milliseconds, OrganisationId, Subject
from tallystick.ledger.params import MAX_PAYLOAD_BYTES

JSON: Final = "application/json"
MESSAGEPACK: Final = "application/vnd.msgpack"
PLAIN_TEXT: Final = "text/plain"
MOST_ITEMS: Final = 1_000
MOST_ENTRIES: Final = 4_096
MOST_PROOFS: Final = 1_024
MOST_WAIT_MS: Final = 60_000
_END: Final = r"$(?!\n)"
"""Of a pattern, for Python, where `$` alone lets a line break follow, and for ECMAScript, which has no `\\Z`."""
_ZEROS: Final = {"example": "00" * 32}

Hex32 = Annotated[str, Meta(pattern=f"^[0-9a-f]{{64}}{_END}", description="32 bytes in lower-case hex.")]
HexInPath = Annotated[Hex32, Meta(extra_json_schema=_ZEROS)]
IdBeginning = Annotated[
    str,
    Meta(
        pattern=f"^[0-9a-f]{{8,64}}{_END}",
        description="An id, or how it begins: 8 to 64 hexadecimal digits, in lower case.",
        extra_json_schema=_ZEROS,
    ),
]
BlockIndex = Annotated[Index, Meta(extra_json_schema={"example": 0})]
Who = Annotated[
    str, Meta(min_length=1, description="A name, or how a key begins.", extra_json_schema={"example": "node-1"})
]
Organisation = Annotated[
    OrganisationId,
    Meta(
        description="An organisation's id: lower-case letters, digits and hyphens, at most 40.",
        extra_json_schema={"example": "ada"},
    ),
]
Limit = Annotated[int, Meta(ge=1, le=MOST_ITEMS, description="At most so many items.")]
Cursor = Annotated[Index, Meta(description="The `next` of the page before.")] | None
WaitMs = Annotated[int, Meta(ge=0, le=MOST_WAIT_MS, description="Answer when nothing waits any more, or after this.")]
WaitForCheckpointMs = Annotated[
    int, Meta(ge=0, le=MOST_WAIT_MS, description="Wait so long for a checkpoint that covers what is asked for.")
]
Since = Annotated[Index, Meta(description="The epoch whose members the verifier knows; 0: those of the genesis.")]
Fresh = Annotated[
    bool,
    Meta(description="Have members countersign anew if the newest checkpoint's status is older than a minute."),
]
MlDsa = Annotated[
    bool,
    Meta(
        description="At the newest end of an epoch that members cosigned by ML-DSA-44, too: its status is older, and "
        "nobody is waited for."
    ),
]
AsEncoded = Annotated[bool, Meta(description="Also as it is encoded, for a program that verifies it.")]
Kind = Annotated[
    str,
    Meta(
        pattern="^(statement|stake|evidence|motion|approval|objection|key_change|revocation|supersession|erasure"
        f"|erasure_confirmation){_END}",
        description="One of `statement`, `stake`, `evidence`, `motion`, `approval`, `objection`, `key_change`, "
        "`revocation`, `supersession`, `erasure` and `erasure_confirmation`.",
    ),
]
AtMs = Annotated[Milliseconds, Meta(description="A time, in milliseconds; without it, the tip's block time.")] | None
SizeBytes = Annotated[int, Meta(ge=0, le=2**63 - 1)] | None


class Search(Struct, frozen=True, forbid_unknown_fields=True):
    """Certificates that match all of these, the newest first."""

    text: Annotated[str, Meta(max_length=256, description="Words of the subject, of a file's name or its note.")] = ""
    prefix: Annotated[bool, Meta(description="Whether the last word may go on.")] = False
    issuer: Hex32 | None = None
    kind: Kind | None = None
    media_type: Annotated[str, Meta(max_length=255)] | None = None
    sha256: Hex32 | None = None
    since_ms: Milliseconds | None = None
    until_ms: Milliseconds | None = None
    first_block: Index | None = None
    last_block: Index | None = None
    limit: Limit = 50
    cursor: Cursor = None


class Submission(Struct, frozen=True, forbid_unknown_fields=True):
    """Signed certificates with their payloads: encoded entries (docs/protocol.md), in hex in JSON."""

    entries: Annotated[
        list[Annotated[bytes, Meta(max_length=80_000, description="At most 80,000 bytes.")]],
        Meta(min_length=1, max_length=MOST_ENTRIES),
    ]
    wait_ms: WaitMs = 0


class HexSubmission(Struct, frozen=True, forbid_unknown_fields=True):
    """A `Submission` in JSON."""

    entries: Annotated[list[Annotated[str, Meta(max_length=160_000)]], Meta(min_length=1, max_length=MOST_ENTRIES)]
    wait_ms: WaitMs = 0


class OutcomesAsked(Struct, frozen=True, forbid_unknown_fields=True):
    """The ids of certificates that were submitted."""

    ids: Annotated[list[Hex32], Meta(min_length=1, max_length=MOST_ENTRIES)]
    wait_ms: WaitMs = 0


class ProofsAsked(Struct, frozen=True, forbid_unknown_fields=True):
    """The certificates of which proofs are wanted."""

    ids: Annotated[list[Hex32], Meta(min_length=1, max_length=MOST_PROOFS)]
    since: Since = 0
    fresh: Fresh = False
    wait_ms: WaitForCheckpointMs = 0


class NewStatement(Struct, frozen=True, forbid_unknown_fields=True):
    """A statement that the node signs with its own key; the payload's salt is the node's to draw."""

    subject: Annotated[Subject, Meta(description="A line of text of at most 256 characters.")]
    media_type: Annotated[
        str, Meta(max_length=128, pattern=NO_CONTROLS, description="A line of text of at most 128 characters.")
    ] = ""
    content: Annotated[
        str,
        Meta(
            max_length=2 * MAX_PAYLOAD_BYTES, description="Of the payload, in hex; without a media type there is none."
        ),
    ] = ""
    public_subject: Annotated[
        bool,
        Meta(description="Keep the subject out of the payload, for ever; else, with a directory, it can be erased."),
    ] = False


class SignedHere(Struct, frozen=True, forbid_unknown_fields=True):
    """Statements to be signed by the node."""

    statements: Annotated[list[NewStatement], Meta(min_length=1, max_length=MOST_ENTRIES)]
    submit: Annotated[bool, Meta(description="Put them on the ledger, too; else they are only signed.")] = True
    wait_ms: WaitMs = 0


class StakeChange(Struct, frozen=True, forbid_unknown_fields=True):
    """Tokens of the node's own to stake; a negative amount withdraws."""

    amount: Amount
    wait_ms: WaitMs = 0


class BackupTo(Struct, frozen=True, forbid_unknown_fields=True):
    """A file on the node's machine, by its whole path, that does not exist yet."""

    path: Annotated[str, Meta(max_length=4096, pattern=r"^/[^\x00]*" + _END, description="The whole path, from / on.")]


class Name(Struct, frozen=True, forbid_unknown_fields=True):
    """What the node's owner calls a key; empty: nothing any more."""

    name: Annotated[str, Meta(max_length=100)]
