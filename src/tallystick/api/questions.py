"""What may be asked and submitted: query parameters and bodies, each bounded."""

from typing import Annotated, Final

from msgspec import Meta, Struct

MOST_ITEMS: Final = 1_000
MOST_ENTRIES: Final = 4_096
MOST_WAIT_MS: Final = 60_000

Hex32 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", description="32 bytes in lower-case hex.")]
Limit = Annotated[int, Meta(ge=1, le=MOST_ITEMS, description="At most so many items.")]
Cursor = Annotated[int, Meta(ge=0, le=2**53, description="The `next` of the page before.")]
WaitMs = Annotated[int, Meta(ge=0, le=MOST_WAIT_MS, description="Answer when nothing waits any more, or after this.")]
Milliseconds = Annotated[int, Meta(ge=0, le=2**53)]


class Question(Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of a request."""


class Nothing(Question, frozen=True):
    """No parameters."""


class Page(Question, frozen=True):
    """A page of a list."""

    limit: Limit = 50
    cursor: Cursor | None = None


class Waiting(Question, frozen=True):
    """How long to wait for an outcome."""

    wait_ms: WaitMs = 0


class BlockQuestion(Question, frozen=True):
    """How much of a block is told."""

    encoded: Annotated[bool, Meta(description="Also as it is encoded, for a program that verifies it.")] = False


class FileQuestion(Question, frozen=True):
    """Which certificates state these bytes of a file."""

    size_bytes: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None
    limit: Limit = 50
    cursor: Cursor | None = None


class Search(Question, frozen=True):
    """Certificates that match all of these, the newest first."""

    text: Annotated[str, Meta(max_length=256, description="Words of the subject, of a file's name or its note.")] = ""
    prefix: Annotated[bool, Meta(description="Whether the last word may go on.")] = False
    issuer: Hex32 | None = None
    kind: Annotated[str, Meta(pattern="^(statement|stake|evidence)$")] | None = None
    media_type: Annotated[str, Meta(max_length=255)] | None = None
    sha256: Hex32 | None = None
    since_ms: Milliseconds | None = None
    until_ms: Milliseconds | None = None
    first_block: Annotated[int, Meta(ge=0)] | None = None
    last_block: Annotated[int, Meta(ge=0)] | None = None
    limit: Limit = 50
    cursor: Cursor | None = None


# ---- bodies -----------------------------------------------------------------------------------------------------


class Submission(Struct, frozen=True, forbid_unknown_fields=True):
    """Signed certificates with their payloads: encoded entries (docs/protocol.md), in hex in JSON."""

    entries: Annotated[list[Annotated[bytes, Meta(max_length=80_000)]], Meta(min_length=1, max_length=MOST_ENTRIES)]
    wait_ms: WaitMs = 0


class HexSubmission(Struct, frozen=True, forbid_unknown_fields=True):
    """A `Submission` in JSON."""

    entries: Annotated[list[Annotated[str, Meta(max_length=160_000)]], Meta(min_length=1, max_length=MOST_ENTRIES)]
    wait_ms: WaitMs = 0


class OutcomesAsked(Struct, frozen=True, forbid_unknown_fields=True):
    """The ids of certificates that were submitted."""

    ids: Annotated[list[Hex32], Meta(min_length=1, max_length=MOST_ENTRIES)]
    wait_ms: WaitMs = 0


class NewStatement(Struct, frozen=True, forbid_unknown_fields=True):
    """A statement that the node signs with its own key; the payload's salt is the node's to draw."""

    subject: str
    media_type: str = ""
    content: Annotated[str, Meta(description="Of the payload, in hex; without a media type there is none.")] = ""


class SignedHere(Struct, frozen=True, forbid_unknown_fields=True):
    """Statements to be signed by the node."""

    statements: Annotated[list[NewStatement], Meta(min_length=1, max_length=MOST_ENTRIES)]
    submit: Annotated[bool, Meta(description="Put them on the ledger, too; else they are only signed.")] = True
    wait_ms: WaitMs = 0


class StakeChange(Struct, frozen=True, forbid_unknown_fields=True):
    """Tokens of the node's own to stake; a negative amount withdraws."""

    amount: Annotated[int, Meta(ge=-(2**53), le=2**53)]
    wait_ms: WaitMs = 0


class BackupTo(Struct, frozen=True, forbid_unknown_fields=True):
    """A file on the node's machine, by its whole path, that does not exist yet."""

    path: str


class Name(Struct, frozen=True, forbid_unknown_fields=True):
    """What the node's owner calls a key; empty: nothing any more."""

    name: Annotated[str, Meta(max_length=100)]
