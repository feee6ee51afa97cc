"""Everything that is answered about a ledger and its node, field by field: the same from a node and from a file.

Keys, hashes and signatures are lower-case hex; fields that end with `_ms` are whole milliseconds, times since 1970.
Within schema 1 fields are only ever added. JSON is ASCII; texts in it, once decoded, are what their authors wrote: who
shows them to people writes out what is not visible, as commands do, also under `--json`.
"""

# ruff: noqa: PLC0414  all views are found here, also those parts that others have, too
from msgspec import UNSET, Struct, UnsetType, field

from tallystick.api.decisions import AnyDecision
from tallystick.api.governed_views import Erasure, Leaving, MotionLine, Rotation, Validity
from tallystick.api.view_base import SCHEMA as SCHEMA
from tallystick.api.view_base import Answer as Answer
from tallystick.api.view_base import Key as Key
from tallystick.api.view_base import Outcome as Outcome
from tallystick.api.view_base import View as View
from tallystick.api.view_base import in_json as in_json


class Place(View, frozen=True):
    """Where a final certificate stands."""

    block_index: int
    position: int
    """Within its block, from 0."""
    log_index: int
    """Among all certificates of the ledger, from 0: a leaf of its log."""
    block_timestamp_ms: int
    """When its block was forged, as voted for by the members."""


class File(View, frozen=True):
    """What a payload states of a file, which itself is nowhere kept."""

    name: str
    size_bytes: int
    sha256: str
    note: str


class Payload(View, frozen=True):
    """What belongs to a certificate and stands beside the ledger: it can be erased."""

    media_type: str
    size_bytes: int
    """Of its content."""
    encoded: str
    """As the certificate's `payload_hash` covers it (docs/protocol.md), in MessagePack."""
    file: File | None
    """If it states something of a file."""
    text: str | None
    """If it is a text of at most 1,024 bytes."""
    subject: str = ""
    """Of a statement without one of its own; of a decision, why."""


class CertificateLine(View, frozen=True):
    """A certificate in a list."""

    id: str
    """SHA-256 of all of it but the signature."""
    kind: str
    """`statement`, `stake` (a staking operation), `evidence`, `motion`, `approval`, `objection`, `key_change`,
    `revocation`, `supersession`, `erasure` or `erasure_confirmation`."""
    issuer: Key
    """Of the organisation that held the key at the certificate's log index."""
    timestamp_ms: int
    """As its issuer claims."""
    summary: str
    """What it says, in a few words."""
    place: Place
    is_listed: bool | None = None
    """Whether an organisation held the issuer's key at the certificate's log index; `null`: there is no directory."""


class Certificate(CertificateLine, frozen=True, kw_only=True):
    """One final certificate."""

    schema: int = SCHEMA
    subject: str | None
    """Of a statement, be it its own or the payload's; `null`, too, where that payload is not at hand."""
    amount: int | None
    """Of a staking operation: tokens staked, or withdrawn if negative."""
    offender: Key | None
    """Of evidence: whose stake it burns."""
    signature: str
    encoded: str
    """All of it, in MessagePack (docs/protocol.md): what a program verifies."""
    payload_hash: str | None
    """`null`: it has no payload."""
    payload: Payload | None
    """`null`: there is none, or it is not kept here, or was erased."""
    is_erased: bool = False
    """Whether its payload was erased at the node that answers, with all that it said."""
    decision: AnyDecision | None = None
    """What it decides: of a motion, a word on one, a change of keys, a revocation or a supersession."""
    validity: Validity | None = None
    """Of a statement: whether it is valid, as of the ledger's tip."""
    erasure: Erasure | None = None
    """Of a statement that is to be erased everywhere, and of what orders or confirms that: who has confirmed."""


class Finality(View, frozen=True):
    """Whose votes made a block final."""

    by_block: int
    """The block that was voted for: this one, or a later one that builds on it."""
    voters: list[Key]
    stake: int
    """Of the voters, in tokens."""
    total_stake: int
    """Of all members in that epoch; more than 2/3 of it is needed."""
    encoded: str | None
    """The finalization, in MessagePack (docs/protocol.md), if asked for."""


class BlockLine(View, frozen=True):
    """A block in a list."""

    index: int
    epoch: int
    view: int
    hash: str
    timestamp_ms: int
    forger: Key | None
    """`null`: the genesis block, which nobody forged."""
    certificate_count: int
    final_by: int | None
    """The index of the block whose votes make it final; `null`: not known here."""


class Block(BlockLine, frozen=True, kw_only=True):
    """One final block. It has at most as many certificates as the ledger's parameters say."""

    schema: int = SCHEMA
    parent_hash: str
    certificates_hash: str
    state_root: str
    signature: str
    finality: Finality | None
    """`null`: the genesis block, or its votes are not kept here."""
    certificates: list[CertificateLine]
    encoded: str | None
    """All of it, in MessagePack (docs/protocol.md), if asked for."""


class OldMember(View, frozen=True):
    """Whose votes counted on a ledger that is continued."""

    key: str
    organisation: str | None
    """The id of the organisation that held the key there."""
    stake: int
    has_signed: bool
    """Whether it consents to the continuation."""


class Continuation(View, frozen=True, kw_only=True):
    """An older ledger that was continued, as those say who signed that: no ledger decided it."""

    ledger_id: str
    """Of the older ledger, as all that follows."""
    name: str
    block_index: int
    """Of its final block. What it made final later is not part of what is continued."""
    block_hash: str
    block_timestamp_ms: int
    log_size: int
    """Certificates up to that block."""
    log_root: str
    members: list[OldMember]
    """Whose votes counted for its next block."""
    stake_signed: int
    """Of those who signed."""
    total_stake: int
    summary: str
    """By how many it was continued, with how much stake, in words."""


class Ledger(Answer, frozen=True, kw_only=True):
    """The ledger as a whole."""

    ledger_id: str
    name: str
    created_ms: int
    tip: BlockLine
    log_size: int
    """Certificates."""
    log_root: str
    """RFC 6962 head of the log over all certificates."""
    total: int
    """Tokens, the burned ones included."""
    total_staked: int
    burned: int
    params: dict[str, int | bool | None]
    """By the names of docs/protocol.md, as they are at the tip: those of a ledger with a directory change by motion."""
    has_directory: bool = False
    """Whether it has organisations, which decide by motions; else keys stake tokens of their own."""
    continues: Continuation | None = None
    """An older ledger that this one goes on from, as its genesis says; `null`: none."""


class Unbonding(View, frozen=True):
    """Tokens that are withdrawn, and not free yet: a block as late in all three frees them."""

    amount: int
    free_from_epoch: int
    free_from_block: int
    free_from_ms: int


class Member(View, frozen=True):
    """An account."""

    member: Key
    free: int
    staked: int
    unbonding: list[Unbonding]
    votes_with: int
    """Its stake in the current epoch."""
    is_burned: bool
    """It contradicted itself; its key never holds stake again."""


class MemberAnswer(Answer, frozen=True, kw_only=True):
    """One account."""

    account: Member


class Done(Answer, frozen=True, kw_only=True):
    """It is done."""


class Blocks(Answer, frozen=True, kw_only=True):
    """Blocks, the newest first."""

    blocks: list[BlockLine]
    next: str | None
    """The `cursor` of the next page; `null`: this is the last."""


class Certificates(Answer, frozen=True, kw_only=True):
    """Certificates, the newest first, or the oldest first in the log."""

    certificates: list[CertificateLine]
    next: str | None
    indexed: int | UnsetType = UNSET
    """Of a search: how many of the ledger's certificates it has seen; later ones are not found yet."""


class Members(Answer, frozen=True, kw_only=True):
    """Accounts, those with most at stake first."""

    members: list[Member]
    epoch: int
    """Of the next block."""
    next: str | None


class Names(Answer, frozen=True, kw_only=True):
    """The address book of the node or file that answers, in the order of the keys."""

    names: list[Key]
    next: str | None


class Found(Answer, frozen=True, kw_only=True):
    """Certificates whose payloads state these bytes of a file."""

    certificates: list[Certificate]
    next: str | None


class Outcomes(Answer, frozen=True, kw_only=True):
    """One for each certificate of a request, in its order."""

    outcomes: list[Outcome]


class Signed(Answer, frozen=True, kw_only=True):
    """Statements that the node signed, in the order of the request."""

    entries: list[str]
    """Each certificate with its payload, encoded: fit to be submitted, now or again."""
    outcomes: list[Outcome]
    """Empty if they were only signed."""


class Peer(View, frozen=True):
    """Somebody whom the node knows."""

    peer: Key
    address: str | None
    is_connected: bool
    connected_since_ms: int | None
    last_heard_ms: int | None
    """When the node last heard a message of it; `null`: not since it started."""
    votes_with: int
    tip_index: int
    """The latest block that it told of."""
    banned_until_ms: int | None
    banned_for: str | None
    """The rule that it broke, and how."""


class Peers(Answer, frozen=True, kw_only=True):
    """Whom the node knows, those connected first."""

    now_ms: int
    peers: list[Peer]
    next: str | None


class ViewNumber(View, frozen=True):
    """A place in agreement."""

    epoch: int
    view: int


class Missing(View, frozen=True):
    """A member that is not heard."""

    member: Key
    stake: int
    is_connected: bool
    last_heard_ms: int | None


class MlDsaSigning(View, frozen=True):
    """Whether the node signs the ends of epochs by ML-DSA-44, too."""

    is_signing: bool
    why_not: str | None
    """In words."""
    key: str | None
    """SHA-256 of the key that it has, as `key ml-dsa` tells it."""
    registered: str | None
    """Likewise of the one that the ledger has for the node's own key."""
    end_size: int | None
    """Of the log at the newest end of an epoch that the node knows since its start; `null`: it knows none."""
    end_signatures: int
    """So many members' signatures of that are at hand."""
    is_end_signed: bool
    """Whether the node's own is among them."""


class Status(Answer, frozen=True, kw_only=True):
    """How a node is, and why the ledger does or does not advance."""

    state: str
    """`advancing`, `quiet`, `stuck`, `out_of_reach`, `catching_up`, `recovering`, `silent`, `left`, `twin`, `burned`
    or `mismatch`."""
    is_well: bool
    """Whether nobody has to do anything."""
    why: str
    """In words."""
    ledger_id: str
    ledger_name: str
    version: str
    verifier: str
    """What verifies signatures here: `PyNaCl`, or the native module with its version and arithmetic."""
    node: Key
    address: str
    started_ms: int
    now_ms: int
    tip_index: int
    tip_hash: str
    tip_timestamp_ms: int
    best_index: int
    """The latest block that a peer told of; beyond `tip_index`, the node is catching up."""
    log_size: int
    waiting: int
    """Certificates that are not final."""
    epoch: int
    view: int
    stake: int
    total_stake: int
    heard_stake: int
    """Of the members in reach, this node included."""
    is_voting: bool
    why_not_voting: str | None
    guard: str | None
    """Of a member's key: `ready`, `lost` or `twin`."""
    unanswered: list[Key]
    """While what the key signed is lost: the members that did not answer yet."""
    silent_until: ViewNumber | None
    twin: ViewNumber | None
    is_loss_accepted: bool
    is_burned: bool
    mismatch: str | None
    peers: int
    members: int
    members_connected: int
    stuck_since_ms: int | None
    missing: list[Missing]
    """The members that are not in reach, while something waits or too little stake is in reach."""
    motions: list[MotionLine] = field(default_factory=list)
    """That are open, the latest first, and what they wait for."""
    rotations: list[Rotation] = field(default_factory=list)
    """That are announced: nobody but a motion stops them."""
    leaving: Leaving | None = None
    """Of a member's key that ends, or has ended: until when the node has to run; `null`: there is nothing to say."""
    erasures: list[Erasure] = field(default_factory=list)
    """That wait for the operator of this node: the oldest, 8 at most."""
    continues: Continuation | None = None
    """An older ledger that this one goes on from; `null`: none."""
    ml_dsa: MlDsaSigning


class PayloadUse(Answer, frozen=True, kw_only=True):
    """A payload, and what it belongs to."""

    payload_hash: str
    is_kept: bool
    is_erased: bool
    """For good: it is not taken again."""
    certificates: list[CertificateLine]
    """That cover it, in the order of the log."""


class Erased(Answer, frozen=True, kw_only=True):
    """A payload that was erased at a node."""

    payload_hash: str
    order: Outcome | None = None
    """Of the order to erase it everywhere, if one was made with it."""
    confirmations: list[Outcome]
    """Of the certificates by which the node's member confirms, where that was ordered."""


class BlockEvent(Answer, frozen=True, kw_only=True):
    """A block became final."""

    block: BlockLine
    first_log_index: int
    """Of its first certificate."""
    log_size: int
    """After it: the event's id."""


class Invite(Answer, frozen=True, kw_only=True):
    """A line of text with which somebody else's node finds this ledger."""

    invite: str


class Backup(Answer, frozen=True, kw_only=True):
    """A consistent copy of the ledger."""

    path: str
    tip_index: int
    size_bytes: int


class Problem(Struct, frozen=True, kw_only=True):
    """What is in the way: `application/problem+json` (RFC 9457)."""

    type: str
    """`urn:tallystick:problem:CODE`"""
    title: str
    status: int
    detail: str
    """What is in the way, and what to do next."""
    code: str
    exit_code: int
    """That a command ends with."""
    rule: str | None = None
    """Of a refusal (docs/protocol.md)."""
